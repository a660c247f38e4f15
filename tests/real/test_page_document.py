"""Every section of the document of a node that runs holds what its parts know: nothing is left empty."""

import time

import httpx
import msgspec
import pytest
import trio
from attestrio.roles import Genesis
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from attestrio.web.api import StatusView
from network_kit import running, wait_certified
from suite import patient

pytestmark = [pytest.mark.real, pytest.mark.slow]

SPEC = ClusterSpec(attesters=2, batch_every_s=0.2, poll_s=0.1, listen_s=0.05, lift_rates=True, web=("127.0.0.1", 0))


@pytest.fixture
async def seen(tmp_path, caplog):
    """The network, its genesis, and the documents of an attester and of the main node after some batches."""
    caplog.set_level("INFO", "attestrio")  # as a run command sets it
    cluster, began = Cluster(tmp_path, SPEC), time.time()
    async with running(cluster, patient(60)), httpx.AsyncClient(trust_env=False) as http:
        await wait_certified(cluster, 3, "attester-1")
        documents = {}
        for name in ("attester-1", MAIN):
            while True:
                raw = (await http.get(f"{cluster.pages[name]}/status.json", timeout=patient(20))).content
                documents[name] = status = msgspec.json.decode(raw, type=StatusView)
                # what peers sent is counted every few seconds, and the vote for the batch now may not be there yet
                if (status.progress.wanted or 0) > 5 and all(
                    row.received_bytes and row.sent_bytes for row in status.peers.rows
                ):
                    break
                await trio.sleep(0.1)
        genesis = Genesis.from_json((tmp_path / "genesis.json").read_text("utf-8"))
        yield cluster, genesis, began, documents


async def test_the_document_of_a_node_has_everything_that_its_page_shows(seen):
    cluster, genesis, began, documents = seen
    attester, main = documents["attester-1"], documents[MAIN]

    assert {one.name: one.value for one in attester.facts} == {
        "main node": cluster.nodes[MAIN].api_url.value, "chain": str(genesis.chain_id), "batches from": "main-node",
        "after a rollback": "restart",
    }  # fmt: skip
    assert attester.node.key == cluster.public_keys()["attester-1"].to_text()
    assert attester.node.network_key == str(cluster.node_key("attester-1"))
    assert began <= attester.node.started_at <= attester.as_of <= time.time()
    assert main.node.api_url == cluster.nodes[MAIN].api_url.value
    assert attester.node.listening.startswith("127.0.0.1:")

    progress = attester.progress
    assert progress.wanted > 5
    assert progress.certified >= 3
    assert progress.signed >= 3
    assert progress.persisted >= 3
    assert progress.floor >= 3
    assert began <= progress.certified_at <= attester.as_of
    assert began <= progress.wanted_since <= attester.as_of
    assert main.progress.signed is None

    assert [(one.number, one.genesis, one.cause, one.fork_number, one.ended_at) for one in attester.epochs] == [
        (1, genesis.hash().to_text(), "start", 0, None)
    ]
    assert [queue.name for queue in attester.queues] == ["batches to be written"]
    assert attester.counts["certified"] >= 4
    assert any("certified" in line.text for line in attester.log), attester.log

    assert {row.name for row in attester.peers.rows} == {"attester-2", MAIN}
    assert {row.score for row in attester.peers.rows} == {100.0}
    assert {row.direction for row in main.peers.rows} == {"inbound"}
    assert attester.peers.expected == 1

    (own,) = [one for one in attester.committee.members if one.own]
    assert (own.name, own.weight, own.missed) == ("attester-1", 1, {})
    assert own.last_vote >= 3
    done = next(one for one in attester.batches if one.state == "certified")
    assert (done.weight, done.threshold, done.total_weight, done.missing) == (2, 2, 2, [])
    assert {vote.name for vote in done.votes} == {"attester-1", "attester-2"}
