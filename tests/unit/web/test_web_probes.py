"""What supervisors and scrapers rely on: probes that tell the truth over HTTP, a guard that forgets what is over."""

import contextlib

import httpx
import pytest
import trio
import trio.testing
from attestrio.kit.http import memory_client
from attestrio.kit.metrics import Metrics
from attestrio.web.assets import read_assets
from attestrio.web.beat import DEAD_S, EVERY_S, Beat
from attestrio.web.guard import MAX_REQUESTS, Guard
from attestrio.web.hosts import is_ours
from attestrio.web.publisher import Publisher
from attestrio.web.status import WebServer, pages_app
from suite import patient
from web_kit import BAD, GOOD, Scripted, Wall, health

HOME = "http://127.0.0.1"


@contextlib.asynccontextmanager
async def site(source, beat=None):
    """A client of the pages, without sockets."""
    metrics = Metrics()
    pages = pages_app(Publisher(source, Wall()), source, health(), metrics, beat or Beat(metrics), read_assets())
    async with memory_client(Guard(pages, frozenset(), metrics), HOME) as http:
        yield http


async def beats_once(beat, clock):
    """Let it beat once, and never again."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat.run)
        await trio.testing.wait_all_tasks_blocked()
        clock.jump(EVERY_S)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_a_loop_that_has_not_beaten_for_long_is_not_alive(mock_clock):
    beat = Beat(Metrics())
    await beats_once(beat, mock_clock)

    async with site(Scripted(), beat) as http:
        well = await http.get(f"{HOME}/livez")
        mock_clock.jump(DEAD_S)
        dead = await http.get(f"{HOME}/livez")

    assert (well.status_code, well.json()["alive"]) == (200, True)
    assert (dead.status_code, dead.json()["alive"]) == (503, False)


async def test_how_late_the_loop_was_is_a_series(mock_clock):
    metrics = Metrics()

    await beats_once(Beat(metrics), mock_clock)

    assert metrics.value("attestrio_event_loop_lag_seconds_count") == 1.0


async def test_a_request_that_is_over_makes_room_for_another():
    source, gate = Scripted(), trio.Event()

    async def slow(_number):
        await gate.wait()

    source.batch = slow
    async with site(source) as http:
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_REQUESTS):
                nursery.start_soon(http.get, f"{HOME}/batches/7.json")
            await trio.testing.wait_all_tasks_blocked()
            full = await http.get(f"{HOME}/status.json")
            gate.set()
        after = await http.get(f"{HOME}/status.json")

    assert (full.status_code, after.status_code) == (503, 200)


OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


@pytest.mark.parametrize(
    ("accept", "kind", "last"),
    [
        (None, "application/openmetrics-text", b"# EOF\n"),
        ("*/*", "application/openmetrics-text", b"# EOF\n"),
        (OPENMETRICS, "application/openmetrics-text", b"# EOF\n"),
        ("text/plain;version=0.0.4", "text/plain", b"\n"),
    ],
)
async def test_metrics_are_openmetrics_and_the_older_text_for_who_reads_no_other(accept, kind, last):
    async with site(Scripted()) as http:
        http.headers.pop("accept")
        for _ in range(2):  # the second one is what was rendered for the first
            answer = await http.get(f"{HOME}/metrics", headers={} if accept is None else {"accept": accept})

            assert answer.headers["content-type"].startswith(kind)
            assert answer.content.endswith(last)
            assert (b"# EOF" in answer.content) is (kind != "text/plain")
            assert b"attestrio_build_info{" in answer.content
            assert b"_created" not in answer.content


@pytest.mark.slow
async def test_readiness_changes_by_itself_while_nobody_looks_at_the_page(nursery):
    found = [GOOD]
    server = WebServer(Scripted(), health(main_node=lambda: found[0]), Metrics(), "127.0.0.1:0")
    url = await nursery.start(server.run)

    async def wait_for(code):
        while (await http.get(f"{url}/readyz")).status_code != code:  # noqa: ASYNC110  as a supervisor asks
            await trio.sleep(0.05)

    async with httpx.AsyncClient(trust_env=False) as http:
        with trio.fail_after(patient(20)):
            await wait_for(200)
            found[0] = BAD
            await wait_for(503)
            found[0] = GOOD
            await wait_for(200)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["notlocalhost", "evil-localhost", "localhost.evil.example", "localhost:80:80"])
def test_a_name_that_looks_like_ours_is_not(host):
    assert not is_ours(host, frozenset({"node.example"}))


def test_only_files_of_known_types_can_be_asked_for(tmp_path):
    for name in ("page.js", "style.css", "notes.py", "attester.key", "no-suffix"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder.js").mkdir()

    assert set(read_assets(tmp_path)) == {"page.js", "style.css"}
