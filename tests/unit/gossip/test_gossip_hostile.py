"""Peers that mean harm, on real sockets: the node and its other peers do not notice.

In each test two good peers hang on the node that is attacked, and a vote of one has to reach the other within 1 s.
"""

import gc
import os
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from attestrio.gossip import connection
from attestrio.gossip.accepting import MAX_STRANGERS
from attestrio.gossip.fairness import Allowance
from attestrio.gossip.limiter import Rate
from attestrio.gossip.mux.handshake import encode_hello
from attestrio.gossip.preface import ENCRYPTION_NOISE_NN
from attestrio.gossip.rpc import get_batch, get_block, ping
from attestrio.gossip.rpc.push_batch_store_state import BatchStoreState, encode_request
from attestrio.gossip.votes_wire import VoteCodec
from attestrio.roles import BatchNumber
from memory_world import GENESIS, MEMBERS, in_memory
from net_world import LIFTED, Peer, attester, batch_of, genesis_of, node_key, running, sync_batch
from raw_peer import DIALLER, SPECS, RawPeer, dialled
from suite import patient

pytestmark = pytest.mark.slow

PING = ping.encode_request(bytes(range(32)))
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
QUICK = Rate(1000, 0.001)  # of accepting


@dataclass
class Company:
    """The node under attack between two good peers."""

    node: Peer
    left: Peer
    right: Peer
    number: int = 0

    async def assert_unnoticed(self):
        """A vote that the left peer has now, the right one has soon."""
        self.number += 1
        self.left.vote(MEMBERS[0], self.number)
        with trio.fail_after(patient(1)):
            mark = 0
            while True:
                votes, mark = await self.right.votes.wait_newer(mark)
                if any(vote.batch.number == self.number for vote in votes):
                    return

    async def wait_alone(self, limit_s=5.0):
        """Only the two good peers are connected."""
        with trio.fail_after(patient(limit_s)):
            await self.node.node.connected.wait_value(lambda now: now == 2)


@asynccontextmanager
async def company(**rules):
    """Without rates, which are told apart where they matter: the network's let a vote wait half a second a link."""
    rules = {"accept_rate": QUICK, "rates": LIFTED, **rules}
    async with (
        running(GENESIS, 1, **rules) as node,
        running(GENESIS, 2, outbound=[node], rates=LIFTED) as left,
        running(GENESIS, 3, outbound=[node], rates=LIFTED) as right,
    ):
        await node.wait_connected(2)
        yield Company(node, left, right)


