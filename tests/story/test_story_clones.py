"""Two nodes with one key: the second stops within one batch, and nothing it sends contradicts the first.

Each story is one main node's clock, two relaying peers, and two nodes over copies of one data directory: real record,
signer, guard, attester and register, wires in memory, virtual time. What is drawn (when each starts, its polls, the
delay, whether the two are neighbours) comes from the number of the story alone.
"""

import random
import shutil
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
import trio.testing
from attestrio.attester import AttesterRunner
from attestrio.duty import DutyLog
from attestrio.errors import leaves
from attestrio.kit.blocking import inline
from attestrio.protection.clone import CloneGuard, CloneSeen
from attestrio.protection.halt import write_halt
from attestrio.protection.hedged import ENTROPY, HedgedKey
from attestrio.protection.record import VoteRecord
from attestrio.protection.signer import ProtectedSigner
from attestrio.quorum.watch import VotesWatch
from attestrio.quorum.witness import Witness
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    WeightedAttester,
)
from attestrio.sim.links import MemoryNetwork, Weather
from attestrio.status import AttestationStatus, AttestationStatusRunner, AttestationStatusWatch

GENESIS = GenesisHash(b"\x11" * 32)
KEY, OTHER = (AttesterSecretKey.from_bytes(bytes([index]) * 32) for index in (1, 2))
COMMITTEE = Committee([WeightedAttester(KEY.public(), 1), WeightedAttester(OTHER.public(), 9)])
CHAIN = 270
SIGNED_BEFORE = 4  # batches 0 to 3 were signed before the directory was copied
BATCH_S, LISTEN_S = 4.0, 3.0
TRAVEL = 3.0  # delays that a vote takes at most from one clone through a peer to the other


def batch(number, chain=0):
    return Batch(BatchNumber(number), BatchHash(bytes([chain + 1, number]) * 16), GENESIS)


