"""Another node with our key: seen in the first vote of it that is heard, and then nothing more is signed here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol

import msgspec
import trio
from trio_util import AsyncValue, move_on_when

from attestrio.errors import NodeError, PeerError, SafetyError, SourceError
from attestrio.kit.events import EventName, named
from attestrio.kit.files import read_bounded
from attestrio.protection.equivocation import EquivocationBook
from attestrio.protection.halt import HALT, MAX_HALT_FILE, HaltNote
from attestrio.protection.rows import RecordedVote, VoteHistory
from attestrio.roles import AttesterPublicKey, Batch, BatchNumber, GenesisHash, SignedBatch

log = logging.getLogger("attestrio.protection")


class CloneSeen(SafetyError):
    """Somebody else signs with our key: a valid vote of this genesis that this node did not make. With HALT, exit 70.

    `recorded` is what this node has on record for the number, None for nothing.
    """

    code: ClassVar[str] = "clone_seen"

    def __init__(self, heard: SignedBatch, recorded: RecordedVote | None) -> None:
        if recorded is None:
            ours = "nothing on record for it here"
        elif recorded.hash == heard.batch.hash:
            ours = "signed by another process than this node's"
        else:
            ours = f"{recorded.hash.to_text()} on record here"
        super().__init__(
            f"batch {heard.batch.number}: another node signs with our key: it voted for {heard.batch.hash.to_text()},"
            f" {ours}; stop it before this one is started again"
        )
        self.heard, self.recorded = heard, recorded

    def evidence(self) -> dict[str, Any]:
        """Both votes, as proto3 JSON; `recorded` lacks its signature when it was imported without."""
        ours: dict[str, Any] | None = None
        if self.recorded is not None:
            ours = {"hash": self.recorded.hash.to_text(), "vote": None}
            if (made := _vote_of(self.recorded, self.heard)) is not None:
                ours["vote"] = made.to_json()
        return {"heard": self.heard.to_json(), "recorded": ours}


class OwnVoteNotCompared(SourceError):
    """A vote of our own key was heard while the record could not be read: it may be a clone's. Ask again."""

    code: ClassVar[str] = "own_vote_not_compared"

    def __init__(self, number: BatchNumber) -> None:
        super().__init__(
            f"batch {number}: a vote of our own key could not be compared with the record: nothing is signed"
        )
        self.number = number


class StillListening(SourceError):
    """Too early to sign: another node with our key would not have been heard yet. Ask again."""

    code: ClassVar[str] = "still_listening"

    def __init__(self, left_s: float | None) -> None:
        rest = "not connected yet" if left_s is None else f"{left_s:.1f} s to go"
        super().__init__(f"listening for another node with our key before the first vote: {rest}")


class OwnVotes(Protocol):
    """What this node signed, as far as the guard asks; `VoteRecord`."""

    def watermark(self, genesis: GenesisHash, attester: AttesterPublicKey) -> BatchNumber | None: ...

    def votes(
        self, genesis: GenesisHash, attester: AttesterPublicKey, first: BatchNumber, limit: int
    ) -> list[RecordedVote]: ...

    def is_shared(self, genesis: GenesisHash, attester: AttesterPublicKey, number: BatchNumber) -> bool: ...


