"""Several nodes in one nursery, over real files and real HTTP on loopback: the devnet, and what tests start."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NoReturn

import tomli_w
import trio

from attestrio.app import RunningNode, run_node
from attestrio.config import load_config
from attestrio.errors import SetupError
from attestrio.gossip.rpc.methods import METHODS
from attestrio.gossip.rpc.ping import PING
from attestrio.kit.files import write_new
from attestrio.l1.wire import hex_bytes
from attestrio.protection.commands import CommandBox
from attestrio.protection.history import mark_unused
from attestrio.roles import (
    AttesterPublicKey,
    AttesterSecretKey,
    Committee,
    Genesis,
    NodePublicKey,
    NodeSecretKey,
    RoundRobin,
    ValidatorPublicKey,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.sim.anvil import running_anvil
from attestrio.sim.chain import SimChain
from attestrio.sim.rollup import SimRollup, replace_file
from attestrio.sim.wires import TcpWires
from attestrio.sim.zkchain import ZkChain, ZkRollup

MAIN = "main-node"
ON_CHAIN = "on-chain"
"""A file that marks the folder of a network whose batches are committed to a development chain."""
API = "main-node-api"
"""The other end of the wires over which nodes ask the main node."""

# A genesis needs a validator, and peers check that its key is a point of BLS12-381. This one is from a published
# test genesis; nobody signs with it here.
VALIDATOR = ValidatorPublicKey.from_bytes(
    bytes.fromhex(
        "b14e3126668ae79e689a2d65c56522889a3812ef5433097c33bd7af601b073dcdddf46e188883aa381725c49e08f90c7"
        "05df1f78bf918e1978912cebeadff0d0084b1a4fe2ddee243e826348045f528803207f5de303c6a95bc1a701a190dbcf"
    )
)


class OtherCluster(SetupError):
    """The directory holds a network with another committee: one more would have no vote, one less be missed."""

    code: ClassVar[str] = "other_cluster"

    def __init__(self, path: Path, got: int, want: int) -> None:
        super().__init__(f"{path} holds a network of {got} attesters, {want} are asked for: choose another directory")
        self.path, self.got, self.want = path, got, want


class OtherRollup(SetupError):
    """The directory holds a network whose batches are on a development chain, or are not: the other kind has others."""

    code: ClassVar[str] = "other_rollup"

    def __init__(self, path: Path, on_chain: bool) -> None:
        has, option = ("has its batches on a chain", "with") if on_chain else ("has no chain", "without")
        super().__init__(f"{path} holds a network that {has}: run it {option} --chain, or choose another directory")
        self.path, self.on_chain = path, on_chain


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What to build. Times in seconds."""

    attesters: int = 4
    batch_every_s: float = 1.0
    poll_s: float = 0.2
    chain_id: int = 270
    bind: str = "127.0.0.1:0"
    listen_s: float = 0.2
    """For another node with the same key, before the first vote: here a clone is heard within a few milliseconds."""
    redial_s: float = 1.0
    """Between two attempts at a peer; 20 on the network, which would make every restart here wait for it."""
    anvil: Path | None = None
    """The program of a development chain, to which the batches are committed; None: there is none."""
    lift_rates: bool = False
    """Whether the gossip methods have no rate limits, instead of the network's."""
    web: tuple[str, int] | None = None
    """Host and port of the main node's page; the n-th attester's is n ports above, and with 0 each picks a free one."""


