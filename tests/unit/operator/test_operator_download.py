"""Downloads: several URLs, one deadline, and everything an untrusted server can do wrong."""

import httpx
import pytest
import trio
from attestrio.kit.http import (
    AddressNotPublic,
    AnswerGarbled,
    AnswerTooLarge,
    AnswerTooLate,
    BadHttpStatus,
    Unreachable,
    serve_app,
)
from attestrio.operator.download import MAX_URLS, Downloader, DownloadSettings, urls_of
from attestrio.operator.errors import BadPointer, LengthMissing, RootDiffers

QUICK = DownloadSettings(max_bytes=100, budget_s=60.0, retries=())


async def as_it_is(raw):
    await trio.lowlevel.checkpoint()
    return raw


class Trickle(httpx.AsyncByteStream):
    def __init__(self, *chunks, pause_s=0.0):
        self._chunks, self._pause_s = chunks, pause_s
        self.sent, self._closed = 0, False

    async def aclose(self):
        self._closed = True

    async def __aiter__(self):
        for chunk in self._chunks:
            await trio.sleep(self._pause_s)
            if self._closed:
                raise httpx.ReadError("closed")
            self.sent += len(chunk)
            yield chunk


class Server(httpx.AsyncBaseTransport):
    """Answers by host; `asked` is every host in order, with the time."""

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    async def handle_async_request(self, request):
        await trio.lowlevel.checkpoint()
        self.asked.append((trio.current_time(), request.url.host))
        answer = self.answers[request.url.host]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def ok(raw=b"data", **headers):
    return httpx.Response(200, headers=headers or {"content-length": str(len(raw))}, stream=Trickle(raw))


async def fetched(server, pointer, settings=QUICK, read=as_it_is):
    async with Downloader(settings, server) as downloader:
        return await downloader.fetch(pointer, read)


async def test_the_next_url_is_asked_when_one_fails():
    server = Server(a=httpx.ConnectError("refused"), b=httpx.Response(503), c=ok())

    assert await fetched(server, "http://a/x, http://b/x,https://c/x") == b"data"
    assert [host for _, host in server.asked] == ["a", "b", "c"]


async def test_data_that_is_refused_counts_as_a_failure_of_its_url():
    async def only_good(raw):
        await trio.lowlevel.checkpoint()
        if raw != b"good":
            raise RootDiffers(b"\1" * 32, b"\2" * 32)
        return raw

    assert await fetched(Server(a=ok(b"evil"), b=ok(b"good")), "http://a,http://b", read=only_good) == b"good"
    with pytest.raises(RootDiffers):
        await fetched(Server(a=ok(b"evil")), "http://a", read=only_good)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.ConnectError("refused"), Unreachable),
        (httpx.ReadTimeout(""), Unreachable),
        (httpx.Response(404), BadHttpStatus),
        (httpx.Response(302, headers={"location": "http://elsewhere"}), BadHttpStatus),
        (ok(b"data", **{"x": "y"}), LengthMissing),
        (ok(b"data", **{"transfer-encoding": "chunked"}), LengthMissing),
        (ok(b"data", **{"content-length": "four"}), LengthMissing),
        (ok(b"data", **{"content-length": "-4"}), LengthMissing),
        (ok(b"data", **{"content-length": "101"}), AnswerTooLarge),
        (ok(b"data", **{"content-length": "3"}), AnswerTooLarge),
        (ok(b"data", **{"content-length": "5"}), Unreachable),
        (ok(b"data", **{"content-length": "4", "content-encoding": "gzip"}), AnswerGarbled),
    ],
)
async def test_an_answer_that_is_none_has_a_name(answer, error):
    with pytest.raises(error):
        await fetched(Server(a=answer), "http://a")


async def test_not_a_byte_is_read_of_a_batch_that_says_it_is_too_large():
    stream = Trickle(b"x")
    large = httpx.Response(200, headers={"content-length": "268435457"}, stream=stream)

    with pytest.raises(AnswerTooLarge) as caught:
        await fetched(Server(a=large), "http://a", DownloadSettings(retries=()))

    assert (caught.value.size, caught.value.limit, stream.sent) == (268_435_457, 268_435_456, 0)


async def test_no_more_is_kept_than_was_said():
    stream = Trickle(*[b"x" * 65536] * 200)
    lying = httpx.Response(200, headers={"content-length": "100"}, stream=stream)

    with pytest.raises(AnswerTooLarge):
        await fetched(Server(a=lying), "http://a")

    assert stream.sent <= 2 * 65536


async def test_all_urls_are_asked_again_after_each_wait(autojump_clock):
    server = Server(a=[httpx.Response(500), httpx.Response(500), ok()], b=httpx.Response(500))

    assert await fetched(server, "http://a,http://b", DownloadSettings()) == b"data"

    assert server.asked == [(0.0, "a"), (0.0, "b"), (5.0, "a"), (5.0, "b"), (15.0, "a")]


async def test_a_server_that_trickles_costs_the_budget_and_no_more(autojump_clock):
    slow = httpx.Response(200, headers={"content-length": "90"}, stream=Trickle(*[b"x"] * 90, pause_s=1.0))

    with pytest.raises(AnswerTooLate):
        await fetched(Server(a=slow), "http://a", DownloadSettings())

    assert trio.current_time() == 60.0


@pytest.mark.parametrize("pointer", ["", ",", "ftp://a", "file:///etc/passwd", "http://", "a b", "http://[::1", "\0"])
def test_a_pointer_without_a_url_is_no_pointer(pointer):
    with pytest.raises(BadPointer):
        urls_of(pointer)


def test_only_so_many_urls_are_asked():
    assert urls_of(",".join(f"http://h{n}" for n in range(100))) == tuple(f"http://h{n}" for n in range(MAX_URLS))
    assert urls_of("gopher://x, http://a/b.json") == ("http://a/b.json",)


async def test_a_slow_server_does_not_keep_the_next_url_from_being_asked(autojump_clock):
    slow = httpx.Response(200, headers={"content-length": "90"}, stream=Trickle(*[b"x"] * 90, pause_s=1.0))
    server = Server(slow=slow, quick=ok())

    assert await fetched(server, "http://slow,http://quick", DownloadSettings()) == b"data"
    assert server.asked == [(0.0, "slow"), (30.0, "quick")]


async def test_a_server_that_never_answers_costs_one_step():
    async with Downloader(DownloadSettings(step_s=7.0)) as downloader:
        assert downloader._client("http://a").timeout == httpx.Timeout(7.0)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{}/x", "http://localhost:{}/x", "http://2130706433:{}/x", "http://[::ffff:7f00:1]:{}/x"]
)
async def test_a_stranger_does_not_get_us_to_ask_next_door_unless_allowed(url):
    asked = []

    async def internal(scope, receive, send):
        asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"data"})

    async with trio.open_nursery() as nursery:
        served = await nursery.start(serve_app, internal, "127.0.0.1:0")
        pointer = url.format(served.rpartition(":")[2])
        async with Downloader(QUICK) as downloader:
            with pytest.raises(AddressNotPublic):
                await downloader.fetch(pointer, as_it_is)
            assert asked == []
        async with Downloader(DownloadSettings(retries=(), allow_private=True)) as downloader:
            assert await downloader.fetch(pointer, as_it_is) == b"data"
        nursery.cancel_scope.cancel()


async def test_an_address_that_is_refused_counts_as_a_failure_of_its_url_only():
    server = Server(a=AddressNotPublic("a", ["10.0.0.1"]), b=ok())

    assert await fetched(server, "http://a,http://b") == b"data"
