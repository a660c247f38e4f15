"""The pages of a network that runs: what they say of it, of a node that is away, and at the end of a process."""

import signal

import httpx
import msgspec
import pytest
import trio
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from attestrio.web.api import BatchView, StatusView
from network_kit import running, wait_certified
from processes import started
from suite import patient

pytestmark = [pytest.mark.real, pytest.mark.slow]

SEVEN = ClusterSpec(
    attesters=7, batch_every_s=0.1, poll_s=0.05, listen_s=0.05, redial_s=0.2, lift_rates=True, web=("127.0.0.1", 0)
)
TIMEOUT_S = patient(55)
LOOK_S = 0.05
ADDRESSES = ("/", "/status.json", "/batches/1.json", "/livez", "/readyz", "/health", "/metrics")


class Page:
    """The page of one node, asked over HTTP."""

    def __init__(self, url, http):
        self.url, self._http = url, http

    async def get(self, path):
        return await self._http.get(f"{self.url}{path}", timeout=patient(20.0))

    async def status(self):
        return msgspec.json.decode((await self.get("/status.json")).content, type=StatusView)

    async def wait(self, is_so):
        """The first document of which that is true."""
        while not is_so(status := await self.status()):  # noqa: ASYNC110  a page is asked again
            await trio.sleep(LOOK_S)
        return status

    async def is_ready(self):
        return (await self.get("/readyz")).status_code == 200

    async def wait_ready(self, ready):
        while await self.is_ready() != ready:  # noqa: ASYNC110  another program would ask again too
            await trio.sleep(LOOK_S)


@pytest.fixture
async def http():
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def page_of(cluster, name, http):
    return Page(cluster.pages[name], http)


def member(status, name):
    return next(one for one in status.committee.members if one.name == name)


async def settled(page, path):
    """The status of an answer; a node that is not ready for a moment, on a machine with other work, is asked again."""
    while (code := (await page.get(path)).status_code) == 503:  # noqa: ASYNC110  another side of a socket
        await trio.sleep(0.1)
    return code


async def test_every_address_of_every_node_answers_while_the_network_runs(tmp_path, http):
    cluster = Cluster(tmp_path, SEVEN)

    async with running(cluster, TIMEOUT_S):
        await wait_certified(cluster, 3, "attester-7")
        codes = {
            (name, path): await settled(page_of(cluster, name, http), path)
            for name in (MAIN, *cluster.names)
            for path in ADDRESSES
        }

    assert {place: code for place, code in codes.items() if code != 200} == {}
    assert len(codes) == 8 * len(ADDRESSES)


async def test_an_attester_shows_what_it_attests_to_and_with_whom(tmp_path, http):
    cluster = Cluster(tmp_path, SEVEN)

    async with running(cluster, TIMEOUT_S):
        page = page_of(cluster, "attester-3", http)
        status = await page.wait(
            lambda now: now.progress is not None and (now.progress.certified or 0) > 3 and now.ready
        )
        one = msgspec.json.decode((await page.get("/batches/3.json")).content, type=BatchView)

    assert (status.node.role, status.node.name) == ("attester", "attester-3")
    assert status.progress.wanted >= status.progress.certified
    assert (status.committee.size, status.committee.threshold) == (7, 6)
    assert [row.name for row in status.committee.members if row.own] == ["attester-3"]
    assert {row.name for row in status.peers.rows} == {MAIN, *cluster.names} - {"attester-3"}
    assert [row.number for row in status.epochs] == [1]
    assert {check.name for check in status.checks} == {"epoch", "main_node", "committee", "peers", "event_loop"}
    assert one.state == "certified"
    assert one.weight >= one.threshold == 6
    assert [vote.name for vote in one.votes if vote.via == "own"] == ["attester-3"]
    assert [step.step for step in one.steps if step.step in ("told", "signed", "certified")] == [
        "told",
        "signed",
        "certified",
    ]


async def test_a_node_that_is_away_is_named_on_every_page_until_it_is_back(tmp_path, http):
    cluster = Cluster(tmp_path, SEVEN)

    async with running(cluster, TIMEOUT_S):
        await wait_certified(cluster, 3)
        page = page_of(cluster, MAIN, http)
        await cluster.stop("attester-5")
        away = await page.wait(lambda now: member(now, "attester-5").missed.get("silent", 0) >= 2)
        gone = [one.name for one in away.peers.rows]
        named = await page.wait(lambda now: any(one.missing == ["attester-5"] for one in now.batches))
        await cluster.start("attester-5")
        heard = member(await page.status(), "attester-5").last_vote
        back = await page.wait(lambda now: member(now, "attester-5").last_vote > heard)

    assert "attester-5" not in gone
    assert named.committee.threshold == 6
    assert "attester-5" in {one.name for one in back.peers.rows}


async def test_a_node_whose_main_node_is_away_is_not_ready_until_it_is_back(tmp_path, http):
    cluster = Cluster(tmp_path, SEVEN)

    async with running(cluster, TIMEOUT_S):
        page = page_of(cluster, "attester-1", http)
        await page.wait_ready(True)
        await cluster.stop(MAIN)
        await page.wait_ready(False)
        bad = {check.name: check for check in (await page.status()).checks if not check.ok}
        said = [line for line in (await page.status()).log if line.level == "warning"]
        await cluster.start(MAIN)
        await page.wait_ready(True)

    assert "gave no usable answer" in bad["main_node"].reason
    assert [line.source for line in said if "status not read" in line.text][:1] == ["attestrio.status"]


async def test_a_process_says_where_its_page_is_and_ends_its_streams_in_order(tmp_path, http):
    web = ("--web", "127.0.0.1:0")
    Cluster(tmp_path, ClusterSpec(attesters=1)).prepare()
    config = tmp_path / MAIN / "node.toml"
    batches = tmp_path / "batches.jsonl"
    batches.write_text("")
    told = ("--set", "batches.source=file", "--set", f"batches.file={batches}", "--set", "gossip.bind=127.0.0.1:0")
    grace = ("--set", "node.grace_s=60")

    async with started("main-node", "run", "--config", config, *web, *told, *grace, cwd=tmp_path / MAIN) as process:
        await process.wait_said("page at ")
        (line,) = [text for text in process.logged() if text.startswith("page at ")]
        url = line.removeprefix("page at ").rstrip("/")
        host, port = url.removeprefix("http://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(b"GET /events HTTP/1.0\r\nhost: localhost\r\n\r\n")
            said = b""
            while b"event: status" not in said:
                said += await stream.receive_some()
            code, seconds = await process.stop(signal.SIGTERM)
            while data := await stream.receive_some():
                said += data

    assert code == 143
    assert seconds < patient(5.0)
    assert said.endswith(b"event: closing\ndata: {}\n\n")