@dataclass(eq=False, slots=True)
class Cluster:
    """A main node that makes batches and `spec.attesters` attesters that poll it, each with a folder in `data_dir`.

    Votes travel by gossip over TCP on loopback, one link for each pair: every node dials those that stand before it.
    The folders are written once: a second run over the same directory goes on where the first ended.
    """

    data_dir: Path
    spec: ClusterSpec = ClusterSpec()
    nodes: dict[str, RunningNode] = field(default_factory=dict)
    """Those that run, by name."""
    wires: TcpWires | None = None
    """What all connections of the attesters go through: links with peers, and calls to the main node at `API`."""
    rollup: ZkRollup | None = field(default=None, init=False)
    """What commits the batches on Ethereum, while a cluster with `spec.anvil` runs."""
    _chain: SimChain | None = field(default=None, init=False)
    _url: str | None = field(default=None, init=False)
    _addresses: dict[str, str] = field(default_factory=dict, init=False)
    _pages: dict[str, str] = field(default_factory=dict, init=False)
    _lives: dict[str, _Life] = field(default_factory=dict, init=False)
    _nursery: trio.Nursery | None = field(default=None, init=False)

    @property
    def names(self) -> list[str]:
        """The attesters, in order."""
        return [f"attester-{index}" for index in range(1, self.spec.attesters + 1)]

    @property
    def chain(self) -> SimChain:
        """What the main node takes its batches from, once the cluster runs. Raises ValueError before."""
        if self._chain is None:
            raise ValueError("chain: the cluster does not run")
        return self._chain

    @property
    def ends(self) -> list[str]:
        """All that a node reaches over `wires`: whom to isolate it from."""
        return [MAIN, API, *self.names]

    def prepare(self) -> Genesis:
        """Write keys, genesis and configurations that are not there yet; the genesis.

        Raises OtherCluster, OtherRollup.
        """
        genesis_file = self.data_dir / "genesis.json"
        if genesis_file.exists():
            self._check(Genesis.from_json(genesis_file.read_text("utf-8")))
        elif self.spec.anvil is not None:
            write_new(self.data_dir / ON_CHAIN, "")
        secrets = [_secret(self.data_dir / name / "attester.key") for name in self.names]
        for name in [MAIN, *self.names]:
            _node_secret(self.data_dir / name / "node.key")
        if not genesis_file.exists():
            genesis = Genesis(
                chain_id=self.spec.chain_id,
                fork_number=0,
                first_block=0,
                protocol_version=1,
                validators=(WeightedValidator(VALIDATOR, 1),),
                leader_selection=RoundRobin(),
                attesters=Committee([WeightedAttester(secret.public(), 1) for secret in secrets]),
            )
            write_new(genesis_file, json.dumps(genesis.to_json(), indent=2) + "\n")
        main = {
            "node": {"data_dir": "data"},
            "genesis": {"file": "../genesis.json"},
            "main_node": {"poll_s": self.spec.poll_s},
            "batches": {"poll_s": self.spec.poll_s, "first": 0},
            "serve": {"bind": self.spec.bind},
            "gossip": self._gossip(),
        }
        attester = {
            "node": {"data_dir": "data"},
            "protection": {"listen_s": self.spec.listen_s},
            "keys": {"attester_file": "attester.key"},
            "main_node": {"poll_s": self.spec.poll_s},
            "batches": {"poll_s": self.spec.poll_s, "first": 0},
            "gossip": self._gossip(),
        }
        self._write_config(MAIN, main)
        for name in self.names:
            self._write_config(name, attester)
        return Genesis.from_json(genesis_file.read_text("utf-8"))

    def _gossip(self) -> dict[str, object]:
        """Section of every node; whom it dials and where it listens is known when it runs."""
        return {"node_key_file": "node.key", "redial_s": self.spec.redial_s}

    def node_key(self, name: str) -> NodePublicKey:
        """Under which `name` is known on the network, once `prepare` has written it."""
        return _node_secret(self.data_dir / name / "node.key").public()

    def _check(self, genesis: Genesis) -> None:
        committee = genesis.attesters
        if committee is None or len(committee) != self.spec.attesters:
            raise OtherCluster(self.data_dir, len(committee) if committee else 0, self.spec.attesters)
        on_chain = (self.data_dir / ON_CHAIN).exists()
        if on_chain != (self.spec.anvil is not None):
            raise OtherRollup(self.data_dir, on_chain)

    def public_keys(self) -> dict[str, AttesterPublicKey]:
        """The attesters' keys by name, once `prepare` has written them."""
        return {name: _secret(self.data_dir / name / "attester.key").public() for name in self.names}

    @property
    def pages(self) -> dict[str, str]:
        """The URL of each node's page, by name, once it has started; empty without `spec.web`."""
        return dict(self._pages)

    def database(self, name: str) -> Path:
        """Where a node keeps its certificates."""
        return self.data_dir / name / "data" / "store.db"

    async def run(
        self, *, task_status: trio.TaskStatus[Mapping[str, RunningNode]] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Run chain and nodes until cancelled; started with all nodes by name, the main node first."""
        genesis = self.prepare()
        first = load_config(self._config(MAIN)).batches.first or 0
        kind = SimChain if self.spec.anvil is None else ZkChain
        self._chain = chain = kind(genesis.hash(), first=first)
        async with AsyncExitStack() as life:
            if isinstance(chain, ZkChain):
                self.rollup = await self._commit(life, chain)
            await self._run(chain, first, task_status)
        raise AssertionError("unreachable: the chain seals until cancelled")

    async def _run(self, chain: SimChain, first: int, task_status: trio.TaskStatus[Mapping[str, RunningNode]]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                if self.wires is not None:
                    await nursery.start(self.wires.run)
                await self.start(MAIN)
                epoch = await self.nodes[MAIN].wait_epoch()
                chain.seal(int(epoch.store.persisted.next()) - first)
                if self.rollup is not None:
                    nursery.start_soon(self.rollup.run)
                nursery.start_soon(chain.run, self.spec.batch_every_s)
                for name in self.names:
                    await self.start(name)
                task_status.started(self.nodes)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def _commit(self, life: AsyncExitStack, chain: ZkChain) -> ZkRollup:
        """A development chain with the rollup's contract on it; both end with `life`."""
        anvil = await life.enter_async_context(running_anvil(self.spec.anvil))
        return await ZkRollup.deploy(anvil, chain)

    async def start(self, name: str) -> RunningNode:
        """Start a node that was stopped: over the same files, at the same addresses, as after a restart.

        Returns when the node is ready. What ends it otherwise than by `stop` ends the cluster. Raises ValueError for a
        node that runs, or while the cluster does not.
        """
        if self._nursery is None or name in self._lives:
            raise ValueError(f"{name}: {'the cluster does not run' if self._nursery is None else 'runs already'}")
        node: RunningNode = await self._nursery.start(self._live, name)
        self.nodes[name] = node
        if name == MAIN:
            self._url = await node.api_url.wait_value(lambda value: value is not None)
        if node.network is not None and node.network.listener is not None:
            self._addresses[name] = node.network.listener.address
        if node.web_url.value is not None:
            self._pages[name] = node.web_url.value
        return node

    async def stop(self, name: str) -> None:
        """Stop a node as a signal does, and return when it has ended. Raises ValueError for one that does not run."""
        if name not in self._lives:
            raise ValueError(f"{name}: does not run")
        life = self._lives[name]
        life.scope.cancel()
        await life.ended.wait()

    async def _live(self, name: str, *, task_status: trio.TaskStatus[RunningNode]) -> None:
        life = self._lives[name] = _Life()
        config = load_config(self._config(name), overrides=self.overrides(name))
        try:
            with life.scope:
                await run_node(config, batch_source=self._chain if name == MAIN else None, task_status=task_status)
        finally:
            del self._lives[name]
            self.nodes.pop(name, None)
            life.ended.set()

    def revert(self, to: int) -> Genesis:
        """Give up every batch above `to` while the network runs; it follows by itself. The new genesis.

        Raises ValueError for a batch that the chain does not have, or while nothing runs.
        """
        if self._chain is None:
            raise ValueError("revert: the cluster does not run")
        main = CommandBox(self.data_dir / MAIN / "data")
        genesis = SimRollup(self._chain, self.data_dir / "genesis.json", main).revert(to)
        self._write_first(to + 1)
        return genesis

    def _write_first(self, first: int) -> None:
        """Where the main node begins when it is started again: its configuration names the batch beside the genesis."""
        table = tomllib.loads(self._config(MAIN).read_text("utf-8"))
        table["batches"]["first"] = first
        replace_file(self._config(MAIN), tomli_w.dumps(table))

    def overrides(self, name: str) -> dict[str, str]:
        """What the configuration of `name` does not say: addresses and rates of this run, as `--set` has them.

        A node keeps its own when it comes back, so that those behind it find it.
        """
        given = {
            "gossip.node_key_file": str(self.data_dir / name / "node.key"),  # an older release wrote no section
            "gossip.redial_s": str(self.spec.redial_s),
            "gossip.bind": self._addresses.get(name, "127.0.0.1:0"),
        }
        if self.spec.lift_rates:
            given["gossip.rates"] = ",".join(f"{method.name}=1/0" for method in METHODS if method is not PING)
        order = [MAIN, *self.names]
        before = [peer for peer in order[: order.index(name)] if peer in self._addresses]
        given["gossip.static_outbound"] = ",".join(
            f"{self.node_key(peer)}@{self._reached(name, peer, self._addresses[peer])}" for peer in before
        )
        if self.spec.web is not None:
            given |= self._page(name, *self.spec.web)
        if self.rollup is not None and name != MAIN:
            given |= self._on_chain(name, self.rollup)
        if self._url is not None:
            where = self._url.removeprefix("http://").removesuffix("/")
            if name == MAIN:
                given["serve.bind"] = where
            else:
                given["main_node.url"] = f"http://{self._reached(name, API, where)}/"
        return given

    def _page(self, name: str, host: str, port: int) -> dict[str, str]:
        """Where the page of `name` is, again where it was, and what it calls the others."""
        if name in self._pages:
            bind = self._pages[name].removeprefix("http://")
        else:
            bind = f"{host}:{port + [MAIN, *self.names].index(name) if port else 0}"
        nodes = {str(self.node_key(one)): one for one in [MAIN, *self.names]}
        voters = {key.to_text(): one for one, key in self.public_keys().items()}
        return {"web.bind": bind, "web.names": ",".join(f"{key}={one}" for key, one in (nodes | voters).items())}

    def _on_chain(self, name: str, rollup: ZkRollup) -> dict[str, str]:
        """Every other attester takes its batches from the chain; those between compare the main node's with it."""
        source = "l1" if self.names.index(name) % 2 else "main-node"
        return {
            "batches.source": source,
            "batches.check_l1": "true",
            "l1.rpc_urls": rollup.anvil.url,
            "l1.chain_id": str(rollup.anvil.provider.chain_id),
            "l1.diamond": hex_bytes(rollup.diamond),
            "l1.finality": "latest",
        }

    def _reached(self, name: str, peer: str, address: str) -> str:
        return address if self.wires is None else self.wires.between(name, peer, address)

    def _config(self, name: str) -> Path:
        return self.data_dir / name / "node.toml"

    def _write_config(self, name: str, table: Mapping[str, object]) -> None:
        if not self._config(name).exists():
            write_new(self._config(name), tomli_w.dumps(table))


@dataclass(eq=False, slots=True)
class _Life:
    """One run of a node."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)


def _secret(path: Path) -> AttesterSecretKey:
    if not path.exists():
        secret = AttesterSecretKey.generate()
        write_new(path, secret.to_text() + "\n")
        mark_unused(path, secret.public())
    return AttesterSecretKey.from_text(path.read_text("ascii").strip())


def _node_secret(path: Path) -> NodeSecretKey:
    if not path.exists():
        write_new(path, NodeSecretKey.generate().to_text() + "\n")
    return NodeSecretKey.from_text(path.read_text("ascii").strip())
