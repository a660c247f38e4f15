"""One connection of the server, in virtual time, and the listener on a real socket."""

import logging
from contextlib import AsyncExitStack

import pytest
import trio
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.gob import TEXT, UINT8, UINT64, GobLimits
from attestrio.gorpc.messages import (
    EMPTY,
    PROCESS_SIGNED_TASK_RESPONSE,
    REQUEST,
    SERVER_RUNNING,
    Nothing,
    RequestHeader,
    RpcMethod,
)
from attestrio.gorpc.server import Connection, ServerLimits, serve
from attestrio.kit.http_errors import AddressInUse
from attestrio.kit.seldom import Seldom
from gob_bytes import GO, METHOD, SAMPLE, UINT, int_, message, struct_type, uint
from gorpc_world import FAIL, SLOW, Methods, RawPeer, served

PROCESS = PROCESS_SIGNED_TASK_RESPONSE
MISSING = RpcMethod("Aggregator.Missing", UINT64, UINT64)


async def test_the_bytes_of_a_go_client_are_answered(autojump_clock):
    methods = Methods()

    async with served(methods) as peer:
        await peer.stream.send_all(GO["request"] + GO["sample"])

        assert await peer.answer(PROCESS) == (0, 0)
        assert methods.got == [SAMPLE]


async def test_calls_run_side_by_side_and_are_answered_as_they_end(autojump_clock):
    async with served(Methods()) as peer:
        await peer.stream.send_all(b"".join(peer.call(SLOW, seconds) for seconds in (3, 2, 1, 0)))

        answers = [await peer.answer(SLOW) for _ in range(4)]

        assert answers == [(3, 0), (2, 1), (1, 2), (0, 3)]
        assert trio.current_time() == 3.0


async def test_an_unknown_method_is_an_error_in_gos_words(autojump_clock):
    async with served(Methods()) as peer:
        await peer.stream.send_all(peer.call(MISSING, 1) + peer.call(SERVER_RUNNING, Nothing()))

        answers = {await peer.answer(SERVER_RUNNING) for _ in range(2)}

        assert answers == {(0, "rpc: can't find method Aggregator.Missing"), (1, 1)}


async def test_a_method_name_is_sent_back_in_part_only(autojump_clock):
    async with served(Methods()) as peer:
        await peer.stream.send_all(peer.call(RpcMethod("x" * 60_000, EMPTY, EMPTY), Nothing()))

        _, error = await peer.answer(EMPTY)

        assert error.startswith("rpc: can't find method xxx")
        assert len(error) == 256


