"""An operator in virtual time: a chain and its service manager, data and an aggregator, all in memory."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import cbor2
import httpx
import trio
from attestrio.bls import SecretKey, from_limbs_untrusted, verify
from attestrio.errors import SourceError
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.messages import PROCESS_SIGNED_TASK_RESPONSE, SERVER_RUNNING
from attestrio.gorpc.server import Connection, Handler, ServerLimits
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import Address, BlockHash, BlockNumber, BlockRef, Header, Log, TxHash
from attestrio.l1.errors import LogHashDiffers
from attestrio.l1.scan import ScanSettings
from attestrio.operator import rows
from attestrio.operator.batch import batch_untrusted
from attestrio.operator.download import Downloader, DownloadSettings
from attestrio.operator.merkle import batch_root
from attestrio.operator.runner import OperatorRunner
from attestrio.operator.settings import OutboxSettings, WorkSettings
from attestrio.operator.surface import (
    BATCH_VERIFIED,
    BATCHES_STATE,
    DISABLED_VERIFIERS,
    NEW_BATCH_V2,
    NEW_BATCH_V3,
    identifier_hash,
)
from attestrio.operator.verify import RecordedVerifier
from eth_abi.abi import encode
from trio_util import AsyncValue

MANAGER = Address(b"\xa1" * 20)
SENDER = b"\xb0" * 20
SECRET = SecretKey(12345)
BLOCK_S = 12.0


def entry(proof, **changes):
    """One proof as it stands in a batch."""
    return {
        "proving_system": "SP1",
        "proof": list(proof),
        "pub_input": None,
        "verification_key": None,
        "vm_program_code": [1, 2, 3],
        "proof_generator_addr": "0x" + "11" * 20,
    } | changes


def batch_of(*proofs):
    """A batch as it is downloaded."""
    return cbor2.dumps([entry(proof) for proof in proofs])


@dataclass
class Block:
    ref: BlockRef
    parent: BlockHash
    logs: list
    tasks: dict
    """Identifier hash → [created, responded], after this block."""


class ServiceChain:
    """A `Chain` with the service manager on it. Transactions wait for `mine`, or for `run`, a block every 12 s."""

    chain_id = 31337

    def __init__(self):
        self.blocks: list[Block] = []
        self._salt = 0
        self._waiting = []
        self.disabled = 0
        self.fault: SourceError | None = None
        self.asked: list[str] = []
        self.mine()

    @property
    def head(self):
        return len(self.blocks) - 1

    def post(self, root, pointer, *, sender=SENDER, version=3):
        self._waiting.append(("new", root, sender, pointer, version))
        return identifier_hash(root, sender)

    def answer(self, root, *, sender=SENDER):
        self._waiting.append(("verified", root, sender, "", 3))

    def mine(self, blocks=1):
        for _ in range(blocks):
            self._salt += 1
            number = BlockNumber(len(self.blocks))
            last = self.blocks[-1] if self.blocks else None
            ref = BlockRef(number, BlockHash(hashlib.sha256(b"%d %d" % (number, self._salt)).digest()))
            block = Block(
                ref,
                last.ref.hash if last else BlockHash(bytes(32)),
                [],
                {key: list(value) for key, value in last.tasks.items()} if last else {},
            )
            waiting, self._waiting = self._waiting, []
            for kind, root, sender, pointer, version in waiting:
                self._put(block, kind, root, sender, pointer, version)
            self.blocks.append(block)

    def reorg(self, depth, *, again=True):
        """The last blocks are gone; their transactions wait again, or are lost."""
        gone = self.blocks[len(self.blocks) - depth :]
        del self.blocks[len(self.blocks) - depth :]
        return [log for block in gone for log in block.logs] if again else []

    async def run(self):
        while True:
            await trio.sleep(BLOCK_S)
            self.mine()

    def _put(self, block, kind, root, sender, pointer, version):
        identifier = identifier_hash(root, sender)
        if kind == "new":
            block.tasks[identifier] = [int(block.ref.number), False]
            values = {
                "batchMerkleRoot": root,
                "senderAddress": sender,
                "taskCreatedBlock": block.ref.number,
                "batchDataPointer": pointer,
            }
            for each in (2, 3) if version == 0 else (version,):
                more = {"respondToTaskFeeLimit": 10**16} if each == 3 else {}
                self._log(block, (NEW_BATCH_V3 if each == 3 else NEW_BATCH_V2).emitted(**values, **more))
        else:
            if identifier in block.tasks:
                block.tasks[identifier][1] = True
            self._log(block, BATCH_VERIFIED.emitted(batchMerkleRoot=root, senderAddress=sender))

    def _log(self, block, emitted):
        topics, data = emitted
        index = len(block.logs)
        transaction = TxHash(hashlib.sha256(block.ref.hash + bytes([index % 256])).digest())
        block.logs.append(Log(MANAGER, topics, data, block.ref, index, transaction))

    async def _asked(self, what):
        await trio.lowlevel.checkpoint()
        self.asked.append(what)
        if self.fault is not None:
            raise self.fault

    async def block(self, at):
        await self._asked("block")
        if isinstance(at, bytes):
            found = [block for block in self.blocks if block.ref.hash == at]
        else:
            number = self.head if isinstance(at, str) else at
            found = self.blocks[number : number + 1]
        return Header(found[0].ref, found[0].parent, 0) if found else None

    async def logs(self, wanted, first, last):
        await self._asked("logs")
        return [log for block in self.blocks[first : last + 1] for log in block.logs if wanted.matches(log)]

    async def logs_of(self, wanted, block):
        await self._asked("logs_of")
        if block.number > self.head or self.blocks[block.number].ref != block:
            raise LogHashDiffers("stub", "unknown block")
        return [log for log in self.blocks[block.number].logs if wanted.matches(log)]

    async def call(self, to, data, at):
        await self._asked("call")
        if data[:4] == DISABLED_VERIFIERS.selector:
            return encode(["uint256"], [self.disabled])
        assert data[:4] == BATCHES_STATE.selector
        created, responded = self.blocks[-1].tasks.get(data[4:36], (0, False))
        return encode(["uint32", "bool", "uint256"], [created, responded, 10**16 if created else 0])


def answered(raw, **headers):
    """A 200 with a length, or with whatever headers are given."""
    return httpx.Response(200, headers=headers or {"content-length": str(len(raw))}, stream=httpx.ByteStream(raw))


class Storage:
    """Where batches lie: an httpx transport. `answers` by path: bytes, or a callable that makes a response."""

    def __init__(self):
        self.answers = {}
        self.asked = []

    def put(self, raw):
        """Keep a batch; its root and its URL."""
        root = batch_root(batch_untrusted(raw))
        path = f"/{root.hex()}.json"
        self.answers[path] = raw
        return root, f"http://storage{path}"

    def transport(self):
        async def handle(request):
            await trio.lowlevel.checkpoint()
            self.asked.append(request.url.path)
            answer = self.answers.get(request.url.path)
            if answer is None:
                return httpx.Response(404)
            return answer() if callable(answer) else answered(answer)

        return httpx.MockTransport(handle)


@dataclass
class Aggregator:
    """The other end: keeps what it is sent, answers by `reply`. While `up` is False nobody can dial."""

    up: bool = True
    reply: object = 0
    got: list = field(default_factory=list)
    count: AsyncValue = field(default_factory=lambda: AsyncValue(0))
    dials: int = 0
    _life: trio.CancelScope | None = None

    async def dial(self, host, port):
        self.dials += 1
        await trio.lowlevel.checkpoint()
        if not self.up:
            raise ConnectionRefusedError(111, "refused")
        ours, theirs = trio.testing.memory_stream_pair()
        handlers = [Handler(PROCESS_SIGNED_TASK_RESPONSE, self._process), Handler(SERVER_RUNNING, self._running)]
        connection = Connection(theirs, {one.method.name: one for one in handlers}, ServerLimits())
        self._nursery.start_soon(self._serve, connection)
        return ours

    async def run(self, *, task_status=trio.TASK_STATUS_IGNORED):
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def _serve(self, connection):
        with trio.CancelScope() as self._life:
            await connection.run()

    def down(self):
        self.up = False
        if self._life is not None:
            self._life.cancel()

    async def _process(self, response):
        await trio.lowlevel.checkpoint()
        self.got.append((trio.current_time(), response))
        self.count.value += 1
        said = self.reply(response) if callable(self.reply) else self.reply
        if isinstance(said, SourceError):
            raise said
        return said

    async def _running(self, _):
        return 1

    def signed(self):
        """Identifier hashes of all that came, in order."""
        return [response.batch_identifier_hash for _, response in self.got]


class Told(SourceError):
    """An error text for the operator."""

    code = "told"


@dataclass
class World:
    """Everything around one operator, which can be started, killed and started again on the same disk."""

    path: object
    chain: ServiceChain = field(default_factory=ServiceChain)
    storage: Storage = field(default_factory=Storage)
    aggregator: Aggregator = field(default_factory=Aggregator)
    verifier: RecordedVerifier = field(default_factory=lambda: RecordedVerifier(otherwise=True))
    work: WorkSettings = field(default_factory=WorkSettings)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)
    download: DownloadSettings = field(default_factory=DownloadSettings)
    scan: ScanSettings = field(default_factory=lambda: ScanSettings(BlockNumber(0)))
    old_position: object = None
    metrics: Metrics = field(default_factory=Metrics)
    journal_kind: object = SqliteJournal

    @asynccontextmanager
    async def operator(self):
        """A running operator; its state. Cancelled at the end, without any goodbye."""
        journal = self.journal_kind(self.path, inline, clock=trio.current_time)
        async with trio.open_nursery() as nursery, Downloader(self.download, self.storage.transport()) as downloader:
            await nursery.start(journal.run)
            runner = OperatorRunner(
                journal, self.chain, MANAGER, SECRET, self.verifier, downloader,
                GoRpcClient("aggregator:8090", dial=self.aggregator.dial), self.scan, self.work, self.outbox,
                self.metrics, self.old_position, inline,
            )  # fmt: skip
            state = await nursery.start(runner.run)
            yield state
            nursery.cancel_scope.cancel()

    def post(self, *proofs, **more):
        """A good batch, on the chain with the next block; its identifier hash."""
        root, url = self.storage.put(batch_of(*proofs))
        return self.chain.post(root, url, **more)

    @property
    def verified(self):
        """The proofs that were verified, in order."""
        return [one.proof for one in self.verifier.asked]


@asynccontextmanager
async def world_of(tmp_path, **parts):
    """A world whose chain moves on and whose aggregator is there."""
    world = World(tmp_path / "operator.db", **parts)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.aggregator.run)
        yield world
        nursery.cancel_scope.cancel()


async def ended(state, count):
    """Until so many batches have come to an end, in this run."""
    await state.changed.wait_value(lambda value: value >= count)


async def watermark(state):
    raw = await state.journal.get(rows.ABOUT, rows.MARK)
    return None if raw is None else int.from_bytes(raw[:8], "big", signed=True)


def good(response):
    """Whether a response carries a signature that verifies."""
    point = from_limbs_untrusted(response.signature.x, response.signature.y)
    return verify(response.batch_identifier_hash, point, SECRET.public_g2())