class CloneGuard:
    """Listens for votes by our own key that this node did not make; from the first one on nothing is signed here.

    What halts: a vote of our key with a good signature, of this genesis, whose hash (or, where we have signed the same
    hash, whose signature) is not on record, unless its number is at or below the watermark, where the record no
    longer knows. What never does: our own votes coming back, however old; votes of another genesis; junk; a recorded
    hash under any signature where the record knows that another process has signed it too.

    The start rule. A node that begins to sign the moment it starts can contradict a clone it had no time to hear of.
    So `check` refuses for the first `listen_s` seconds of `run`: peers send the newest vote of every member on each
    new connection, and any vote the clone made since the two records parted ends this node before its first one.
    What remains are two that begin to sign within one network delay of each other: with `HedgedKey` the first batch
    both vote for ends at least one of them, but a contradiction in that very batch has left. A node that no peer is
    connected to hears nothing, so the time begins with the first link, or after `links_s` without one: somebody has
    to be the first of a network, and a committee of one has no peers.

    Order: the record runs before the first vote can be heard; `check` is what the signer asks before and after it
    records a vote; `run` is started with the links.

    Args:
      halt: writes the `HALT` file: `partial(write_halt, data_dir)`.
      book: gets the proof that our key voted for two hashes, where both signatures are here.
      listen_s: 0 for a key that cannot have been used elsewhere, or a node without links.
      links: how many links are up; None where nobody can tell, and the time begins with `run`.
      links_s: how long to wait for the first of them.
    """

    def __init__(
        self,
        record: OwnVotes,
        key: AttesterPublicKey,
        genesis: GenesisHash,
        halt: Callable[[CloneSeen, Mapping[str, Any]], object],
        *,
        book: EquivocationBook | None = None,
        listen_s: float = 0.0,
        links: AsyncValue[int] | None = None,
        links_s: float = 0.0,
    ) -> None:
        self.key, self.genesis = key, genesis
        self._record = record
        self._halt = halt
        self._book = book
        self._listen_s = listen_s
        self._links = links
        self._links_s = links_s
        self._listened_at: float | None = None  # trio time from which on may be signed
        self._clone: CloneSeen | None = None
        self._open: SignedBatch | None = None  # the first vote that the record could not be asked about
        self._seen = trio.Event()

    @property
    def clone(self) -> CloneSeen | None:
        """What was seen; None while all is well."""
        return self._clone

    def check(self) -> None:
        """Raise CloneSeen once a clone was seen, StillListening until `listen_s` have passed. Does not wait.

        Raises OwnVoteNotCompared from the first vote on that the record could not be asked about, until the process
        ends: a witness does not bring a vote twice, but after a restart all are heard again.
        """
        if self._clone is not None:
            raise self._clone
        if self._open is not None:
            raise OwnVoteNotCompared(self._open.batch.number)
        if self._listen_s:
            left_s = None if self._listened_at is None else self._listened_at - trio.current_time()
            if left_s is None or left_s > 0:
                raise StillListening(left_s)

    def heard(self, vote: SignedBatch) -> None:
        """Judge a vote with a good signature: a witness's `on_heard`. Costs two point reads for one of our key.

        Never raises: whoever brought the vote has no part in it. When it returns signing is stopped, and HALT is on
        disk if the disk let it be; `run` then ends the process.
        """
        if self._clone is not None or vote.key != self.key or vote.batch.genesis != self.genesis:
            return
        try:
            self._clone = self._judge(vote)
        except NodeError as exc:  # whoever brought it has no part in that; `check` tells the signer
            self._open = self._open or vote
            log.error("batch %d: own vote heard and not compared: %s", vote.batch.number, exc)
        if self._clone is not None:
            self._stop(self._clone)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Begin to listen; raise CloneSeen when there is a clone."""
        if self._links is None:
            self._listened_at = trio.current_time() + self._listen_s
        task_status.started()
        if self._links is not None:
            with trio.move_on_after(self._links_s):
                async with move_on_when(self._seen.wait):
                    await self._links.wait_value(lambda count: count > 0)
            self._listened_at = trio.current_time() + self._listen_s
        await self._seen.wait()
        assert self._clone is not None
        raise self._clone

    def _judge(self, vote: SignedBatch) -> CloneSeen | None:
        batch = vote.batch
        rows = self._record.votes(self.genesis, self.key, batch.number, 1)
        ours = [row for row in rows if row.number == batch.number]
        for row in ours:
            if row.hash == batch.hash:
                if row.signature in (None, vote.signature) or self._is_shared(batch.number):
                    return None
                return CloneSeen(vote, row)
        if ours:
            return CloneSeen(vote, ours[0])
        low = self._record.watermark(self.genesis, self.key)
        return None if low is not None and batch.number <= low else CloneSeen(vote, None)

    def _is_shared(self, number: BatchNumber) -> bool:
        return self._record.is_shared(self.genesis, self.key, number)

    def _stop(self, clone: CloneSeen) -> None:
        self._seen.set()
        log.critical("%s", clone, extra=named(EventName.HALTED, batch=int(clone.heard.batch.number), reason=clone.code))
        try:
            self._halt(clone, clone.evidence())
        except OSError as exc:  # the process ends all the same
            log.critical("HALT not written, so a restart has to hear the other node again: %s", exc)
        if self._book is not None and clone.recorded is not None:
            ours = _vote_of(clone.recorded, clone.heard)
            if ours is not None and ours.batch != clone.heard.batch:
                self._book.conflict(ours, clone.heard)


class TakesHistories(Protocol):
    """A record that learns what else was signed; `VoteRecord`."""

    async def merge(self, histories: list[VoteHistory], cause: str = ...) -> tuple[int, int]: ...


async def take_over(record: TakesHistories, key: AttesterPublicKey, data_dir: Path) -> int:
    """Put on record the votes of a clone that the operator has acknowledged; how many are new.

    Peers go on sending the clone's last vote until the network is past it: it would halt this node again and again.
    On record it is an own vote like any other, and no other hash is signed for its number; where it is for the hash we
    signed ourselves, both signatures are ours from then on. Any other vote of the clone halts again. Asked at every
    start, before links; reads `HALT.*`, which `repair` leaves. Raises what the record does.
    """
    found = _acknowledged_votes(key, data_dir)
    if not found:
        return 0
    histories = [VoteHistory(genesis, key, None, tuple(votes)) for genesis, votes in found.items()]
    added, contested = await record.merge(histories, "acknowledged")
    return added + contested


def _acknowledged_votes(key: AttesterPublicKey, data_dir: Path) -> dict[GenesisHash, list[RecordedVote]]:
    found: dict[GenesisHash, list[RecordedVote]] = {}
    for path in sorted(data_dir.glob(f"{HALT}.*")):
        vote = _acknowledged(path)
        if vote is not None and vote.key == key:
            taken = RecordedVote(vote.batch.number, vote.batch.hash, vote.signature)
            found.setdefault(vote.batch.genesis, []).append(taken)
    return found


def _acknowledged(path: Path) -> SignedBatch | None:
    """The vote that halted the node; None where something else did, or nobody can tell."""
    try:
        note = msgspec.json.decode(read_bounded(path, MAX_HALT_FILE), type=HaltNote)
        if note.code != CloneSeen.code:
            return None
        vote = SignedBatch.from_json(note.evidence["heard"])
        vote.verify()  # operators edit files
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError, KeyError, PeerError) as exc:
        log.warning("%s is not read, its vote may halt this node again: %s", path, exc)
        return None
    return vote


def _vote_of(recorded: RecordedVote, heard: SignedBatch) -> SignedBatch | None:
    """Our own vote for the number of `heard`; None without its signature."""
    if recorded.signature is None:
        return None
    return SignedBatch(Batch(recorded.number, recorded.hash, heard.batch.genesis), heard.key, recorded.signature)
