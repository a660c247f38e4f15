"""Who may ask, how, and what a browser is told: the pages without sockets."""

import msgspec
import pytest
import trio
import trio.testing
from attestrio.errors import OutOfDescriptors, SourceError
from attestrio.kit.http import memory_client
from attestrio.kit.metrics import Metrics
from attestrio.web.api import BatchView, StatusView
from attestrio.web.assets import read_assets
from attestrio.web.beat import DEAD_S, EVERY_S, LATE_S, Beat
from attestrio.web.guard import MAX_REQUESTS, PROBES, Guard, page_of
from attestrio.web.publisher import Publisher
from attestrio.web.status import pages_app
from suite import patient
from web_kit import BAD, GOOD, Scripted, Wall, health

BATCH = BatchView(
    number=7, state="open", reason="", meaning="", hash=None, weight=0, other_weight=0, threshold=1, total_weight=1,
    first_seen=None, ended_at=None, steps=[], votes=[],
)  # fmt: skip


class Site:
    """The application of one process, and a client of it."""

    def __init__(self, checks=None, hosts=frozenset()):
        self.source, self.metrics = Scripted(), Metrics()
        self.source.batches[7] = BATCH
        self.beat = Beat(self.metrics)
        self.publisher = Publisher(self.source, Wall())
        self.app = Guard(
            pages_app(self.publisher, self.source, checks or health(), self.metrics, self.beat, read_assets()),
            hosts,
            self.metrics,
        )
        self.http = memory_client(self.app, "http://127.0.0.1/")

    async def get(self, path, method="GET", **headers):
        return await self.http.request(method, f"http://127.0.0.1{path}", headers=headers)


@pytest.fixture
async def site():
    made = Site()
    yield made
    await made.http.aclose()


PATHS = ("/", "/page/page.js", "/status.json", "/batches/7.json", "/livez", "/readyz", "/health", "/metrics")


@pytest.mark.parametrize("path", PATHS)
async def test_every_address_answers_and_keeps_other_origins_out(site, path):
    answer = await site.get(path, origin="http://evil.example")

    assert answer.status_code == 200
    assert answer.content
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "NONSENSE"])
async def test_only_reading_is_possible(site, method):
    answer = await site.get("/status.json", method)

    assert answer.status_code == 405
    assert site.source.made == 0


@pytest.mark.parametrize("path", ["/", "/status.json", "/events", "/batches/7.json", "/page/page.js"])
async def test_a_name_that_is_not_ours_gets_no_page(site, path):
    answer = await site.get(path, host="evil.example")

    assert answer.status_code == 403
    assert site.source.made == 0


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/metrics"])
async def test_programs_may_ask_by_any_name(site, path):
    assert (await site.get(path, host="node-1.internal:9464")).status_code == 200


async def test_a_configured_name_gets_the_page():
    site = Site(hosts=frozenset({"node-1.internal"}))

    assert (await site.get("/status.json", host="node-1.internal:9464")).status_code == 200
    await site.http.aclose()


@pytest.mark.parametrize(
    "path",
    ["/batches/8.json", "/batches/-7.json", "/batches/x.json", "/batches/²", "/batches/" + "9" * 5_000 + ".json",
     "/batches/7", "/page/../api.py", "/page/%2e%2e%2fapi.py", "/page/none.js", "/nothing", "//", "/status.json/",
     "/livez/", "/page/page.js/", "/page/%00", "/%ff"],
)  # fmt: skip
async def test_what_is_not_there_is_not_found(site, path):
    assert (await site.get(path)).status_code == 404


async def test_the_document_and_a_batch_are_json(site):
    document = msgspec.json.decode((await site.get("/status.json")).content, type=StatusView)
    one = msgspec.json.decode((await site.get("/batches/7.json")).content, type=BatchView)

    assert (document.version, document.node.name) == (1, "scripted")
    assert one == BATCH


