"""A devnet that has one attester more than it needs, in a directory that is kept, also one of an older release."""

import signal
import tomllib

import pytest
import tomli_w
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from network_kit import kept
from processes import run, started
from suite import patient

pytestmark = [pytest.mark.real, pytest.mark.slow]

SEVEN = ("devnet", "--attesters", 7, "--every", 0.1)
PROMPT_S = patient(5.0)  # to stop: tenths of a second, and the load of this machine


def batches(ended):
    """The numbers it printed; nothing may stand on stderr, and the summary has to say that all were verified."""
    *lines, summary = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert summary.endswith("verified, threshold 6 of 7")
    return [int(line.split()[1]) for line in lines]


def make_older(cluster):
    """What a release without gossip has written: no key of a node, no section."""
    for name in (MAIN, *cluster.names):
        path = cluster.data_dir / name / "node.toml"
        table = tomllib.loads(path.read_text())
        del table["gossip"]
        if name != MAIN:
            del table["batches"]["first"]
        path.write_text(tomli_w.dumps(table))
        (cluster.data_dir / name / "node.key").unlink()


def test_a_network_that_is_kept_goes_on_where_it_ended(tmp_path):
    first = batches(run(*SEVEN, "--data-dir", tmp_path, "--batches", 3))

    second = batches(run("devnet", "--every", 0.1, "--data-dir", tmp_path, "--batches", 3))

    assert first == [0, 1, 2]
    assert second == list(range(second[0], second[0] + 3))
    assert second[0] >= 3


def test_a_network_of_an_older_release_goes_on_with_gossip(tmp_path):
    cluster = Cluster(tmp_path, ClusterSpec(attesters=7))
    genesis = cluster.prepare()
    make_older(cluster)

    ended = run(*SEVEN, "--data-dir", tmp_path, "--batches", 3)

    assert batches(ended) == [0, 1, 2]
    assert list(kept(cluster, MAIN, genesis))[:3] == [0, 1, 2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
async def test_it_stops_at_once_when_it_is_told(tmp_path, number, code):
    async with started(*SEVEN, "--data-dir", tmp_path) as running:
        await running.wait_said("batch 2 ")
        ended, took_s = await running.stop(number)

    assert (ended, running.err) == (code, "")
    assert took_s < PROMPT_S
