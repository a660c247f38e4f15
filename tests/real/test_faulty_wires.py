"""Histories of random faults on real sockets: whatever happens, no node ends, nobody votes twice, and all mends."""

import random
from collections import defaultdict

import apsw
import pytest
import trio
from attestrio.sim.cluster import API, MAIN, Cluster, ClusterSpec
from attestrio.sim.links import Weather
from attestrio.sim.wires import Cut, Line, TcpWires
from network_kit import assert_same_certificates, last_certified, running, wait_certified
from suite import patient

pytestmark = [pytest.mark.slow]

FOUR = ClusterSpec(attesters=4, batch_every_s=0.1, poll_s=0.05, listen_s=0.05, redial_s=0.2, lift_rates=True)
FAULTS_S = 8.0
TIMEOUT_S = patient(55)


class Mischief:
    """Does one thing after the other to the wires of a network, each drawn by `luck`."""

    def __init__(self, cluster, luck):
        self.cluster, self.wires, self.luck = cluster, cluster.wires, luck
        self.done = defaultdict(int)

    def pair(self, *, api=True):
        """Two ends in some order. Calls to the main node go unencrypted: they may be cut, but not corrupted."""
        name = self.luck.choice(self.cluster.names)
        others = {MAIN, *self.cluster.names, *([API] if api else [])} - {name}
        return tuple(self.luck.sample([name, self.luck.choice(sorted(others))], 2))

    def act(self):
        luck, wires = self.luck, self.wires
        what = luck.choice(["cut", "mute", "isolate", "slow", "reset", "tear", "corrupt", "mend", "weather"])
        self.done[what] += 1
        match what:
            case "cut":
                wires.cut(*self.pair(), luck.choice([*Cut]))
            case "isolate":
                wires.isolate(luck.choice(self.cluster.names), self.cluster.ends, luck.choice([*Cut]))
            case "slow":
                wires.slow(*self.pair(), Line(luck.uniform(0, 0.5), luck.choice([None, 500, 5_000, 500_000])))
            case "corrupt":
                wires.corrupt(*self.pair(api=False))
            case "mend":
                wires.mend()
            case "weather":
                wires.weather = Weather(delay_s=luck.choice([0.0, 0.02, 0.2]), drop=luck.choice([0.0, 0.01, 0.1]))
            case _:
                getattr(wires, what)(*self.pair())

    async def run(self, for_s):
        with trio.move_on_after(for_s):
            while True:
                self.act()
                await trio.sleep(self.luck.expovariate(8.0))
        self.wires.weather = Weather()
        self.wires.mend()


def hashes_voted_for(cluster):
    """For each key and number, the hashes that a record holds."""
    found = defaultdict(set)
    for name in cluster.names:
        connection = apsw.Connection(
            str(cluster.data_dir / name / "data" / "protection.db"), flags=apsw.SQLITE_OPEN_READWRITE
        )
        for key, number, hash_ in connection.execute(
            "SELECT attester, number, hash FROM votes JOIN histories ON histories.id = votes.history"
        ):
            found[key, number].add(hash_)
        connection.close()
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_faults_the_network_goes_on_as_if_nothing_had_been(tmp_path, seed):
    cluster = Cluster(tmp_path, FOUR, wires=TcpWires(seed=seed))
    genesis = cluster.prepare()
    mischief = Mischief(cluster, random.Random(seed))

    async with running(cluster, TIMEOUT_S) as nodes:
        await wait_certified(cluster, 1)
        await mischief.run(FAULTS_S)
        during = await last_certified(cluster)
        names = list(nodes)
        epochs = {(await node.wait_epoch()).number for node in nodes.values()}
        for name in names:
            await wait_certified(cluster, during + 3, name)
        for node in nodes.values():
            await node.network.connected.wait_value(4)  # with all again, each pair once

    assert names == [MAIN, *cluster.names], "no node has ended"
    assert epochs == {1}, "nothing that happens on a wire ends an epoch"
    assert all(len(hashes) == 1 for hashes in hashes_voted_for(cluster).values())
    assert_same_certificates(cluster, genesis, up_to=during + 3)
    assert sum(mischief.done.values()) > 20
    assert cluster.wires.lost, "some bytes did vanish"