async def test_readiness_says_which_check_is_bad_and_goes_back():
    found = [GOOD]
    checks = health(main_node=lambda: found[0])
    site = Site(checks)

    good = await site.get("/readyz")
    found[0] = BAD
    checks.look()
    bad = await site.get("/readyz")

    assert (good.status_code, good.json()["ready"]) == (200, True)
    assert (bad.status_code, bad.json()["ready"]) == (503, False)
    assert bad.json()["checks"] == [{"name": "main_node", "ok": False, "reason": BAD.reason, "since": 1_000.0}]
    await site.http.aclose()


async def test_more_requests_than_can_be_answered_are_turned_away(site):
    gate = trio.Event()

    async def slow(number):
        await gate.wait()
        return BATCH

    site.source.batch = slow
    codes = []

    async def ask():
        codes.append((await site.get("/batches/7.json")).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(MAX_REQUESTS + 3):
            nursery.start_soon(ask)
        with trio.fail_after(patient(5)):
            while len(codes) < 3:
                await trio.lowlevel.checkpoint()
        gate.set()

    assert codes[:3] == [503] * 3
    assert codes[3:] == [200] * MAX_REQUESTS


async def test_probes_are_answered_however_many_requests_wait(site):
    gate = trio.Event()

    async def slow(number):
        await gate.wait()
        return BATCH

    site.source.batch = slow
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_REQUESTS):
            nursery.start_soon(site.get, "/batches/7.json")
        await trio.testing.wait_all_tasks_blocked()
        busy = await site.get("/status.json")
        codes = [(await site.get(path)).status_code for path in sorted(PROBES)]
        gate.set()

    assert (busy.status_code, busy.headers["connection"]) == (503, "close")
    assert codes == [200] * len(PROBES)


@pytest.mark.parametrize(
    "fault", [OutOfDescriptors("duty.db cannot be opened"), SourceError("redis at 10.1.2.3 is away")]
)
async def test_what_cannot_be_read_now_is_said_without_what_the_fault_tells(site, fault):
    async def unread(*_):
        raise fault

    site.source.batch = site.source.document = unread
    answers = [await site.get(path) for path in ("/status.json", "/batches/7.json", "/events")]

    assert [answer.status_code for answer in answers] == [503] * 3
    assert [fault.code in answer.text for answer in answers] == [True] * 3
    assert not [answer.text for answer in answers if "duty.db" in answer.text or "10.1.2.3" in answer.text]


async def test_answers_are_counted_by_page_and_not_by_what_a_stranger_asks_for(site):
    for path in ("/status.json", "/batches/7.json", "/batches/8.json", "/x/y", "/wp-login.php"):
        await site.get(path)

    def count(page, status):
        return site.metrics.value("attestrio_web_answers_total", page=page, status=status)

    assert (count("status", "2xx"), count("batch", "2xx"), count("batch", "4xx"), count("other", "4xx")) == (1, 1, 1, 2)


@pytest.mark.parametrize(
    ("path", "page"),
    [("/", "page"), ("/page/x", "page"), ("/health", "readyz"), ("/events", "events"), ("/status.json", "status"),
     ("/other", "other"), ("/page", "page"), ("/batches/1.json", "batch"), ("/statusx", "other")],
)  # fmt: skip
def test_every_path_has_one_label(path, page):
    assert page_of(path) == page


async def test_the_loop_is_alive_while_it_beats_and_late_when_it_was_held_up(nursery, mock_clock):
    beat = Beat(Metrics())
    nursery.start_soon(beat.run)
    before = beat.is_alive()
    await trio.testing.wait_all_tasks_blocked()

    mock_clock.jump(EVERY_S + LATE_S)
    await trio.testing.wait_all_tasks_blocked()
    late = beat.finding()
    mock_clock.jump(DEAD_S)

    assert before
    assert not late.ok
    assert "1.0 s" in late.reason
    assert not beat.is_alive()
