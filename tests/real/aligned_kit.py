"""Aligned around an aggregator under test: a real chain, operators, a poster, and what the chain says became of it.

Blocks come every `block_s` seconds, made by the kit, so that a test may stop them. Times of the specification scale
with them: 12 s there are one block here.
"""

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import trio
from aggregator_process import AggregatorProcess
from attestrio.aggregator.surface import BATCH_VERIFIED, RESPOND_TO_TASK, identifier_hash
from attestrio.bls import SecretKey, operator_id, to_limbs
from attestrio.gorpc.client import GoRpcClient, dial_tcp
from attestrio.gorpc.messages import PROCESS_SIGNED_TASK_RESPONSE, Point, SignedTaskResponse
from attestrio.journal import SqliteJournal
from attestrio.kit.http import ServerLimits, serve_app
from attestrio.kit.metrics import Metrics
from attestrio.l1 import BlockNumber, ScanSettings, filter_for
from attestrio.l1.api import Address
from attestrio.operator import rows
from attestrio.operator.batch import Entry, ProvingSystem
from attestrio.operator.download import Downloader, DownloadSettings
from attestrio.operator.merkle import batch_root
from attestrio.operator.runner import OperatorRunner
from attestrio.operator.settings import OutboxSettings
from attestrio.roles.keccak import keccak256
from attestrio.sim.anvil import Anvil, running_anvil
from attestrio.sim.service_manager import SimServiceManager
from chain_proxy import ChainProxy
from eth_account import Account
from suite import patient

KEY = bytes([7]) * 32  # of the aggregator's account
POSTERS = slice(1, 9)  # of anvil's accounts
ETHER = 10**18
LIMIT = 10**16  # wei a batch allows for its answer: more than 20 times what it costs
POST_GAS = 400_000
RETRY_S = 0.2
LOOK_S = 0.1


class Line(GoRpcClient):
    """An operator's connection to the aggregator, which may move; notes what it was told."""

    def __init__(self, address):
        super().__init__(address, dial=self._dial_and_count)
        self.dials = 0
        self._moved_to, self._stream = None, None
        self.acknowledged = set()
        """Identifiers of batches."""

    async def _dial_and_count(self, host, port):
        self.dials += 1
        self._stream = await dial_tcp(host, self._moved_to or port)
        return self._stream

    async def move(self, port):
        """The address now leads to another process, and what there was is cut, as by a balancer."""
        self._moved_to = port
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)

    async def call(self, method, arg, *, within_s=None):
        reply = await super().call(method, arg, within_s=within_s)
        if method is PROCESS_SIGNED_TASK_RESPONSE and reply == 0:
            self.acknowledged.add(arg.batch_identifier_hash)
        return reply


class Verifier:
    """Of the simplest of all proofs; notes what it was given."""

    def __init__(self):
        self.seen = Counter()

    async def verify(self, entry):
        await trio.lowlevel.checkpoint()
        self.seen[entry.proof] += 1
        return entry.proof == keccak256(entry.program or b"")


@dataclass
class Member:
    """One operator. Its folder outlives its stops."""

    number: int
    folder: object
    secret: SecretKey
    line: Line
    verifier: Verifier = field(default_factory=Verifier)
    metrics: Metrics = field(default_factory=Metrics)
    resend_s: float = 60.0
    scope: trio.CancelScope | None = None
    stopped: trio.Event = field(default_factory=trio.Event)

    @property
    def id(self):
        return operator_id(self.secret.public_g1())

    @property
    def address(self):
        return Address(bytes([0xA0 + self.number]) * 20)

    async def run(self, manager, *, task_status):
        """Until stopped. What an operator raises comes out."""
        self.stopped = trio.Event()
        journal = SqliteJournal(self.folder / "operator.db")
        with trio.CancelScope() as self.scope:
            async with Downloader(DownloadSettings(allow_private=True)) as downloader, trio.open_nursery() as nursery:
                await nursery.start(journal.run)
                runner = OperatorRunner(
                    journal, manager.anvil.provider, manager.address, self.secret, self.verifier, downloader, self.line,
                    ScanSettings(BlockNumber(0), every_s=0.5), metrics=self.metrics,
                    outbox=OutboxSettings(RETRY_S, retry_cap_s=RETRY_S, resend_s=self.resend_s),
                )  # fmt: skip
                self.journal = journal
                await nursery.start(runner.run)
                task_status.started()
        self.stopped.set()

    async def stop(self):
        self.scope.cancel()
        await self.stopped.wait()

    async def outbox(self):
        """Identifiers of the batches whose responses wait for the chain."""
        return {rows.identifier_of(one.key) for one in await self.journal.listed(rows.OUTBOX, 10_000, -1)}


@dataclass(frozen=True)
class Posted:
    """A batch that the poster has sent to the chain."""

    number: int
    root: bytes
    sender: Address
    proof: bytes
    tx: str


