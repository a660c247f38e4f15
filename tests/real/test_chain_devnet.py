"""A network beside an Ethereum of its own: what is committed is attested, what is invented is not."""

from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import trio
from anvil_kit import found, needs_anvil
from attestrio.app import run_node
from attestrio.batches.l1 import DiamondBatches, Finality
from attestrio.config import load_config
from attestrio.duty import Reason
from attestrio.errors import leaves
from attestrio.l1.errors import WrongChain
from attestrio.roles import BatchNumber
from attestrio.sim.anvil import running_anvil
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from processes import run
from suite import patient

pytestmark = needs_anvil

TAKES, CHECKS = "attester-2", "attester-1"  # its batches from the chain, and compares the main node's with it


@asynccontextmanager
async def network(folder, **spec):
    cluster = Cluster(folder, ClusterSpec(batch_every_s=0.2, anvil=found(), lift_rates=True, **spec))
    with trio.fail_after(patient(30)):
        async with trio.open_nursery() as nursery:
            await nursery.start(cluster.run)
            yield cluster
            nursery.cancel_scope.cancel()


async def certified(cluster, number, after=-1):
    """The certificate of batch `number` on the main node, in an epoch above `after`."""
    epoch = await cluster.nodes[MAIN].wait_epoch(after)
    while True:
        if found := await epoch.store.qcs(BatchNumber(number), 1):
            return found[0]
        await trio.sleep(0.05)


async def noted(cluster, name, number, reason):
    """Until `name` has noted `reason` for a batch."""
    duty = cluster.nodes[name].duty
    while True:
        version = duty.watch.value
        if any(event.reason is reason for event in duty.timeline(BatchNumber(number))):
            return
        await duty.watch.wait_value(lambda now, seen=version: now != seen)


def checks(node, result):
    """How often a comparison with the chain ended so."""
    line = f'attestrio_l1_checks_total{{result="{result}"}} '
    told = next(one for one in node.metrics.render().decode().splitlines() if one.startswith(line))
    return float(told.removeprefix(line))


async def test_batches_committed_on_the_chain_are_attested(tmp_path):
    async with network(tmp_path) as cluster:
        certificates = [await certified(cluster, number) for number in range(5)]

        on_chain = DiamondBatches(cluster.rollup.anvil.provider, cluster.rollup.diamond, Finality.LATEST)
        for certificate in certificates:
            assert await on_chain.hash_of(certificate.batch.number) == certificate.batch.hash
            assert len(certificate.signatures) == 4
        assert checks(cluster.nodes[CHECKS], "same") >= 5
        assert checks(cluster.nodes[CHECKS], "other") == 0


@pytest.mark.parametrize("name", [TAKES, CHECKS])
async def test_the_page_shows_the_newest_block_and_up_to_where_the_contract_was_read(tmp_path, name):
    async with network(tmp_path, web=("127.0.0.1", 0)) as cluster, httpx.AsyncClient(trust_env=False) as client:
        l1 = {"cursor": None}
        while l1["cursor"] is None:  # the first batch is not there yet, or Ethereum did not answer just now
            await trio.sleep(0.1)
            l1 = (await client.get(f"{cluster.pages[name]}/status.json")).json()["l1"]

    assert l1["head"] > 0
    assert l1["cursor"] == l1["head"] + 1
    assert l1["problem"] == ""


async def test_a_batch_that_the_main_node_invents_is_refused(tmp_path):
    async with network(tmp_path) as cluster:
        await certified(cluster, 1)
        invented = int(cluster.chain.height.value) + 3

        cluster.chain.invent(invented)
        await certified(cluster, invented - 1)
        await noted(cluster, CHECKS, invented, Reason.CHAIN_CONTRADICTS)
        await trio.sleep(1.0)

        epoch = await cluster.nodes[MAIN].wait_epoch()
        assert not await epoch.store.qcs(BatchNumber(invented), 1)
        assert checks(cluster.nodes[CHECKS], "other") > 0
        told = (await epoch.store.batch_to_sign(BatchNumber(invented))).hash
        assert told != cluster.chain.hash(invented)
        for name in cluster.names:  # whoever signed anything signed what the chain has
            signed = await (await cluster.nodes[name].wait_epoch()).store.batch_to_sign(BatchNumber(invented))
            assert signed is None or signed.hash == cluster.chain.hash(invented), name
        taken = await (await cluster.nodes[TAKES].wait_epoch()).store.batch_to_sign(BatchNumber(invented))
        assert taken is not None


async def test_a_revert_on_the_chain_is_followed(tmp_path):
    async with network(tmp_path) as cluster:
        await certified(cluster, 4)
        before = (await cluster.nodes[MAIN].wait_epoch()).number

        cluster.revert(2)
        certificate = await certified(cluster, 4, after=before)

        assert certificate.batch.hash == cluster.chain.hash(4)
        on_chain = DiamondBatches(cluster.rollup.anvil.provider, cluster.rollup.diamond, Finality.LATEST)
        assert await on_chain.hash_of(BatchNumber(4)) == certificate.batch.hash


async def test_an_endpoint_of_another_chain_ends_the_start(tmp_path):
    cluster = Cluster(tmp_path, ClusterSpec())
    cluster.prepare()
    async with running_anvil() as anvil:
        config = load_config(
            tmp_path / "attester-1" / "node.toml",
            overrides={
                "gossip.bind": "127.0.0.1:0", "main_node.url": "http://127.0.0.1:9", "genesis.file":
                str(tmp_path / "genesis.json"), "batches.check_l1": "true", "l1.rpc_urls": anvil.url,
                "l1.chain_id": "1", "l1.diamond": "0x" + "d1" * 20,
            },
        )  # fmt: skip

        with trio.fail_after(patient(10)), pytest.raises(BaseExceptionGroup) as caught:
            await run_node(config)

    assert [type(exc) for exc in leaves(caught.value)] == [WrongChain]


def test_the_command_runs_a_chain_and_leaves_none_behind(tmp_path):
    anvil = tmp_path / "anvil"
    anvil.symlink_to(found().resolve())

    ended = run("devnet", "--chain", "--anvil", anvil, "--batches", "3", "--every", "0.3")

    assert ended.returncode == 0, ended.stderr
    assert "3 certificates, batches 0 to 2" in ended.stdout
    assert [line for line in command_lines() if str(anvil).encode() in line] == []


def test_without_anvil_the_command_says_where_it_looked(tmp_path):
    ended = run("devnet", "--anvil", tmp_path / "anvil", "--batches", "1")

    assert ended.returncode == 2
    assert "is not a program; `npm i @foundry-rs/anvil-linux-amd64` installs it" in ended.stderr


def command_lines():
    """Of all processes of this machine."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            yield file.read_bytes()
