"""Aligned in one process: a development chain, operators, an aggregator and somebody who posts batches."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
import trio
from eth_account import Account
from trio_util import AsyncValue

from attestrio.app.aggregator import RunningAggregator, redis_journal, run_aggregator
from attestrio.app.aggregator_config import (
    AggregatorConfig,
    EcdsaSection,
    JournalSection,
    L1Section,
    NodeSection,
    SenderSection,
    ServerSection,
    TasksSection,
)
from attestrio.app.aligned_pages import operator_page
from attestrio.app.operator import key_of
from attestrio.app.page import served_page
from attestrio.bls import SecretKey
from attestrio.gorpc.client import GoRpcClient
from attestrio.journal import JournalAway, SqliteJournal
from attestrio.kit.files import write_new
from attestrio.kit.http import Scope, serve_app
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import Address, BlockNumber, LogFilter
from attestrio.l1.scan import ScanSettings
from attestrio.l1.wire import hex_bytes, hex_number
from attestrio.operator.batch import Entry, ProvingSystem
from attestrio.operator.download import Downloader, DownloadSettings
from attestrio.operator.merkle import batch_root
from attestrio.operator.runner import OperatorRunner
from attestrio.operator.settings import OutboxSettings
from attestrio.operator.surface import BATCH_VERIFIED, identifier_hash
from attestrio.roles.keccak import keccak256
from attestrio.sim.anvil import Anvil, running_anvil
from attestrio.sim.service_manager import SimServiceManager

STAKE: Final = 100
SENDER: Final = 9  # anvil's account that posts; the first ones are the operators'
MAX_OPERATORS: Final = SENDER
POLL_S: Final = 0.2
KEPT: Final = 1_000  # batches whose data is served
ERASE_S: Final = 5.0
ETHER: Final = 10**18
DEPOSIT: Final = 10**17  # wei of the poster, for each batch


@dataclass(frozen=True, slots=True)
class AlignedSpec:
    """What to build. Times in seconds."""

    operators: int = 4
    batches: int | None = None
    """How many are posted; None: one after the other, for ever."""
    every_s: float = 1.0
    """Between two batches."""
    block_s: float = 1.0
    """Between two blocks."""
    proofs: int = 3
    """In one batch."""
    redis_url: str = ""
    """Where the aggregator keeps its journal; "": in a file."""
    anvil: Path | None = None
    web: tuple[str, int] | None = None
    """Host and port of the aggregator's page; operators' pages are at the ports above. Port 0: free ones."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A batch on the chain."""

    number: int
    root: bytes
    identifier: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """A batch whose answer the chain has taken."""

    batch: Posted
    block: int


class HashVerifier:
    """Verifies the simplest of all proofs: that of a program is its hash."""

    async def verify(self, entry: Entry) -> bool:
        await trio.lowlevel.checkpoint()
        return entry.proof == keccak256(entry.program or b"")


