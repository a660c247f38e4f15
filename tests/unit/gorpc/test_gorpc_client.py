"""The client against a scripted server: what each way of failing is called, and what still works afterwards."""

import pytest
import trio
from attestrio.gorpc.client import ClientLimits, GoRpcClient
from attestrio.gorpc.errors import (
    AnswerUnreadable,
    BadServerAddress,
    CallFailed,
    CallTooLate,
    CannotConnect,
    ConnectionLost,
    NotConnected,
)
from attestrio.gorpc.exchange import CONNECTED
from attestrio.gorpc.gob import TEXT, UINT8, UINT64
from attestrio.gorpc.messages import EMPTY, PROCESS_SIGNED_TASK_RESPONSE, Nothing, ResponseHeader
from gob_bytes import GO, SAMPLE, message
from gorpc_world import SLOW, ScriptedServer, client_of

PROCESS = PROCESS_SIGNED_TASK_RESPONSE


def ok(seq, error=""):
    return ResponseHeader(SLOW.name, seq, error)


async def test_the_first_call_is_sent_byte_for_byte_as_go_does(autojump_clock):
    server = ScriptedServer()

    async with client_of(server) as client:
        with trio.move_on_after(1):
            await client.call(PROCESS, SAMPLE)
        sent = await server.stream.receive_some()

        assert sent == b"CONNECT /_goRPC_ HTTP/1.0\n\n" + GO["request"] + GO["sample"]


async def test_answers_find_their_calls_in_any_order(autojump_clock):
    server = ScriptedServer()
    replies = {}

    async def call(client, number):
        replies[number] = await client.call(SLOW, number)

    async with client_of(server) as client, trio.open_nursery() as calls:
        for number in range(5):
            calls.start_soon(call, client, number)
        asked = [await server.request(SLOW) for _ in range(5)]
        for seq, number in reversed(asked):
            await server.answer(ok(seq), UINT64, number * 100)

    assert replies == {number: number * 100 for number in range(5)}


async def test_a_servers_error_text_is_kept_as_it_is(autojump_clock):
    server = ScriptedServer()

    async with client_of(server) as client, trio.open_nursery() as nursery:
        nursery.start_soon(server.answer, ok(0, "invalid response:\nnil signature"), EMPTY, Nothing())
        with pytest.raises(CallFailed) as refused:
            await client.call(SLOW, 1)

    assert refused.value.text == "invalid response:\nnil signature"
    assert str(refused.value) == "Aggregator.Slow: invalid response: nil signature"


async def test_an_answer_of_another_type_costs_that_call_only(autojump_clock):
    server = ScriptedServer()

    async with client_of(server) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.answer, ok(0), TEXT, "zero")
            with pytest.raises(AnswerUnreadable, match="instead of uint64"):
                await client.call(SLOW, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.answer, ok(1), UINT64, 7)
            assert await client.call(SLOW, 1) == 7


async def test_a_call_that_is_too_late_leaves_the_connection_usable(autojump_clock):
    server = ScriptedServer()

    async with client_of(server, ClientLimits(call_s=10.0)) as client:
        with pytest.raises(CallTooLate) as late:
            await client.call(SLOW, 1)
        assert trio.current_time() == 10.0
        assert late.value.limit_s == 10.0

        async with trio.open_nursery() as nursery:
            await server.answer(ok(0), UINT64, 1)  # nobody's any more
            nursery.start_soon(server.answer, ok(1), UINT64, 2)
            assert await client.call(SLOW, 2, within_s=1.0) == 2


async def test_a_cancelled_call_is_sent_whole_or_not_at_all(autojump_clock):
    """Cancelled at the worst time: while the server takes nothing, and half of the call could be on its way."""
    server = ScriptedServer()

    async with client_of(server) as client:
        for _ in range(50):
            with trio.CancelScope() as scope:
                scope.cancel()
                await client.call(PROCESS, SAMPLE)
            with trio.move_on_after(1):
                await client.call(PROCESS, SAMPLE)
        seqs = [(await server.request(PROCESS))[0] for _ in range(50)]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.answer, ResponseHeader("", seqs[-1] + 1), UINT8, 0)
            assert await client.call(PROCESS, SAMPLE) == 0


async def test_answers_nobody_asked_for_are_thrown_away(autojump_clock):
    server = ScriptedServer()

    async with client_of(server) as client:
        for seq in (5, 2**64 - 1, 5):
            await server.answer(ok(seq), UINT64, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.answer, ok(0), UINT64, 3)
            assert await client.call(SLOW, 1) == 3
            await server.answer(ok(0), UINT64, 4)


