"""The status of a main node over its own store."""

import logging

import pytest
from attestrio.duty import DutyLog, EndState, Reason
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash
from attestrio.status import AttestationStatus, LocalAttestationStatusClient
from attestrio.store.api import StoreClosed
from attestrio.store.memory import MemoryBatchStore

GENESIS = GenesisHash(b"\x11" * 32)


def batch(number):
    return Batch(BatchNumber(number), BatchHash(bytes([number]) * 32), GENESIS)


async def test_a_main_node_names_the_first_batch_of_its_store(nursery):
    store = MemoryBatchStore(GENESIS, BatchNumber(4))
    await nursery.start(store.run)
    client = LocalAttestationStatusClient(store, GENESIS)
    await store.put_batch_to_sign(batch(4))

    told = await client.attestation_status()

    nursery.cancel_scope.cancel()
    assert told == AttestationStatus(GENESIS, BatchNumber(4))


async def test_a_pruned_first_batch_gives_no_status_and_is_said_once(nursery, caplog):
    caplog.set_level(logging.INFO, "attestrio.status")
    store = MemoryBatchStore(GENESIS, BatchNumber(4))
    await nursery.start(store.run)
    await store.put_batch_to_sign(batch(9))  # the range begins above the batch attestation would begin with
    duty = DutyLog(lambda: 0.0)
    client = LocalAttestationStatusClient(store, GENESIS, duty, BatchNumber(4))

    told = [await client.attestation_status() for _ in range(3)]

    nursery.cancel_scope.cancel()
    assert told == [None, None, None]
    assert len(caplog.records) == 1
    assert "pruned before it had a certificate" in caplog.text
    assert "begins at batch 9" in caplog.text
    assert [event.reason for event in duty.timeline(BatchNumber(4))] == [Reason.FIRST_BATCH_PRUNED]
    assert duty.end_state(BatchNumber(4)) is EndState.MISSED


async def test_a_store_that_does_not_run_means_ask_again():
    client = LocalAttestationStatusClient(MemoryBatchStore(GENESIS), GENESIS)

    with pytest.raises(StoreClosed):  # a SourceError
        await client.attestation_status()
