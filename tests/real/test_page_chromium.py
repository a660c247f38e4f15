"""The status page in a real browser: what a visitor sees, while it changes, when it stops, on any screen."""

import time
from contextlib import asynccontextmanager

import pytest
import trio
from attestrio.kit.metrics import Metrics
from attestrio.sim.cluster import Cluster, ClusterSpec
from attestrio.web.events import MAX_STREAMS
from attestrio.web.health import Health
from attestrio.web.status import WebServer
from chromium_kit import DESKTOP, PHONE, chromium
from page_documents import HOSTILE, Shown, back_from_an_outage, everything, nothing
from suite import needs, patient

pytestmark = [pytest.mark.slow, pytest.mark.real, needs("chromium")]

TEST_S = patient(90)
BATCHES = "document.querySelectorAll('.batches > li').length"
NEWEST = "Number(document.querySelector('.batches .number')?.textContent ?? -1)"
OPENED = "document.querySelector('.batches details[open] .number')?.textContent"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
async def browser():
    async with chromium() as one:
        yield one


@asynccontextmanager
async def served(source, bind="127.0.0.1:0"):
    """A page about `source`; its URL."""
    metrics = Metrics()
    async with trio.open_nursery() as nursery:
        yield await nursery.start(WebServer(source, Health(time.time, metrics), metrics, bind).run)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def devnet(folder, attesters=4):
    """A network that runs, a batch every half second."""
    cluster = Cluster(
        folder, ClusterSpec(attesters=attesters, batch_every_s=0.5, lift_rates=True, web=("127.0.0.1", 0))
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(cluster.run)
        yield cluster
        nursery.cancel_scope.cancel()


async def test_the_page_of_a_running_network_shows_committee_batches_and_timeline_and_goes_on_by_itself(
    browser, tmp_path
):
    with trio.fail_after(TEST_S):
        async with devnet(tmp_path) as cluster:
            url = cluster.pages["attester-1"]
            page = await browser.page()

            await page.open(f"{url}/")
            await page.wait(f"{BATCHES} > 2")
            committee = await page.text("#committee")
            before = await page.value(NEWEST)
            await page.value("window.visited = true")  # gone, if the page were loaded again
            await page.wait(f"{NEWEST} > {before + 2}")
            await page.click(".batches li:nth-child(3) summary")
            story = await page.wait("document.querySelector('.timeline')?.innerText")
            meter = await page.value("document.querySelector('.batches li:nth-child(3) .quorum').ariaLabel")

            assert all(f"attester-{number}" in committee for number in (1, 2, 3, 4))
            assert "this node" in committee
            assert await page.value("window.visited") is True
            assert "told" in story
            assert "certified" in story
            assert "vote of attester-2" in story
            assert meter.endswith("weight 4 of 4, 4 needed")
            assert "main-node" in await page.text("#peers")
            assert "✓ Ready" in await page.text("#head")
            assert [request for request in page.requests if not request.startswith(f"{url}/")] == []
            assert f"{url}/page/page.js" in page.requests
            assert page.complaints == []


async def test_a_batch_stays_open_on_the_page_while_newer_ones_come(browser, tmp_path):
    with trio.fail_after(TEST_S):
        async with devnet(tmp_path) as cluster:
            page = await browser.page()
            await page.open(f"{cluster.pages['main-node']}/")
            await page.wait(f"{BATCHES} > 2")

            await page.value("location.hash = '#batch-1'")
            found = await page.wait("document.querySelector('.batches details[open] .number')?.textContent")
            await page.wait(f"{BATCHES} > 2")
            await page.click(".batches details[open] summary")
            await page.click(".batches li:first-child summary")
            number = await page.wait(OPENED)
            await page.wait(f"{NEWEST} > {number} + 2")

            assert await page.value(OPENED) == number
            assert found == "1"
            assert await page.value("document.querySelectorAll('.batches details[open]').length") == 1
            assert page.complaints == []


async def test_a_banner_says_that_the_node_stopped_and_goes_when_it_is_back(browser):
    with trio.fail_after(TEST_S):
        page = await browser.page()
        async with served(Shown(everything())) as url:
            await page.open(f"{url}/")
            await page.wait("document.querySelector('#committee') !== null")
            assert await page.value("document.getElementById('banner').hidden")
        await page.wait("!document.getElementById('banner').hidden")
        said = await page.text("#banner")
        live = await page.text("#live")
        async with served(Shown(everything()), url.removeprefix("http://")):
            await page.wait("document.getElementById('banner').hidden")

    assert "The node has stopped" in said
    assert "What you see is of" in said
    assert live == "not live"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, (320, 600), DESKTOP], ids=["phone", "narrow", "desktop"])
