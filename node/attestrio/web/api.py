"""The status document: everything the page shows, as one value; `/status.json` and `/events` give it as JSON. Pure.

One shape for every role. A section that a role does not have, or that is not known yet, is null (an empty list where
there are rows). Names are stable: a field may be added, none is renamed or given another meaning.

Units: `at`, `since`, `*_at` are Unix time in seconds; `*_bytes` bytes; `*_s` seconds; weights as in the genesis.
Numbers of batches and weights are whole numbers of up to 64 bits, which JavaScript shows exactly up to 2**53.

Every list is bounded; where rows had to be left out, the number beside it says how many.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

import msgspec

SCHEMA: Final = 1

Role = Literal["attester", "main-node", "operator", "aggregator", "sequencer"]
State = Literal["open", "certified", "missed", "skipped"]
"""How a batch ended on this node; the values of `duty.EndState`."""
Standing = Literal["voted", "other", "waiting", "missed"]
"""Of a member and a batch: voted for the hash that leads, for another one, not yet, or not while it was open."""
Level = Literal["debug", "info", "warning", "error", "critical"]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything in the document."""


class CheckView(Shape, frozen=True):
    """One named condition of readiness."""

    name: str
    ok: bool
    reason: str
    """One sentence for people; what is missing, or what was found to be good."""
    since: float
    """Since when it has been ok, or not."""


class NodeView(Shape, frozen=True):
    """Who this is."""

    role: Role
    name: str
    """As configured, otherwise the shortened key, otherwise the role."""
    version: str
    started_at: float
    key: str | None = None
    """The public key it votes or signs with; null: it does not."""
    network_key: str | None = None
    """Its name on the gossip network."""
    listening: str | None = None
    """host:port where peers or clients of the protocol come in."""
    api_url: str | None = None
    """Where the main-node API is served."""


class FactView(Shape, frozen=True):
    """A line that belongs to one role alone: shown as it is, name and value."""

    name: str
    value: str


class EpochView(Shape, frozen=True):
    """One epoch: the time under one genesis. The one that runs has no `ended_at`."""

    number: int
    genesis: str
    fork_number: int
    cause: str
    """Why it began: a code of docs/reasons.md, or "start"."""
    began_at: float
    ended_at: float | None = None
    detail: str = ""


class ProgressView(Shape, frozen=True):
    """Where attestation stands. Each number is null while nobody knows it."""

    wanted: int | None
    """The batch to attest now, as the main node says."""
    wanted_since: float | None
    certified: int | None
    """The newest batch whose certificate is stored here."""
    certified_at: float | None
    signed: int | None
    """The newest batch this process voted for."""
    persisted: int | None
    """The newest batch held durably."""
    floor: int | None
    """Votes for lower batches are skipped."""


class MemberView(Shape, frozen=True):
    """One member of the committee."""

    name: str
    """As configured, otherwise the shortened key."""
    key: str
    weight: int
    own: bool
    standing: Standing | None
    """About the batch wanted now; null while there is none."""
    last_vote: int | None = None
    """The newest batch it was heard to vote for, since the epoch began here."""
    last_vote_at: float | None = None
    missed: dict[str, int] = {}
    """How many batches it missed since the epoch began here, by reason: "silent", "late", "other_hash". A batch is
    judged when the status has named three more numbers since it went past it: a vote that comes until then is late.
    Silent is not dead: a vote that is made when its author's own register has gone on is sent to nobody, and is late
    only on its author's page."""


class CommitteeView(Shape, frozen=True):
    """Who may vote. `members`: this node first, then in the order of the genesis."""

    size: int
    total_weight: int
    threshold: int
    members: list[MemberView]
    left_out: int = 0


class VoteView(Shape, frozen=True):
    """One vote that was counted here, or came late."""

    name: str
    key: str
    weight: int
    at: float
    """When it came."""
    via: str
    """Which peer brought it first: a name or shortened key; "own": this node's own; "certificate": never heard here,
    somebody else's certificate has it; "": not known."""
    other: bool = False
    """Whether it is for another hash than the one that leads."""
    late_s: float | None = None
    """How long after the status went on it came; null: in time. Who is late is not in `missing`."""


class StepView(Shape, frozen=True):
    """One event in the life of a batch."""

    step: str
    """told, persisted, hashed, recorded, signed, sent, seen, certified, submitted."""
    at: float
    reason: str
    """"ok", or a code of docs/reasons.md."""
    meaning: str
    """The sentence of the code."""
    detail: str = ""


class DeliveryView(Shape, frozen=True):
    """A peer that took this node's own vote."""

    name: str
    at: float


