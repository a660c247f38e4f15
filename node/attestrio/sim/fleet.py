"""A network of processes on loopback: every node runs alone over a folder of its own, and can be killed alone.

What a folder's `node.toml` says is all that its node needs, so that whoever killed one can start it again by hand.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import tomli_w
import trio
from trio_util import AsyncValue

from attestrio.errors import SetupError, SourceError
from attestrio.gossip.rpc.methods import METHODS
from attestrio.gossip.rpc.ping import PING
from attestrio.kit.http_errors import AddressInUse
from attestrio.kit.tcp import bind_socket, shown_address
from attestrio.mainnode.client import MainNodeClient
from attestrio.roles import BatchNumber, BatchQC, Genesis
from attestrio.sim.chain import SimChain
from attestrio.sim.cluster import MAIN, Cluster
from attestrio.sim.rollup import replace_file
from attestrio.store.certificates import open_certificates

PROGRAM: Final = (sys.executable, "-c", "from attestrio.cli import main; main()")
FREE_PORTS: Final = range(10_000, 32_000)  # below those that outgoing connections get, which come and go
ATTEMPTS: Final = 100
LOOK_S: Final = 0.2
"""Between two questions for a certificate, or whether a node is up."""
UP_S: Final = 60.0
"""For a process to begin, on a machine that has much else to do."""
STOP_S: Final = 10.0
"""For all that run to obey SIGTERM; then they are killed."""


class NoFreePorts(SetupError):
    """Everything that was tried is in use: something else on this machine listens on thousands of ports."""

    code: ClassVar[str] = "no_free_ports"
    exit_code = 3

    def __init__(self) -> None:
        super().__init__(f"no port was free on 127.0.0.1, of {ATTEMPTS} tried")


class NodeNotUp(SetupError):
    """A node of a network of processes did not come up: its log says why."""

    code: ClassVar[str] = "node_not_up"
    exit_code = 3

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(f"{name} did not come up: the end of {log} says why")
        self.name, self.log = name, log


@dataclass(frozen=True, slots=True)
class Ended:
    """A node's process that is gone. `code`: its exit code, or minus the signal that killed it."""

    name: str
    code: int

    @property
    def by_itself(self) -> bool:
        """Whether nobody asked for it, neither by kill nor by a signal that it obeyed."""
        return self.code >= 0 and self.code not in {128 + signal.SIGINT, 128 + signal.SIGTERM}


