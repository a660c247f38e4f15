"""Whole nodes on the real clock, with real files and sockets: what they leave behind, and each part replaced alone."""

import os
import socket
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
from attestrio.app import run_node
from attestrio.config import (
    BatchesSection,
    GenesisSection,
    KeysSection,
    MainNodeSection,
    NodeConfig,
    NodeSection,
    Secret,
    ServeSection,
)
from attestrio.duty import EndState
from attestrio.kit.datadir import DataDir
from attestrio.kit.tcp import bind_socket
from attestrio.mainnode.client import MainNodeClient
from attestrio.roles import BatchNumber
from attestrio.sim.chain import SimChain
from attestrio.sim.links import MemoryNetwork
from attestrio.store import MemoryBatchStore, open_certificates
from node_world import genesis_of, key
from suite import patient

POLL_S = 0.02
GENESIS = genesis_of([1])  # one attester, which is a quorum by itself


class Site:
    """A main node on loopback and the configuration of an attester of it, both in `folder`."""

    def __init__(self, folder):
        (folder / "genesis.json").write_bytes(msgspec.json.encode(GENESIS.to_json()))
        self.folder = folder
        self.chain = SimChain(GENESIS.hash())
        self.chain.seal(3)
        self.network = MemoryNetwork()
        self.main = NodeConfig(
            node=NodeSection(data_dir=str(folder / "main")),
            genesis=GenesisSection(file=str(folder / "genesis.json")),
            main_node=MainNodeSection(poll_s=POLL_S),
            batches=BatchesSection(poll_s=POLL_S, first=0),
            serve=ServeSection(bind="127.0.0.1:0"),
        )

    def attester(self, url=None, file=None):
        return NodeConfig(
            node=NodeSection(data_dir=str(self.folder / "attester")),
            genesis=GenesisSection(file=file),
            keys=KeysSection(attester=Secret(key(1).to_text())),
            main_node=MainNodeSection(url=url, poll_s=POLL_S),
            batches=BatchesSection(poll_s=POLL_S),
        )

    @asynccontextmanager
    async def running(self):
        """The main node; its URL."""
        async with trio.open_nursery() as nursery:
            run = partial(run_node, self.main, batch_source=self.chain, link=self.network.link("main"))
            node = await nursery.start(run)
            yield node.api_url.value
            nursery.cancel_scope.cancel()


async def certified(node, number):
    """Until the node has said that the certificate is stored: at the earliest after the seconds in which it listens."""
    with trio.fail_after(patient(10)):
        await node.duty.watch.wait_value(lambda _: node.duty.end_state(number) is EndState.CERTIFIED)


def open_files():
    """What the process has open: descriptor to target."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
    return found


def living():
    return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc, to see what is open")
async def test_cancelled_nodes_leave_no_task_and_no_file_open(tmp_path):
    site = Site(tmp_path)
    async with site.running():  # what is opened once per process is open after this
        pass
    before = open_files(), living()

    async with site.running() as url, trio.open_nursery() as nursery:
        node = await nursery.start(
            partial(run_node, site.attester(url), init_protection=True, link=site.network.link("attester"))
        )
        await certified(node, 2)
        during = open_files()
        nursery.cancel_scope.cancel()

    assert (open_files(), living()) == before
    opened = {Path(target).name for target in during.values() if target.startswith(str(tmp_path))}
    assert {"LOCK", "store.db", "store.db-wal"} <= opened
    assert sum(target.startswith("socket:") for target in during.values()) > 2
    assert not list(tmp_path.rglob("*-wal"))  # folded back: the databases were closed, not dropped


async def test_directory_and_port_are_free_once_the_node_is_cancelled(tmp_path):
    site = Site(tmp_path)

    async with site.running() as url:
        pass

    with DataDir.open(tmp_path / "main"), await bind_socket(url.removeprefix("http://")):
        pass
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(url)


async def test_node_that_is_cancelled_while_it_is_asked_ends_all_the_same(tmp_path):
    site = Site(tmp_path)
    began = trio.current_time()

    async with site.running() as url:
        host, port = url.removeprefix("http://").split(":")
        half = socket.create_connection((host, int(port)))
        half.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        await trio.sleep(0.05)
    half.close()

    assert trio.current_time() - began < 5.0  # answers under way get 3 s


PARTS = ["status_client", "batch_source", "store", "link"]


@pytest.mark.parametrize("replaced", [[], *([part] for part in PARTS), PARTS], ids="+".join)
async def test_each_part_can_be_replaced_alone_and_all_together(tmp_path, replaced):
    site = Site(tmp_path)
    async with site.running() as url, MainNodeClient(url) as client, trio.open_nursery() as nursery:
        store = MemoryBatchStore(GENESIS.hash())
        await nursery.start(store.run)
        given = {
            "status_client": client,
            "batch_source": site.chain,
            "store": store,
            "link": site.network.link("attester"),
        }
        # With everything given there is nobody to ask, so that the genesis has to be at hand.
        config = site.attester(url) if replaced != PARTS else site.attester(file=str(tmp_path / "genesis.json"))

        node = await nursery.start(
            partial(run_node, config, init_protection=True, **{part: given[part] for part in replaced})
        )
        last = 2 if "link" in replaced else 0  # without a link the main node hears no vote, and stays at 0
        await certified(node, last)
        in_memory = [int(qc.batch.number) for qc in await store.qcs(BatchNumber(0), 10)]
        nursery.cancel_scope.cancel()

    assert in_memory == (list(range(last + 1)) if "store" in replaced else [])
    file = tmp_path / "attester" / "store.db"
    assert file.exists() is ("store" not in replaced)
    if file.exists():
        with open_certificates(file) as certificates:
            assert [int(qc.batch.number) for qc in certificates.certificates()] == list(range(last + 1))