async def test_nothing_sticks_out_to_the_side_and_nothing_is_blank(browser, size, dark):
    with trio.fail_after(TEST_S):
        async with served(Shown(everything())) as url:
            page = await browser.page(size, dark=dark)
            await page.open(f"{url}/#batch-117")
            await page.wait("document.querySelector('.timeline') !== null")
            text = await page.text()
            ground = await page.value("getComputedStyle(document.body).backgroundColor")

            assert await page.value(WIDER) == 0
            assert not [word for word in ("undefined", "NaN", "[object", "null") if word in text]
            assert (sum(map(int, ground[4:-1].split(","))) < 200) == dark
            assert page.complaints == []


async def test_what_strangers_write_is_shown_as_text(browser):
    with trio.fail_after(TEST_S):
        async with served(Shown(everything())) as url:
            page = await browser.page()
            await page.open(f"{url}/")
            await page.wait("document.querySelector('#log') !== null")

            assert HOSTILE in await page.text("#committee")
            assert HOSTILE in await page.text("#log")
            assert await page.value("document.images.length") == 0


@pytest.mark.parametrize("role", ["attester", "main-node", "operator", "aggregator", "sequencer"])
async def test_a_node_that_knows_nothing_yet_says_what_is_missing(browser, role):
    with trio.fail_after(TEST_S):
        async with served(Shown(nothing(role))) as url:
            page = await browser.page(PHONE)
            await page.open(f"{url}/")
            text = await page.wait("document.querySelector('#log') && document.body.innerText")

            assert "✕ Not ready" in text
            assert "no epoch runs" in text
            assert ("No epoch runs." in text) == (role in ("attester", "main-node"))
            assert not [word for word in ("undefined", "NaN", "null") if word in text]
            assert await page.value(WIDER) == 0
            assert page.complaints == []


async def test_what_was_attested_while_the_node_was_down_is_named_between_the_batches(browser):
    with trio.fail_after(TEST_S):
        async with served(Shown(back_from_an_outage())) as url:
            page = await browser.page(PHONE)
            await page.open(f"{url}/#batch-110")
            await page.wait("document.querySelector('.timeline') !== null")

            gap, height = await page.value("(one => [one.innerText, one.offsetHeight])(document.querySelector('.gap'))")
            text = await page.text("#batches")

    assert gap == "7 batches, 111 to 117, were attested while this node did not run."
    assert height > 10
    assert "without this node’s vote: node stopped" in text
    assert "The node did not run. (again)" in text


async def test_times_are_ages_with_the_date_on_hover_or_the_other_way_about(browser):
    with trio.fail_after(TEST_S):
        async with served(Shown(everything())) as url:
            page = await browser.page()
            await page.open(f"{url}/")
            first = "document.querySelector('.failing time')"
            await page.wait(f"{first} !== null")

            age, hover = await page.value(f"[{first}.innerText, {first}.title]")
            await page.click("#foot button")
            date = await page.wait(f"{first}.innerText.includes(':') && {first}.innerText")

    assert age == "3 min ago"
    assert date in hover


async def test_a_page_that_gets_no_stream_asks_for_the_document_until_there_is_one(browser):
    with trio.fail_after(TEST_S):
        async with served(Shown(everything())) as url:
            host, port = url.removeprefix("http://").split(":")
            others = [await trio.open_tcp_stream(host, int(port)) for _ in range(MAX_STREAMS)]
            for one in others:
                await one.send_all(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                await one.receive_some()
            page = await browser.page()

            await page.open(f"{url}/")
            banner = await page.wait(
                "document.querySelector('#committee') && document.getElementById('banner').innerText"
            )
            for one in others:
                await one.aclose()
            await page.wait("document.getElementById('banner').hidden")

            assert "as many live pages as it may" in banner
            assert await page.text("#live") == "live"
