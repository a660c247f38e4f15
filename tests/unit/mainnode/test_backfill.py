"""Certificates that were missed: what is asked for, of whom, and what is stored. In virtual time."""

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from attestrio.kit.blocking import inline
from attestrio.kit.http import Unreachable
from attestrio.kit.jsonrpc import MethodMissing
from attestrio.mainnode import backfill
from attestrio.mainnode.backfill import NO_METHOD_S, CertificateBackfill
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    BatchQC,
    Committee,
    GenesisHash,
    SyncBatch,
    WeightedAttester,
)
from attestrio.status import AttestationStatus, AttestationStatusWatch
from attestrio.store.api import QCConflict
from attestrio.store.memory import MemoryBatchStore

GENESIS = GenesisHash(b"\x11" * 32)
KEYS = [AttesterSecretKey.from_bytes(bytes([index]) * 32) for index in range(1, 7)]
COMMITTEE = Committee([WeightedAttester(key.public(), 1) for key in KEYS])
STRANGER = AttesterSecretKey.from_bytes(b"\x77" * 32)
PATIENCE_S = 5.0
DOWN = Unreachable("http://main-node", "refused")
UNKNOWN = MethodMissing("http://main-node", -32601, "Method not found")


def batch(number, content=0, genesis=GENESIS):
    return Batch(BatchNumber(number), BatchHash(bytes([number % 256, content]) * 16), genesis)


def certificate(number, signers=6, content=0, genesis=GENESIS):
    signed = batch(number, content, genesis)
    return BatchQC(signed, {key.public(): key.sign_batch(signed).signature for key in KEYS[:signers]})


def whole(number):
    return SyncBatch(BatchNumber(number), (b"payload",), b"proof")


@dataclass
class Source:
    """Has the certificates of all batches, unless `said` has something else for a number: a value or an error."""

    name: str = "main-node"
    said: dict = field(default_factory=dict)
    down: Exception | None = None
    asked: list = field(default_factory=list)

    async def certificate(self, number):
        await trio.lowlevel.checkpoint()
        self.asked.append(int(number))
        told = self.down or self.said.get(number, certificate(number))
        if isinstance(told, Exception):
            raise told
        return told


class Away:
    """A node that has certificates of batches `stored`, and hears a status again."""

    def __init__(self, nursery, *sources, stored=(), first=None):
        self.nursery, self.sources, self.stored, self.first = nursery, sources, stored, first
        self.watch = AttestationStatusWatch(GENESIS)
        self.store = MemoryBatchStore(GENESIS)
        self.fetched = []

    async def start(self):
        await self.nursery.start(self.store.run)
        for number in self.stored:
            await self.store.put_batch_to_sign(batch(number))
            await self.store.persist_qc(certificate(number))
        service = CertificateBackfill(
            self.watch, self.sources, self.store, GENESIS, COMMITTEE, self.first, PATIENCE_S, self.note, inline
        )
        self.nursery.start_soon(service.run)
        return self

    def note(self, certificate):
        self.fetched.append(int(certificate.batch.number))

    async def told(self, number, *, sealed=True):
        """The main node names `number`, and this node gets that batch; until all that follows has happened."""
        if sealed:
            await self.store.put_batch_to_sign(batch(number))
        self.watch.update(AttestationStatus(GENESIS, BatchNumber(number)))
        await trio.sleep(PATIENCE_S + 1)

    async def has(self):
        return [int(number) for number in await self.store.certified(BatchNumber(0), 1_000)]


async def test_what_was_missed_is_asked_for_and_nothing_else(nursery, autojump_clock):
    source = Source()
    node = await Away(nursery, source, stored=[3, 4, 7]).start()

    await node.told(10)

    assert await node.has() == [3, 4, 5, 6, 7, 8, 9]
    assert source.asked == node.fetched == [5, 6, 8, 9]


async def test_a_node_that_was_not_away_asks_for_nothing(nursery, autojump_clock):
    source = Source()
    node = await Away(nursery, source, stored=[0, 1, 2]).start()

    await node.told(3)
    await node.store.persist_qc(certificate(3))
    await node.told(4)

    assert source.asked == []


async def test_a_new_node_asks_for_nothing_before_its_time(nursery, autojump_clock):
    source = Source()
    node = await Away(nursery, source).start()

    await node.told(1_000)
    await node.told(1_002)

    assert source.asked == [1000, 1001]


@pytest.mark.parametrize("stored", [[], [5]])
async def test_a_node_that_was_told_where_attestation_begins_asks_from_there(nursery, autojump_clock, stored):
    source = Source()
    node = await Away(nursery, source, stored=stored, first=BatchNumber(3)).start()

    await node.told(7)

    assert await node.has() == [3, 4, 5, 6]


async def test_a_node_without_whole_batches_does_not_wait_for_the_next_batch(nursery, autojump_clock):
    node = await Away(nursery, Source(), stored=[0]).start()

    await node.told(3, sealed=False)

    assert await node.has() == [0, 1, 2]
    assert (node.store.persisted.first, node.store.persisted.last) == (0, 2)


