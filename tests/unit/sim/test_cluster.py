"""A network of nodes in one nursery, over real files and loopback HTTP, on the real clock."""

import json
import stat
import time
from contextlib import asynccontextmanager

import pytest
import trio
from attestrio.duty import EndState
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec, OtherCluster
from attestrio.sim.wires import TcpWires
from attestrio.store import open_certificates
from suite import patient

QUICK = ClusterSpec(attesters=4, batch_every_s=0.03, poll_s=0.02)


@asynccontextmanager
async def running(cluster):
    async with trio.open_nursery() as nursery:
        nodes = await nursery.start(cluster.run)
        with trio.fail_after(patient(10)):
            yield nodes
        nursery.cancel_scope.cancel()


async def certified(node, number):
    await node.duty.watch.wait_value(lambda _: node.duty.end_state(number) is EndState.CERTIFIED)


def on_disk(cluster, name):
    """The numbers in a node's file, each certificate verified."""
    genesis = cluster.prepare()
    with open_certificates(cluster.database(name)) as file:
        certificates = list(file.certificates())
    for certificate in certificates:
        certificate.verify(genesis)
    return [int(certificate.batch.number) for certificate in certificates]


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_prepared_directory_has_keys_for_nobody_else_and_one_genesis_for_all(tmp_path):
    cluster = Cluster(tmp_path, QUICK)

    genesis = cluster.prepare()

    assert cluster.names == ["attester-1", "attester-2", "attester-3", "attester-4"]
    assert {member.key for member in genesis.attesters} == set(cluster.public_keys().values())
    assert genesis.attesters.threshold == 4
    for name in cluster.names:
        assert stat.S_IMODE((tmp_path / name / "attester.key").stat().st_mode) == 0o600
    assert json.loads((tmp_path / "genesis.json").read_text())["chainId"] == "270"


def test_preparing_again_changes_nothing(tmp_path):
    first = Cluster(tmp_path, QUICK).prepare()
    before = tree(tmp_path)

    again = Cluster(tmp_path, QUICK).prepare()

    assert again == first
    assert tree(tmp_path) == before


@pytest.mark.parametrize("attesters", [3, 5])
def test_directory_of_a_network_of_another_size_is_refused_untouched(tmp_path, attesters):
    Cluster(tmp_path, QUICK).prepare()
    before = tree(tmp_path)

    with pytest.raises(OtherCluster, match=f"holds a network of 4 attesters, {attesters} are asked for"):
        Cluster(tmp_path, ClusterSpec(attesters=attesters)).prepare()

    assert tree(tmp_path) == before


@pytest.mark.slow
async def test_every_node_keeps_the_certificates_on_its_disk(tmp_path):
    cluster = Cluster(tmp_path, QUICK)

    async with running(cluster) as nodes:
        await certified(nodes[MAIN], 4)
        ran = list(nodes)

    assert ran == [MAIN, *cluster.names]
    assert on_disk(cluster, MAIN)[:5] == [0, 1, 2, 3, 4]
    for name in cluster.names:
        assert set(on_disk(cluster, name)) >= {0, 1, 2, 3}


@pytest.mark.slow
async def test_second_run_goes_on_where_the_first_ended(tmp_path):
    async with running(Cluster(tmp_path, QUICK)) as nodes:
        await certified(nodes[MAIN], 2)
    cluster = Cluster(tmp_path, QUICK)
    first = on_disk(cluster, MAIN)

    began = time.time()
    async with running(cluster) as nodes:
        await certified(nodes[MAIN], first[-1] + 2)
        duty = nodes[MAIN].duty
        done = {number for number in duty.batches() if any(event.at >= began for event in duty.timeline(number))}

    numbers = on_disk(cluster, MAIN)
    assert numbers == list(range(len(numbers)))
    assert min(done) > first[-1]  # nothing was done twice; what is older is remembered from the first run