async def test_a_server_that_goes_away_fails_calls_under_way_and_later_ones_differently(autojump_clock):
    server = ScriptedServer()
    lost = []

    async with client_of(server) as client:

        async def call():
            with pytest.raises(ConnectionLost) as error:
                await client.call(SLOW, 1)
            lost.append(error.value)

        async with trio.open_nursery() as calls:
            calls.start_soon(call)
            calls.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            await server.stream.aclose()

        assert not client.connected
        with pytest.raises(NotConnected, match="connection is shut down"):
            await client.call(SLOW, 1)

    assert [one.why for one in lost] == ["unexpected EOF"] * 2
    assert lost[0] is not lost[1]


async def test_a_server_that_talks_nonsense_loses_the_connection(autojump_clock):
    server = ScriptedServer()

    async with client_of(server) as client, trio.open_nursery() as nursery:
        nursery.start_soon(server.stream.send_all, message())
        with pytest.raises(ConnectionLost, match="not a message"):
            await client.call(SLOW, 1)


async def test_a_server_that_takes_nothing_loses_the_connection(autojump_clock):
    ours, theirs = trio.testing.lockstep_stream_pair()

    async def dial(host, port):
        return ours

    client = GoRpcClient("aggregator:8090", ClientLimits(stall_s=30.0), dial)
    async with trio.open_nursery() as nursery:

        async def run():
            with pytest.raises(ConnectionLost):
                await client.run()

        nursery.start_soon(run)
        assert await theirs.receive_some() == b"CONNECT /_goRPC_ HTTP/1.0\n\n"
        await theirs.send_all(CONNECTED)
        await client.wait_connected()
        with pytest.raises(ConnectionLost):
            await client.call(SLOW, 1)

    assert trio.current_time() == 30.0


async def test_the_same_client_connects_again_when_told_to(autojump_clock):
    server = ScriptedServer()
    for _ in range(3):
        async with client_of(server) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.answer, ok(0), UINT64, 1)
                assert await client.call(SLOW, 1) == 1
            await server.stream.aclose()

    assert server.dials == 3


async def test_run_can_be_run_again_on_one_client(autojump_clock):
    server = ScriptedServer()
    client = GoRpcClient("aggregator:8090", dial=server.dial)

    async def keep_running():
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await client.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running)
        for _ in range(2):
            await client.wait_connected()
            async with trio.open_nursery() as answering:
                answering.start_soon(server.answer, ok(0), UINT64, 1)
                assert await client.call(SLOW, 1) == 1
            await server.stream.aclose()
            await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("status", "why", "seconds"),
    [
        (None, "no answer within 10 s", 10.0),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "unexpected HTTP response", 0.0),
        (b"SSH-2.0-x\r\n" + b"x" * 5_000, "no empty line", 0.0),
    ],
)
async def test_who_does_not_speak_go_rpc_is_not_connected_to(autojump_clock, status, why, seconds):
    server = ScriptedServer(status)
    client = GoRpcClient("aggregator:8090", dial=server.dial)

    with pytest.raises(CannotConnect) as refused:
        await client.run()

    assert why in str(refused.value)
    assert trio.current_time() == seconds
    with pytest.raises(trio.BrokenResourceError):
        await server.stream.send_all(b"x")  # the stream is closed


async def test_a_refused_connection_is_told_in_gos_words():
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        client = GoRpcClient(address)

        with pytest.raises(CannotConnect) as refused:
            await client.run()

    assert str(refused.value) == f"dial tcp {address}: connect: connection refused"


@pytest.mark.parametrize("address", ["", "host", "host:", ":80", "host:0", "host:65536", "::1:80", "a:b:80", "host:8٠"])
def test_an_address_that_is_none_is_refused_at_once(address):
    with pytest.raises(BadServerAddress):
        GoRpcClient(address)


async def test_calls_wait_while_too_much_is_unsent_and_are_cancelled_without_a_trace(autojump_clock):
    ours, theirs = trio.testing.lockstep_stream_pair()

    async def dial(host, port):
        return ours

    client = GoRpcClient("aggregator:8090", ClientLimits(stall_s=1_000.0), dial)
    server = ScriptedServer()
    server.stream = theirs
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        await theirs.receive_some()
        await theirs.send_all(CONNECTED)
        await client.wait_connected()

        async with trio.open_nursery() as calls:
            calls.cancel_scope.deadline = trio.current_time() + 5
            for _ in range(1_000):
                calls.start_soon(client.call, PROCESS, SAMPLE)
        sent = 0
        with trio.move_on_after(5):
            while True:
                await server.request(PROCESS)
                sent += 1

        assert 0 < sent < 500  # a call is about 280 bytes, and 64 kB may wait
        nursery.cancel_scope.cancel()
