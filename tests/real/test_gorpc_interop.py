"""Our Go RPC against Go's own, in both directions: the same is accepted and refused, in the same words."""

import json
import subprocess
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import go_peer
import pytest
import trio
from attestrio.errors import PeerError
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.errors import (
    AnswerUnreadable,
    CallFailed,
    CallTooLate,
    CannotConnect,
    ConnectionLost,
    NotConnected,
)
from attestrio.gorpc.gob import TEXT, UINT8, UINT64, ByteArray, Field, Struct
from attestrio.gorpc.messages import (
    EMPTY,
    PROCESS_SIGNED_TASK_RESPONSE,
    SERVER_RUNNING,
    Nothing,
    Point,
    RpcMethod,
    SignedTaskResponse,
)
from attestrio.gorpc.server import Handler, serve
from suite import needs

pytestmark = [pytest.mark.real, pytest.mark.slow, needs(go_peer.GO)]

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "gorpc.json").read_text("utf-8"))
PROCESS = PROCESS_SIGNED_TASK_RESPONSE
SLOW = RpcMethod("Aggregator.Slow", UINT64, UINT64)
DROP = RpcMethod("Aggregator.Drop", EMPTY, SERVER_RUNNING.reply)
SAMPLE = SignedTaskResponse(
    bytes(i * 9 & 0xFF for i in range(32)),
    bytes(range(0x70, 0x84)),
    bytes(255 - i for i in range(32)),
    Point((1, 1 << 63, 0, 7), (127, 128, 255, (1 << 64) - 1)),
    bytes(i * 31 & 0xFF for i in range(32)),
)
UNSIGNED = SignedTaskResponse(bytes(32), bytes(20), bytes(32), None, bytes(32))

# What our server says otherwise than Go's: why a body does not decode. That it does not, and what follows, is equal.
OUR_WORDS = {
    "31 elements": "gob: SignedTaskResponse.BatchMerkleRoot: [31]type 3 instead of [32]uint8",
    "33 elements": "gob: SignedTaskResponse.BatchMerkleRoot: [33]type 3 instead of [32]uint8",
    "string for array": "gob: SignedTaskResponse.BatchMerkleRoot: type 6 instead of [32]uint8",
    "element above 255": "gob: 300 is out of range for uint8",
    "nothing in common": "gob: no field in common with SignedTaskResponse",
    "no struct": "gob: type 6 instead of SignedTaskResponse",
    "no struct, a number": "gob: type 2 instead of SignedTaskResponse",
}


@pytest.fixture(scope="session")
def peer(tmp_path_factory):
    return go_peer.build(tmp_path_factory.mktemp("go"))


async def run_go(peer, *words):
    """What the Go program reports: name -> reply and error text."""
    done = await trio.run_process([peer, *words], capture_stdout=True, capture_stderr=True)
    return dict(line.split(": ", 1) for line in done.stdout.decode().splitlines())


class GoServer:
    """Real net/rpc, and what it said of the calls it got."""

    def __init__(self, process):
        self._process = process
        self._said = bytearray()

    async def line(self):
        while b"\n" not in self._said:
            self._said += await self._process.stdout.receive_some()
        line, _, rest = self._said.partition(b"\n")
        self._said = bytearray(rest)
        return line.decode()

    def kill(self):
        self._process.kill()

    async def ended(self):
        await self._process.wait()


@asynccontextmanager
async def go_server(peer):
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, [peer, "serve"], stdout=subprocess.PIPE, check=False))
        server = GoServer(process)
        yield server, (await server.line()).split()[1]
        nursery.cancel_scope.cancel()


class NilSignature(PeerError):
    code = "test_nil_signature"


class Ours:
    """The methods of the Go program's server."""

    def __init__(self):
        self.got = []
        self.scope = trio.CancelScope()

    async def process(self, response):
        self.got.append(response)
        if response.signature is None:
            raise NilSignature("invalid response: nil signature")
        return 0

    async def running(self, _):
        return 1

    async def slow(self, ms):
        await trio.sleep(ms / 1000)
        return ms

    async def drop(self, _):
        self.scope.cancel()
        await trio.sleep_forever()

    async def run(self, task_status=trio.TASK_STATUS_IGNORED):
        handlers = [
            Handler(PROCESS, self.process),
            Handler(SERVER_RUNNING, self.running),
            Handler(SLOW, self.slow),
            Handler(DROP, self.drop),
        ]
        with self.scope:
            await serve(handlers, "127.0.0.1:0", task_status=task_status)


