"""A peer that announces every number there is, and gives batches it made up: whole nodes go on."""

from contextlib import asynccontextmanager

import pytest
import trio
from attestrio.duty import EndState
from attestrio.gossip.rpc import get_batch
from attestrio.gossip.rpc.push_batch_store_state import BatchStoreState, encode_request
from attestrio.roles import BatchNumber
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from net_world import sync_batch
from raw_peer import dialled
from suite import patient

pytestmark = pytest.mark.slow

QUICK = ClusterSpec(attesters=4, batch_every_s=0.1, poll_s=0.02, lift_rates=True)
EVERYTHING = encode_request(BatchStoreState(BatchNumber(0), BatchNumber(2**64 - 1)))


@asynccontextmanager
async def network(tmp_path):
    cluster = Cluster(tmp_path, QUICK)
    async with trio.open_nursery() as nursery:
        nodes = await nursery.start(cluster.run)
        with trio.fail_after(patient(20)):
            yield cluster, nodes
        nursery.cancel_scope.cancel()


def forged(body):
    return get_batch.encode_response(sync_batch(get_batch.request_untrusted(body)))


async def certified(node, number):
    await node.duty.watch.wait_value(lambda _: node.duty.end_state(number) is EndState.CERTIFIED)


@asynccontextmanager
async def forger(cluster, node):
    """Somebody nobody knows, connected to `node`, who has announced everything."""
    address = node.network.listener.address
    async with dialled(address, 42, cluster.prepare().hash()) as peer:
        peer.answers["get_batch"] = forged
        await peer.greet()
        async with peer.talking():
            assert await peer.call("push_batch_store_state", EVERYTHING) == b""
            yield peer


async def test_a_main_node_asks_nobody_for_batches_and_goes_on_making_them(tmp_path):
    async with network(tmp_path) as (cluster, nodes):
        await certified(nodes[MAIN], 1)

        async with forger(cluster, nodes[MAIN]) as peer:
            await certified(nodes[MAIN], 12)

            assert peer.of("get_batch") == []


async def test_an_attester_asks_for_no_batch_that_its_main_node_has_not_named(tmp_path):
    async with network(tmp_path) as (cluster, nodes):
        await certified(nodes[MAIN], 1)
        attester = nodes["attester-1"]
        epoch = await attester.wait_epoch()

        async with forger(cluster, attester) as peer:
            await peer.wait_requests("get_batch", 3)  # numbers that exist: it may have them
            await certified(nodes[MAIN], 12)

            asked = [get_batch.request_untrusted(request.body) for request in peer.of("get_batch")]
            assert max(asked) <= epoch.status.status.next_batch
            assert epoch.store.queued.last <= epoch.status.status.next_batch