@dataclass
class World:
    """Everything around the aggregator. `nursery` ends with it."""

    folder: object
    anvil: Anvil
    manager: SimServiceManager
    nursery: trio.Nursery
    block_s: float
    members: list = field(default_factory=list)
    posted: dict = field(default_factory=dict)
    """Identifier → Posted, in order."""
    processes: list = field(default_factory=list)
    account: Address | None = None
    """The aggregator's."""
    url: str = ""
    _data: dict = field(default_factory=dict)
    _mines: bool = True

    # --- its parts

    async def proxy(self):
        made = ChainProxy(self.anvil.url)
        await self.nursery.start(made.run)
        return made

    async def aggregator(self, *, chain_url=None, name="aggregator", port=None, more=None):
        """One that is not started yet; behind a proxy where `chain_url` says so."""
        made = AggregatorProcess(
            self.folder / name, KEY, chain_url or self.anvil.url, self.manager.address, block_s=self.block_s, port=port,
            more=more,
        )  # fmt: skip
        self.processes.append(made)
        return made

    async def operators(self, count, address, **more):
        """Registered, and running."""
        for number in range(count):
            folder = self.folder / f"operator-{number}"
            folder.mkdir()
            member = Member(number, folder, SecretKey(1000 + number), Line(address), **more)
            self.members.append(member)
            await self.manager.register(member.address, member.secret, 100)
        await self.anvil.mine(5)  # no reorg reaches a registration

    async def start(self, *members):
        for member in members or self.members:
            await self.nursery.start(member.run, self.manager)

    # --- blocks and batches

    async def mine_for_ever(self):
        """From here on transactions wait for their block."""
        await self.anvil.ask("evm_setAutomine", False)
        while True:
            await trio.sleep(self.block_s)
            if self._mines:
                await self.anvil.mine()

    def stop_mining(self):
        self._mines = False

    def go_on_mining(self):
        self._mines = True

    async def post(self, number, *senders):
        """A batch, of each of the senders the same; the identifiers. It is on the chain with the next block."""
        program = b"program %d" % number
        entry = Entry(ProvingSystem.SP1, keccak256(program), None, None, program, bytes(20))
        root = batch_root([entry])
        path = f"/{root.hex()}.json"
        self._data[path] = msgspec.json.encode([_document(entry)])
        create = self.manager.contract.functions["createNewTask"]
        found = []
        for sender in senders or (self.anvil.accounts[POSTERS][number % 8],):
            data = create.encode(root, self.url + path, LIMIT)
            what = {
                "from": f"0x{sender.hex()}", "to": f"0x{self.manager.address.hex()}", "data": f"0x{data.hex()}",
                "value": hex(LIMIT), "gas": hex(POST_GAS),
            }  # fmt: skip
            tx = await self.anvil.ask("eth_sendTransaction", what)
            found.append(identifier_hash(root, sender))
            self.posted[found[-1]] = Posted(number, root, sender, entry.proof, tx)
        return found

    async def storage(self, scope, receive, send):
        """Where the data of the batches lies."""
        raw = self._data.get(scope["path"], b"")
        headers = [(b"content-length", str(len(raw)).encode())]
        await send({"type": "http.response.start", "status": 200 if raw else 404, "headers": headers})
        await send({"type": "http.response.body", "body": raw})

    # --- what became of them

    async def answers(self):
        """(identifier, block) of every BatchVerified on the chain, in order."""
        wanted = filter_for(self.manager.address, BATCH_VERIFIED)
        found = []
        for log in await self.anvil.provider.logs(wanted, BlockNumber(0), await self.anvil.head()):
            said = BATCH_VERIFIED.read_untrusted(log)
            found.append((identifier_hash(said["batchMerkleRoot"], said["senderAddress"]), log.block.number))
        return found

    async def pending(self):
        """Identifiers of what was posted and has no answer."""
        return self.posted.keys() - {identifier for identifier, _ in await self.answers()}

    async def until(self, condition, within_s):
        """Wait for an async condition."""
        with trio.fail_after(patient(within_s)):
            while not await condition():  # noqa: ASYNC110  a chain is asked
                await trio.sleep(LOOK_S)

    async def until_answered(self, within_s, identifiers=None):
        wanted = self.posted.keys() if identifiers is None else set(identifiers)

        async def done():
            return not wanted & await self.pending()

        await self.until(done, within_s)

    async def until_signed(self, within_s, members=None):
        """The outboxes of all operators hold a response to each batch that has no answer."""

        async def done():
            wanted = await self.pending()
            return all([wanted <= await one.outbox() for one in members or self.members])

        await self.until(done, within_s)

    async def transactions(self):
        """(nonce, succeeded, identifier or None) of all that the aggregator's account has on the chain."""
        found = []
        for number in range(await self.anvil.head() + 1):
            block = await self.anvil.ask("eth_getBlockByNumber", hex(number), True)
            for tx in block["transactions"]:
                if bytes.fromhex(tx["from"][2:]) == self.account:
                    receipt = await self.anvil.ask("eth_getTransactionReceipt", tx["hash"])
                    found.append((int(tx["nonce"], 16), receipt["status"] == "0x1", answered_by(tx["input"])))
        return found

    async def reorg(self, depth, moved=()):
        """Replace the newest blocks. Batches in them are gone, unless `moved` says where to: identifier → block."""
        first = await self.anvil.head() - depth + 1
        kept = [
            [await self.anvil.ask("eth_getRawTransactionByHash", self.posted[identifier].tx), block - first]
            for identifier, block in dict(moved).items()
        ]
        await self.anvil.ask("anvil_reorg", depth, kept)

    async def created(self, identifier):
        """The block of a batch, as the contract has it; 0: there is none."""
        batch = self.posted[identifier]
        return (await self.manager.task(batch.root, batch.sender)).created

    async def pool(self):
        """How many transactions wait for a block."""
        return int((await self.anvil.ask("txpool_status"))["pending"], 16)

    async def assert_answered_once_each(self):
        """One BatchVerified and one transaction for each batch, none in vain, no nonce left out."""
        answered = [identifier for identifier, _ in await self.answers()]
        transactions = await self.transactions()
        nonces, successes, identifiers = zip(*transactions, strict=True)
        assert sorted(answered) == sorted(self.posted), f"{len(answered)} events for {len(self.posted)} batches"
        assert nonces == tuple(range(len(nonces))), f"nonces: {nonces}"
        assert all(successes), f"{successes.count(False)} transactions in vain"
        sent = [one for one in identifiers if one is not None]
        assert sorted(sent) == sorted(self.posted), f"{len(sent)} answers for {len(self.posted)} batches"

    def assert_nothing_acknowledged_is_missing(self, signatures):
        """`signatures`: (identifier, operator id) of all in the aggregator's journal."""
        told = {(one, member.id) for member in self.members for one in member.line.acknowledged}
        assert told <= signatures, f"{len(told - signatures)} of {len(told)} are missing"