def living():
    return trio.lowlevel.current_statistics().tasks_living


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def resident():
    """Bytes of memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def wait_for(condition, limit_s=10):
    for _ in range(int(limit_s * 100)):
        if condition():
            return
        await trio.sleep(0.01)
    raise AssertionError(f"still not so after {limit_s} s")


@asynccontextmanager
async def nothing_left(company):
    """After the block the node has the tasks and descriptors that it had before."""
    await company.assert_unnoticed()
    tasks, files = living(), descriptors()
    yield
    await wait_for(lambda: living() <= tasks and descriptors() <= files)
    assert company.node.node.connected.value == 2


async def opened(address):
    host, _, port = address.rpartition(":")
    return await trio.open_tcp_stream(host, int(port))


async def met(address, index):
    """A raw peer before its first byte; `dialled` without an end."""
    return RawPeer(await opened(address), DIALLER, node_key(index), GENESIS.hash())


# --- what crashes the reference


@pytest.mark.parametrize("frame", ["00c0", "00e0"], ids=["of our server", "of our client"])
async def test_frames_of_kind_3_cost_those_who_send_them_their_connection(frame):
    async with company() as them, nothing_left(them):
        for index in range(10, 15):
            async with dialled(them.node.address, index) as peer:
                await peer.greet()
                async with peer.talking():
                    await peer.call("ping", PING)
                    await peer.send(bytes.fromhex(frame))
                    await peer.wait_closed(5)
            await them.assert_unnoticed()


async def test_sockets_that_are_reset_before_anybody_looks_are_no_news():
    """Ten at once, and two hundred; what is accepted meanwhile is accepted."""
    async with company() as them, nothing_left(them):
        host, port = them.node.address.split(":")
        for burst in (10, 200):
            socks = []
            for _ in range(burst):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.setblocking(False)
                with suppress(BlockingIOError):
                    sock.connect((host, int(port)))
                socks.append(sock)
            for sock in socks:
                sock.close()  # before the node's turn
            await them.assert_unnoticed()
            async with dialled(them.node.address) as peer:
                await peer.greet()


@pytest.mark.parametrize("said", ["nothing", "the encryption", "a handshake"])
async def test_peers_that_fall_silent_are_let_go(said):
    async with company(ping_timeout_s=1.0) as them, nothing_left(them):
        silent = []
        for index in range(10, 30):
            silent.append(peer := await met(them.node.address, index))
            if said == "the encryption":
                await peer.send_raw(ENCRYPTION_NOISE_NN)
            elif said == "a handshake":
                await peer.greet()
        await them.assert_unnoticed()

        for peer in silent:
            with trio.fail_after(patient(7)):
                await peer.wait_end()
        assert living() < 200
        for peer in silent:
            await trio.aclose_forcefully(peer.stream)


@pytest.mark.parametrize("hello", [b"", b"\x54\0\0\0\x2a"], ids=["nothing", "a piece"])
async def test_a_mux_handshake_that_stalls_ends_with_the_first_ping(hello):
    async with company(ping_timeout_s=1.0) as them, nothing_left(them), dialled(them.node.address) as peer:
        await peer.greet()
        if hello:
            await peer.send(hello)
        await them.assert_unnoticed()

        with trio.fail_after(patient(5)):
            await peer.wait_end()


# --- slowly


async def test_a_mux_handshake_drop_by_drop_is_not_in_time(autojump_clock):
    async with in_memory(ping_timeout_s=10.0) as world:
        peer = await world.meet()
        await peer.greet()

        sent = 0
        with suppress(trio.BrokenResourceError):
            for byte in b"\x54\0\0\0" + bytes(80):
                await peer.send(bytes([byte]))
                sent += 1
                await trio.sleep(1)

        assert sent == 11  # at 0 to 10 s, and then it was cut off


async def test_a_request_drop_by_drop_holds_nobody_up(autojump_clock):
    """It may take as long as it likes, while pings are answered."""
    async with in_memory() as world, world.talk(index=9) as slow, world.talk(index=10) as friend:
        await slow.call("ping", PING)
        await slow.send(bytes.fromhex("0800" + "0840" + "0400" + "10000000"))  # a push of votes of 16 B
        for _ in range(15):
            await slow.send(bytes.fromhex("0840" + "0100" + "7a"))
            await trio.sleep(10)
            assert await friend.call("ping", PING) == PING

        assert not slow.closed.is_set()
        assert world.score() == 100


# --- without end


async def test_a_thousand_connections_without_a_handshake_do_not_keep_a_good_peer_out():
    """As fast as they are accepted, and the good peer in the middle of them. 64 are kept at a time."""
    async with company() as them:
        await them.assert_unnoticed()
        tasks, files = living(), descriptors()
        host, port = them.node.address.split(":")
        socks = []
        most_tasks = most_files = 0
        try:
            async with trio.open_nursery() as nursery:
                late = None
                for count in range(1, 1001):
                    socks.append(sock := socket.socket())
                    sock.setblocking(False)
                    with suppress(BlockingIOError):
                        sock.connect((host, int(port)))
                    if count % 20 == 0:  # fewer than wait in the socket's queue
                        await trio.sleep(0.02)
                        most_tasks = max(most_tasks, living() - tasks)
                        most_files = max(most_files, descriptors() - files - count)
                    if count == 500:
                        late = await nursery.start(_keep_running, them.node)
                    if count % 100 == 0:
                        await them.assert_unnoticed()
                await late.wait_connected(1)
                nursery.cancel_scope.cancel()
        finally:
            for sock in socks:
                sock.close()

        assert MAX_STRANGERS <= most_tasks < MAX_STRANGERS + 40
        assert MAX_STRANGERS <= most_files < MAX_STRANGERS + 40
        await wait_for(lambda: living() <= tasks)


async def _keep_running(node, *, task_status):
    """A good peer that comes later."""
    async with running(GENESIS, 4, outbound=[node], redial_s=0.2) as late:
        task_status.started(late)
        await trio.sleep_forever()


async def test_a_stranger_too_many_pushes_out_the_oldest_and_not_who_has_proved_a_key():
    async with company() as them, dialled(them.node.address, 40) as known:
        await known.greet()
        oldest = await opened(them.node.address)
        await trio.sleep(0.05)
        crowd = [await opened(them.node.address) for _ in range(MAX_STRANGERS)]

        with trio.fail_after(patient(2)):
            assert await oldest.receive_some() == b""
        assert them.node.node.connected.value == 3
        for stream in [oldest, *crowd]:
            await trio.aclose_forcefully(stream)


async def test_a_peer_that_asks_and_never_reads_costs_one_answer_and_is_let_go():
    """50 answers of 4 MB are asked for; the node keeps one and what it reads of the requests."""
    size = 4_000_000
    async with company(ping_timeout_s=1.0, rates=LIFTED, max_batch_bytes=5_000_000) as them:
        await them.node.store.queue_batch(sync_batch(0, size))
        async with nothing_left(them):
            await them.node.wait_queued(0)
            async with dialled(them.node.address) as peer:
                peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await peer.greet()
                async with peer.talking():
                    await peer.call("ping", PING)
                connection = next(one for one in them.node.node.connections() if one.key == peer.secret.public())
                gc.collect()
                before, pending = resident(), 0
                asked = get_batch.encode_request(0)
                call = len(asked).to_bytes(4, "little") + asked
                for _ in range(10):
                    for stream in range(9, 14):  # OPEN, DATA, CLOSE on each
                        await peer.send(
                            stream.to_bytes(2, "little")
                            + (0x4000 | stream).to_bytes(2, "little") + len(call).to_bytes(2, "little") + call
                            + (0x8000 | stream).to_bytes(2, "little")
                        )  # fmt: skip
                with trio.fail_after(patient(4)):
                    while connection in them.node.node.connections():
                        pending = max(pending, connection._pending_bytes)
                        await trio.sleep(0.01)
                assert size // 2 < pending < 1.2 * size
                assert resident() - before < 6 * size
        await them.assert_unnoticed()


async def test_a_peer_that_calls_and_never_reads_is_not_read_from_for_long(autojump_clock, monkeypatch):
    monkeypatch.setattr(connection, "SLACK", 10_000)
    async with in_memory(dials=(), rates=LIFTED, max_batch_bytes=1_000) as world:
        stream = world.node.listener.dial(trio.testing.lockstep_stream_pair)
        peer = RawPeer(stream, DIALLER, node_key(9), GENESIS.hash())
        await peer.greet()
        await peer.send(peer_hello())
        calls = call_frames(3, get_block.encode_request(0)) * 20
        sent = 0

        with trio.move_on_after(5):
            while sent < 500:
                await peer.send(calls)
                sent += 1

        assert 20 < sent < 100
        (held,) = world.node.connections()
        assert 11_000 < held._pending_bytes < 12_000
        await world.wait_connected(0)
        assert trio.current_time() == pytest.approx(10, abs=0.1)  # our first ping


def peer_hello():
    """The mux handshake of a peer that only calls."""
    return encode_hello({spec.capability: spec.inflight for spec in SPECS.values()}, {})


async def flood(peer, piece):
    """Send `piece` until the node has enough."""
    with suppress(*GONE):
        while True:
            await peer.send(piece)
            await trio.lowlevel.checkpoint()


def call_frames(stream, body):
    call = len(body).to_bytes(4, "little") + body
    return (
        stream.to_bytes(2, "little")
        + (0x4000 | stream).to_bytes(2, "little") + len(call).to_bytes(2, "little") + call
        + (0x8000 | stream).to_bytes(2, "little")
    )  # fmt: skip


def strangers_votes(count):
    votes = [attester(50 + index).sign_batch(batch_of(GENESIS, 7)) for index in range(count)]
    return VoteCodec().encode(votes)


FLOODS = {
    "pings": lambda: call_frames(1, PING) * 200,
    "OPENs": lambda: b"\x08\x00" * 10_000,
    "CLOSEs": lambda: b"\x08\x80" * 10_000,
    "empty DATA": lambda: b"\x08\x40\x00\x00" * 5_000,
    "empty calls": lambda: b"\x08\x00\x08\x80" * 5_000,
    "votes": lambda: call_frames(8, VoteCodec().encode([MEMBERS[1].sign_batch(batch_of(GENESIS, 3))])) * 50,
    "votes of strangers": lambda: call_frames(8, strangers_votes(100)) * 3,
    "announcements": lambda: call_frames(14, encode_request(BatchStoreState(BatchNumber(0), BatchNumber(2**60)))) * 200,
}


@pytest.mark.parametrize("make", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("rates", [{}, LIFTED], ids=["default rates", "rates lifted"])
async def test_a_flood_drowns_nobody(make, rates):
    """Two peers send as fast as they can, for as long as they are let."""
    piece = make()
    async with company(ping_timeout_s=1.0, rates=rates) as them, nothing_left(them):
        gc.collect()
        before = resident()
        flooding = []
        async with trio.open_nursery() as nursery:
            for index in (10, 11):
                flooding.append(peer := await met(them.node.address, index))
                await peer.greet()
                await nursery.start(peer._talk)
                await peer.call("ping", PING)
                nursery.start_soon(flood, peer, piece)
            for _ in range(3):
                await trio.sleep(0.4 if rates else 1.1)  # two votes a second get through a link
                await them.assert_unnoticed()
            assert resident() - before < 40_000_000
            nursery.cancel_scope.cancel()
        for peer in flooding:
            await trio.aclose_forcefully(peer.stream)


async def test_strangers_of_another_genesis_come_and_go_and_leave_nothing():
    foreign = genesis_of(MEMBERS, chain_id=271)
    async with (
        company() as them,
        nothing_left(them),
        running(foreign, 5, outbound=[them.node], redial_s=0.02),
        running(foreign, 6, outbound=[them.node], redial_s=0.02),
    ):
        for _ in range(3):
            await trio.sleep(0.3)
            await them.assert_unnoticed()
            await them.wait_alone()


@pytest.mark.slow
async def test_a_stranger_who_sends_what_means_nothing_is_read_from_as_far_as_strangers_may_cost():
    closes = b"\x00\x80" * 30_000
    async with company() as them, nothing_left(them):
        them.node.node._allowance = Allowance(share=0.02)
        async with trio.open_nursery() as nursery:
            peer = await met(them.node.address, 10)
            await peer.greet()
            await nursery.start(peer._talk)
            nursery.start_soon(flood, peer, closes)
            await trio.sleep(1.5)

            # 80 ms of work, at 10 ms for 64 kB; a peer that nobody holds back brings ten times as much
            assert 60_000 < info(them.node, peer).received < 2_000_000
            await them.assert_unnoticed()
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(peer.stream)


@pytest.mark.slow
async def test_a_peer_that_the_operator_has_named_may_cost_what_it_likes():
    closes = b"\x00\x80" * 30_000
    async with company(static_inbound=frozenset({node_key(10).public()})) as them, nothing_left(them):
        them.node.node._allowance = Allowance(share=0.02)
        async with trio.open_nursery() as nursery:
            peer = await met(them.node.address, 10)
            await peer.greet()
            await nursery.start(peer._talk)
            nursery.start_soon(flood, peer, closes)
            await trio.sleep(1.5)

            assert info(them.node, peer).received > 2_000_000
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(peer.stream)


def info(node, peer):
    return next(one for one in node.node.peers if one.key == peer.secret.public())
