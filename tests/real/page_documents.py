"""Documents for the status page that no devnet shows in one run: every section filled, nothing known, hostile texts."""

import time

import msgspec
import trio
from attestrio.web.api import (
    SCHEMA,
    BatchView,
    CheckView,
    CommitteeView,
    DeliveryView,
    EpochView,
    FactView,
    L1View,
    LogView,
    MemberView,
    NodeView,
    PeersView,
    PeerView,
    ProgressView,
    QueueView,
    ResequenceView,
    StatusView,
    StepView,
    TasksView,
    TaskView,
    VoteView,
)

HOSTILE = "<img src=x onerror=alert(1)>"
LONG = "0123456789abcdef" * 12  # a name nobody can break
HASH = "batch:keccak256:" + "cd" * 32
GENESIS = "genesis_hash:keccak256:" + "ab" * 32
NAMES = ("alice", HOSTILE, "carol", LONG[:60], "eve", "frank")


def key(number):
    return f"attester:public:secp256k1:02{number:064x}"


def nothing(role="attester"):
    """A process that has just begun, and knows nothing."""
    return StatusView(
        schema=SCHEMA,
        version=0,
        as_of=0.0,
        node=NodeView(role=role, name=role, version="0.1.0", started_at=time.time()),
        ready=False,
        checks=[CheckView(name="epoch", ok=False, reason="no epoch runs", since=time.time())],
    )


def everything():
    """Every section of every role at once, none of them at its best."""
    now = time.time()
    return StatusView(
        schema=SCHEMA,
        version=0,
        as_of=0.0,
        node=NodeView(
            role="attester", name="alice", version="0.1.0", started_at=now - 93_000, key=key(0),
            network_key="node:public:ed25519:" + "11" * 32, listening="127.0.0.1:3054", api_url="http://127.0.0.1:3060/",
        ),
        ready=False,
        checks=[
            CheckView(name="event_loop", ok=True, reason="1.2 ms behind", since=now - 9),
            CheckView(name="main_node", ok=False, reason=f"no usable answer: {HOSTILE}", since=now - 190),
        ],
        facts=[FactView(name="main node", value="http://127.0.0.1:3060/" + LONG)],
        progress=ProgressView(
            wanted=118, wanted_since=now - 3, certified=117, certified_at=now - 4, signed=118, persisted=118, floor=118
        ),
        epochs=[
            EpochView(
                number=2, genesis=GENESIS, fork_number=1, cause="genesis_changed", began_at=now - 600, detail="fork 1"
            ),
            EpochView(
                number=1, genesis=GENESIS, fork_number=0, cause="start", began_at=now - 93_000, ended_at=now - 600
            ),
        ],
        committee=CommitteeView(
            size=250, total_weight=1_250_000, threshold=1_000_001, members=members(now), left_out=50
        ),
        counts={"open": 1, "certified": 116, "missed": 1, "skipped": 1},
        batches=[open_batch(now), missed_batch(now)],
        peers=PeersView(
            connected=2, rows=[peer(now, HOSTILE, 100.0), peer(now, LONG[:60], 12.5)], left_out=3, expected=4
        ),
        l1=L1View(chain_id=1, head=2231, cursor=2167, finality="finalized", answered_at=now - 30, problem="timed out"),
        queues=[QueueView(name="outbox", waiting=3, oldest_s=12.5, limit=3, detail="aggregator away")],
        tasks=TasksView(
            counts={"signed": 9, "refused": 1},
            rows=[TaskView(batch="0x" + "ef" * 32, state="refused", reason="proof_invalid", detail="proof 3")],
            left_out=2,
        ),
        resequence=ResequenceView(phase="rebuilding", first=40, last=49, at=44, done=4, total=10, detail="batch 44"),
        log=[
            LogView(at=now - 9, level="info", source="attestrio.gossip", text="peer connected"),
            LogView(at=now - 5, level="warning", source="attestrio.status", text=f"status not read: {HOSTILE} {LONG}"),
            LogView(at=now - 5, level="error", source="attestrio.app", text="went wrong"),
        ],
    )  # fmt: skip


def members(now):
    return [
        MemberView(
            name=NAMES[at] if at < len(NAMES) else f"{at:08x}…{at:04x}", key=key(at), weight=5_000, own=at == 0,
            standing=("voted", "other", "waiting", "missed")[at % 4], last_vote=None if at == 4 else 118,
            last_vote_at=None if at == 4 else now - 1, missed={"silent": 5, "other_hash": 1} if at % 4 == 3 else {},
        )
        for at in range(200)
    ]  # fmt: skip


def votes(now, count):
    return [
        VoteView(
            name=NAMES[at], key=key(at), weight=200_000, at=now + 0.07 * at,
            via=("own", HOSTILE, "carol", "certificate", "", "")[at], other=at == 4,
        )
        for at in range(count)
    ]  # fmt: skip


def open_batch(now):
    return BatchView(
        number=118, state="open", reason="", meaning="", hash=HASH, weight=600_000, other_weight=0,
        threshold=1_000_001, total_weight=1_250_000, first_seen=now - 3, ended_at=None,
        steps=[StepView(step="told", at=now - 3, reason="ok", meaning="")], votes=votes(now - 2, 3),
        missing=list(NAMES[3:]), missing_left_out=1,
    )  # fmt: skip


def missed_batch(now):
    return BatchView(
        number=117, state="missed", reason="signing_refused", meaning="Signing was refused.", hash=HASH, weight=800_000,
        other_weight=200_000, threshold=1_000_001, total_weight=1_250_000, first_seen=now - 9, ended_at=now - 4,
        steps=[
            StepView(step="told", at=now - 9, reason="ok", meaning=""),
            StepView(step="recorded", at=now - 8, reason="signing_refused", meaning="It was refused.", detail=LONG),
        ],
        votes=votes(now - 8, 6), votes_left_out=4, missing=["frank"], taken_by=[DeliveryView(name="carol", at=now - 7)],
    )  # fmt: skip


def back_from_an_outage():
    """The node stopped in batch 110, which others certified, and was told of 118 when it was back."""
    now = time.time()
    batch = BatchView(
        number=110, state="certified", reason="ok", meaning="", hash=HASH, weight=1_000_001, other_weight=0,
        threshold=1_000_001, total_weight=1_250_000, first_seen=now - 60, ended_at=now - 4,
        steps=[
            StepView(step="told", at=now - 60, reason="ok", meaning=""),
            StepView(step="told", at=now - 5, reason="node_stopped", meaning="The node did not run.", detail="again"),
        ],
        votes=votes(now - 8, 6)[1:], missing=["alice"],
    )  # fmt: skip
    return msgspec.structs.replace(everything(), batches=[open_batch(now), batch])


def peer(now, name, score):
    return PeerView(
        name=name, key=f"node:public:ed25519:{name.encode().hex():0<64.64}", direction="outbound",
        address="127.0.0.1:40112",        since=now - 4_000, received_bytes=181_233_000, sent_bytes=991, score=score,
    )  # fmt: skip


class Shown:
    """A `Source` that shows what it is given."""

    def __init__(self, view):
        self.view = view

    def stamp(self):
        return id(self.view)

    async def document(self):
        await trio.lowlevel.checkpoint()
        return self.view

    async def batch(self, number):
        await trio.lowlevel.checkpoint()
        return next((one for one in self.view.batches if one.number == number), None)
