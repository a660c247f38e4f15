"""A network of processes: what each node's file says, before anything runs."""

import socket

import pytest
from attestrio.cli.devnet_processes import how
from attestrio.config import load_config
from attestrio.kit.http_errors import AddressInUse
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from attestrio.sim.fleet import Ended, Fleet


def fleet_of(folder, **spec):
    return Fleet(Cluster(folder, ClusterSpec(attesters=2, **spec)))


async def test_every_node_has_a_file_with_which_it_can_be_started_alone(tmp_path):
    fleet = fleet_of(tmp_path)

    await fleet.prepare()
    main, first, second = [load_config(fleet.config(name)) for name in (MAIN, "attester-1", "attester-2")]

    assert main.serve.bind == fleet.api
    assert main.batches.source == "file"
    assert first.main_node.url == second.main_node.url == f"http://{fleet.api}/"
    assert [len(one.gossip.static_outbound) for one in (main, first, second)] == [0, 1, 2]
    assert {peer.rpartition("@")[2] for peer in map(str, second.gossip.static_outbound)} == {
        main.gossip.bind,
        first.gossip.bind,
    }
    assert [f"http://{one.web.bind}" for one in (main, first, second)] == list(fleet.pages.values())


async def test_all_addresses_differ(tmp_path):
    fleet = fleet_of(tmp_path)

    await fleet.prepare()

    gossip = [load_config(fleet.config(name)).gossip.bind for name in fleet.names]
    assert len({fleet.api, *gossip, *(page.removeprefix("http://") for page in fleet.pages.values())}) == 7


async def test_addresses_are_new_in_the_next_run_and_keys_are_not(tmp_path):
    before, after = fleet_of(tmp_path), fleet_of(tmp_path)
    await before.prepare()
    genesis = (tmp_path / "genesis.json").read_text()

    await after.prepare()

    assert after.api != before.api
    assert load_config(after.config("attester-1")).main_node.url == f"http://{after.api}/"
    assert (tmp_path / "genesis.json").read_text() == genesis


async def test_a_page_whose_port_is_taken_is_told_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(AddressInUse):
            await fleet_of(tmp_path, web=taken.getsockname()).prepare()


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "was killed by SIGKILL"), (143, "ended with exit code 143"), (5, "ended with exit code 5")]
)
def test_how_a_process_ended_is_told_in_words(code, words):
    assert how(Ended("attester-1", code)) == words
