"""The simulated main node: every fault as the client meets it, in memory and over loopback."""

from functools import partial

import pytest
import trio
import trio.testing
from attestrio.errors import SourceError
from attestrio.mainnode.client import MainNodeClient
from attestrio.mainnode.server import Rules
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    Genesis,
    RoundRobin,
    ValidatorPublicKey,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.sim import faults
from attestrio.sim.main_node import SimMainNode
from attestrio.status import AttestationStatus
from attestrio.store.memory import MemoryBatchStore


def genesis(fork=0):
    return Genesis(
        chain_id=1,
        fork_number=fork,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(ValidatorPublicKey.from_bytes(bytes(96)), 1),),
        leader_selection=RoundRobin(),
        attesters=Committee([WeightedAttester(AttesterSecretKey.from_bytes(b"\x01" * 32).public(), 1)]),
    )


GENESIS, OTHER = genesis(0), genesis(1)


class StoreAt:
    """A store whose next batch is `number`, and which has the batch below it."""

    def __init__(self, number):
        self.number = number

    async def next_batch_to_attest(self):
        await trio.lowlevel.checkpoint()
        return None if self.number is None else BatchNumber(self.number)

    async def batch_to_sign(self, number):
        await trio.lowlevel.checkpoint()
        return Batch(number, BatchHash(b"\7" * 32), GENESIS.hash()) if number < (self.number or 0) else None


def main_node(number=7, **more):
    return SimMainNode(StoreAt(number), GENESIS, **more)


async def numbers(client, count):
    return [int((await client.attestation_status()).next_batch) for _ in range(count)]


async def test_without_a_fault_it_tells_the_truth():
    node = main_node()

    async with node.client() as client:
        status = await client.attestation_status()
        batch = await client.batch_to_attest(BatchNumber(6))

    assert status == AttestationStatus(GENESIS.hash(), BatchNumber(7))
    assert batch == Batch(BatchNumber(6), BatchHash(b"\7" * 32), GENESIS.hash())
    assert node.asked == {"en_attestationStatus": 1, "attestrio_batchToAttest": 1}