@dataclass(frozen=True, slots=True)
class MainNode:
    """Names a batch more every `BATCH_S` seconds; from batch `parted` on it knows other hashes than the rest."""

    parted: int = 10**6

    async def attestation_status(self):
        await trio.lowlevel.checkpoint()
        return AttestationStatus(GENESIS, BatchNumber(SIGNED_BEFORE + int(trio.current_time() // BATCH_S)))

    async def wait_until_persisted(self, number):
        await trio.lowlevel.checkpoint()

    @property
    def persisted(self):
        return BatchNumber(10**6)

    async def batch_to_sign(self, number):
        await trio.lowlevel.checkpoint()
        return batch(number, 1 if number >= self.parted else 0)


@dataclass(slots=True, eq=False)
class Clone:
    """One of the two nodes. `signed` is what left its signer and when; `heard` when it knew of the other."""

    name: str
    data_dir: object
    secret: AttesterSecretKey
    main_node: MainNode
    poll_s: float
    listen_s: float
    signed: list = field(default_factory=list)
    seen: CloneSeen | None = None
    stopped_at: float | None = None

    async def run(self, network):
        """Until the guard ends it, as it would end the process."""
        record = VoteRecord(self.data_dir / "protection.db", CHAIN, inline, clock=trio.current_time)
        guard = CloneGuard(
            record, KEY.public(), GENESIS, partial(write_halt, self.data_dir, at=0.0), listen_s=self.listen_s
        )
        votes = VotesWatch(COMMITTEE, GENESIS, None, Witness(KEY.public(), guard.heard))
        status = AttestationStatusWatch(GENESIS)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(record.run)
                signer = ProtectedSigner(record, self.secret, guard.check, epoch=record.current_epoch().id)
                nursery.start_soon(network.link(self.name).run, votes)
                await nursery.start(guard.run)
                nursery.start_soon(AttestationStatusRunner(self.main_node, status, self.poll_s).run)
                nursery.start_soon(
                    AttesterRunner(
                        status, self.main_node, Noting(signer, self.signed), votes, COMMITTEE, KEY.public(),
                        self.poll_s, DutyLog(trio.current_time),
                    ).run
                )  # fmt: skip
        except* CloneSeen as group:
            self.seen, *_ = leaves(group)
            self.stopped_at = trio.current_time()


@dataclass(frozen=True, slots=True)
class Noting:
    """A signer that notes what leaves it."""

    signer: ProtectedSigner
    signed: list

    async def sign(self, what):
        made = await self.signer.sign(what)
        self.signed.append((trio.current_time(), made))
        return made


@dataclass(eq=False)
class Story:
    """What is drawn for one pair of clones, and what came of it."""

    seed: int
    folder: object
    parted: int = 10**6
    hedged: bool = True
    listen_s: float = LISTEN_S
    together: bool = False
    conflicts: list = field(default_factory=list)

    def __post_init__(self):
        luck = random.Random(self.seed)
        self.delay_s = luck.uniform(0.01, 0.3)
        self.neighbours = luck.random() < 0.5
        first_s = luck.uniform(0.0, BATCH_S)
        gap_s = luck.uniform(0.0, self.delay_s) if self.together else luck.uniform(0.0, 5 * BATCH_S)
        self.starts = (first_s, first_s + gap_s)
        polls = [luck.uniform(0.2, 1.5)] * 2 if self.together else [luck.uniform(0.2, 1.5) for _ in "AB"]
        secrets = [HedgedKey.of(KEY, luck.randbytes(ENTROPY)) if self.hedged else KEY for _ in "AB"]
        mains = (MainNode(), MainNode(self.parted))
        self.clones = [
            Clone(name, self.folder / f"{self.seed}-{name}", secrets[index], mains[index], polls[index], self.listen_s)
            for index, name in enumerate("AB")
        ]

    @property
    def gap_s(self):
        return self.starts[1] - self.starts[0]

    def play(self, original, batches):
        for clone in self.clones:
            shutil.copytree(original, clone.data_dir)
        trio.run(self._play, batches, clock=trio.testing.MockClock(autojump_threshold=0))
        return self

    async def _play(self, batches):
        network = MemoryNetwork(Weather(self.delay_s), seed=self.seed)
        if not self.neighbours:
            network.cut("A", "B")
        async with trio.open_nursery() as nursery:
            for name in ("peer-1", "peer-2"):
                witness = Witness(None, on_conflict=lambda *pair: self.conflicts.append(pair))
                nursery.start_soon(network.link(name).run, VotesWatch(COMMITTEE, GENESIS, None, witness))
            for at_s, clone in zip(self.starts, self.clones, strict=True):
                await trio.sleep_until(at_s)
                nursery.start_soon(clone.run, network)
            await trio.sleep(self.listen_s + batches * BATCH_S)
            nursery.cancel_scope.cancel()

    @property
    def first_is_heard_in_time(self):
        """The clones did not start to vote within one travel of a vote: the first has voted before the second may."""
        return self.gap_s > TRAVEL * self.delay_s + sum(clone.poll_s for clone in self.clones)

    @property
    def latest_stop_s(self):
        """The second listens, its attester asks again, the first batch comes that both vote for, a vote travels."""
        return self.starts[1] + self.listen_s + BATCH_S + 2 * self.clones[1].poll_s + TRAVEL * self.delay_s

    def check_one_stopped_in_time(self):
        stopped = [clone for clone in self.clones if clone.stopped_at is not None]
        assert stopped, self
        assert min(clone.stopped_at for clone in stopped) <= self.latest_stop_s, self
        for clone in stopped:
            assert all(at_s <= clone.stopped_at for at_s, _ in clone.signed), self
            assert (clone.data_dir / "HALT").exists(), self

    def check_conflicts_crossed_on_the_wires(self):
        """Who had heard the other's vote did not contradict it: both left before either can have arrived."""
        left = {made: at_s for clone in self.clones for at_s, made in clone.signed}
        for first, second in self.conflicts:
            assert abs(left[first] - left[second]) <= TRAVEL * self.delay_s, self


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The data directory before it was copied: four batches signed."""
    folder = tmp_path_factory.mktemp("original")

    async def sign():
        record = VoteRecord(folder / "protection.db", CHAIN, inline, clock=lambda: 0.0)
        async with trio.open_nursery() as nursery:
            await nursery.start(record.run)
            await record.add_key(KEY.public())
            epoch = await record.open_epoch(GENESIS, 0, "start")
            for number in range(SIGNED_BEFORE):
                await record.sign(KEY, batch(number), epoch=epoch.id)
            await record.close()

    trio.run(sign)
    return folder


def play(original, folder, seeds, **how):
    for seed in seeds:
        story = Story(seed, folder, **how)
        yield story.play(original, 3)
        for clone in story.clones:
            shutil.rmtree(clone.data_dir)


SLOW = [pytest.param(range(at, at + 100), marks=pytest.mark.slow, id=f"from {at}") for at in range(0, 1_000, 100)]
SEEDS = [pytest.param(range(2), id="two"), *SLOW]


@pytest.mark.parametrize("seeds", SEEDS)
def test_two_clones_started_at_random_offsets(original, tmp_path, seeds):
    for story in play(original, tmp_path, seeds):
        first, second = story.clones

        assert story.conflicts == [], story
        story.check_one_stopped_in_time()
        if story.first_is_heard_in_time:
            assert second.stopped_at is not None, story
            assert second.signed == [], story
            assert first.stopped_at is None, story
            assert first.signed, story


@pytest.mark.parametrize("seeds", SEEDS)
def test_clones_whose_main_nodes_disagree_from_some_batch_on(original, tmp_path, seeds):
    for seed in seeds:
        parted = SIGNED_BEFORE + seed % 5
        for story in play(original, tmp_path, [seed], parted=parted):
            story.check_one_stopped_in_time()
            if story.first_is_heard_in_time:
                assert story.clones[1].signed == [], story
                assert story.conflicts == [], story
            story.check_conflicts_crossed_on_the_wires()


@pytest.mark.parametrize("seeds", [pytest.param(range(2), id="two"), *SLOW[:2]])
def test_clones_started_within_one_delay_are_told_apart_by_their_signatures(original, tmp_path, seeds):
    for story in play(original, tmp_path, seeds, together=True):
        assert story.conflicts == [], story
        story.check_one_stopped_in_time()


# What the rules are for: without them the same stories end badly, and they notice


@pytest.mark.slow
def test_without_listening_a_clone_contradicts_what_it_could_have_heard(original, tmp_path):
    ended = [
        (story.gap_s > 3 * story.delay_s and bool(story.conflicts))
        for story in play(original, tmp_path, range(20), parted=SIGNED_BEFORE, listen_s=0.0)
    ]

    assert sum(ended) > 5


@pytest.mark.slow
def test_with_plain_signatures_clones_in_step_do_not_notice_each_other(original, tmp_path):
    stopped = [
        any(clone.stopped_at is not None for clone in story.clones)
        for story in play(original, tmp_path, range(20), together=True, hedged=False)
    ]

    assert stopped.count(False) > 5
