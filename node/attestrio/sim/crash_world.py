"""A node's life on a disk that may end at any moment, and what the world outside knows of it by then.

The parts are the real ones: vote record, receipts, signer, vote register, QC finder, store. What leaves them, or is
promised by them, is noted with the number of disk operations done by then; so one life tells, for every moment of
it, what would be known outside if it had ended there. See `crash_parts` for the lives after it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import apsw
import trio
from trio._core import _run as scheduler
from trio.testing import wait_all_tasks_blocked

from attestrio.duty import DutyLog
from attestrio.errors import NodeError, leaves
from attestrio.kit.blocking import inline
from attestrio.protection.receipts import Circumstances, ReceiptedSigner, ReceiptLog
from attestrio.protection.record import EpochRow, VoteRecord
from attestrio.protection.signer import ProtectedSigner
from attestrio.quorum.finder import QCFinder
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import (
    AttesterPublicKey,
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    BatchQC,
    Committee,
    GenesisHash,
    SignedBatch,
    WeightedAttester,
)
from attestrio.sim.disk import SimDisk
from attestrio.status import AttestationStatusWatch
from attestrio.store.sqlite import SqliteBatchStore

CHAIN = 270
GENESIS = GenesisHash(b"\x11" * 32)
KEYS = tuple(AttesterSecretKey.from_bytes(bytes([index]) * 32) for index in (1, 2))
# The first key is a quorum by itself: certificates come as fast as its votes.
COMMITTEE = Committee([WeightedAttester(KEYS[0].public(), 10), WeightedAttester(KEYS[1].public(), 1)])
RECORD, STORE, RECEIPTS = "protection.db", "store.db", "receipts.log"
NUMBERS = range(1, 4)


class Broken(Exception):
    """A promise was not kept. Not an error of the node: it is what the explorer looks for."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The record gave the vote out."""

    vote: SignedBatch


@dataclass(frozen=True, slots=True)
class Receipted:
    """The vote has its receipt, and was handed to whoever publishes it."""

    vote: SignedBatch