async def test_it_serves_a_real_store(nursery):
    store = MemoryBatchStore(GENESIS.hash())
    await nursery.start(store.run)
    node = SimMainNode(store, GENESIS)
    batch = Batch(BatchNumber(0), BatchHash(b"\7" * 32), GENESIS.hash())

    async with node.client() as client:
        before = await client.batch_to_attest(BatchNumber(0))
        await store.put_batch_to_sign(batch)
        status = await client.attestation_status()
        after = await client.batch_to_attest(BatchNumber(0))
        beyond = await client.batch_to_attest(BatchNumber(2**64 - 1))
    await store.close()

    assert (before, after, beyond) == (None, batch, None)
    assert status == AttestationStatus(GENESIS.hash(), BatchNumber(0))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (faults.HttpStatus(403), "http_status"),
        (faults.HttpStatus(500), "http_status"),
        (faults.RpcError(), "rpc_error"),
        (faults.RpcError(-32009, "Server is busy"), "rpc_error"),
        (faults.MethodMissing(), "method_missing"),
        (faults.WRONG_TYPES, "malformed_answer"),
        (faults.Result(7), "malformed_answer"),
        (faults.WrongId(), "malformed_answer"),
        (faults.Raw(b"<html>"), "malformed_answer"),
        (faults.Raw(b"\xff"), "malformed_answer"),
        (faults.Deep(), "malformed_answer"),
        (faults.Huge(), "answer_too_large"),
        (faults.Huge(packed=True), "answer_too_large"),
        (faults.Slow(11), "answer_too_late"),
        (faults.Hangs(), "answer_too_late"),
        (faults.Slow(1, then=faults.RpcError()), "rpc_error"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_fault_is_one_source_error_and_then_it_is_over(fault, code, autojump_clock):
    node = main_node(fault=fault)

    async with node.client(timeout_s=10) as client:
        with pytest.raises(SourceError) as caught:
            await client.attestation_status()
        node.fault = faults.HEALTHY
        after = await client.attestation_status()

    assert caught.value.code == code
    assert after == AttestationStatus(GENESIS.hash(), BatchNumber(7))


async def test_null_is_not_known_yet():
    async with main_node(fault=faults.NULL).client() as client:
        assert await client.attestation_status() is None


async def test_a_missing_method_leaves_the_others():
    async with main_node(fault=faults.MethodMissing("attestrio_batchToAttest")).client() as client:
        with pytest.raises(SourceError):
            await client.batch_to_attest(BatchNumber(6))
        assert await numbers(client, 1) == [7]


async def test_a_jump_and_a_move_backwards():
    node = main_node()

    async with node.client() as client:
        node.fault = faults.Shifted(+5)
        up = await numbers(client, 1)
        node.fault = faults.Shifted(-2)
        down = await numbers(client, 1)
        node.fault = faults.Says(3)
        said = await numbers(client, 1)

    assert (up, down, said) == ([12], [5], [3])


async def test_says_can_name_a_number_where_there_is_none():
    node = main_node(None, fault=faults.Says(3, GENESIS))

    async with node.client() as client:
        assert await client.attestation_status() == AttestationStatus(GENESIS.hash(), BatchNumber(3))
        node.fault = faults.Says(3)
        assert await client.attestation_status() is None


async def test_a_lagging_replica_answers_every_other_call():
    async with main_node(fault=faults.Lagging(by=2)).client() as client:
        assert await numbers(client, 5) == [7, 5, 7, 5, 7]


async def test_lies_work_on_the_first_shape_too():
    async with main_node(fault=faults.Lagging(), rules=Rules(first_shape=True)).client() as client:
        assert await numbers(client, 3) == [7, 6, 7]


async def test_a_changed_genesis_shows_in_every_method():
    async with main_node(fault=faults.OtherGenesis(OTHER)).client() as client:
        status = await client.attestation_status()
        told = await client.consensus_genesis()
        config = await client.consensus_global_config()
        batch = await client.batch_to_attest(BatchNumber(6))
        unknown = await client.batch_to_attest(BatchNumber(9))

    assert status == AttestationStatus(OTHER.hash(), BatchNumber(7))
    assert told == config.genesis == OTHER
    assert batch.genesis == OTHER.hash()
    assert unknown is None


async def test_a_script_is_met_call_by_call_and_starts_again_when_set():
    script = faults.Script((faults.NULL, faults.Shifted(1)), then=faults.Shifted(2))
    node = main_node(fault=script)

    async def heard(client):
        told = [await client.attestation_status() for _ in range(4)]
        return [status and int(status.next_batch) for status in told]

    async with node.client() as client:
        first = await heard(client)
        node.fault = script
        second = await heard(client)

    assert first == second == [None, 8, 9, 9]


async def test_slow_answers_take_their_time(autojump_clock):
    async with main_node(fault=faults.Slow(3)).client() as client:
        await client.attestation_status()

    assert trio.current_time() == 3.0


async def test_down_refuses_in_memory_until_it_is_up(autojump_clock):
    node = main_node(up=False)

    async with node.client() as client:
        with pytest.raises(SourceError) as caught:
            await client.attestation_status()
        node.up = True
        after = await numbers(client, 1)

    assert caught.value.code == "unreachable"
    assert after == [7]
    assert node.asked["en_attestationStatus"] == 1


@pytest.mark.parametrize("up", [True, False])
async def test_a_late_start_and_an_outage_over_loopback(up):
    node = main_node(up=up)
    heard = []

    async def listen(client):
        try:
            heard.append(int((await client.attestation_status()).next_batch))
        except SourceError as exc:
            heard.append(exc.code)

    async def until_answered(client):
        while heard[-1] != 7:
            await trio.sleep(0.001)  # the socket begins to listen when its task runs
            await listen(client)

    async with trio.open_nursery() as nursery:
        url = await nursery.start(node.run)
        async with MainNodeClient(url) as client:
            await listen(client)
            node.up = False
            await trio.testing.wait_all_tasks_blocked(0.01)
            await listen(client)
            node.up = True
            await until_answered(client)
        nursery.cancel_scope.cancel()

    assert heard[0] == (7 if up else "unreachable")
    assert heard[1] == "unreachable"
    assert heard[-1] == 7


async def test_faults_reach_a_client_over_loopback():
    node = main_node()
    codes = []

    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(node.run))
        async with MainNodeClient(url) as client:
            for node.fault in (faults.Huge(), faults.Huge(packed=True), faults.Deep(), faults.HttpStatus(403)):
                with pytest.raises(SourceError) as caught:
                    await client.attestation_status()
                codes.append(caught.value.code)
        nursery.cancel_scope.cancel()

    assert codes == ["answer_too_large", "answer_too_large", "malformed_answer", "http_status"]
