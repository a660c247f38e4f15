"""Seven attesters and their main node as processes of their own, and kill -9: one may be away, two may not."""

import json
import signal
import socket
from contextlib import AsyncExitStack, ExitStack

import apsw
import pytest
import trio
from attestrio.mainnode.client import MainNodeClient
from attestrio.roles import BatchHash
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from network_kit import LOOK_S, assert_same_certificates
from processes import started
from suite import patient

pytestmark = [pytest.mark.real, pytest.mark.slow]

SPEC = ClusterSpec(attesters=7, poll_s=0.1, listen_s=0.1, redial_s=0.5)
TIMEOUT_S = patient(58)


class Site:
    """The files of a network, an address for each node, and the processes that run."""

    def __init__(self, folder, processes):
        self.cluster = Cluster(folder, SPEC)
        self.genesis = self.cluster.prepare()
        self.batches = folder / "batches.jsonl"
        self.sealed = 0
        self.processes, self.running = processes, {}
        with ExitStack() as held:  # all at once, so that they differ
            sockets = [held.enter_context(socket.socket()) for _ in range(SPEC.attesters + 2)]
            for sock in sockets:
                sock.bind(("127.0.0.1", 0))
            api, *peers = ["{}:{}".format(*sock.getsockname()) for sock in sockets]
        self.api, self.addresses = api, dict(zip([MAIN, *self.cluster.names], peers, strict=True))

    def words(self, name):
        before = list(self.addresses)[: list(self.addresses).index(name)]
        dials = ",".join(f"{self.cluster.node_key(peer)}@{self.addresses[peer]}" for peer in before)
        given = {"gossip.bind": self.addresses[name], "gossip.static_outbound": dials}
        role = ["node", "run", "--main-node-url", f"http://{self.api}"]
        if name == MAIN:
            given |= {"batches.source": "file", "batches.file": self.batches}
            role = ["main-node", "run", "--bind", self.api]
        config = self.cluster.data_dir / name / "node.toml"
        return [
            *role,
            "--config",
            config,
            *(word for pair in given.items() for word in ("--set", "{}={}".format(*pair))),
        ]

    async def start(self, name):
        self.running[name] = await self.processes.enter_async_context(started(*self.words(name), timeout_s=TIMEOUT_S))

    async def kill(self, name):
        return await self.running.pop(name).stop(signal.SIGKILL)

    def seal(self):
        """One more batch; its number."""
        number, self.sealed = self.sealed, self.sealed + 1
        with self.batches.open("a") as file:
            file.write(json.dumps({"number": number, "hash": BatchHash(bytes([number + 1]) * 32).to_text()}) + "\n")
        return number

    async def certified(self, number, *names):
        for name in names:
            await self.running[name].wait_said(f"batch {number} certified by ")

    def recorded(self, name):
        """The numbers of the votes on a node's record."""
        path = self.cluster.data_dir / name / "data" / "protection.db"
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(1_000)
            return {number for (number,) in connection.execute("SELECT number FROM votes")}
        finally:
            connection.close()

    async def stop(self):
        """End all in order: the exit codes."""
        return {name: (await process.stop(signal.SIGTERM))[0] for name, process in self.running.items()}


async def test_killed_one_at_a_time_the_network_goes_on_and_killed_in_pairs_it_waits(tmp_path):
    with trio.fail_after(TIMEOUT_S):
        async with AsyncExitStack() as processes:
            site = Site(tmp_path, processes)
            names = site.cluster.names
            site.seal()
            for name in (MAIN, *names):
                await site.start(name)
            await site.certified(0, MAIN)

            for name in (names[0], names[3], names[6]):
                await site.kill(name)
                without = site.seal()
                await site.certified(without, MAIN)
                await site.start(name)
                await site.certified(site.seal(), MAIN)
                await site.certified(without, name)  # asked for: it was not there

            for name in names[:2]:
                await site.kill(name)
            waited = site.seal()
            for name in names[2:]:
                while waited not in site.recorded(name):  # noqa: ASYNC110  another process writes it
                    await trio.sleep(LOOK_S)
            async with MainNodeClient(f"http://{site.api}") as asking:
                told = await asking.attestation_status()
            await site.start(names[0])
            await site.running[MAIN].wait_said(f"batch {waited} certified by 6 votes")
            await site.start(names[1])
            end = site.seal()
            await site.certified(end, MAIN, *names)
            codes = await site.stop()

    assert told.next_batch == waited
    assert set(codes.values()) == {143}
    assert_same_certificates(site.cluster, site.genesis, up_to=end)
