"""An aggregator that was away: 60 batches wait, 8 and then 30 operators try every 0.2 s; and a flood of their calls.

    python bench/aggregator.py [--quick] [--json]

Chain, operators and aggregator are processes of their own on this machine, the chain has a block each second. The
aggregator runs, is killed (-9), and then the batches are posted. Two runs for each number of operators, both from this
state: `drain`, where operators repeat what fails, and `flood`, where each sends each of 60 signatures every 0.2 s
whatever it was told, 2,400 and 9,000 calls a second, while a new batch is posted every 2 s. After it one batch more is
posted, which says how long the aggregator takes to be itself again.

The floor of a drain is what no aggregator can do without, one after the other on the same machine: one pairing product
for each batch, one commit for each batch's signatures and four for its transaction, and the very transactions of the
run, sent again to the chain as it was before, as many at a time. Without anvil nothing is measured;
exit 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio
from _floor import Figure, report
from _measured import Measured
from _operators import Order, Told, key_of
from attestrio.app.aggregator_config import (
    AggregatorConfig,
    EcdsaSection,
    L1Section,
    NodeSection,
    SenderSection,
    ServerSection,
    TasksSection,
)
from attestrio.bls import from_limbs_untrusted, sum_g1, sum_g2, to_limbs, verify_group
from attestrio.kit.sqlite import open_database
from attestrio.l1.api import Address, BlockNumber, LogFilter, TxHash
from attestrio.l1.for_web3 import wait_receipt
from attestrio.l1.wire import hex_bytes, hex_number
from attestrio.operator.surface import BATCH_VERIFIED, identifier_hash
from attestrio.sim.anvil import Anvil, AnvilAbsent, find_anvil, running_anvil
from attestrio.sim.service_manager import SimServiceManager
from eth_account import Account

HERE = Path(__file__).parent
BATCHES, IN_FLIGHT, BLOCK_S, POLL_S = 60, 32, 1.0, 0.25
FLEETS = (8, 30)
FLOOD_S, QUICK_FLOOD_S, POST_S = 25.0, 6.0, 2.0
LOOK_S = 0.05
LIMIT_S = 90.0  # for anything; then something is broken
ETHER = 10**18
POSTER = 9  # of anvil's accounts
BEFORE = "before"  # the folder of the aggregator that is killed
MB = 1e6

Batch = tuple[bytes, bytes]


class Child:
    """A process that answers each line with one, in JSON."""

    def __init__(self, process: trio.Process, answer: type) -> None:
        self._process, self._answer, self._buffer = process, answer, b""

    def kill(self) -> None:
        self._process.kill()

    async def ask(self, line: bytes) -> Any:
        await self._process.stdin.send_all(line + b"\n")
        return await self.line()

    async def line(self) -> Any:
        while b"\n" not in self._buffer:
            chunk = await self._process.stdout.receive_some()
            if not chunk:
                raise SystemExit(f"{self._process.args[1]} has ended")
            self._buffer += chunk
        raw, _, self._buffer = self._buffer.partition(b"\n")
        return msgspec.json.decode(raw, type=self._answer)


@asynccontextmanager
async def child(script: str, answer: type, *arguments: object) -> AsyncIterator[Child]:
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Child(process, answer)
        await process.stdin.aclose()
        with trio.move_on_after(10):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        await process.stdin.aclose()
        await process.stdout.aclose()


@dataclass(eq=False)
class World:
    """A chain with operators and batches."""

    anvil: Anvil
    manager: SimServiceManager
    account: Any  # the aggregator's
    folder: Path
    operators: int
    batches: list[Batch] = field(default_factory=list)

    @classmethod
    async def made(cls, anvil: Anvil, folder: Path, operators: int) -> World:
        account = Account.create()
        manager = await SimServiceManager.deploy(anvil, Address(bytes.fromhex(account.address[2:])))
        await anvil.ask("anvil_setBalance", account.address, hex_number(100 * ETHER))
        world = cls(anvil, manager, account, folder, operators)
        for number in range(operators):
            address = Address(hashlib.sha256(b"operator %d" % number).digest()[:20])
            await manager.register(address, key_of(number), 100)
        await world.run_before()
        for _ in range(BATCHES):
            await world.post()
        await anvil.mine()
        await anvil.ask("evm_setAutomine", False)
        await anvil.ask("anvil_setIntervalMining", round(BLOCK_S))
        return world

    async def run_before(self) -> None:
        """An aggregator that has seen the operators register, and is killed."""
        async with child("_measured.py", Measured, self.config(f"127.0.0.1:{free_port()}", BEFORE)) as aggregator:
            told = await aggregator.line()
            with trio.fail_after(LIMIT_S):
                while told.operators < self.operators:
                    await trio.sleep(LOOK_S)
                    told = await aggregator.ask(b"")
            aggregator.kill()

    async def post(self) -> Batch:
        sender, root = self.anvil.accounts[POSTER], hashlib.sha256(b"batch %d" % len(self.batches)).digest()
        self.batches.append((root, bytes(sender)))
        await self.manager.create_task(sender, root, "http://127.0.0.1:1/", value=ETHER // 10)
        return root, bytes(sender)

    async def verified(self) -> dict[bytes, bytes]:
        """Identifiers the chain has an answer to, and by which transaction."""
        wanted = LogFilter((self.manager.address,), ((BATCH_VERIFIED.topic,),))
        found = {}
        for one in await self.anvil.provider.logs(wanted, BlockNumber(0), await self.anvil.head()):
            said = BATCH_VERIFIED.read_untrusted(one)
            found[identifier_hash(said["batchMerkleRoot"], said["senderAddress"])] = one.transaction
        return found

    async def wait_verified(self, batches: Sequence[Batch]) -> float:
        """When all of them are, on the clock."""
        wanted, head = {identifier_hash(*one) for one in batches}, -1
        while True:
            now = await self.anvil.head()
            if now > head and wanted <= (await self.verified()).keys():
                return time.perf_counter()
            head = now
            await trio.sleep(LOOK_S)

    def config(self, address: str, name: str = "") -> Path:
        """For an aggregator in a folder of that name; without one, in a copy of that of the killed aggregator."""
        if not name:
            name = secrets.token_hex(4)
            shutil.copytree(self.folder / BEFORE, self.folder / name)
        contract = hex_bytes(self.manager.address)
        made = AggregatorConfig(
            aggregator=NodeSection(data_dir=str(self.folder / name)),
            server=ServerSection(bind=address),
            ecdsa=EcdsaSection(keystore=str(self.folder / "ecdsa"), password_file=str(self.folder / "password")),
            l1=L1Section(
                rpc_urls=(self.anvil.url,), chain_id=self.anvil.provider.chain_id, manager=contract,
                coordinator=contract, key_registry=contract, retriever=contract, poll_s=POLL_S,
            ),
            tasks=TasksSection(window_s=BLOCK_S, block_s=BLOCK_S, fetch_blocks=100_000),
            sender=SenderSection(in_flight=IN_FLIGHT, confirmations=2, bump_after_s=12 * BLOCK_S),
        )  # fmt: skip
        (self.folder / "ecdsa").write_bytes(msgspec.json.encode(Account.encrypt(self.account.key, name, "scrypt", 2)))
        (self.folder / "password").write_text(name)
        path = self.folder / f"{name}.json"
        path.write_bytes(msgspec.json.encode(made))
        return path


@dataclass(frozen=True, slots=True)
class Drained:
    """One drain, in seconds."""

    start_s: float
    """From the start of the process until it listens."""
    drain_s: float
    """From then until the last batch is answered."""
    told: Measured
    fleet: Told
    transactions: list[bytes]


@dataclass(frozen=True, slots=True)
class Flooded:
    """One flood."""

    seconds: float
    answered: int
    sent: int
    recovery_s: float
    before: Measured
    """When it listened."""
    during: Measured
    """Times of the flood alone, memory at its end."""
    fleet: Told
    """At the end of everything."""
    batches: int


@asynccontextmanager
async def rest(world: World, address: str, mode: str) -> AsyncIterator[Child]:
    """Operators who try already."""
    async with child("_operators.py", Told, address, world.operators, mode) as fleet:
        await fleet.ask(msgspec.json.encode(Order(world.batches)))
        await trio.sleep(2.0)
        yield fleet


async def drain(world: World) -> Drained:
    address = f"127.0.0.1:{free_port()}"
    async with rest(world, address, "patient") as fleet:
        began = time.perf_counter()
        async with child("_measured.py", Measured, world.config(address)) as aggregator:
            await aggregator.line()
            listens = time.perf_counter()
            ended = await world.wait_verified(world.batches)
            told, said = await aggregator.ask(b""), await fleet.ask(b"{}")
        found = await world.verified()
    transactions = [found[identifier_hash(*one)] for one in world.batches]
    return Drained(listens - began, ended - listens, told, said, await raw_again(world, transactions))


async def flood(world: World, for_s: float) -> Flooded:
    address = f"127.0.0.1:{free_port()}"
    async with rest(world, address, "flood") as fleet:
        await fleet.ask(msgspec.json.encode(Order(most=BATCHES)))
        async with child("_measured.py", Measured, world.config(address)) as aggregator:
            before, began = await aggregator.line(), time.perf_counter()
            await aggregator.ask(b"reset")
            start = await fleet.ask(b"{}")
            while time.perf_counter() - began < for_s:
                posted = await world.post()
                await fleet.ask(msgspec.json.encode(Order([posted])))
                await trio.sleep(POST_S - BLOCK_S / 2)
            during, end = await aggregator.ask(b""), await fleet.ask(msgspec.json.encode(Order(mode="patient")))
            seconds, stopped = time.perf_counter() - began, time.perf_counter()
            posted = await world.post()
            await fleet.ask(msgspec.json.encode(Order([posted])))
            recovered = await world.wait_verified(world.batches)
            said = await fleet.ask(b"{}")
            while said.taken < said.signatures:
                await trio.sleep(LOOK_S)
                said, recovered = await fleet.ask(b"{}"), time.perf_counter()
    return Flooded(
        seconds, end.answered - start.answered, end.sent - start.sent, recovered - stopped, before, during, said,
        len(world.batches),
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- the floor


async def raw_again(world: World, transactions: Sequence[bytes]) -> list[bytes]:
    """The bytes of mined transactions, by nonce."""
    found = []
    for one in transactions:
        told = await world.anvil.ask("eth_getTransactionByHash", hex_bytes(one))
        what = {"to": bytes.fromhex(told["to"][2:]), "data": told["input"], "value": 0}
        what |= {name: int(told[name], 16) for name in ("nonce", "gas", "gasPrice")}
        found.append(what | {"chainId": world.anvil.provider.chain_id})
    ordered = sorted(found, key=lambda one: one["nonce"])
    return [world.account.sign_transaction(one).raw_transaction for one in ordered]


async def chain_floor(world: World, transactions: Sequence[bytes]) -> float:
    """Seconds until all are mined, as many at a time as the aggregator sends."""
    began, waiting = time.perf_counter(), list(transactions)
    while waiting:
        now, waiting = waiting[:IN_FLIGHT], waiting[IN_FLIGHT:]
        hashes = [await world.anvil.ask("eth_sendRawTransaction", hex_bytes(one)) for one in now]
        for one in hashes:
            await wait_receipt(world.anvil.provider, TxHash(bytes.fromhex(one[2:])), LIMIT_S, LOOK_S)
    return time.perf_counter() - began


def bls_floor(world: World) -> float:
    """Seconds: one product for each batch, and its sums."""
    keys = [(key, key.public_g1(), key.public_g2()) for key in map(key_of, range(world.operators))]
    work = []
    for one in world.batches[:BATCHES]:
        identifier = identifier_hash(*one)
        work.append((identifier, [(from_limbs_untrusted(*to_limbs(k.sign(identifier))), g2) for k, _, g2 in keys]))
    began = time.perf_counter()
    for identifier, members in work:
        assert all(verify_group(identifier, members))
        sum_g1(signature for signature, _ in members)
        sum_g1(g1 for _, g1, _ in keys)
        sum_g2(g2 for _, g2 in members)
    return time.perf_counter() - began


def journal_floor(world: World) -> float:
    """Seconds: one commit for the signatures of a batch, four for its transaction."""
    bare = open_database(
        world.folder / "bare.db", application_id=1,
        schema=("CREATE TABLE IF NOT EXISTS bare(key BLOB PRIMARY KEY, body BLOB NOT NULL)",),
    )  # fmt: skip
    began = time.perf_counter()
    for number in range(BATCHES):
        for rows, size in ((world.operators, 80), (1, 1_000), (1, 1_000), (1, 1_000), (1, 1_000)):
            bare.execute("BEGIN IMMEDIATE")
            for row in range(rows):
                key = b"%d %d %d" % (number, rows, row)
                bare.execute("INSERT OR REPLACE INTO bare(key, body) VALUES (?, ?)", (key, bytes(size)))
            bare.execute("COMMIT")
    took = time.perf_counter() - began
    bare.close()
    return took


# --- figures


@dataclass(frozen=True, slots=True)
class Ran:
    """Everything about one number of operators."""

    operators: int
    drained: Drained
    flooded: Flooded
    bls_s: float
    journal_s: float
    chain_s: float


async def run_one(operators: int, flood_s: float, folder: Path) -> Ran:
    folder = folder / str(operators)
    folder.mkdir()
    async with running_anvil() as anvil:
        world = await World.made(anvil, folder, operators)
        before = await anvil.ask("evm_snapshot")
        with trio.fail_after(LIMIT_S):
            drained = await drain(world)
        await anvil.ask("evm_revert", before)
        before = await anvil.ask("evm_snapshot")
        chain_s = await chain_floor(world, drained.transactions)
        await anvil.ask("evm_revert", before)
        bls_s, journal_s = bls_floor(world), journal_floor(world)
        with trio.fail_after(LIMIT_S + flood_s):
            flooded = await flood(world, flood_s)
    return Ran(operators, drained, flooded, bls_s, journal_s, chain_s)


def figures_of(ran: Ran) -> list[Figure]:
    drained, flooded, count = ran.drained, ran.flooded, ran.operators
    told, during, floor_s = drained.told, flooded.during, ran.bls_s + ran.journal_s + ran.chain_s
    small = count == FLEETS[0]
    one = f"{count} operators: "

    def figure(name: str, value: float, unit: str, target: float | None = None) -> Figure:
        return Figure(one + name, value, unit, target, at_least=False)

    lost = drained.fleet.signatures - drained.fleet.taken + flooded.fleet.signatures - flooded.fleet.taken
    return [
        figure("process started until it listens", drained.start_s, "s"),
        figure(f"{BATCHES} batches drained, since it listens", drained.drain_s, "s"),
        Figure(one + "batches a second", BATCHES / drained.drain_s, ""),
        figure("floor: BLS, journal, chain", floor_s, "s"),
        figure("drained / floor", drained.drain_s / floor_s, "", 4.0),
        figure("drain: processor time of the aggregator", told.cpu, "s"),
        figure("drain: handler p50", told.handler_p50 * 1e3, "ms"),
        figure("drain: handler p99", told.handler_p99 * 1e3, "ms"),
        figure("drain: event-loop lag p99", told.lag_p99 * 1e3, "ms", 100.0 if small else None),
        figure("calls of the chain for a batch", sum(told.calls.values()) / BATCHES, "", 12.0),
        figure("questions for logs", told.calls["eth_getLogs"], ""),
        figure("pairing products for a signature", told.groups / told.good, "", 0.5),
        figure("transactions that recorded signatures", told.records, ""),
        figure("drain: peak memory", told.peak / MB, "MB"),
        Figure(one + "flood: calls sent a second", flooded.sent / flooded.seconds, ""),
        Figure(one + "flood: calls answered a second", flooded.answered / flooded.seconds, ""),
        figure("flood: handler p50", during.handler_p50 * 1e3, "ms"),
        figure("flood: handler p99", during.handler_p99 * 1e3, "ms", 1_000.0 if small else None),
        figure("flood: event-loop lag p99", during.lag_p99 * 1e3, "ms", 100.0 if small else None),
        figure("flood: event-loop lag, the most", during.lag_max * 1e3, "ms"),
        figure("flood: peak memory", during.peak / MB, "MB"),
        figure("flood: peak memory, above the start", (during.peak - flooded.before.memory) / MB, "MB", 64.0),
        figure("flood: itself again after", flooded.recovery_s, "s", 10.0),
        figure("signatures never taken", lost, "", 0.0),
        figure("errors that operators heard", sum(flooded.fleet.errors.values()), ""),
    ]


async def measure(fleets: Sequence[int], flood_s: float) -> list[Figure]:
    figures, calls = [], []
    with tempfile.TemporaryDirectory(prefix="attestrio-aggregator-") as folder:
        for operators in fleets:
            ran = await run_one(operators, flood_s, Path(folder))
            figures += figures_of(ran)
            calls.append(sum(ran.drained.told.calls.values()))
    if len(calls) > 1:
        name = f"calls of the chain, {fleets[-1]} operators / {fleets[0]}"
        figures.append(Figure(name, calls[-1] / calls[0], "", 1.25, at_least=False))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="a short flood, to see that the bench runs")
    args = parser.parse_args()
    try:
        find_anvil()
    except AnvilAbsent as exc:
        print(f"left out: {exc}", file=sys.stderr)
        return 0
    figures = trio.run(measure, FLEETS, QUICK_FLOOD_S if args.quick else FLOOD_S)
    return report("aggregator", figures, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
