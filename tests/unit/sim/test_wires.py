"""Faults on real sockets, one by one: what the two ends of a connection through the wires notice. On the real clock."""

import random
from contextlib import asynccontextmanager

import pytest
import trio
from attestrio.sim.links import Weather
from attestrio.sim.wires import CONNECTIONS, Cut, Line, TcpWires
from suite import patient

A, B, C = "alice", "bob", "carol"
TIMEOUT_S = patient(10)


class Town:
    """Bob listens; whoever reaches him is kept in `guests`, in order."""

    def __init__(self, wires, nursery, listener):
        self.wires, self.nursery = wires, nursery
        self.address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        self.send_guest, self._guests = trio.open_memory_channel(1_000)
        self.ends = []

    async def knock(self, who=A):
        host, _, port = self.wires.between(who, B, self.address).rpartition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        self.ends.append(stream)
        return stream

    async def pair(self, who=A):
        """Both ends of a new connection from `who` to Bob."""
        stream = await self.knock(who)
        return stream, await self._guests.receive()

    def unheard(self):
        return self._guests.statistics().current_buffer_used


@asynccontextmanager
async def town(wires=None):
    wires = wires or TcpWires()
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            made = Town(wires, nursery, listener)

            async def keep(stream):
                made.ends.append(stream)
                await made.send_guest.send(stream)
                await trio.sleep_forever()

            nursery.start_soon(trio.serve_listeners, keep, [listener])
            await nursery.start(wires.run)
            try:
                yield made
            finally:
                for end in made.ends:
                    end.socket.close()
                nursery.cancel_scope.cancel()


async def read(stream, count):
    got = b""
    while len(got) < count and (more := await stream.receive_some(count - len(got))):
        got += more
    return got


async def hears_nothing(stream, for_s=0.05):
    with trio.move_on_after(for_s):
        return await stream.receive_some(1) and False
    return True


async def until(true):
    while not true():  # noqa: ASYNC110  what a socket does sets no event here
        await trio.sleep(0.002)


async def test_bytes_pass_in_both_directions_as_they_are():
    sent = random.Random(1).randbytes(300_000)

    async with town() as made:
        alice, bob = await made.pair()
        made.nursery.start_soon(alice.send_all, sent)
        there = await read(bob, len(sent))
        made.nursery.start_soon(bob.send_all, sent)
        back = await read(alice, len(sent))

    assert there == sent
    assert back == sent


async def test_an_orderly_end_arrives_behind_what_was_sent():
    sent = b"x" * 200_000

    async with town() as made:
        alice, bob = await made.pair()
        await alice.send_all(sent)
        await alice.send_eof()
        there = await read(bob, len(sent) + 1)
        await bob.send_all(b"thanks")
        await bob.aclose()
        back = await read(alice, 100)
        await until(lambda: made.wires.connections(A, B) == 0)

    assert there == sent
    assert back == b"thanks"


async def test_a_member_is_reached_at_the_same_port_whenever_it_is_asked():
    async with town() as made:
        first = made.wires.between(A, B, made.address)

        assert made.wires.between(A, B, made.address) == first
        assert made.wires.between(C, B, made.address) != first


def test_faults_are_for_loopback_only():
    with pytest.raises(ValueError, match=r"for 127\.0\.0\.1 only"):
        TcpWires().between(A, B, "192.0.2.1:80")


async def test_in_a_silent_cut_bytes_vanish_and_nobody_is_told():
    async with town() as made:
        alice, bob = await made.pair()
        made.wires.cut(A, B)
        await alice.send_all(b"anybody?")

        assert await hears_nothing(bob)
        assert made.wires.lost == {(A, B): 8}
        await alice.aclose()
        assert await hears_nothing(bob), "the end is not heard either"


async def test_a_dialler_in_a_silent_cut_is_connected_to_nobody():
    async with town() as made:
        made.wires.cut(A, B)
        alice = await made.knock()
        await alice.send_all(b"anybody?")

        assert await hears_nothing(alice)
        assert made.unheard() == 0


async def test_after_mending_a_connection_with_a_hole_is_reset_and_a_new_one_works():
    async with town() as made:
        alice, bob = await made.pair()
        made.wires.cut(A, B)
        await alice.send_all(b"lost")
        await until(lambda: made.wires.lost[A, B] == 4)
        made.wires.mend()

        for end in (alice, bob):
            with pytest.raises(trio.BrokenResourceError):
                await end.receive_some(1)
        alice, bob = await made.pair()
        await alice.send_all(b"again")
        assert await read(bob, 5) == b"again"


async def test_a_connection_that_lost_nothing_in_a_cut_goes_on():
    async with town() as made:
        alice, bob = await made.pair()
        made.wires.cut(A, B)
        made.wires.mend()
        await alice.send_all(b"still here")

        assert await read(bob, 10) == b"still here"


async def test_a_muted_member_still_hears():
    async with town() as made:
        alice, bob = await made.pair()
        made.wires.mute(A, B)
        await alice.send_all(b"hello")
        await bob.send_all(b"nothing from you")

        assert await read(alice, 16) == b"nothing from you"
        assert await hears_nothing(bob)


