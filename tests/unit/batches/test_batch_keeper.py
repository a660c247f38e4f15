"""A node without a chain: the batch the status names is asked for until it is stored."""

import logging

import pytest
import trio
from attestrio.batches import BatchKeeper
from attestrio.batches.chain import ChainContradicts, NotOnChain
from attestrio.duty import DutyLog, EndState, Reason, Step
from attestrio.errors import SourceError
from attestrio.roles import Batch, BatchHash, BatchNumber, BatchQC, GenesisHash
from attestrio.status import AttestationStatus, AttestationStatusWatch
from attestrio.store.api import BatchConflict, QCConflict, StoreClosed
from attestrio.store.memory import MemoryBatchStore

GENESIS = GenesisHash(b"\x11" * 32)


def batch(number, seed=0):
    return Batch(BatchNumber(number), BatchHash(bytes([number, seed]) * 16), GENESIS)


class ScriptedBatches:
    """One answer for each time it is asked, the last one for ever; "known" is the batch asked for."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def batch_to_sign(self, number):
        await trio.lowlevel.checkpoint()
        self.asked.append((trio.current_time(), number))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return batch(number) if answer == "known" else answer


class Node:
    def __init__(self, source):
        self.watch, self.store = AttestationStatusWatch(GENESIS), MemoryBatchStore(GENESIS)
        self.source, self.duty = source, DutyLog(trio.current_time)
        self.keeper = BatchKeeper(self.watch, source, self.store, 1.0, self.duty)

    async def start(self, nursery, *, told):
        await nursery.start(self.store.run)
        nursery.start_soon(self.keeper.run)
        self.tell(told)

    def tell(self, number):
        self.watch.update(AttestationStatus(GENESIS, BatchNumber(number)))

    def reasons(self, number):
        return [event.reason for event in self.duty.timeline(BatchNumber(number))]


async def test_the_batch_the_status_names_is_stored_and_counts_as_persisted(nursery, autojump_clock):
    node = Node(ScriptedBatches("known"))

    await node.start(nursery, told=7)
    await node.store.wait_until_persisted(BatchNumber(7))

    assert trio.current_time() == 0.0
    assert await node.store.batch_to_sign(BatchNumber(7)) == batch(7)
    assert node.store.persisted.last == 7


async def test_it_asks_until_the_batch_is_known_whatever_goes_wrong(nursery, autojump_clock, caplog):
    caplog.set_level(logging.INFO, "attestrio.batches")
    node = Node(ScriptedBatches(None, SourceError("away"), SourceError("away"), None, "known"))

    await node.start(nursery, told=7)
    await node.store.wait_until_persisted(BatchNumber(7))

    assert trio.current_time() == 4.0
    assert node.reasons(7) == [
        Reason.BATCH_NOT_PERSISTED, Reason.SOURCE_FAILED, Reason.BATCH_NOT_PERSISTED, Reason.OK,
    ]  # fmt: skip
    assert [record.getMessage() for record in caplog.records] == ["batch 7: not obtained, asking again every 1 s: away"]


async def test_a_batch_that_ethereum_does_not_have_says_so_and_one_it_contradicts_too(nursery, autojump_clock):
    contradicted = ChainContradicts(batch(7), BatchHash(b"\x77" * 32))
    node = Node(ScriptedBatches(NotOnChain(BatchNumber(7)), contradicted, "known"))

    await node.start(nursery, told=7)
    await node.store.wait_until_persisted(BatchNumber(7))

    assert node.reasons(7) == [Reason.NOT_ON_CHAIN, Reason.CHAIN_CONTRADICTS, Reason.OK]


async def test_nothing_is_asked_before_a_number_is_known(nursery, autojump_clock):
    node = Node(ScriptedBatches("known"))
    await nursery.start(node.store.run)
    nursery.start_soon(node.keeper.run)

    await trio.sleep(60)

    assert node.source.asked == []


async def test_a_batch_the_status_has_passed_is_asked_for_no_more(nursery, autojump_clock):
    node = Node(ScriptedBatches(None))

    await node.start(nursery, told=7)
    await trio.sleep(1.5)
    node.tell(10)
    await trio.sleep(1.1)

    assert node.source.asked == [(0.0, 7), (1.0, 7), (1.5, 10), (2.5, 10)]


async def test_a_batch_in_the_store_is_not_asked_for_again(nursery, autojump_clock):
    node = Node(ScriptedBatches(SourceError("away")))
    await nursery.start(node.store.run)
    await node.store.put_batch_to_sign(batch(7))
    nursery.start_soon(node.keeper.run)
    node.tell(7)

    await trio.sleep(60)

    assert node.source.asked == []


async def test_a_store_that_is_not_open_yet_is_waited_for(nursery, autojump_clock):
    node = Node(ScriptedBatches("known"))
    nursery.start_soon(node.keeper.run)
    node.tell(7)
    await trio.sleep(2.5)
    await nursery.start(node.store.run)

    await node.store.wait_until_persisted(BatchNumber(7))

    assert trio.current_time() == 3.0
    assert node.duty.timeline(BatchNumber(7))[0].detail == StoreClosed.code


async def test_a_source_that_contradicts_the_store_ends_the_epoch(nursery, autojump_clock):
    node = Node(ScriptedBatches(None))
    await nursery.start(node.store.run)
    node.tell(7)

    async def arrive():
        await trio.sleep(0.5)
        await node.store.put_batch_to_sign(batch(7))

    class Liar(ScriptedBatches):
        async def batch_to_sign(self, number):
            await trio.sleep(0.8)  # its answer was under way while the right one was stored
            return batch(number, seed=1)

    nursery.start_soon(arrive)
    with pytest.raises(BatchConflict):
        await BatchKeeper(node.watch, Liar(None), node.store, 1.0, node.duty).run()

    last = node.duty.timeline(BatchNumber(7))[-1]
    assert (last.step, last.reason) == (Step.PERSISTED, Reason.BATCH_CONFLICT)
    assert node.duty.end_state(BatchNumber(7)) is EndState.MISSED


async def test_a_source_that_contradicts_a_certificate_ends_the_epoch_and_the_batch_says_so(nursery, autojump_clock):
    node = Node(ScriptedBatches("known"))
    await nursery.start(node.store.run)
    await node.store.put_batch_to_sign(batch(8))
    await node.store.persist_qc(BatchQC(batch(7, seed=1), {}))
    node.tell(7)

    with pytest.raises(QCConflict):
        await node.keeper.run()

    assert node.reasons(7) == [Reason.QC_CONFLICT]
    assert node.duty.end_reason(BatchNumber(7)) is Reason.QC_CONFLICT