@asynccontextmanager
async def our_client(address):
    """A client that is connected; a loss of its connection ends in silence."""
    client = GoRpcClient(address)

    async def run(task_status=trio.TASK_STATUS_IGNORED):
        with suppress(ConnectionLost):
            await client.run(task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield client
        nursery.cancel_scope.cancel()


# --- Go's encoder


async def test_the_golden_bytes_are_what_go_sends_today(peer):
    done = await trio.run_process([peer, "bytes"], capture_stdout=True)

    said = dict(line.rsplit(" ", 1) for line in done.stdout.decode().splitlines())

    assert said == GOLDEN["go"]


# --- Go's client, our server


async def test_a_go_client_sees_no_difference_between_gos_server_and_ours(peer, nursery):
    ours = Ours()
    address = await nursery.start(ours.run)
    async with go_server(peer) as (_, go_address):
        gos = await run_go(peer, "call", go_address)

    got = await run_go(peer, "call", address)

    assert {name: text for name, text in got.items() if name not in OUR_WORDS} == {
        name: text for name, text in gos.items() if name not in OUR_WORDS
    }
    for name, text in OUR_WORDS.items():
        assert got[name] == f"99 {text}"
        assert gos[name].startswith("99 ")  # the reply is untouched, an error text behind it
    assert got["concurrent"] == "[0 100 200 300]"
    assert got["missing"].endswith("rpc: can't find method Aggregator.Missing")
    assert got["after drop"].endswith("connection is shut down")


async def test_what_a_go_client_sends_arrives(peer, nursery):
    ours = Ours()
    address = await nursery.start(ours.run)

    await run_go(peer, "call", address)

    assert ours.got[0] == ours.got[-1] == SAMPLE
    assert [one.signature for one in ours.got[1:3]] == [None, None]
    assert ours.got[3].signature == Point((0,) * 4, (0,) * 4)
    assert ours.got[4] == UNSIGNED  # the empty struct
    assert ours.got[5].operator_id == bytes(32)
    assert [one.operator_id for one in ours.got[6:8]] == [b"\5" + bytes(31)] * 2


async def test_a_go_client_with_a_call_above_the_cap_loses_its_connection_only(peer, nursery):
    ours = Ours()
    address = await nursery.start(ours.run)

    refused = await run_go(peer, "too-large", address)

    async with our_client(address) as client:
        assert await client.call(SERVER_RUNNING, Nothing()) == 1
    assert refused["1 MiB"].startswith("0 ")
    assert any(text in refused["1 MiB"] for text in ("unexpected EOF", "reset by peer", "broken pipe", "shut down"))
    assert ours.got == []


async def test_a_go_client_is_answered_many_calls_at_the_same_time(peer, nursery):
    ours = Ours()
    address = await nursery.start(ours.run)

    calls, bad, _ = (await run_go(peer, "flood", address))["flood"].split()

    assert (calls, bad) == ("2000", "0")
    assert len(ours.got) == 2000


# --- our client, Go's server


async def test_a_go_server_gets_what_we_send(peer):
    async with go_server(peer) as (server, address), our_client(address) as client:
        reply = await client.call(PROCESS, SAMPLE)
        with pytest.raises(CallFailed) as refused:
            await client.call(PROCESS, UNSIGNED)
        first, second = await server.line(), await server.line()

        assert reply == 0
        assert refused.value.text == "invalid response: nil signature"
        parts = [SAMPLE.batch_merkle_root, SAMPLE.sender_address, SAMPLE.batch_identifier_hash, SAMPLE.operator_id]
        limbs = [f"[{' '.join(map(str, limbs))}]" for limbs in (SAMPLE.signature.x, SAMPLE.signature.y)]
        assert first == " ".join(["got", *(part.hex() for part in parts), *limbs])
        assert second.endswith(" nil")


async def test_a_go_server_that_refuses_a_call_answers_the_next_one(peer):
    wrong = Struct("Wrong", (Field("BatchMerkleRoot", ByteArray(31), lambda value: value),), lambda value: value)
    async with go_server(peer) as (_, address), our_client(address) as client:
        with pytest.raises(CallFailed, match="wrong type"):
            await client.call(RpcMethod(PROCESS.name, wrong, UINT8), bytes(31))
        with pytest.raises(CallFailed) as missing:
            await client.call(RpcMethod("Aggregator.Missing", EMPTY, UINT8), Nothing())
        with pytest.raises(AnswerUnreadable, match="instead of string"):
            await client.call(RpcMethod(SERVER_RUNNING.name, EMPTY, TEXT), Nothing())

        assert missing.value.text == "rpc: can't find method Aggregator.Missing"
        assert await client.call(SERVER_RUNNING, Nothing()) == 1


async def test_a_go_servers_answers_find_their_calls_in_any_order(peer):
    order = []

    async def call(client, ms):
        order.append(await client.call(SLOW, ms))

    async with go_server(peer) as (_, address), our_client(address) as client, trio.open_nursery() as nursery:
        for ms in (300, 200, 100, 0):
            nursery.start_soon(call, client, ms)

    assert order == [0, 100, 200, 300]


async def test_a_call_that_is_given_up_leaves_the_connection_to_others(peer):
    async with go_server(peer) as (_, address), our_client(address) as client:
        with pytest.raises(CallTooLate):
            await client.call(SLOW, 100, within_s=0.02)
        with trio.move_on_after(0.02) as given_up:
            await client.call(SLOW, 100)

        assert given_up.cancelled_caught
        assert await client.call(SLOW, 150) == 150  # both late answers have come and gone


async def test_a_go_server_that_dies_is_told_apart_by_when_it_died(peer):
    async with go_server(peer) as (server, address), our_client(address) as client:
        with pytest.raises(ConnectionLost) as in_flight:
            await client.call(DROP, Nothing())
        with pytest.raises(NotConnected) as later:
            await client.call(SERVER_RUNNING, Nothing())
        await server.ended()  # an exiting process may close its connections before its listening socket
        with pytest.raises(CannotConnect) as redial:
            await client.run()

    assert in_flight.value.why == "unexpected EOF"
    assert str(later.value) == f"{address}: connection is shut down"
    assert str(redial.value) == f"dial tcp {address}: connect: connection refused"


async def test_a_go_server_that_is_killed_fails_every_call_under_way(peer):
    async with go_server(peer) as (server, address), our_client(address) as client:
        lost = []

        async def call():
            with pytest.raises(ConnectionLost):
                await client.call(SLOW, 60_000)
            lost.append(True)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(call)
            await client.call(SERVER_RUNNING, Nothing())
            server.kill()

        assert len(lost) == 10