@asynccontextmanager
async def world_of(folder, *, block_s=1.0):
    """A chain with the contract; blocks begin with `mine_for_ever`, once operators are registered."""
    account = Address(bytes.fromhex(Account.from_key(KEY).address[2:]))
    async with running_anvil() as anvil, trio.open_nursery() as nursery:
        manager = await SimServiceManager.deploy(anvil, account)
        await anvil.ask("anvil_setBalance", f"0x{account.hex()}", hex(1_000 * ETHER))
        made = World(folder, anvil, manager, nursery, block_s, account=account)
        serve = lambda task_status: serve_app(  # noqa: E731
            made.storage, "127.0.0.1:0", limits=ServerLimits(max_connections=500), task_status=task_status
        )
        made.url = await nursery.start(serve)
        try:
            yield made
        finally:
            with trio.CancelScope(shield=True):
                for process in made.processes:
                    await process.kill()
            nursery.cancel_scope.cancel()


def response_of(member, identifier, batch, signed=None):
    """What an operator sends for a batch; `signed`: of which identifier the signature is instead."""
    point = Point(*to_limbs(member.secret.sign(signed or identifier)))
    return SignedTaskResponse(batch.root, bytes(batch.sender), identifier, point, member.id)


def line_of(response, name=""):
    """A response as the Go program reads it."""
    point = response.signature
    limbs = {} if point is None else {"X": point.x, "Y": point.y}
    return msgspec.json.encode(
        {
            "Name": name, "Root": response.batch_merkle_root.hex(), "Sender": response.sender_address.hex(),
            "Identifier": response.batch_identifier_hash.hex(), "Operator": response.operator_id.hex(), **limbs,
        }
    )  # fmt: skip


def write_responses(file, world):
    """Those of all operators to all batches, for the Go program."""
    lines = [line_of(response_of(member, *one)) for member in world.members for one in world.posted.items()]
    file.write_bytes(b"\n".join(lines))
    return file


def answered_by(data):
    """The identifier a transaction answers, from its input; None: it does not answer."""
    raw = bytes.fromhex(data.removeprefix("0x"))
    if raw[:4] != RESPOND_TO_TASK.selector:
        return None
    return identifier_hash(raw[4:36], raw[48:68])


def _document(entry):
    """As a batch has it in JSON."""
    return {
        "proving_system": entry.system.text, "proof": list(entry.proof), "pub_input": None, "verification_key": None,
        "vm_program_code": list(entry.program or b""), "proof_generator_addr": f"0x{bytes(entry.generator).hex()}",
    }  # fmt: skip
