"""Sockets and names: what a listener lives through, and how a peer is found."""

import errno
import logging
import socket

import pytest
import trio
import trio.testing
from attestrio.gossip.errors import PeerClosed
from attestrio.gossip.listener import Listener
from attestrio.gossip.node import GossipNode
from attestrio.gossip.rules import GossipRules
from attestrio.gossip.runner import GossipRunner
from attestrio.gossip.wire import Wire
from attestrio.kit.metrics import Metrics
from attestrio.kit.tcp import shown_address
from attestrio.store.memory import MemoryBatchStore
from memory_world import GENESIS, MEMBERS
from net_world import node_key, running
from raw_peer import dialled


class ScriptedSocket:
    """A listening socket whose `accept` does what stands in `script`: errors, then a connection."""

    def __init__(self, *script):
        self.script = list(script)

    def getsockname(self):
        return ("127.0.0.1", 3054)

    def fileno(self):
        return 5

    async def accept(self):
        await trio.lowlevel.checkpoint()
        step = self.script.pop(0)
        if isinstance(step, int):
            raise OSError(step, errno.errorcode[step])
        return step, ("::1", 4000, 0, 0)


@pytest.fixture
def pair():
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        yield ours


@pytest.mark.parametrize("gone", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENOTCONN])
async def test_connections_that_are_gone_before_anybody_looks_are_skipped_at_once(autojump_clock, pair, gone):
    skipped = []
    listener = Listener(ScriptedSocket(*[gone] * 10, pair), lambda: skipped.append(1))

    _, address = await listener.accept()

    assert address == "[::1]:4000"
    assert len(skipped) == 10
    assert trio.current_time() == 0


@pytest.mark.parametrize("full", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_a_node_without_room_for_a_connection_waits_and_says_so(autojump_clock, pair, caplog, full):
    caplog.set_level(logging.INFO, "attestrio.gossip")
    skipped = []
    listener = Listener(ScriptedSocket(full, full, pair), lambda: skipped.append(1))

    await listener.accept()

    assert trio.current_time() == 1.0
    assert len(skipped) == len(caplog.records) == 2


async def test_what_was_skipped_is_counted_in_the_metrics(pair):
    metrics = Metrics()
    node = GossipNode(node_key(1), GossipRules(), metrics)
    await node.listen("127.0.0.1:0")
    real = node.listener._socket
    node.listener._socket = ScriptedSocket(errno.ECONNABORTED, pair)

    await node.listener.accept()

    real.close()
    assert "attestrio_gossip_accept_skipped_total 1.0" in metrics.render().decode()


def test_an_address_is_shown_as_it_is_dialled():
    assert shown_address(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert shown_address(("::1", 80, 0, 0)) == "[::1]:80"


async def test_a_node_is_reached_over_ipv6():
    async with running(GENESIS, 1, bind="[::1]:0") as a, running(GENESIS, 2, outbound=[a]) as b:
        a.vote(MEMBERS[0], 5)

        await b.wait_votes(1)

        assert a.address.startswith("[::1]:")
        assert a.node.peers[0].address.startswith("[::1]:")


class Names(trio.abc.HostnameResolver):
    """A name service whose answers come one after the other; the last one stays."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        await trio.lowlevel.checkpoint()
        assert host == b"peer.example"
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port))) for address in answer]

    async def getnameinfo(self, sockaddr, flags):
        raise AssertionError("nobody asks for the name of an address")


UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.slow
async def test_a_name_is_looked_up_anew_at_every_attempt(caplog):
    """It is unknown at first, then stands for a machine where nobody listens, then for the peer; which moves."""
    caplog.set_level(logging.INFO, "attestrio.gossip")
    names = Names(UNKNOWN, ["127.0.0.2"], ["127.0.0.1"], ["127.0.0.3"])
    trio.socket.set_custom_hostname_resolver(names)
    async with running(GENESIS, 1, bind="127.0.0.1:0") as a:
        port = a.address.rpartition(":")[2]
        async with running(GENESIS, 2, outbound=[(a.node.key, f"peer.example:{port}")], redial_s=0.05) as b:
            await b.wait_connected(1)
            assert names.asked == 3
            async with running(GENESIS, 1, bind=f"127.0.0.3:{port}") as moved:
                next(iter(a.node.connections())).end(PeerClosed("the machine is switched off"))

                await moved.wait_connected(1)

    said = [record.getMessage() for record in caplog.records if "not reached" in record.getMessage()]
    assert said[0].endswith(f"peer.example:{port} not reached: Name or service not known")
    assert said[1].endswith("Connection refused")


@pytest.mark.slow
async def test_of_several_addresses_each_is_tried_in_time():
    trio.socket.set_custom_hostname_resolver(Names(["127.0.0.2", "127.0.0.1"]))
    async with running(GENESIS, 1) as a:
        address = f"peer.example:{a.address.rpartition(':')[2]}"
        async with running(GENESIS, 2, outbound=[(a.node.key, address)], redial_s=0.01) as b:
            await b.wait_connected(1)


async def test_a_name_service_that_does_not_answer_costs_5_seconds_and_one_attempt(autojump_clock, caplog):
    caplog.set_level(logging.INFO, "attestrio.gossip")
    names = Names(None)
    trio.socket.set_custom_hostname_resolver(names)
    rules = GossipRules(static_outbound={node_key(9).public(): "peer.example:1"}, redial_s=20.0)

    node = GossipNode(node_key(1), rules)
    with trio.move_on_after(30):  # 5 s, a pause of 18 to 22, and again
        await GossipRunner(node, GENESIS, MemoryBatchStore(GENESIS.hash()), None).run()

    assert names.asked == 2
    assert "connection not finished in 5 s" in caplog.text


async def test_a_closed_wire_ends_in_one_error_whatever_is_asked_of_it():
    async with running(GENESIS, 1) as node, dialled(node.address) as peer:
        wire = Wire(peer.stream, "node")
        await wire.aclose()

        for ask in (wire.receive, lambda: wire.send(b"x")):
            with pytest.raises(PeerClosed):
                await ask()
        with pytest.raises(PeerClosed):
            wire.send_nowait(b"x")


async def test_a_wire_that_is_reset_ends_in_one_error():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    stream = await trio.testing.open_stream_to_socket_listener(listeners[0])
    wire = Wire(await listeners[0].accept(), "peer")

    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stream.socket.close()

    with pytest.raises(PeerClosed, match="reset"):
        await wire.receive()
    await wire.aclose()
    await listeners[0].aclose()
