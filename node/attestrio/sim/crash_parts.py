"""What has to be true after a crash, part by part: each is started again on what its files have become.

A part knows nothing of the files of another, so each can be tried by itself, which makes thousands of crashes cheap.
Every life after a crash makes promises of its own, and may be followed by another crash.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import trio

from attestrio.protection.errors import SigningRefused
from attestrio.protection.receipts import CommitteeBrief, Receipt, read_receipts
from attestrio.protection.record import VoteRecord
from attestrio.protection.signer import ProtectedSigner
from attestrio.roles import AttesterPublicKey, Batch, BatchNumber, SignedBatch
from attestrio.sim.crash_world import (
    COMMITTEE,
    GENESIS,
    KEYS,
    NUMBERS,
    RECEIPTS,
    RECORD,
    STORE,
    Broken,
    Certified,
    Diary,
    EpochBegun,
    Event,
    Kept,
    KeyAdded,
    Receipted,
    Recorded,
    Story,
    batch_of,
    begin_signing,
    open_receipts,
    open_record,
    open_store,
)
from attestrio.store.sqlite import SqliteBatchStore


class Part(Protocol):
    """A part of a node with files of its own."""

    @property
    def files(self) -> str:
        """What their names begin with."""
        ...

    @property
    def promises(self) -> tuple[type[Event], ...]:
        """What it has to keep."""
        ...

    def later_life(self, before: Sequence[Event], rng: random.Random) -> Story:
        """Start again, check `before`, go on with new promises. The story raises Broken."""
        ...

    def check(self, events: Iterable[Event]) -> None:
        """Raise Broken if what happened in all lives together must not have happened."""
        ...


@dataclass(frozen=True, slots=True)
class RecordPart:
    """No vote that it gave out is forgotten, and none is contradicted, whoever asks for what."""

    files: ClassVar[str] = RECORD
    promises: ClassVar[tuple[type[Event], ...]] = (Recorded, EpochBegun, KeyAdded)

    def later_life(self, before: Sequence[Event], rng: random.Random) -> Story:
        """Offers the true hash and another one for every number, in an order that `rng` decides."""
        lies_first = rng.random() < 0.5

        async def story(diary: Diary, nursery: trio.Nursery) -> None:
            record = open_record(diary.disk)
            await nursery.start(record.run)
            lost = [event for event in before if not self._kept(record, event)]
            signers = await begin_signing(record, diary)
            await _send_again(record, signers, diary)
            for lie in (lies_first, not lies_first):
                async with trio.open_nursery() as voting:
                    for number in NUMBERS:
                        for signer in signers:
                            voting.start_soon(_vote, signer, batch_of(number, lie=lie), diary)
            await record.close()
            self.check([*before, *(event for _, event in diary.events)])  # first: it is what losing a vote leads to
            if lost:
                raise Broken(f"the record has lost {lost[0]}")

        return story

    def check(self, events: Iterable[Event]) -> None:
        voted: dict[tuple[AttesterPublicKey, BatchNumber], SignedBatch] = {}
        for event in events:
            if isinstance(event, Recorded):
                vote = event.vote
                first = voted.setdefault((vote.key, vote.batch.number), vote)
                if first != vote:
                    raise Broken(f"two votes for one number: {first} and {vote}")

    def _kept(self, record: VoteRecord, event: Event) -> bool:
        match event:
            case Recorded(vote):
                low = record.watermark(GENESIS, vote.key)
                pruned = low is not None and vote.batch.number <= low
                return pruned or record.recorded(GENESIS, vote.key, vote.batch.number) == vote.batch.hash
            case EpochBegun(epoch):
                return epoch in record.epochs()
            case KeyAdded(key):
                return record.knows_key(key)
            case _:
                raise AssertionError(f"unreachable: the record promises no {event}")


@dataclass(frozen=True, slots=True)
class ReceiptsPart:
    """Every vote that left has its receipt."""

    files: ClassVar[str] = RECEIPTS
    promises: ClassVar[tuple[type[Event], ...]] = (Receipted,)

    def later_life(self, before: Sequence[Event], rng: random.Random) -> Story:
        votes = [secret.sign_batch(batch_of(number)) for number in NUMBERS[:1] for secret in KEYS]

        async def story(diary: Diary, nursery: trio.Nursery) -> None:
            receipts = open_receipts(diary.disk)
            await nursery.start(receipts.run)
            for found in _receipted(diary):
                diary.note(found)  # what can be read is taken for granted
            lost = {event for event in before if event not in _receipted(diary)}
            if lost:
                raise Broken(f"receipts lost: {lost}")
            for vote in votes:
                await receipts.append(Receipt(vote, 1, CommitteeBrief.of(COMMITTEE)))
                diary.note(Receipted(vote))
            await receipts.close()

        return story

    def check(self, events: Iterable[Event]) -> None:
        """Nothing contradicts a receipt."""


@dataclass(frozen=True, slots=True)
class StorePart:
    """Batches and certificates that it said are there are there."""

    files: ClassVar[str] = STORE
    promises: ClassVar[tuple[type[Event], ...]] = (Kept, Certified)

    def later_life(self, before: Sequence[Event], rng: random.Random) -> Story:
        async def story(diary: Diary, nursery: trio.Nursery) -> None:
            store = open_store(diary.disk)
            await nursery.start(store.run)
            for event in before:
                match event:
                    case Kept(batch):
                        kept = await store.batch_to_sign(batch.number) == batch
                    case Certified(certificate):
                        kept = await store.qc(certificate.batch.number) == certificate
                    case _:
                        raise AssertionError(f"unreachable: the store promises no {event}")
                if not kept:
                    raise Broken(f"the store has lost {event}")
            there = [number for number in NUMBERS if await store.batch_to_sign(BatchNumber(number)) is not None]
            for number in there:  # alone, so that nothing is written with it
                await _promise_again(store, number, diary)
            async with trio.open_nursery() as promising:
                for number in NUMBERS:
                    promising.start_soon(_promise_again, store, number, diary)
            await store.close()

        return story

    def check(self, events: Iterable[Event]) -> None:
        """Certificates are verified by those who read them."""


PARTS: tuple[Part, ...] = (RecordPart(), ReceiptsPart(), StorePart())


async def _send_again(record: VoteRecord, signers: Sequence[ProtectedSigner], diary: Diary) -> None:
    """What is on record, one after the other and before anything is written: the votes leave as they were found."""
    for number in NUMBERS:
        for signer, secret in zip(signers, KEYS, strict=True):
            found = record.recorded(GENESIS, secret.public(), BatchNumber(number))
            if found is not None:
                await _vote(signer, Batch(BatchNumber(number), found, GENESIS), diary)


async def _vote(signer: ProtectedSigner, batch: Batch, diary: Diary) -> None:
    try:
        vote = await signer.sign(batch)
    except SigningRefused:
        return
    diary.note(Recorded(vote))


async def _promise_again(store: SqliteBatchStore, number: int, diary: Diary) -> None:
    """Also what is there already: to be told again that it is there is a promise too."""
    await store.put_batch_to_sign(batch_of(number))
    diary.note(Kept(batch_of(number)))
    if (found := await store.qc(BatchNumber(number))) is not None:
        await store.persist_qc(found)
        diary.note(Certified(found))


def _receipted(diary: Diary) -> set[Event]:
    return {Receipted(line.receipt.vote) for line, _hash in read_receipts(diary.disk.folder / RECEIPTS)}
