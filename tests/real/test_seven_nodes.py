"""Seven attesters and their main node over real TCP, threshold 6: one may be away, two may not."""

import pytest
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from attestrio.sim.wires import Cut, TcpWires
from network_kit import (
    assert_same_certificates,
    last_certified,
    running,
    wait_certified,
    wait_without,
)
from suite import patient

pytestmark = [pytest.mark.slow]

SEVEN = ClusterSpec(attesters=7, batch_every_s=0.05, poll_s=0.05, listen_s=0.05, redial_s=0.2, lift_rates=True)
TIMEOUT_S = patient(55)
AWAY = [Cut.SILENT, "stopped", Cut.BROKEN, Cut.REFUSED, "stopped", Cut.SILENT, Cut.REFUSED]


async def take_away(cluster, name, how):
    if how == "stopped":
        await cluster.stop(name)
    else:
        cluster.wires.isolate(name, cluster.ends, how)


async def bring_back(cluster, *names):
    cluster.wires.mend()
    for name in names:
        if name not in cluster.nodes:
            await cluster.start(name)


async def test_with_one_away_at_a_time_certificates_go_on_and_nobody_ends_without_one(tmp_path):
    cluster = Cluster(tmp_path, SEVEN, wires=TcpWires())
    genesis = cluster.prepare()
    without = {}

    async with running(cluster, TIMEOUT_S) as nodes:
        for name in cluster.names:
            await wait_certified(cluster, 0, name)  # from here on a gap is a gap
        for name, how in zip(cluster.names, AWAY, strict=True):
            await take_away(cluster, name, how)
            without[name] = await last_certified(cluster) + 3  # what was under way may still count its vote
            await wait_certified(cluster, without[name])
            await bring_back(cluster, name)
            await wait_certified(cluster, without[name], name)
        end = await last_certified(cluster)
        for name in list(nodes):
            await wait_certified(cluster, end, name)

    assert genesis.attesters.threshold == 6
    assert_same_certificates(cluster, genesis, up_to=end)
    assert list(without.values()) == sorted(set(without.values()))


@pytest.mark.parametrize("how", [("stopped", "stopped"), (Cut.SILENT, Cut.REFUSED), ("stopped", Cut.SILENT)])
async def test_with_two_away_the_network_waits_and_goes_on_when_one_is_back(tmp_path, how):
    cluster = Cluster(tmp_path, SEVEN, wires=TcpWires())
    genesis = cluster.prepare()
    two = ["attester-2", "attester-6"]

    async with running(cluster, TIMEOUT_S) as nodes:
        for name in cluster.names:
            await wait_certified(cluster, 0, name)
        for name, way in zip(two, how, strict=True):
            await take_away(cluster, name, way)
        waited = await wait_without(cluster, *two)
        await bring_back(cluster, *two)
        await wait_certified(cluster, waited + 2)
        end = await last_certified(cluster)
        for name in list(nodes):
            await wait_certified(cluster, end, name)

    assert_same_certificates(cluster, genesis, up_to=end)


async def test_with_the_main_node_away_everything_waits_and_goes_on(tmp_path):
    cluster = Cluster(tmp_path, SEVEN)
    genesis = cluster.prepare()

    async with running(cluster, TIMEOUT_S):
        await wait_certified(cluster, 2)
        await cluster.stop(MAIN)
        await cluster.start(MAIN)
        end = await last_certified(cluster) + 3
        for name in [MAIN, *cluster.names]:
            await wait_certified(cluster, end, name)

    assert_same_certificates(cluster, genesis, up_to=end)
