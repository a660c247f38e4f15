"""The bounded client and the cancellable server: real sockets on loopback, except where a test says memory."""

import contextlib
import gzip
import logging
import socket
import struct
import zlib
from functools import partial

import httpx
import pytest
import trio
import trio.testing
from attestrio.errors import SetupError
from attestrio.kit.http import (
    AddressInUse,
    AnswerGarbled,
    AnswerTooLarge,
    AnswerTooLate,
    BadAddress,
    BadHttpStatus,
    BadUrl,
    ServerLimits,
    Unreachable,
    client,
    memory_client,
    post_bounded,
    serve_app,
    shown,
    url_of,
)
from attestrio.kit.tcp import bind_socket
from starlette.responses import Response
from suite import patient


async def echo(scope, receive, send):
    """Answers with the body it got."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await Response(body)(scope, receive, send)


def canned(raw):
    """A connection handler that reads once, sends `raw` and closes: what no well-behaved server library would send."""

    async def handle(stream):
        async with stream:
            await stream.receive_some(65536)
            await stream.send_all(raw)

    return handle


async def serve_raw(nursery, raw):
    listeners = await nursery.start(partial(trio.serve_tcp, canned(raw), 0, host="127.0.0.1"))
    return f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"


async def post(url, body=b"{}", **more):
    async with client(url) as http:
        return await post_bounded(http, url, body, **more)


# --- client


async def test_a_body_goes_there_and_back(nursery):
    url = await nursery.start(serve_app, echo, "127.0.0.1:0")

    assert await post(url, b'{"a":1}') == b'{"a":1}'
    nursery.cancel_scope.cancel()


async def test_memory_client_waits_in_virtual_time(autojump_clock):
    async def slow(scope, receive, send):
        await trio.sleep(60)
        await echo(scope, receive, send)

    async with memory_client(slow) as http:
        assert await post_bounded(http, "http://memory/", b"x", timeout_s=61) == b"x"
        assert trio.current_time() == 60.0
        with pytest.raises(AnswerTooLate, match="http://memory/: no answer within 5 s"):
            await post_bounded(http, "http://memory/", b"x", timeout_s=5)
        assert trio.current_time() == 65.0


async def test_an_answer_above_the_limit_is_not_read_to_its_end():
    sent = 0

    async def endless(stream):
        nonlocal sent
        async with stream:
            await stream.receive_some(65536)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(b"x" * 65536)
                    sent += 65536

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, endless, 0, host="127.0.0.1"))
        with pytest.raises(AnswerTooLarge) as caught:
            await post(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/", max_bytes=1 << 20)
        nursery.cancel_scope.cancel()

    assert (1 << 20) < caught.value.size <= (1 << 20) + 65536
    assert caught.value.limit == 1 << 20
    assert sent < 50_000_000  # what was on its way in socket buffers, not for ever


async def test_a_stated_length_above_the_limit_is_enough(nursery):
    url = await serve_raw(nursery, b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")

    with pytest.raises(AnswerTooLarge, match="10000000 B or more, limit 1048576 B"):
        await post(url)
    nursery.cancel_scope.cancel()


def encoded(body, encoding):
    async def app(scope, receive, send):
        await Response(body, headers={"content-encoding": encoding})(scope, receive, send)

    return app


@pytest.mark.parametrize(("compress", "encoding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
async def test_a_compressed_answer_is_bounded_when_unpacked(compress, encoding):
    async with memory_client(encoded(compress(b"x" * 1000), encoding)) as http:
        assert await post_bounded(http, "http://memory/", b"", max_bytes=1000) == b"x" * 1000
    async with memory_client(encoded(compress(b"\0" * 20_000_000), encoding)) as bomb:
        with pytest.raises(AnswerTooLarge, match="limit 1048576 B"):
            await post_bounded(bomb, "http://memory/", b"")


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"x", "br"), (b"not gzip", "gzip"), (gzip.compress(b"x" * 100)[:-9], "gzip"), (b"x", "gzip, gzip")],
    ids=["not asked for", "not gzip", "cut off", "twice"],
)
async def test_what_cannot_be_unpacked_is_named(body, encoding):
    async with memory_client(encoded(body, encoding)) as http:
        with pytest.raises(AnswerGarbled, match=encoding):
            await post_bounded(http, "http://memory/", b"")


async def test_a_trickle_ends_at_the_deadline_of_the_call(autojump_clock):
    """ASGI in memory hands over whole answers, so the trickle is in the app: the deadline is the same."""

    async def trickle(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await trio.sleep(1)

    async with memory_client(trickle) as http:
        with pytest.raises(AnswerTooLate):
            await post_bounded(http, "http://memory/", b"", timeout_s=7.5)

    assert trio.current_time() == 7.5


@pytest.mark.parametrize("status", [204, 301, 403, 500, 503])
async def test_any_status_but_200_is_told(status):
    async def app(scope, receive, send):
        await Response(status_code=status, headers={"location": "http://elsewhere/"})(scope, receive, send)

    async with memory_client(app) as http:
        with pytest.raises(BadHttpStatus, match=f"HTTP status {status}$") as caught:
            await post_bounded(http, "http://memory/", b"")
    assert caught.value.status == status


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: nine\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000,
    ],
)
async def test_broken_http_is_unreachable(nursery, raw):
    url = await serve_raw(nursery, raw)

    with pytest.raises(Unreachable, match=f"{url}: not reached: ."):
        await post(url)
    nursery.cancel_scope.cancel()


async def test_a_closed_port_is_unreachable():
    with await bind_socket("127.0.0.1:0") as bound, pytest.raises(Unreachable):
        await post(url_of(bound))


async def test_cookies_are_not_kept():
    seen = []

    async def app(scope, receive, send):
        seen.append(dict(scope["headers"]).get(b"cookie"))
        await Response(b"ok", headers={"set-cookie": "a=b"})(scope, receive, send)

    async with memory_client(app) as http:
        await post_bounded(http, "http://memory/", b"")
        await post_bounded(http, "http://memory/", b"")
        kept = list(http.cookies.jar)

    assert seen == [None, None]
    assert kept == []


async def test_the_password_of_a_url_is_sent_and_never_shown():
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope["headers"])
        await Response(status_code=500)(scope, receive, send)

    url = "http://user:hunter2@memory/rpc?apikey=hunter3#x"
    async with memory_client(app, url) as http:
        with pytest.raises(BadHttpStatus) as caught:
            await post_bounded(http, url, b"")

    assert seen[b"authorization"].startswith(b"Basic ")
    assert str(caught.value) == "http://memory/rpc?redacted: HTTP status 500"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://a/b", "http://a/b"),
        ("https://user@a:81", "https://a:81"),
        ("https://a/?k=v", "https://a/?redacted"),
        ("https://a/v3/0123456789abcdef?k=v", "https://a/v3/redacted?redacted"),
        ("https://a/ext/bc/C/rpc/Ab_-0123456789abcdef/x%2Fy", "https://a/ext/bc/C/rpc/redacted/x/y"),
        ("https://a/0123456789abcdef.json", "https://a/0123456789abcdef.json"),
        ("https://a/b%2Fc", "https://a/b%2Fc"),
        ("http://a:x/", "(unreadable URL)"),
    ],
)
def test_shown_urls_carry_no_secrets(url, text):
    assert shown(url) == text


@pytest.mark.parametrize(
    "url", ["", "main-node:3060", "ftp://a/", "http://", "http://a:x/", "//a", "http://a:99999999/", "http://one two/"]
)
def test_a_bad_url_is_for_the_operator(url):
    with pytest.raises(BadUrl, match="not an http:// or https:// URL"):
        client(url)


# --- server


async def test_a_port_in_use_is_one_sentence_with_the_address():
    with await bind_socket("127.0.0.1:0") as taken:
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(AddressInUse) as caught:
            await serve_app(echo, address)

    assert (
        str(caught.value)
        == f"cannot listen on {address}: the address is in use; stop who listens there or choose another"
    )
    assert caught.value.exit_code == 3
    assert isinstance(caught.value, SetupError)


NOT_OURS = ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "a:b:1", "[::1]", "192.0.2.1:0"]


@pytest.mark.parametrize("bind", NOT_OURS)
async def test_an_address_that_is_none_of_ours_is_named(bind):
    with pytest.raises(BadAddress) as caught:
        await serve_app(echo, bind)

    assert str(caught.value).startswith(f"cannot listen on {bind}: ")
    assert caught.value.exit_code == 2


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
async def test_ipv6_is_served(nursery):
    try:
        bound = await bind_socket("[::1]:0")
    except BadAddress:
        pytest.skip("this machine has no ::1")
    url = await nursery.start(serve_app, echo, bound)

    assert url.startswith("http://[::1]:")
    assert await post(url, b"six") == b"six"
    nursery.cancel_scope.cancel()


async def test_the_port_is_free_again_after_a_cancel():
    bound = await bind_socket("127.0.0.1:0")
    address = f"127.0.0.1:{bound.getsockname()[1]}"

    for bind in (bound, address, address):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_app, echo, bind)
            assert await post(url, b"again") == b"again"
            nursery.cancel_scope.cancel()


async def test_an_answer_under_way_is_finished_after_a_cancel():
    begun, go_on, got = trio.Event(), trio.Event(), []

    async def slow(scope, receive, send):
        begun.set()
        await go_on.wait()
        await echo(scope, receive, send)

    async def ask(url):
        got.append(await post(url, b"late"))

    async with trio.open_nursery() as asking, trio.open_nursery() as serving:
        url = await serving.start(serve_app, slow, "127.0.0.1:0")
        asking.start_soon(ask, url)
        await begun.wait()
        serving.cancel_scope.cancel()
        go_on.set()

    assert got == [b"late"]


async def test_an_answer_that_takes_longer_than_the_grace_is_cut():
    begun, errors = trio.Event(), []

    async def never(scope, receive, send):
        begun.set()
        await trio.sleep_forever()

    async def ask(url):
        with pytest.raises(Unreachable) as caught:
            await post(url)
        errors.append(caught.value.code)

    async with trio.open_nursery() as asking, trio.open_nursery() as serving:
        limits = ServerLimits(grace_s=0.05)
        url = await serving.start(partial(serve_app, never, "127.0.0.1:0", limits=limits))
        asking.start_soon(ask, url)
        await begun.wait()
        serving.cancel_scope.cancel()

    assert errors == ["unreachable"]


async def test_a_client_that_does_not_read_cannot_hold_up_a_stop():
    async def big(scope, receive, send):
        await Response(b"x" * 30_000_000)(scope, receive, send)

    limits = ServerLimits(grace_s=0.02, send_s=0.05)
    with trio.fail_after(patient(5)):
        async with trio.open_nursery() as nursery:
            url = httpx.URL(await nursery.start(partial(serve_app, big, "127.0.0.1:0", limits=limits)))
            stream = await trio.open_tcp_stream(url.host, url.port)
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await stream.receive_some(10)
            nursery.cancel_scope.cancel()
        await stream.aclose()

    assert nursery.cancel_scope.cancelled_caught


async def test_half_a_request_is_dropped_when_idle_for_too_long():
    limits = ServerLimits(idle_s=0.05)
    with trio.fail_after(patient(5)):
        async with trio.open_nursery() as nursery:
            url = httpx.URL(await nursery.start(partial(serve_app, echo, "127.0.0.1:0", limits=limits)))
            async with await trio.open_tcp_stream(url.host, url.port) as stream:
                await stream.send_all(b"POST / HTTP/1.1\r\nhost:")
                rest = await stream.receive_some(1000)
            nursery.cancel_scope.cancel()

    assert rest == b""


async def leave_at_once(stream):
    await stream.aclose()


async def leave_after_an_answer(stream):
    await stream.send_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
    answer = b""
    while not answer.endswith(b"hi") and (more := await stream.receive_some(1000)):
        answer += more
    await trio.testing.wait_all_tasks_blocked()  # the server waits for the next request
    await stream.aclose()


async def leave_before_the_answer(stream):
    """By a reset, which ends the reading and not the answering."""
    await stream.send_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


@pytest.mark.parametrize("leave", [leave_at_once, leave_after_an_answer, leave_before_the_answer])
async def test_clients_that_leave_take_no_place_from_those_who_come(leave):
    limits = ServerLimits(max_connections=3)
    with trio.fail_after(patient(5)):
        async with trio.open_nursery() as nursery:
            url = httpx.URL(await nursery.start(partial(serve_app, echo, "127.0.0.1:0", limits=limits)))
            for _ in range(10):
                with contextlib.suppress(trio.BrokenResourceError):  # those who come before the news of the others
                    await leave(await trio.open_tcp_stream(url.host, url.port))
            served = b""
            while not served:
                with contextlib.suppress(Unreachable):
                    served = await post(str(url), b"here")
            nursery.cancel_scope.cancel()

    assert served == b"here"


async def test_a_client_that_leaves_while_it_is_answered_is_no_error(caplog):
    async def in_pieces(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with trio.open_nursery() as nursery:
        url = httpx.URL(await nursery.start(serve_app, in_pieces, "127.0.0.1:0"))
        for _ in range(20):
            async with await trio.open_tcp_stream(url.host, url.port) as stream:
                await stream.send_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\nhalf")
                await stream.receive_some(10)
                await stream.send_eof()
                with contextlib.suppress(trio.BrokenResourceError):
                    while await stream.receive_some(65536):
                        pass
        nursery.cancel_scope.cancel()

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_burst_of_clients_is_kept_until_it_is_accepted(nursery):
    url = httpx.URL(await nursery.start(serve_app, echo, "127.0.0.1:0"))

    with contextlib.ExitStack() as stack:
        for _ in range(300):  # by blocking calls: the server, in this thread, accepts none of them meanwhile
            stack.enter_context(socket.create_connection((url.host, url.port), timeout=1))
    nursery.cancel_scope.cancel()


GARBAGE = [
    b"\x00" * 100,
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\nx",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET http://[x HTTP/1.1\r\nhost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: !\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 10_000,
]


async def test_garbage_costs_only_its_connection():
    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve_app, echo, "127.0.0.1:0", limits=ServerLimits(idle_s=0.1)))
        for raw in GARBAGE:
            stream = await trio.open_tcp_stream(httpx.URL(url).host, httpx.URL(url).port)
            async with stream:
                await stream.send_all(raw)
                await stream.send_eof()
                with trio.fail_after(patient(5)):
                    try:
                        while await stream.receive_some(65536):
                            pass
                    except trio.BrokenResourceError:  # a reset is as good as a close
                        pass

        assert await post(url, b"still here") == b"still here"
        nursery.cancel_scope.cancel()


async def test_an_app_that_raises_is_a_500_in_our_log_and_nowhere_else(nursery, caplog, capfd):
    async def raises(scope, receive, send):
        raise RuntimeError("a bug")

    url = await nursery.start(serve_app, raises, "127.0.0.1:0")
    with pytest.raises(BadHttpStatus, match="500"):
        await post(url)
    nursery.cancel_scope.cancel()

    names = [record.name for record in caplog.records if record.levelno >= logging.WARNING]
    assert names == ["attestrio.http.hypercorn"]
    assert capfd.readouterr() == ("", "")


async def test_serving_prints_nothing(nursery, capfd):
    url = await nursery.start(serve_app, echo, "127.0.0.1:0")
    await post(url)
    nursery.cancel_scope.cancel()

    assert capfd.readouterr() == ("", "")