async def test_a_node_with_whole_batches_waits_for_each_and_none_is_passed_over(nursery, autojump_clock):
    node = await Away(nursery, Source(), first=BatchNumber(0)).start()
    await node.store.queue_batch(whole(0))

    await node.told(3, sealed=False)
    before = await node.has()
    await node.store.queue_batch(whole(1))
    await node.store.queue_batch(whole(2))
    await trio.sleep(1)

    assert before == [0]
    assert await node.has() == [0, 1, 2]
    assert [number for number in range(3) if await node.store.batch(BatchNumber(number)) == whole(number)] == [0, 1, 2]


async def test_its_own_certificate_has_time_to_come(nursery, autojump_clock):
    source = Source()
    node = await Away(nursery, source, stored=[0]).start()
    await node.told(1)
    node.watch.update(AttestationStatus(GENESIS, BatchNumber(2)))
    await trio.sleep(PATIENCE_S - 1)

    await node.store.persist_qc(certificate(1))
    await trio.sleep(10)

    assert source.asked == []


async def test_signers_may_differ_from_node_to_node(nursery, autojump_clock):
    node = await Away(nursery, Source(said={1: certificate(1, signers=5)}), stored=[0]).start()

    await node.told(2)

    assert COMMITTEE.threshold == 5
    assert await node.store.qc(BatchNumber(1)) == certificate(1, signers=5)


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(certificate(1, signers=4), id="too few signers"),
        pytest.param(certificate(1, genesis=GenesisHash(b"\x22" * 32)), id="another genesis"),
        pytest.param(certificate(7), id="another batch"),
        pytest.param(BatchQC(batch(1, 9), certificate(1).signatures), id="signatures of another hash"),
        pytest.param(
            BatchQC(
                batch(1), {STRANGER.public(): STRANGER.sign_batch(batch(1)).signature, **certificate(1).signatures}
            ),
            id="a stranger among them",
        ),
    ],
)
async def test_a_certificate_that_proves_nothing_is_not_stored_and_the_next_source_is_asked(
    nursery, autojump_clock, lie
):
    liar, honest = Source("liar", {1: lie}), Source("honest")
    node = await Away(nursery, liar, honest, stored=[0]).start()

    await node.told(2)

    assert await node.store.qc(BatchNumber(1)) == certificate(1)
    assert (liar.asked, honest.asked) == ([1], [1])


async def test_nobody_to_tell_the_truth_costs_one_batch_only(nursery, autojump_clock):
    node = await Away(nursery, Source(said={1: certificate(1, signers=2)}), stored=[0]).start()

    await node.told(4)

    assert await node.has() == [0, 2, 3]


async def test_a_batch_that_has_no_certificate_anywhere_is_left(nursery, autojump_clock):
    source = Source(said={1: None})
    node = await Away(nursery, source, stored=[0]).start()

    await node.told(3)
    await node.told(4)

    assert await node.has() == [0, 2, 3]
    assert source.asked == [1, 2, 3]


async def test_a_main_node_that_is_down_is_asked_again(nursery, autojump_clock):
    source = Source(down=DOWN)
    node = await Away(nursery, source, stored=[0]).start()
    await node.told(3)
    source.down = None

    await trio.sleep(2 * PATIENCE_S)

    assert await node.has() == [0, 1, 2]
    assert source.asked[:2] == [1, 1]


async def test_while_one_main_node_is_down_another_answers(nursery, autojump_clock):
    node = await Away(nursery, Source(down=DOWN), Source("second"), stored=[0]).start()

    await node.told(3)

    assert await node.has() == [0, 1, 2]


async def test_a_main_node_without_the_method_is_left_alone_for_an_hour(nursery, autojump_clock):
    source = Source(down=UNKNOWN)
    node = await Away(nursery, source, stored=[0]).start()
    await node.told(3)
    await trio.sleep(NO_METHOD_S / 2)
    calls = list(source.asked)
    source.down = None  # it was upgraded

    await trio.sleep(NO_METHOD_S)

    assert calls == [1]
    assert await node.has() == [0, 1, 2]


async def test_one_that_does_not_know_the_method_does_not_stand_for_one_that_is_down(nursery, autojump_clock):
    down = Source("second", down=DOWN)
    node = await Away(nursery, Source(down=UNKNOWN), down, stored=[0]).start()
    await node.told(2)
    down.down = None

    await trio.sleep(2 * PATIENCE_S)

    assert await node.has() == [0, 1]


async def test_a_certificate_for_another_hash_than_ours_ends_the_epoch(autojump_clock):
    async def live():
        async with trio.open_nursery() as nursery:
            node = await Away(nursery, Source(said={1: certificate(1, content=9)}), stored=[0]).start()
            await node.store.put_batch_to_sign(batch(1))
            await node.told(2)

    with pytest.raises(ExceptionGroup) as ended:
        await live()

    assert ended.group_contains(QCConflict, depth=None)


async def test_long_histories_are_looked_through_in_pages(nursery, autojump_clock, monkeypatch):
    monkeypatch.setattr(backfill, "PAGE", 3)
    stored = [number for number in range(11) if number not in (2, 3, 9)]
    source = Source()
    node = await Away(nursery, source, stored=stored).start()

    await node.told(12)

    assert await node.has() == list(range(12))
    assert source.asked == [2, 3, 9, 11]