BODIES = {
    "string": message(int_(6), b"\0\1x"),
    "undefined type": message(int_(99), b"\1\1\0"),
    "nothing in common": message(struct_type(90, Other=UINT)) + message(int_(90), b"\1\1\0"),
    "cut short inside": message(struct_type(90, OperatorId=UINT)) + message(int_(90), b"\1"),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
async def test_a_body_that_does_not_decode_costs_that_call_only(autojump_clock, body):
    methods = Methods()

    async with served(methods) as peer:
        await peer.stream.send_all(peer.encoder.encode(REQUEST, RequestHeader(METHOD, 0)) + body)
        seq, error = await peer.answer(PROCESS)
        peer.seq = 1
        await peer.stream.send_all(peer.call(PROCESS, SAMPLE))

        assert seq == 0
        assert error.startswith("gob: ")
        assert await peer.answer(PROCESS) == (1, 0)
        assert methods.got == [SAMPLE]


FRAMING = {
    "empty message": b"\0",
    "undefined type in a header": message(int_(99), b"\0"),
    "type defined twice": message(struct_type(90)) * 2,
    "length of 2^40": uint(2**40),
    "above the cap": message(int_(6), b"\0", uint(64_000), b"x" * 64_000),
}


@pytest.mark.parametrize("raw", FRAMING.values(), ids=list(FRAMING))
async def test_a_broken_stream_is_closed_after_the_calls_before_it(autojump_clock, raw):
    async with served(Methods()) as peer:
        await peer.stream.send_all(peer.call(SLOW, 2) + raw)

        assert await peer.answer(SLOW) == (0, 2)
        assert await peer.answer(SLOW) is None
        assert trio.current_time() == 2.0


async def test_errors_of_a_method_are_told_and_are_never_empty(autojump_clock):
    async with served(Methods()) as peer:
        await peer.stream.send_all(peer.call(FAIL, 0))
        assert await peer.answer(FAIL) == (0, "not an operator")

        await peer.stream.send_all(peer.call(FAIL, 1))
        assert await peer.answer(FAIL) == (1, "test_journal_down")


async def test_a_bug_in_a_method_is_not_hidden(autojump_clock):
    async def ask():
        async with served(Methods()) as peer:
            await peer.stream.send_all(peer.call(FAIL, 2))
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as ended:
        await ask()

    assert ended.group_contains(ZeroDivisionError)


async def test_half_a_message_is_waited_for_so_long_and_no_longer(autojump_clock):
    limits = ServerLimits(stall_s=30.0)
    async with served(Methods(), limits) as peer:
        whole = peer.call(SERVER_RUNNING, Nothing())
        await trio.sleep(1_000)  # idle: nothing has begun
        await peer.stream.send_all(whole)
        assert await peer.answer(SERVER_RUNNING) == (0, 1)

        for byte in peer.call(SERVER_RUNNING, Nothing())[:-1]:
            await peer.stream.send_all(bytes([byte]))  # a byte now and then does not buy time
            await trio.sleep(1)
            if trio.current_time() > 1_029:
                break

        assert await peer.answer(SERVER_RUNNING) is None
        assert trio.current_time() == 1_030.0


async def test_a_header_whose_body_never_comes_is_half_a_message_too(autojump_clock):
    async with served(Methods(), ServerLimits(stall_s=30.0)) as peer:
        await peer.stream.send_all(GO["request"])

        assert await peer.answer(PROCESS) is None
        assert trio.current_time() == 30.0


async def test_calls_above_the_limit_wait_for_a_place(autojump_clock):
    methods = Methods()

    async with served(methods, ServerLimits(max_calls=2)) as peer:
        await peer.stream.send_all(b"".join(peer.call(SLOW, 10) for _ in range(6)))
        answers = [await peer.answer(SLOW) for _ in range(6)]

        assert sorted(answers) == [(seq, 10) for seq in range(6)]
        assert methods.most == 2
        assert trio.current_time() == 30.0


async def test_waiting_for_a_place_is_not_held_against_the_peer(autojump_clock):
    """The rest of its message may be on its way while nobody reads."""
    async with served(Methods(), ServerLimits(max_calls=1, stall_s=5.0)) as peer:
        last = peer.call(SLOW, 20) + peer.call(SLOW, 20) + peer.call(SLOW, 0)
        await peer.stream.send_all(last[:-1])
        assert await peer.answer(SLOW) == (0, 20)
        await peer.stream.send_all(last[-1:])

        assert await peer.answer(SLOW) == (1, 20)
        assert await peer.answer(SLOW) == (2, 0)


async def test_a_peer_that_ends_its_side_still_gets_its_answers(autojump_clock):
    async with served(Methods(), ServerLimits(drain_s=10.0)) as peer:
        await peer.stream.send_all(peer.call(SLOW, 5) + peer.call(SLOW, 60))
        await peer.stream.send_eof()

        assert await peer.answer(SLOW) == (0, 5)
        assert await peer.answer(SLOW) is None
        assert trio.current_time() == 10.0


async def test_a_peer_that_takes_no_answers_is_dropped(autojump_clock):
    ours, theirs = trio.testing.lockstep_stream_pair()  # sending waits until somebody reads
    methods = {handler.method.name: handler for handler in Methods().handlers()}
    connection = Connection(theirs, methods, ServerLimits(stall_s=30.0))
    peer = RawPeer(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await peer.connect()
        await ours.send_all(peer.call(SERVER_RUNNING, Nothing()))

    assert trio.current_time() == 30.0


async def test_what_a_peer_that_is_gone_had_sent_is_not_worked_through(autojump_clock):
    methods = Methods()
    ours, theirs = trio.testing.memory_stream_pair()
    connection = Connection(theirs, {handler.method.name: handler for handler in methods.handlers()})
    peer = RawPeer(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await peer.connect()
        await ours.send_all(b"".join(peer.call(PROCESS, SAMPLE) for _ in range(1_000)))
        await trio.aclose_forcefully(ours)

    assert len(methods.got) < 100


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\n\r\n", b"x" * 5_000, b"CONNECT /_goRPC_ HT"])
async def test_who_does_not_ask_for_go_rpc_is_sent_away(autojump_clock, head):
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Connection(theirs, {}, ServerLimits(stall_s=30.0)).run)
        await ours.send_all(head)
        said = b"".join([piece async for piece in ours])

    assert said.startswith(b"HTTP/1.0 404 ") or said == b""
    assert trio.current_time() in (0.0, 30.0)


# --- the listener, on real sockets


@pytest.fixture
async def dial():
    """Opens connections, and closes them all."""
    async with AsyncExitStack() as opened:

        async def dial(address, source=None):
            host, port = address.rsplit(":", 1)
            stream = await trio.open_tcp_stream(host, int(port), local_address=source)
            return RawPeer(await opened.enter_async_context(stream))

        yield dial


@pytest.fixture
def connected(dial):
    async def connected(address, source=None):
        peer = await dial(address, source)
        await peer.connect()
        return peer

    return connected


async def test_a_fault_of_one_connection_is_not_felt_on_another(nursery, connected):
    address = await nursery.start(serve, Methods().handlers(), "127.0.0.1:0")
    bad, good = await connected(address), await connected(address)

    await bad.stream.send_all(b"\0")
    assert await bad.answer(SERVER_RUNNING) is None
    await good.stream.send_all(good.call(PROCESS, SAMPLE))

    assert await good.answer(PROCESS) == (0, 0)


async def test_above_the_limit_the_idle_stranger_goes_first(nursery, connected):
    limits = ServerLimits(max_connections=2)
    address = await nursery.start(serve, Methods().handlers(), "127.0.0.1:0", limits)
    operator, stranger = await connected(address), await connected(address)
    await operator.stream.send_all(operator.call(SERVER_RUNNING, Nothing()))
    await operator.answer(SERVER_RUNNING)

    third = await connected(address)

    assert await stranger.answer(SERVER_RUNNING) is None
    for one in (operator, third):
        await one.stream.send_all(one.call(SERVER_RUNNING, Nothing()))
        assert (await one.answer(SERVER_RUNNING))[1] == 1


async def test_above_the_limit_with_all_at_work_the_new_one_is_closed(nursery, connected, dial):
    address = await nursery.start(serve, Methods().handlers(), "127.0.0.1:0", ServerLimits(max_connections=1))
    working = await connected(address)
    await working.stream.send_all(working.call(SLOW, 3_600) + working.call(SERVER_RUNNING, Nothing()))
    await working.answer(SERVER_RUNNING)

    refused = await dial(address)

    assert await refused.stream.receive_some() == b""


async def test_who_knocks_in_vain_again_and_again_does_not_fill_the_log(nursery, connected, dial, caplog):
    address = await nursery.start(serve, Methods().handlers(), "127.0.0.1:0", ServerLimits(max_connections=1))
    working = await connected(address)
    await working.stream.send_all(working.call(SLOW, 3_600) + working.call(SERVER_RUNNING, Nothing()))
    await working.answer(SERVER_RUNNING)

    for _ in range(20):
        assert await (await dial(address)).stream.receive_some() == b""

    assert len([one for one in caplog.messages if "refused: 1 are open and busy" in one]) == 1


async def test_broken_streams_do_not_fill_the_log(nursery, connected, caplog):
    caplog.set_level(logging.INFO, "attestrio.gorpc")
    address = await nursery.start(serve, Methods().handlers(), "127.0.0.1:0")

    for _ in range(20):
        bad = await connected(address)
        await bad.stream.send_all(b"\0")
        assert await bad.answer(SERVER_RUNNING) is None

    assert len([one for one in caplog.messages if "connection closed: " in one]) == 1


async def test_what_was_left_out_of_the_log_is_told_as_a_number(autojump_clock, caplog):
    seldom = Seldom(logging.getLogger("attestrio.gorpc"), logging.WARNING)

    for number in range(25):
        seldom.say("connection %d refused", number)
        await trio.sleep(1.0)

    assert caplog.messages == [
        "connection 0 refused",
        "connection 10 refused (9 more like this since the last one told)",
        "connection 20 refused (9 more like this since the last one told)",
    ]


async def test_above_the_limit_whoever_has_most_at_work_makes_room_for_who_has_less(nursery, connected, dial):
    address = await nursery.start(serve, Methods().handlers(), "127.0.0.1:0", ServerLimits(max_connections=2))
    working = [await connected(address), await connected(address)]
    for one in working:
        await one.stream.send_all(one.call(SLOW, 3_600) + one.call(SERVER_RUNNING, Nothing()))
        await one.answer(SERVER_RUNNING)

    operator = await connected(address, "127.0.0.2")
    await operator.stream.send_all(operator.call(SLOW, 3_600) + operator.call(SERVER_RUNNING, Nothing()))
    again = await dial(address)

    assert (await operator.answer(SERVER_RUNNING))[1] == 1
    assert await working[0].answer(SLOW) is None
    assert await again.stream.receive_some() == b""


async def test_an_address_in_use_is_said_so(nursery):
    address = await nursery.start(serve, [], "127.0.0.1:0")

    with pytest.raises(AddressInUse):
        await serve([], address)


async def test_our_client_and_our_server_understand_each_other(nursery):
    methods = Methods()
    address = await nursery.start(serve, methods.handlers(), "127.0.0.1:0")
    client = GoRpcClient(address)
    await nursery.start(client.run)

    assert await client.call(PROCESS, SAMPLE) == 0
    assert await client.call(SERVER_RUNNING, Nothing()) == 1
    assert methods.got == [SAMPLE]


async def test_a_small_cap_is_kept_to(autojump_clock):
    async with served(Methods(), ServerLimits(gob=GobLimits(max_message_bytes=300))) as peer:
        await peer.stream.send_all(peer.call(PROCESS, SAMPLE))
        assert await peer.answer(PROCESS) == (0, 0)

        await peer.stream.send_all(peer.call(RpcMethod("A.B", TEXT, UINT8), "x" * 300))
        assert await peer.answer(PROCESS) is None