async def waits_for(cluster, name):
    """Until the main node has everybody's vote but that of `name`, and has had it for three batches; its number."""
    epoch = await cluster.nodes[MAIN].wait_epoch()
    others = set(cluster.public_keys().values()) - {cluster.public_keys()[name]}
    mark, voted, wanted = 0, set(), None
    while voted != others:
        _, mark = await epoch.votes.wait_newer(mark)
        wanted = await epoch.store.next_batch_to_attest()
        voted = {vote.key for vote in epoch.votes.votes() if vote.batch.number == wanted}
    await epoch.store.wait_until_persisted(epoch.store.persisted.last + 3)
    assert await epoch.store.next_batch_to_attest() == wanted
    return wanted


@pytest.mark.slow
async def test_certificates_stop_while_a_needed_member_is_cut_off(tmp_path):
    cluster = Cluster(tmp_path, QUICK, wires=TcpWires())

    async with running(cluster) as nodes:
        await certified(nodes[MAIN], 1)
        cluster.wires.isolate("attester-1", cluster.ends)
        wanted = await waits_for(cluster, "attester-1")
        cluster.wires.mend()
        await certified(nodes[MAIN], wanted + 2)

    numbers = on_disk(cluster, MAIN)
    assert numbers == list(range(len(numbers)))


@pytest.mark.slow
async def test_certificates_stop_while_a_needed_member_is_stopped(tmp_path):
    cluster = Cluster(tmp_path, QUICK)

    async with running(cluster) as nodes:
        await certified(nodes[MAIN], 1)
        await cluster.stop("attester-1")
        wanted = await waits_for(cluster, "attester-1")
        stopped = list(nodes)
        await cluster.start("attester-1")
        await certified(nodes[MAIN], wanted + 2)

    assert stopped == [MAIN, "attester-2", "attester-3", "attester-4"]
    numbers = on_disk(cluster, MAIN)
    assert numbers == list(range(len(numbers)))


@pytest.mark.slow
async def test_network_goes_on_when_its_main_node_comes_back(tmp_path):
    cluster = Cluster(tmp_path, QUICK)

    async with running(cluster) as nodes:
        await certified(nodes[MAIN], 1)
        await cluster.stop(MAIN)
        last = on_disk(cluster, MAIN)[-1]
        await cluster.start(MAIN)
        await certified(nodes[MAIN], last + 2)

    numbers = on_disk(cluster, MAIN)
    assert numbers == list(range(len(numbers)))


@pytest.mark.slow
async def test_a_node_can_be_started_and_stopped_once(tmp_path):
    cluster = Cluster(tmp_path, ClusterSpec(attesters=1))

    with pytest.raises(ValueError, match="the cluster does not run"):
        await cluster.start(MAIN)
    async with running(cluster):
        with pytest.raises(ValueError, match="attester-1: runs already"):
            await cluster.start("attester-1")
        await cluster.stop("attester-1")
        with pytest.raises(ValueError, match="attester-1: does not run"):
            await cluster.stop("attester-1")


@pytest.mark.slow
async def test_network_follows_a_revert_and_so_does_the_next_run(tmp_path):
    cluster = Cluster(tmp_path, QUICK)
    before = cluster.prepare()

    async with running(cluster) as nodes:
        await certified(nodes[MAIN], 4)
        following = cluster.revert(2)
        for node in nodes.values():
            await node.epoch.wait_value(lambda epoch: epoch is not None and epoch.genesis == following)
        await certified(nodes[MAIN], 5)
    async with running(Cluster(tmp_path, QUICK)) as nodes:
        await certified(nodes[MAIN], 9)
        epochs = [(await node.wait_epoch()).number for node in nodes.values()]

    assert following.fork_number == before.fork_number + 1
    assert epochs == [2] * 5
    for name in (MAIN, *cluster.names):
        with open_certificates(cluster.database(name)) as file:
            first, second = list(file.certificates(1)), list(file.certificates(2))
        for genesis, certificates in ((before, first), (following, second)):
            for certificate in certificates:
                certificate.verify(genesis)
        assert first[0].batch.number == 0
        assert second[0].batch.number >= 3


async def test_network_that_does_not_run_cannot_be_reverted(tmp_path):
    cluster = Cluster(tmp_path, QUICK)
    cluster.prepare()

    with pytest.raises(ValueError, match="does not run"):
        cluster.revert(2)