@dataclass(frozen=True, slots=True)
class Kept:
    """The store said that the batch is there."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Certified:
    """The store said that the certificate is there."""

    certificate: BatchQC


@dataclass(frozen=True, slots=True)
class EpochBegun:
    """The record said that the epoch is open."""

    epoch: EpochRow


@dataclass(frozen=True, slots=True)
class KeyAdded:
    """The record said that it knows the key."""

    key: AttesterPublicKey


Event = Recorded | Receipted | Kept | Certified | EpochBegun | KeyAdded


@dataclass(frozen=True, slots=True)
class Diary:
    """What happened in a life, each with the number of disk operations done before. Nothing after the death counts."""

    disk: SimDisk
    events: list[tuple[int, Event]] = field(default_factory=list)

    def note(self, event: Event) -> None:
        if not self.disk.dead:
            self.events.append((self.disk.operations, event))

    def until(self, operation: int) -> list[Event]:
        """What had happened when operation number `operation` was asked for."""
        return [event for at, event in self.events if at <= operation]


Story = Callable[[Diary, trio.Nursery], Awaitable[None]]
"""A life: starts its parts in the nursery, which is cancelled at the end."""


def live(disk: SimDisk, story: Story, seed: str) -> tuple[Diary, BaseException | None]:
    """One life, the same for the same seed. Returns what happened, and what ended it early if anything did.

    Raises Broken of the story, and whatever no disk can be the cause of.
    """
    diary = Diary(disk)
    raised: list[BaseException] = []
    try:
        with scheduled_by(seed):
            trio.run(_live, story, diary)
    except* (Broken, NodeError, apsw.Error) as group:
        # apsw: closing a connection raises what a VFS in Python has raised, where SQLite itself would go on.
        raised = list(leaves(group))
    for each in raised:
        if isinstance(each, Broken):
            raise each
    return diary, raised[0] if raised else None


@contextmanager
def scheduled_by(seed: str) -> Iterator[None]:
    """The order in which trio runs tasks that are ready, which it draws, follows from `seed`; afterwards as before.

    trio has this switch for hypothesis, and no public name for it.
    """
    kept, switch = scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._r.seed(seed)
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # Final for everybody else
    try:
        yield
    finally:
        scheduler._r.setstate(kept)
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = switch  # type: ignore[misc]


async def _live(story: Story, diary: Diary) -> None:
    async with trio.open_nursery() as nursery:
        await story(diary, nursery)
        nursery.cancel_scope.cancel()


def open_record(disk: SimDisk) -> VoteRecord:
    return VoteRecord(disk.folder / RECORD, CHAIN, inline, disk.vfs, clock=clock)


def open_receipts(disk: SimDisk) -> ReceiptLog:
    return ReceiptLog(disk.folder / RECEIPTS, disk, inline, clock=clock)


def open_store(disk: SimDisk) -> SqliteBatchStore:
    return SqliteBatchStore(disk.folder / STORE, GENESIS, BatchNumber(NUMBERS[0]), run_blocking=inline, vfs=disk.vfs)


def batch_of(number: int, *, lie: bool = False) -> Batch:
    """The batch with this number, or what the adversary says it is."""
    return Batch(BatchNumber(number), BatchHash(bytes([0xEE if lie else 0x22, number]) * 16), GENESIS)


async def begin_signing(record: VoteRecord, diary: Diary) -> list[ProtectedSigner]:
    """As a node starts: with the epoch on record if there is one, and one signer for each key."""
    for secret in KEYS:
        key = secret.public()
        if not record.knows_key(key):
            await record.add_key(key)
            diary.note(KeyAdded(key))
    epoch = record.current_epoch()
    if epoch is None:
        epoch = await record.open_epoch(GENESIS, 0, "start")
        diary.note(EpochBegun(epoch))
    return [ProtectedSigner(record, secret, _nothing_stops, epoch=epoch.id) for secret in KEYS]


def first_life(seed: int) -> Story:
    """Keep, sign, publish and certify batches, several at a time, in an order and in groups that the seed decides."""
    rng = random.Random(f"first life {seed}")
    numbers = rng.sample(NUMBERS, len(NUMBERS))
    groups: list[list[int]] = []
    while numbers:
        size = rng.randint(1, 2)
        groups.append(numbers[:size])
        del numbers[:size]
    prune_after = rng.choice([None, rng.randrange(len(groups))])

    async def story(diary: Diary, nursery: trio.Nursery) -> None:
        record, receipts, store = open_record(diary.disk), open_receipts(diary.disk), open_store(diary.disk)
        for part in (record, receipts, store):
            await nursery.start(part.run)
        votes = VotesWatch(COMMITTEE, GENESIS)
        nursery.start_soon(_finder(store, votes, diary).run)
        known = Circumstances(1, COMMITTEE)
        signers = [
            ReceiptedSigner(_Noting(signer, diary), receipts, lambda _batch: known)
            for signer in await begin_signing(record, diary)
        ]

        async def attest(number: int) -> None:
            batch = batch_of(number)
            await store.put_batch_to_sign(batch)
            diary.note(Kept(batch))
            async with trio.open_nursery() as voting:
                for signer in signers:
                    voting.start_soon(vote, signer, batch)

        async def vote(signer: ReceiptedSigner, batch: Batch) -> None:
            signed = await signer.sign(batch)
            diary.note(Receipted(signed))
            votes.add([signed])

        for at, group in enumerate(groups):
            async with trio.open_nursery() as attesting:
                for number in group:
                    attesting.start_soon(attest, number)
            if at == prune_after:
                await record.prune(2)
        await wait_all_tasks_blocked()  # what the finder has begun
        for part in (record, receipts, store):
            await part.close()

    return story


def _finder(store: SqliteBatchStore, votes: VotesWatch, diary: Diary) -> QCFinder:
    return QCFinder(
        AttestationStatusWatch(GENESIS),
        votes,
        store,
        COMMITTEE,
        GENESIS,
        DutyLog(clock),
        BatchNumber(NUMBERS[0]),
        on_certificate=lambda certificate: diary.note(Certified(certificate)),
    )


@dataclass(frozen=True, slots=True)
class _Noting:
    """Between the record and the receipts: what the record gives out is noted."""

    signer: ProtectedSigner
    diary: Diary

    async def sign(self, batch: Batch) -> SignedBatch:
        vote = await self.signer.sign(batch)
        self.diary.note(Recorded(vote))
        return vote


def _nothing_stops() -> None:
    """The guard of a node that nobody halts."""


def clock() -> float:
    """Unix seconds; always the same, so that a life can be had again."""
    return 1_700_000_000.0