async def test_a_broken_cut_resets_what_is_there_and_what_comes():
    async with town() as made:
        alice, bob = await made.pair()
        await alice.send_all(b"1")
        await read(bob, 1)  # the way is whole
        made.wires.cut(A, B, Cut.BROKEN)

        for end in (alice, bob):
            with pytest.raises(trio.BrokenResourceError):
                await end.receive_some(1)
        with pytest.raises((OSError, trio.BrokenResourceError)):  # while it connects, or at once afterwards
            await (await made.knock()).receive_some(1)
        assert made.unheard() == 0


async def test_a_refused_cut_lets_nobody_in_until_it_is_mended():
    async with town() as made:
        alice, _ = await made.pair()
        made.wires.cut(A, B, Cut.REFUSED)

        with pytest.raises(trio.BrokenResourceError):
            await alice.receive_some(1)
        for _ in range(3):
            with pytest.raises(OSError, match=r"[Cc]onnect"):
                await made.knock()
        made.wires.mend()
        alice, bob = await made.pair()
        await alice.send_all(b"again")
        assert await read(bob, 5) == b"again"


async def test_a_cut_of_one_pair_leaves_others_alone():
    async with town() as made:
        await made.pair(A)
        carol, bob = await made.pair(C)
        made.wires.isolate(A, [A, B], Cut.BROKEN)
        await carol.send_all(b"undisturbed")

        assert await read(bob, 11) == b"undisturbed"
        await until(lambda: made.wires.connections(A, B) == 0)
        assert made.wires.connections(B, C) == 1


async def test_of_a_torn_piece_half_arrives_and_then_the_end():
    async with town() as made:
        alice, bob = await made.pair()
        made.wires.tear(A, B)
        await alice.send_all(b"12345678")

        assert await read(bob, 100) == b"1234"
        with pytest.raises(trio.BrokenResourceError):
            await alice.receive_some(1)


async def test_a_corrupted_piece_differs_in_one_bit_and_the_next_in_none():
    sent = bytes(1_000)

    async with town() as made:
        alice, bob = await made.pair()
        made.wires.corrupt(A, B)
        await alice.send_all(sent)
        damaged = await read(bob, len(sent))
        await alice.send_all(sent)

        assert sum(byte.bit_count() for byte in damaged) == 1
        assert await read(bob, len(sent)) == sent


@pytest.mark.parametrize("how", ["weather", "line"])
async def test_delayed_bytes_come_late_and_in_order(how):
    wires = TcpWires(Weather(delay_s=0.06) if how == "weather" else Weather())
    if how == "line":
        wires.slow(A, B, Line(delay_s=0.06))

    async with town(wires) as made:
        alice, bob = await made.pair()
        began = trio.current_time()
        for word in (b"one ", b"two ", b"three"):
            await alice.send_all(word)
        got = await read(bob, 13)

        assert got == b"one two three"
        assert trio.current_time() - began >= 0.06


async def test_a_slow_line_takes_its_time_and_its_sender_waits():
    async with town() as made:
        alice, bob = await made.pair()
        made.wires.slow(A, B, Line(bytes_per_s=1_000_000))
        began = trio.current_time()
        made.nursery.start_soon(alice.send_all, bytes(100_000))
        await read(bob, 100_000)

        assert trio.current_time() - began >= 0.1


async def test_what_is_under_way_in_a_cut_is_lost():
    async with town(TcpWires(Weather(delay_s=0.05))) as made:
        alice, bob = await made.pair()
        await alice.send_all(b"on its way")
        await trio.sleep(0.02)
        made.wires.cut(A, B)

        assert await hears_nothing(bob, 0.1)
        assert made.wires.lost[A, B] == 10


async def test_in_bad_weather_connections_break():
    async with town(TcpWires(Weather(drop=1.0))) as made:
        alice, bob = await made.pair()
        await alice.send_all(b"never")

        for end in (alice, bob):
            with pytest.raises(trio.BrokenResourceError):
                await end.receive_some(1)


async def test_a_member_that_does_not_listen_is_a_reset():
    async with town() as made:
        with trio.socket.socket() as free:
            await free.bind(("127.0.0.1", 0))
            made.address = f"127.0.0.1:{free.getsockname()[1]}"

            with pytest.raises((OSError, trio.BrokenResourceError)):
                await (await made.knock()).receive_some(1)


@pytest.mark.slow
async def test_connections_are_bounded():
    async with town() as made:
        for _ in range(CONNECTIONS):
            await made.knock()
        await until(lambda: made.wires.connections(A, B) == CONNECTIONS)
        for _ in range(3):
            with pytest.raises((OSError, trio.BrokenResourceError)):
                await (await made.knock()).receive_some(1)

        assert made.wires.connections(A, B) == CONNECTIONS


async def test_at_the_end_nothing_stays_open():
    async with town() as made:
        alice, bob = await made.pair()
        silent = await made.knock(C)
        made.wires.cut(B, C)
        await silent.send_all(b"lost")
        address = made.wires.between(A, B, made.address)
        made.ends.clear()

    for end in (alice, silent):
        with pytest.raises(trio.BrokenResourceError):
            await end.receive_some(1)
        await end.aclose()
    host, _, port = address.rpartition(":")
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await trio.open_tcp_stream(host, int(port))
    await bob.aclose()


@pytest.mark.parametrize("values", [{"delay_s": -1.0}, {"bytes_per_s": 0.0}])
def test_a_line_that_makes_no_sense_is_refused(values):
    with pytest.raises(ValueError, match="has to be"):
        Line(**values)
