"""Who counts as one peer, and calls that are answered again without being read."""

import pytest
import trio
from attestrio.gorpc.errors import HangUp
from attestrio.gorpc.gob import UINT64
from attestrio.gorpc.handling import Handler, Peer, Remembered, Repeats, host_of
from attestrio.gorpc.messages import SERVER_RUNNING, Nothing, RpcMethod
from attestrio.gorpc.server import ServerLimits, serve
from gorpc_world import SLOW, Methods, RawPeer, served

ECHO = RpcMethod("Aggregator.Echo", UINT64, UINT64)
BYE = RpcMethod("Aggregator.Bye", UINT64, UINT64)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1:80", "127.0.0.1"),
        ("[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:ffff::]:81", "2001:db8:1:2::/64"),
        ("[::ffff:10.1.2.3]:80", "10.1.2.3"),
        ("[fe80::1%eth0]:80", "fe80::/64"),
        ("memory:0", "memory"),
    ],
)
def test_a_peer_is_known_by_what_it_cannot_change_at_will(address, host):
    assert host_of(address) == host
    assert Peer(address).host == host


def test_only_the_newest_answered_calls_are_remembered():
    remembered = Remembered(limit=2)

    for number in range(3):
        remembered.keep("A.B", bytes([number]), b"key %d" % number)

    assert len(remembered) == 2
    assert [remembered.find("A.B", bytes([number])) for number in range(3)] == [None, b"key 1", b"key 2"]
    assert remembered.find("A.C", b"\2") is None


class Echo(Methods):
    """Doubles numbers; `good` are those whose answer still holds."""

    def __init__(self):
        super().__init__()
        self.good = set()
        self.read = []
        self.waited = []

    async def echo(self, number):
        self.read.append(number)
        return number * 2

    async def bye(self, _):
        raise HangUp("enough")

    def again(self, key):
        number = int.from_bytes(key, "big")
        return number * 2 if number in self.good else None

    def handlers(self):
        repeats = Repeats(lambda number: None if number == 99 else number.to_bytes(8, "big"), self.again)
        return [
            *super().handlers(),
            Handler(ECHO, self.echo, repeats, self.waited.append),
            Handler(BYE, self.bye),
        ]


async def ask(peer, *numbers):
    await peer.stream.send_all(b"".join(peer.call(ECHO, number) for number in numbers))
    return [(await peer.answer(ECHO))[1] for _ in numbers]


async def test_a_call_that_was_answered_is_answered_again_without_being_read(autojump_clock):
    methods = Echo()

    async with served(methods) as peer:
        methods.good = {7}
        answers = await ask(peer, 7) + await ask(peer, 7, 7)

        assert answers == [14, 14, 14]
        assert methods.read == [7]
        assert len(methods.waited) == 3


async def test_what_no_longer_holds_is_handled_anew(autojump_clock):
    methods = Echo()

    async with served(methods) as peer:
        methods.good = {7}
        await ask(peer, 7)
        methods.good = set()
        await ask(peer, 7)

        assert methods.read == [7, 7]


async def test_a_call_is_remembered_for_its_method_and_connection_only(autojump_clock):
    methods = Echo()
    methods.good = {1, 7}

    async with served(methods) as peer, served(methods) as other:
        await ask(peer, 7)
        await ask(other, 7)
        await peer.stream.send_all(peer.call(SLOW, 7))

        assert await peer.answer(SLOW) == (1, 7)
        assert methods.read == [7, 7]
        assert trio.current_time() == 7.0


async def test_a_handler_says_what_is_not_worth_remembering(autojump_clock):
    methods = Echo()
    methods.good = {99}

    async with served(methods) as peer:
        await ask(peer, 99)
        await ask(peer, 99)

        assert methods.read == [99, 99]


async def test_no_more_is_remembered_than_allowed(autojump_clock):
    methods = Echo()
    methods.good = set(range(10))

    async with served(methods, ServerLimits(max_repeats=3)) as peer:
        for number in (1, 2, 3, 4, 1):
            await ask(peer, number)

        assert methods.read == [1, 2, 3, 4, 1]