class BatchView(Shape, frozen=True):
    """One batch: its quorum bar is `weight` of `threshold`, its timeline `steps` and `votes`, both oldest first."""

    number: int
    state: State
    reason: str
    """Why it ended so; "" while it is open."""
    meaning: str
    hash: str | None
    """The one that leads."""
    weight: int
    """Behind that hash."""
    other_weight: int
    """Behind other hashes."""
    threshold: int
    total_weight: int
    first_seen: float | None
    ended_at: float | None
    steps: list[StepView]
    votes: list[VoteView]
    votes_left_out: int = 0
    missing: list[str] = []
    """Names of members that have not voted for it; none of a batch from before this epoch. Bounded as `votes`."""
    missing_left_out: int = 0
    taken_by: list[DeliveryView] = []
    """Who took this node's vote, first come first; bounded as `votes`."""


class PeerView(Shape, frozen=True):
    """One connection."""

    name: str
    key: str
    direction: Literal["inbound", "outbound"]
    address: str
    since: float
    received_bytes: int
    sent_bytes: int
    score: float
    """100: nothing known against it."""


class PeersView(Shape, frozen=True):
    """Who is connected."""

    connected: int
    rows: list[PeerView]
    left_out: int = 0
    expected: int = 0
    """How many peers the configuration names to be dialled."""


class ChainView(Shape, frozen=True):
    """The chain that a sequencer builds."""

    batch: int
    block: int
    hash: str
    """Of that block."""
    block_at: float | None = None
    """When it came; null: before this process began."""
    halted: str = ""
    """Why nothing is built; "": blocks are built."""
    stream_entries: int | None = None
    """How many its data stream holds."""


class L1View(Shape, frozen=True):
    """What is known of Ethereum."""

    chain_id: int
    head: int | None = None
    """The newest block seen; of those that are final enough, where only such are asked for."""
    cursor: int | None = None
    """Every block below it is processed. A node reads the contract at `head`, so for it everything up to there."""
    finality: str = ""
    answered_at: float | None = None
    problem: str = ""
    """Why the last question failed; "": it did not."""


class QueueView(Shape, frozen=True):
    """Something durable that waits: journal, outbox."""

    name: str
    waiting: int
    oldest_s: float | None = None
    """How long the oldest has waited."""
    limit: int | None = None
    detail: str = ""


class TaskView(Shape, frozen=True):
    """A batch of Aligned that waits for something, or that got no answer."""

    batch: str
    state: str
    reason: str = ""
    detail: str = ""
    block: int | None = None
    signed: int | None = None
    """How many operators have signed it."""
    attempt: int | None = None
    due_in_s: float | None = None
    """Until it is tried again; null: it is being worked on, or has ended."""
    at: float | None = None
    """When it ended."""


class TasksView(Shape, frozen=True):
    """The batches of an operator or an aggregator. `counts`: how many are in which state."""

    counts: dict[str, int]
    rows: list[TaskView]
    left_out: int = 0


class ResequenceView(Shape, frozen=True):
    """A re-sequencing that is under way, or the last one."""

    phase: str
    first: int | None
    """The first batch that was removed; null while that is not told."""
    last: int | None
    """The last one of them."""
    at: int | None
    """The one that is being built again; null: done."""
    done: int
    """Blocks of those batches, of `total`."""
    total: int
    detail: str = ""


class LogView(Shape, frozen=True):
    """One line of the log."""

    at: float
    level: Level
    source: str
    """The logger: `attestrio.quorum`."""
    text: str


class StatusView(Shape, frozen=True):
    """The document. `version` grows with each one that differs; `as_of` is when it was made."""

    schema: int
    version: int
    as_of: float
    node: NodeView
    ready: bool
    checks: list[CheckView]
    facts: list[FactView] = []
    progress: ProgressView | None = None
    epochs: list[EpochView] = []
    """Newest first; the one that runs, if one does, is the first and has no `ended_at`."""
    committee: CommitteeView | None = None
    counts: dict[str, int] = {}
    """How many batches are in each end state since this process began: open, certified, missed, skipped."""
    batches: list[BatchView] = []
    """Newest first."""
    chain: ChainView | None = None
    peers: PeersView | None = None
    l1: L1View | None = None
    queues: list[QueueView] = []
    tasks: TasksView | None = None
    resequence: ResequenceView | None = None
    log: list[LogView] = []
    """Newest last."""


class Source(Protocol):
    """One role, as the page sees it."""

    def stamp(self) -> object:
        """A value that is another one whenever there is news; asked four times a second, so O(1)."""
        ...

    async def document(self) -> StatusView:
        """Everything there is to be seen; `version` and `as_of` are filled in by whoever asks. Bounded in size."""
        ...

    async def batch(self, number: int) -> BatchView | None:
        """One batch with all that is known of it; None for one that is not known."""
        ...
