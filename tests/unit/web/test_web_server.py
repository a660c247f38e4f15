"""The web server on real sockets: event streams, their bounds and their end."""

import contextlib
import logging
from dataclasses import replace

import httpx
import msgspec
import pytest
import trio
from attestrio.kit.http import AddressInUse
from attestrio.kit.metrics import Metrics
from attestrio.web import events
from attestrio.web.api import StatusView
from attestrio.web.events import MAX_STREAMS
from attestrio.web.status import LIMITS, WebServer
from suite import patient
from web_kit import Scripted, health

PROMPT_S = patient(2.0)  # for what takes milliseconds, on a machine that has other things to do


class Site:
    """A server that runs, and a client of it."""

    def __init__(self, url, source, http, stop):
        self.url, self.source, self.http, self.stop = url, source, http, stop

    @contextlib.asynccontextmanager
    async def stream(self):
        """The answer to one request for events."""
        host, port = self.url.removeprefix("http://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as tcp:
            # HTTP/1.0: the body is not cut in chunks
            await tcp.send_all(f"GET /events HTTP/1.0\r\nhost: {host}\r\n\r\n".encode())
            stream = Stream(tcp)
            await stream.read_head()
            yield stream


class Stream:
    """What came over one connection."""

    def __init__(self, tcp):
        self.tcp, self.head, self.raw = tcp, "", b""

    async def until(self, mark):
        """What comes before `mark`; everything, where the connection ends before it."""
        with trio.fail_after(PROMPT_S):
            while mark not in self.raw:
                data = await self.tcp.receive_some()
                if not data:
                    text, self.raw = self.raw, b""
                    return text.decode()
                self.raw += data
        text, _, self.raw = self.raw.partition(mark)
        return text.decode()

    async def read_head(self):
        self.head = await self.until(b"\r\n\r\n")

    @property
    def code(self):
        return int(self.head.split()[1])

    async def next(self):
        """The next event: name and data; what only sets the time of another attempt is left out."""
        lines = (await self.until(b"\n\n")).splitlines()
        if not lines:
            return "end", ""
        fields = dict(line.split(": ", 1) for line in lines)
        return (fields["event"], fields["data"]) if "event" in fields else await self.next()

    async def document(self):
        name, data = await self.next()
        assert name == "status"
        return msgspec.json.decode(data, type=StatusView)


@pytest.fixture
async def site(nursery):
    async with running(nursery) as made:
        yield made


@contextlib.asynccontextmanager
async def running(nursery, **options):
    source = Scripted()
    server = WebServer(source, health(), Metrics(), "127.0.0.1:0", **options)
    ended, scope = trio.Event(), trio.CancelScope()

    async def live(*, task_status):
        with scope:
            await server.run(task_status=task_status)
        ended.set()

    async def stop():
        scope.cancel()
        await ended.wait()

    url = await nursery.start(live)
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=200)) as http:
        yield Site(url, source, http, stop)
    await stop()


@pytest.mark.slow
async def test_a_stream_begins_with_the_present_document_and_goes_on_with_each_newer_one(site):
    async with site.stream() as stream:
        first = await stream.document()
        site.source.say("two")
        second = await stream.document()

    assert "content-type: text/event-stream" in stream.head.lower()
    assert (first.version, first.log[0].text) == (1, "one")
    assert (second.version, second.log[0].text) == (2, "two")


@pytest.mark.slow
async def test_all_clients_share_one_document(site):
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(site.stream()) for _ in range(10)]
        for stream in streams:
            await stream.document()
        site.source.say("two")
        texts = [(await stream.document()).log[0].text for stream in streams]

    assert texts == ["two"] * 10
    assert site.source.made == 2


async def test_a_stream_too_many_is_turned_away_and_a_place_that_is_free_again_is_given(site):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_STREAMS):
            await (await stack.enter_async_context(site.stream())).document()
        async with site.stream() as one_more:
            refused = one_more.code
        page = await site.http.get(f"{site.url}/readyz")
    given = 503
    with trio.fail_after(PROMPT_S):
        while given == 503:
            await trio.lowlevel.checkpoint()
            async with site.stream() as another:
                given = another.code

    assert (refused, page.status_code, given) == (503, 200, 200)


@pytest.mark.slow
async def test_as_many_streams_are_given_when_all_ask_at_once(site):
    document, codes = site.source.document, []

    async def slow():  # those who ask meanwhile wait with the first one
        await trio.sleep(0.1)
        return await document()

    site.source.document = slow
    all_told = trio.Event()

    async def ask():
        async with site.stream() as stream:
            codes.append(stream.code)
            if len(codes) == MAX_STREAMS + 10:
                all_told.set()
            await all_told.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(MAX_STREAMS + 10):
            nursery.start_soon(ask)

    assert sorted(codes) == [200] * MAX_STREAMS + [503] * 10


async def test_streams_end_by_themselves_when_the_server_does(nursery, caplog):
    slow_to_stop = replace(LIMITS, grace_s=60.0)

    async with running(nursery, limits=slow_to_stop) as site, site.stream() as stream:
        await stream.document()
        began = trio.current_time()
        await site.stop()
        closing, end = await stream.next(), await stream.next()

    assert (closing, end) == (("closing", "{}"), ("end", ""))
    assert trio.current_time() - began < PROMPT_S
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


@pytest.mark.slow
async def test_a_stream_outlives_the_time_a_connection_may_be_idle(nursery, monkeypatch):
    monkeypatch.setattr(events, "BEAT_S", 0.2)
    async with running(nursery, limits=replace(LIMITS, idle_s=0.1)) as site, site.stream() as stream:
        await stream.document()
        beats = [await stream.next() for _ in range(2)]

    assert [name for name, _ in beats] == ["beat", "beat"]
    assert all(msgspec.json.decode(data)["as_of"] > 1e9 for _, data in beats)


@pytest.mark.parametrize("path", ["/", "/status.json", "/events", "/readyz", "/metrics"])
async def test_a_head_request_is_answered_without_a_body(site, path):
    answer = await site.http.head(f"{site.url}{path}", timeout=PROMPT_S)

    assert (answer.status_code, answer.content) == (200, b"")


async def test_an_address_that_is_taken_is_told_at_the_start(site, nursery):
    bind = site.url.removeprefix("http://")
    second = WebServer(Scripted(), health(), Metrics(), bind)

    with pytest.RaisesGroup(AddressInUse, flatten_subgroups=True):
        async with trio.open_nursery() as own:
            await own.start(second.run)
