"""The listener: connections of strangers end alone, and it listens whether or not anything can be recorded."""

import pytest
import trio
from aligned_chain import CONTRACTS, OPERATORS, AlignedChain, batch, journal_at, loaded
from attestrio.aggregator.desk import Absent, Desk
from attestrio.aggregator.server import LIMITS, MAX_REFUSED, AggregatorServer
from attestrio.aggregator.snapshot import Snapshots
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.errors import ConnectionLost, NotConnected
from attestrio.gorpc.exchange import CONNECT, CONNECTED
from attestrio.gorpc.gob import GobEncoder
from attestrio.gorpc.messages import (
    PROCESS_SIGNED_TASK_RESPONSE,
    REQUEST,
    SERVER_RUNNING,
    Nothing,
    RequestHeader,
)
from attestrio.kit.blocking import inline
from attestrio.kit.http_errors import AddressInUse
from attestrio.kit.metrics import Metrics
from server_world import Term, key_of, office, response_of, told

ONE = OPERATORS[0]
BAD = response_of(ONE, 1, signed=batch(2)[0])


async def test_the_server_runs_whoever_leads(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        client = await place.client()

        assert await client.call(SERVER_RUNNING, Nothing()) == 1
        await place.term()
        assert await client.call(SERVER_RUNNING, Nothing()) == 1
        place.desk.shut(Absent.STOPPING)
        assert await client.call(SERVER_RUNNING, Nothing()) == 1


async def test_who_sends_one_bad_response_after_the_other_is_hung_up_on(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        await place.term()
        client, other = await place.client(), await place.client()

        answers = [await told(client, BAD) for _ in range(MAX_REFUSED)]
        await trio.testing.wait_all_tasks_blocked()

        assert answers == ["permanent: bad signature"] * MAX_REFUSED
        with pytest.raises((ConnectionLost, NotConnected)):
            await told(client, BAD)
        assert await told(other, response_of(ONE, 1)) == 0
        assert place.counts("hung_up") == 1


@pytest.mark.slow  # it signs and verifies 35 batches
async def test_responses_that_are_good_make_up_for_bad_ones(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        await place.term()
        client = await place.client()

        for number in range(MAX_REFUSED + 3):
            assert await told(client, BAD) == "permanent: bad signature"
            assert await told(client, response_of(ONE, 100 + number)) == 0


async def test_a_stranger_who_waits_for_its_registration_is_not_hung_up_on(autojump_clock, tmp_path):
    async with office(tmp_path) as place:
        await place.term(operators=[])
        client = await place.client()

        response = response_of(ONE, 1)
        answers = {await told(client, response) for _ in range(MAX_REFUSED + 3)}

        assert answers == {"temporary: operator not known yet"}


async def test_row_7_a_repeated_call_is_answered_without_being_read(autojump_clock, tmp_path, monkeypatch):
    async with office(tmp_path) as place:
        await place.term()
        client = await place.client()
        await told(client, response_of(ONE, 1))
        read = []
        monkeypatch.setattr(place.intake, "_take", read.append)

        assert [await told(client, response_of(ONE, 1)) for _ in range(3)] == [0, 0, 0]

        assert read == []
        assert place.results() == {"accepted": 1, "duplicate": 3}
        assert place.counts("call_seconds_count") == 4


# --- on real sockets


@pytest.fixture
async def served(tmp_path, nursery):
    """The address of a server whose desk is open, and the state behind it."""
    async with journal_at(tmp_path) as journal:
        chain, desk = AlignedChain(), Desk()
        state = await loaded(journal)

        def register(change):
            for one in OPERATORS:
                change.registered(one.id, key_of(one))

        await state.commit(register, scanned=100)
        async with trio.open_nursery() as serving:
            server = AggregatorServer(desk, "127.0.0.1:0", metrics=Metrics(), run_blocking=inline)
            address = await serving.start(server.run)
            with desk.open_for(Term(state, Snapshots(chain, CONTRACTS))):
                yield address, state
            serving.cancel_scope.cancel()


async def raw(address):
    """A connection, CONNECT already behind it."""
    host, port = address.rsplit(":", 1)
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(CONNECT)
    assert await stream.receive_some(len(CONNECTED)) == CONNECTED
    return stream


async def test_operators_are_served_on_a_socket(served, nursery):
    address, state = served
    client = GoRpcClient(address)
    await nursery.start(client.run)

    assert await told(client, response_of(ONE, 1)) == 0
    assert await told(client, response_of(ONE, 1)) == 0
    assert set(state.signed) == {batch(1)[0]}


HEADER = RequestHeader(PROCESS_SIGNED_TASK_RESPONSE.name, 0)
FAULTS = {
    "1 MiB message": b"\xfd\x10\x00\x00" + bytes(1 << 20),
    "no gob": b"\x00" * 64,
    "length of 2^40": b"\xfa\x01\x00\x00\x00\x00\x00",
    "above the cap": b"\xfe" + (LIMITS.gob.max_message_bytes + 1).to_bytes(2, "big"),
    "length of 16 bytes": b"\xf0" * 64,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
async def test_row_18_a_broken_stream_ends_its_connection_and_no_other(served, nursery, fault):
    address, _ = served
    client = GoRpcClient(address)
    await nursery.start(client.run)
    async with await raw(address) as evil:
        try:
            await evil.send_all(GobEncoder().encode(REQUEST, HEADER) + fault)
            ended = await evil.receive_some()
        except trio.BrokenResourceError:
            ended = b""

    assert ended == b""
    assert await told(client, response_of(ONE, 1)) == 0


async def test_row_18_half_a_message_holds_up_nobody(served, nursery):
    address, _ = served
    client = GoRpcClient(address)
    async with await raw(address) as evil:
        call = GobEncoder().encode(REQUEST, HEADER)
        await evil.send_all(call[:-3])
        await nursery.start(client.run)

        assert await told(client, response_of(ONE, 1)) == 0


async def test_an_address_in_use_is_said_so(served):
    address, _ = served

    with pytest.raises(BaseExceptionGroup) as ended:
        await AggregatorServer(Desk(), address).run()

    assert ended.group_contains(AddressInUse)