@dataclass(eq=False, slots=True)
class Fleet:
    """A main node and its attesters, one process each, and what seals a batch every now and then.

    A node that ends is told in `ended`, and not started again: that is for whoever watches.
    """

    cluster: Cluster
    """The same network, of which it is known what lies where; it does not run itself."""
    pids: dict[str, int] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    """The URL of each node's page, by name, once `prepare` has chosen."""
    api: str = ""
    """Where the main node is asked, HOST:PORT."""
    ended: AsyncValue[tuple[Ended, ...]] = field(default_factory=lambda: AsyncValue(()))
    _next: int = 0

    @property
    def names(self) -> list[str]:
        return [MAIN, *self.cluster.names]

    def config(self, name: str) -> Path:
        return self.cluster.data_dir / name / "node.toml"

    def log(self, name: str) -> Path:
        """What the process of a node says, of all its runs."""
        return self.cluster.data_dir / name / "node.log"

    def command(self, name: str) -> list[str]:
        """The words after `attestrio` that run a node."""
        return ["main-node" if name == MAIN else "node", "run", "-c", str(self.config(name))]

    async def prepare(self) -> Genesis:
        """Choose addresses, and write for each node what it needs to run alone.

        Raises OtherCluster, OtherRollup, AddressInUse, BadAddress, NoFreePorts, OSError.
        """
        genesis = self.cluster.prepare()
        host, port = self.cluster.spec.web or ("127.0.0.1", 0)
        with ExitStack() as held:  # all at once, so that they differ
            pages = [await _address(held, host, port + index if port else 0) for index in range(len(self.names))]
            self.api, *peers = [await _address(held, "127.0.0.1", 0) for _ in range(len(self.names) + 1)]
        self.pages = {name: f"http://{page}" for name, page in zip(self.names, pages, strict=True)}
        gossip = dict(zip(self.names, peers, strict=True))
        for name in self.names:
            table = tomllib.loads(self.config(name).read_text("utf-8"))
            for section, keys in self._alone(name, gossip).items():
                table[section] = table.get(section, {}) | keys
            replace_file(self.config(name), tomli_w.dumps(table))
        return genesis

    def _alone(self, name: str, gossip: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """What is added to a node's configuration, by section."""
        cluster, before = self.cluster, self.names[: self.names.index(name)]
        called = {str(cluster.node_key(one)): one for one in self.names}
        called |= {key.to_text(): one for one, key in cluster.public_keys().items()}
        lifted = (
            [f"{method.name}=1/0" for method in METHODS if method is not PING] if self.cluster.spec.lift_rates else []
        )
        given: dict[str, dict[str, Any]] = {
            "gossip": {
                "bind": gossip[name],
                "static_outbound": [f"{cluster.node_key(peer)}@{gossip[peer]}" for peer in before],
                "rates": lifted,
            },
            "web": {
                "bind": self.pages[name].removeprefix("http://"),
                "names": [f"{key}={one}" for key, one in called.items()],
            },
        }
        if name == MAIN:
            batches = {"source": "file", "file": "../batches.jsonl"}
            return given | {"serve": {"bind": self.api}, "batches": batches}
        return given | {"main_node": {"url": f"http://{self.api}/"}}

    async def run(self, genesis: Genesis, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start all nodes, and seal batches until cancelled; then every node is stopped. `started` once all are up.

        Raises NodeNotUp.
        """
        first = int(tomllib.loads(self.config(MAIN).read_text("utf-8"))["batches"]["first"])
        chain = SimChain(genesis.hash(), first=first)
        chain.seal(self._look_back(first))
        lines = "".join(_line(chain, number) for number in range(first, chain.height.value + 1))
        replace_file(self._batches, lines)
        processes: dict[str, trio.Process] = {}
        async with trio.open_nursery() as nursery:
            try:
                for name in self.names:
                    processes[name] = await self._start(name)
                    nursery.start_soon(self._watch, name, processes[name])
                for name in self.names:
                    await self._up(name)
                task_status.started()
                await self._seal(chain)
            finally:
                with trio.CancelScope(shield=True):
                    await _stop(processes.values())

    @property
    def _batches(self) -> Path:
        return self.cluster.data_dir / "batches.jsonl"

    def _look_back(self, first: int) -> int:
        """How many batches earlier runs have sealed; the first one without a certificate is remembered."""
        count, self._next = len(self._batches.read_bytes().splitlines()) if self._batches.exists() else 0, first
        if self.cluster.database(MAIN).exists():
            with open_certificates(self.cluster.database(MAIN)) as file:
                for epoch in file.epochs()[-1:]:
                    count = max(count, int(epoch.persisted.next()) - first)
                    self._next = first if epoch.last_certified is None else int(epoch.last_certified) + 1
        return count

    async def _start(self, name: str) -> trio.Process:
        with self.log(name).open("ab") as log:
            process = await trio.lowlevel.open_process(
                [*PROGRAM, *self.command(name)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.pids[name] = process.pid
        return process

    async def _watch(self, name: str, process: trio.Process) -> None:
        self.ended.value = (*self.ended.value, Ended(name, await process.wait()))

    async def _up(self, name: str) -> None:
        """Until its page can be asked for. Raises NodeNotUp."""
        host, _, port = self.pages[name].removeprefix("http://").rpartition(":")
        with trio.move_on_after(UP_S):
            while all(one.name != name for one in self.ended.value):
                with suppress(OSError):
                    await (await trio.open_tcp_stream(host.strip("[]"), int(port))).aclose()
                    return
                await trio.sleep(LOOK_S)
        raise NodeNotUp(name, self.log(name))

    async def _seal(self, chain: SimChain) -> None:
        async with await trio.open_file(self._batches, "a") as file:
            while True:
                chain.seal()
                await file.write(_line(chain, chain.height.value))
                await file.flush()
                await trio.sleep(self.cluster.spec.batch_every_s)

    async def certificates(self) -> AsyncGenerator[BatchQC, None]:
        """Certificates of the main node in order, from the first that it has not yet; while it is away, none."""
        async with MainNodeClient(f"http://{self.api}/") as client:
            number = BatchNumber(self._next)
            while True:
                try:
                    found = await client.certificate(number)
                except SourceError:
                    found = None  # killed, or not up yet
                if found is None:
                    await trio.sleep(LOOK_S)
                    continue
                yield found
                number = number.next()


def _line(chain: SimChain, number: int) -> str:
    return json.dumps({"number": number, "hash": chain.hash(number).to_text()}) + "\n"


async def _address(held: ExitStack, host: str, port: int) -> str:
    """HOST:PORT that is free, and stays so while `held`; port 0 picks one. Raises AddressInUse, BadAddress."""
    if port:
        return shown_address(held.enter_context(await bind_socket(f"{host}:{port}")).getsockname())
    for _ in range(ATTEMPTS):
        with suppress(AddressInUse):
            return await _address(held, host, random.choice(FREE_PORTS))
    raise NoFreePorts


async def _stop(processes: Collection[trio.Process]) -> None:
    for process in processes:
        process.terminate()
    with trio.move_on_after(STOP_S):
        for process in processes:
            await process.wait()
    for process in processes:
        process.kill()  # no news for one that has ended
        await process.wait()
