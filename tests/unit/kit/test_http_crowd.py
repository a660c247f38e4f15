"""Clients that mean no good: what they can take from those who do, from the log, and from a stop. Real sockets."""

import contextlib
import logging
import math
import socket
from functools import partial

import httpx
import pytest
import trio
import trio.testing
from attestrio.kit.http import ServerLimits, Unreachable, client, post_bounded, serve_app
from starlette.responses import Response
from suite import patient

SOON_S = patient(10.0)  # for what takes milliseconds, on a machine that has other things to do
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
BIG = b"x" * 20_000_000  # more than the system keeps for a client that does not read


async def brief(scope, receive, send):
    await Response(b"hi")(scope, receive, send)


class Counting:
    """Answers with more than is read, and counts how often it is asked."""

    def __init__(self):
        self.asked, self.begun, self.ended = 0, trio.Event(), trio.Event()

    async def __call__(self, scope, receive, send):
        self.asked += 1
        self.begun.set()
        try:
            await Response(BIG)(scope, receive, send)
        finally:
            self.ended.set()


@contextlib.asynccontextmanager
async def serving(app, **limits):
    """The host and port of a server that runs meanwhile."""
    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery:
            url = httpx.URL(await nursery.start(partial(serve_app, app, "127.0.0.1:0", limits=ServerLimits(**limits))))
            yield url.host, url.port
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def connected(host, port):
    async with await trio.open_tcp_stream(host, port) as stream:
        yield stream


async def rest_of(stream):
    """All that still comes; a reset is as good as an end."""
    raw = b""
    with contextlib.suppress(trio.BrokenResourceError):
        while data := await stream.receive_some(65536):
            raw += data
    return raw


async def answer_of(stream):
    """One answer of `brief`."""
    raw = b""
    while not raw.endswith(b"hi") and (data := await stream.receive_some(1000)):
        raw += data
    return raw


async def test_who_is_one_too_many_takes_the_place_of_who_has_not_asked_for_longest():
    async with serving(brief, max_connections=2) as at, connected(*at) as first, connected(*at) as second:
        await first.send_all(b"GET / HTTP/1.1\r\nx-half: ")
        await second.send_all(REQUEST)
        asked = await answer_of(second)
        async with connected(*at) as third:
            await third.send_all(REQUEST)
            served = await answer_of(third)
            cut = await rest_of(first)
        await second.send_all(REQUEST)
        kept = await answer_of(second)

    assert [one[:12] for one in (asked, served, kept)] == [b"HTTP/1.1 200"] * 3
    assert cut == b""


async def test_who_was_answered_before_has_no_right_to_its_place():
    async with serving(brief, max_connections=2) as at, connected(*at) as first, connected(*at) as second:
        for one in (first, second):
            await one.send_all(REQUEST)
            await answer_of(one)
        async with connected(*at) as third:
            cut = await rest_of(first)
            async with connected(*at) as fourth:
                cut_next = await rest_of(second)
                for one in (third, fourth):
                    await one.send_all(REQUEST)
                served = [(await answer_of(one))[:12] for one in (third, fourth)]

    assert (cut, cut_next) == (b"", b"")
    assert served == [b"HTTP/1.1 200"] * 2


async def test_who_does_not_take_an_answer_gives_its_place_to_another():
    app = Counting()
    async with serving(app, max_connections=1, send_s=math.inf, grace_s=0.0) as at, connected(*at) as deaf:
        await deaf.send_all(REQUEST)
        await app.begun.wait()
        await trio.testing.wait_all_tasks_blocked()
        async with connected(*at) as other:
            await other.send_all(REQUEST)
            served = await other.receive_some(12)

    assert served == b"HTTP/1.1 200"


async def test_those_who_are_being_answered_keep_their_places():
    begun, go_on = trio.Event(), trio.Event()

    async def slow(scope, receive, send):
        begun.set()
        await go_on.wait()
        await brief(scope, receive, send)

    async with serving(slow, max_connections=1) as at, connected(*at) as first:
        await first.send_all(REQUEST)
        await begun.wait()
        async with connected(*at) as second:
            refused = await rest_of(second)
        go_on.set()
        served = await answer_of(first)

    assert refused == b""
    assert served.startswith(b"HTTP/1.1 200")


async def test_who_takes_no_answer_is_not_given_the_next_one():
    app = Counting()
    async with serving(app, send_s=0.05, grace_s=0.0) as at, connected(*at) as deaf:
        await deaf.send_all(REQUEST * 500)
        await app.ended.wait()
        await rest_of(deaf)

    assert app.asked == 1


async def test_clients_that_do_not_read_hold_up_a_stop_for_no_longer_than_the_grace():
    app = Counting()

    with trio.CancelScope() as scope:
        async with serving(app, send_s=math.inf, grace_s=0.05) as (host, port), contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                deaf = await stack.enter_async_context(connected(host, port))
                await deaf.send_all(REQUEST * 100)
            await app.begun.wait()
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

    assert scope.cancelled_caught


UPGRADES = [
    b"connection: upgrade\r\nupgrade: websocket\r\n",
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
]


@pytest.mark.parametrize("fields", UPGRADES, ids=["half a websocket", "websocket", "http2"])
async def test_who_asks_for_another_protocol_gets_this_one_and_no_more_time(fields):
    async with serving(brief, idle_s=0.05, streams=True) as at, connected(*at) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n" + fields + b"\r\n")
        raw = await rest_of(stream)

    assert raw.startswith(b"HTTP/1.1 200")
    assert raw.endswith(b"hi")


@pytest.mark.parametrize(
    "raw", [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 100], ids=["nothing", "http2", "zeros"]
)
async def test_strangers_cannot_fill_the_log(caplog, raw):
    async def once(host, port):
        async with connected(host, port) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(raw)

    async with serving(brief, max_connections=2) as (host, port):
        with caplog.at_level(logging.INFO, "attestrio"):
            for _ in range(40):
                await once(host, port)
            with contextlib.ExitStack() as stack:
                for _ in range(40):
                    stack.enter_context(socket.create_connection((host, port), timeout=SOON_S))
                served = b""
                while not served:
                    with contextlib.suppress(Unreachable):
                        async with client(f"http://{host}:{port}/") as http:
                            served = await post_bounded(http, f"http://{host}:{port}/", b"")

    assert served == b"hi"
    assert len(caplog.records) <= 3