@dataclass(eq=False, slots=True)
class AlignedNet:
    """Everything, in `data_dir`, for one run: the chain is gone at the end."""

    data_dir: Path
    spec: AlignedSpec = AlignedSpec()
    answered: list[Answered] = field(default_factory=list, init=False)
    """In the order of the chain."""
    count: AsyncValue[int] = field(default_factory=lambda: AsyncValue(0), init=False)
    """How many are answered."""
    aggregator: RunningAggregator | None = field(default=None, init=False)
    pages: dict[str, str] = field(default_factory=dict, init=False)
    """The URL of each page by the name of whose it is, once it runs; empty without `spec.web`."""
    _manager: SimServiceManager | None = field(default=None, init=False)
    _posted: dict[bytes, Posted] = field(default_factory=dict, init=False)
    _data: dict[str, bytes] = field(default_factory=dict, init=False)

    @property
    def manager(self) -> SimServiceManager:
        """The contract, once the network runs. Raises ValueError before."""
        if self._manager is None:
            raise ValueError("manager: the network does not run")
        return self._manager

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Run until cancelled; started once operators and aggregator are. Raises AnvilAbsent, AnvilFailed; in groups
        what ends an operator or the aggregator."""
        async with AsyncExitStack() as life:
            anvil = await life.enter_async_context(running_anvil(self.spec.anvil))
            account = Account.create()
            manager = self._manager = await SimServiceManager.deploy(anvil, Address(bytes.fromhex(account.address[2:])))
            await anvil.ask("anvil_setBalance", account.address, hex_number(100 * ETHER))
            keys = [SecretKey.generate() for _ in range(self.spec.operators)]
            for number, key in enumerate(keys):
                await manager.register(anvil.accounts[number], key, STAKE)
            await self._tick(anvil)
            config = self.config(anvil, manager.address, self._keystore(account.key))
            await life.enter_async_context(thrown_away(config.journal))
            nursery = await life.enter_async_context(trio.open_nursery())
            url = await nursery.start(serve_app, self._serve, "127.0.0.1:0")
            self.aggregator = await nursery.start(run_aggregator, config)
            if self.aggregator.metrics_url is not None:
                self.pages["aggregator"] = self.aggregator.metrics_url
            for number, key in enumerate(keys):
                await nursery.start(self._operate, number, key, self.aggregator.address)
            nursery.start_soon(self._watch)
            nursery.start_soon(self._post, url)
            task_status.started()
            await trio.sleep_forever()
        raise AssertionError("unreachable: the network runs until cancelled")

    async def is_answered(self, batch: Posted) -> bool:
        """As the contract has it at this moment."""
        return (await self.manager.task(batch.root, self._sender)).responded

    @property
    def _sender(self) -> Address:
        return self.manager.anvil.accounts[SENDER]

    async def _tick(self, anvil: Anvil) -> None:
        """From here on there are blocks at intervals, as on Ethereum: an answer needs one after the batch's."""
        await anvil.mine()
        await anvil.ask("evm_setAutomine", False)
        await anvil.ask("anvil_setIntervalMining", max(round(self.spec.block_s), 1))

    # --- the aggregator and the operators

    def _keystore(self, key: bytes) -> tuple[Path, Path]:
        """A keystore with the aggregator's account, and the file with its password."""
        folder = self.data_dir / "aggregator"
        folder.mkdir(parents=True, exist_ok=True)
        password = secrets.token_hex(16)
        file, word = folder / "ecdsa.json", folder / "ecdsa.password"
        write_new(file, msgspec.json.encode(Account.encrypt(key, password, "scrypt", 2)).decode() + "\n")
        write_new(word, password + "\n")
        return file, word

    def config(self, anvil: Anvil, manager: Address, keystore: tuple[Path, Path]) -> AggregatorConfig:
        """Of the aggregator, which finds all contracts at one address."""
        contract = hex_bytes(manager)
        file, word = keystore
        return AggregatorConfig(
            aggregator=NodeSection(data_dir=str(self.data_dir / "aggregator" / "data"), metrics_bind=self._page(0)),
            server=ServerSection(bind="127.0.0.1:0"),
            ecdsa=EcdsaSection(keystore=str(file), password_file=str(word)),
            l1=L1Section(
                rpc_urls=(anvil.url,), chain_id=anvil.provider.chain_id, manager=contract, coordinator=contract,
                key_registry=contract, retriever=contract, poll_s=POLL_S,
            ),
            journal=JournalSection(
                # every chain is a new one, and what is of another must not be taken for a reorg of this
                redis_url=self.spec.redis_url, namespace=f"devnet-{secrets.token_hex(4)}", allow_volatile=True,
            ),
            tasks=TasksSection(window_s=self.spec.block_s, block_s=self.spec.block_s),
            sender=SenderSection(confirmations=2, bump_after_s=6 * self.spec.block_s),
        )  # fmt: skip

    async def _operate(
        self, number: int, key: SecretKey, aggregator: str, *, task_status: trio.TaskStatus[None]
    ) -> None:
        name = f"operator-{number + 1}"
        folder = self.data_dir / name
        folder.mkdir(exist_ok=True)
        metrics, client = Metrics(), GoRpcClient(aggregator)
        journal = SqliteJournal(folder / "operator.db")
        chain = self.manager.anvil.provider
        async with AsyncExitStack() as life:
            downloader = await life.enter_async_context(Downloader(DownloadSettings(allow_private=True)))
            nursery = await life.enter_async_context(trio.open_nursery())
            await nursery.start(journal.run)
            if bind := self._page(1 + number):
                page = operator_page(metrics, journal, chain, client, key=key_of(key), name=name)
                self.pages[name] = await life.enter_async_context(served_page(page, metrics, bind))
            runner = OperatorRunner(
                journal, chain, self.manager.address, key, HashVerifier(), downloader, client,
                ScanSettings(BlockNumber(0), every_s=POLL_S), outbox=OutboxSettings(retry_cap_s=1.0, resend_s=10.0),
                metrics=metrics,
            )  # fmt: skip
            await nursery.start(runner.run)
            task_status.started()
            await trio.sleep_forever()

    def _page(self, place: int) -> str:
        """Where the page of the one at `place` is; "": nowhere."""
        if self.spec.web is None:
            return ""
        host, port = self.spec.web
        return f"{host}:{port + place if port else 0}"

    # --- batches

    async def _post(self, url: str) -> None:
        number = 0
        while number != self.spec.batches:
            entries = [self._entry(b"program %d of batch %d" % (one, number)) for one in range(self.spec.proofs)]
            root = batch_root(entries)
            path = f"/{root.hex()}.json"
            self._data[path] = msgspec.json.encode([_document(entry) for entry in entries])
            if len(self._data) > KEPT:
                del self._data[next(iter(self._data))]
            identifier = identifier_hash(root, self._sender)
            self._posted[identifier] = Posted(number, root, identifier)
            await self.manager.create_task(self._sender, root, url.rstrip("/") + path, value=DEPOSIT)
            number += 1
            await trio.sleep(self.spec.every_s)

    def _entry(self, program: bytes) -> Entry:
        return Entry(ProvingSystem.SP1, keccak256(program), None, None, program, bytes(self._sender))

    async def _serve(self, scope: Scope, receive: object, send: object) -> None:
        """Where the batches' data lies."""
        assert callable(send)
        raw = self._data.get(scope["path"])
        headers = [(b"content-length", str(len(raw or b"")).encode())]
        await send({"type": "http.response.start", "status": 404 if raw is None else 200, "headers": headers})
        await send({"type": "http.response.body", "body": raw or b""})

    async def _watch(self) -> NoReturn:
        """Note what the chain says is answered."""
        wanted = LogFilter((self.manager.address,), ((BATCH_VERIFIED.topic,),))
        provider = self.manager.anvil.provider
        before = BlockNumber(0)
        while True:
            head = await self.manager.anvil.head()
            if head > before:
                for one in await provider.logs(wanted, BlockNumber(before + 1), head):
                    said: Mapping[str, Any] = BATCH_VERIFIED.read_untrusted(one)
                    identifier = identifier_hash(said["batchMerkleRoot"], said["senderAddress"])
                    self.answered.append(Answered(self._posted.pop(identifier), one.block.number))
                before = head
                self.count.value = len(self.answered)
            await trio.sleep(POLL_S)


@asynccontextmanager
async def thrown_away(section: JournalSection) -> AsyncIterator[None]:
    """Nothing of the journal is left on the server when this ends, unless the server is away."""
    try:
        yield
    finally:
        if section.redis_url:
            with trio.move_on_after(ERASE_S, shield=True), suppress(JournalAway):
                journal = redis_journal(section)
                async with trio.open_nursery() as nursery:
                    await nursery.start(journal.run)
                    await journal.erase()
                    nursery.cancel_scope.cancel()


def _document(entry: Entry) -> dict[str, object]:
    """As a batch has it in JSON."""
    return {
        "proving_system": entry.system.text, "proof": list(entry.proof), "pub_input": None, "verification_key": None,
        "vm_program_code": list(entry.program or b""), "proof_generator_addr": hex_bytes(entry.generator),
    }  # fmt: skip