async def test_repeated_calls_are_not_kept_waiting_by_calls_without_a_place(autojump_clock):
    methods = Echo()
    methods.good = {7}

    async with served(methods, ServerLimits(max_calls=1)) as peer:
        await ask(peer, 7)
        calls = [peer.call(SLOW, 100), peer.call(ECHO, 7), peer.call(SLOW, 0), peer.call(ECHO, 7)]
        await peer.stream.send_all(b"".join(calls))

        assert await peer.answer(ECHO) == (2, 14)
        assert trio.current_time() == 0.0
        assert {(await peer.answer(SLOW))[0] for _ in range(3)} == {1, 3, 4}


async def test_who_is_hung_up_on_hears_why_first(autojump_clock):
    async with served(Echo()) as peer:
        await peer.stream.send_all(peer.call(BYE, 1))

        assert await peer.answer(BYE) == (0, "enough")
        assert await peer.answer(BYE) is None


async def test_every_answer_is_timed_whatever_it_is(autojump_clock):
    times = []

    class Timed(Methods):
        def handlers(self):
            return [Handler(SLOW, self.slow, answered=times.append), Handler(BYE, self.fail, answered=times.append)]

    async with served(Timed()) as peer:
        await peer.stream.send_all(peer.call(SLOW, 5) + peer.call(BYE, 0))
        await peer.answer(BYE)
        await peer.answer(SLOW)

    assert times == [0.0, 5.0]


async def test_connections_that_share_places_wait_for_each_other(autojump_clock):
    methods, shared = Methods(), trio.Semaphore(1)

    async with served(methods, shared=shared) as first, served(methods, shared=shared) as second:
        await first.stream.send_all(first.call(SLOW, 10))
        await trio.sleep(1)
        await second.stream.send_all(second.call(SLOW, 5))

        assert await second.answer(SLOW) == (0, 5)
        assert trio.current_time() == 15.0
        assert methods.most == 1


async def test_a_connection_that_ends_gives_its_shared_places_back(autojump_clock):
    methods, shared = Methods(), trio.Semaphore(1)

    async with served(methods, shared=shared) as first, served(methods, shared=shared) as second:
        await first.stream.send_all(first.call(SLOW, 10_000) * 2 + b"\0")
        await trio.sleep(1)
        await second.stream.send_all(second.call(SLOW, 5))

        assert await second.answer(SLOW) == (0, 5)


# --- on real sockets


async def connected(address):
    host, port = address.rsplit(":", 1)
    peer = RawPeer(await trio.open_tcp_stream(host, int(port)))
    await peer.connect()
    return peer


async def test_handlers_can_be_made_for_each_connection(nursery):
    seen = []

    def made(peer):
        seen.append(peer.host)

        async def number(_):
            return len(seen)

        return [Handler(SERVER_RUNNING, number)]

    address = await nursery.start(serve, made, "127.0.0.1:0")
    one, two = await connected(address), await connected(address)
    async with one.stream, two.stream:
        for peer in (one, two):
            await peer.stream.send_all(peer.call(SERVER_RUNNING, Nothing()))
            assert await peer.answer(SERVER_RUNNING) == (0, 2)

    assert seen == ["127.0.0.1", "127.0.0.1"]


async def test_one_host_has_only_so_many_connections(nursery):
    limits = ServerLimits(max_connections=10, max_host_connections=2)
    address = await nursery.start(serve, Methods().handlers(), "127.0.0.1:0", limits)
    peers = [await connected(address) for _ in range(3)]

    assert await peers[0].answer(SERVER_RUNNING) is None  # the one that was idle longest
    for peer in peers[1:]:
        await peer.stream.send_all(peer.call(SERVER_RUNNING, Nothing()))
        assert await peer.answer(SERVER_RUNNING) == (0, 1)
    for peer in peers:
        await peer.stream.aclose()
