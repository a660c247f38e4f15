"""Eight operators as processes on a real chain: killed, started again, and reorganised under."""

import base64
import json
import random
import signal
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import apsw
import cbor2
import pytest
import trio
from attestrio.bls import (
    ScryptCost,
    SecretKey,
    encode_g1,
    from_limbs_untrusted,
    g2_words,
    operator_id,
    sum_g1,
    sum_g2,
    verify,
    write_keystore,
)
from attestrio.errors import PeerError
from attestrio.gorpc.messages import PROCESS_SIGNED_TASK_RESPONSE
from attestrio.gorpc.server import Handler, serve
from attestrio.journal import SqliteJournal
from attestrio.kit.http import serve_app
from attestrio.l1.api import Address
from attestrio.l1.errors import CallReverted
from attestrio.operator import rows
from attestrio.operator.batch import batch_untrusted
from attestrio.operator.merkle import batch_root
from attestrio.operator.surface import identifier_hash
from attestrio.sim.anvil import AnvilAbsent, find_anvil, running_anvil
from attestrio.sim.service_manager import SimServiceManager
from processes import ATTESTRIO, environment
from suite import PROFILE, patient

OPERATORS, BATCHES, KILLS_EACH, REORGS = 8, 60, 2, 3
LIMIT_S = patient(118.0) if PROFILE == "default" else 500.0
PASSWORD = "of a test"


def anvil_is_absent():
    try:
        find_anvil()
    except AnvilAbsent:
        return True
    return False


pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(anvil_is_absent(), reason="anvil not found: ATTESTRIO_ANVIL, PATH or node_modules"),
]


@dataclass
class Fleet:
    """Everything around the operators, which are `members`."""

    folder: object
    manager: SimServiceManager
    sender: Address
    aggregator: Address
    members: list = field(default_factory=list)
    data: dict = field(default_factory=dict)
    pending: dict = field(default_factory=dict)
    """Root → identifier hash, of all batches ever posted."""
    signatures: dict = field(default_factory=dict)
    """Identifier hash → operator id → signature."""
    answered: set = field(default_factory=set)
    sending: trio.Lock = field(default_factory=trio.Lock)

    async def storage(self, scope, receive, send):
        raw = self.data.get(scope["path"], b"")
        headers = [(b"content-length", str(len(raw)).encode())]
        await send({"type": "http.response.start", "status": 200 if raw else 404, "headers": headers})
        await send({"type": "http.response.body", "body": raw})

    async def process(self, response):
        """A signature comes in: it has to be good, and the same as before."""
        await trio.lowlevel.checkpoint()
        member = next(one for one in self.members if one.id == response.operator_id)
        signature = from_limbs_untrusted(response.signature.x, response.signature.y)
        known = self.signatures.setdefault(response.batch_identifier_hash, {})
        if member.id not in known:
            if not verify(response.batch_identifier_hash, signature, member.secret.public_g2()):
                raise PeerError("permanent: bad signature")
            known[member.id] = signature
        assert known[member.id] == signature, "another signature of the same batch"
        return 0

    async def post(self, number):
        raw = cbor2.dumps(
            [
                {
                    "proving_system": "SP1", "proof": list(b"proof %d" % number), "pub_input": None,
                    "verification_key": None, "vm_program_code": [number % 256],
                    "proof_generator_addr": "0x" + "11" * 20,
                }
            ]
        )  # fmt: skip
        root = batch_root(batch_untrusted(raw))
        self.data[f"/{root.hex()}.json"] = raw
        self.pending[root] = identifier_hash(root, self.sender)
        await self.create(root)

    async def create(self, root):
        async with self.sending:
            if (await self.manager.task(root, self.sender)).created:
                return
            await self.manager.create_task(self.sender, root, f"{self.url}/{root.hex()}.json", value=10**17)

    async def settle(self):
        """Answer what everybody has signed; post again what a reorg took away."""
        while True:
            for root, identifier in list(self.pending.items()):
                task = await self.manager.task(root, self.sender)
                if task.created == 0:
                    await self.create(root)
                elif task.responded:
                    self.answered.add(root)
                    continue
                elif len(self.signatures.get(identifier, {})) == OPERATORS:
                    await self.respond(root, identifier, task.created)
                self.answered.discard(root)
            await trio.sleep(0.3)

    async def respond(self, root, identifier, created):
        contract, reader = self.manager.contract, self.manager.reader
        secrets = [one.secret for one in self.members]
        hints = contract.functions["getCheckSignaturesIndices"]
        (found,) = await reader.call(hints, self.manager.address, created, b"\0", [])
        bitmaps, apks, totals, stakes = found
        apk, sigma = sum_g1([one.public_g1() for one in secrets]), sum_g1(self.signatures[identifier].values())
        what = (
            bitmaps, [], [(apk.x, apk.y)], g2_words(sum_g2([one.public_g2() for one in secrets])), (sigma.x, sigma.y),
            apks, totals, stakes,
        )  # fmt: skip
        async with self.sending:
            try:
                await self.manager.send("respondToTaskV2", root, self.sender, what, by=self.aggregator)
            except CallReverted:  # a reorg came in between, or the task is of the newest block
                await self.manager.anvil.mine()


@dataclass
class Member:
    """One operator: its key, its folder, its process."""

    folder: object
    secret: SecretKey
    process: object = None
    before_kill: list = field(default_factory=list)
    """(lines of the verifier's log, identifier hashes with a verdict on the disk) after each kill."""

    @property
    def id(self):
        return operator_id(self.secret.public_g1())

    @property
    def verified(self):
        """What its verifier was given, line by line."""
        log = self.folder / "verified"
        return log.read_text().splitlines() if log.exists() else []

    def write(self, fleet, aggregator):
        self.folder.mkdir()
        write_keystore(self.folder / "key.json", self.secret, PASSWORD, cost=ScryptCost(n=1 << 10))
        log = self.folder / "verified"
        (self.folder / "operator.toml").write_text(f"""
[operator]
data_dir = "data"
[bls]
keystore = "key.json"
[l1]
rpc_urls = ["{fleet.manager.anvil.url}"]
chain_id = 31337
manager = "0x{fleet.manager.address.hex()}"
poll_s = 0.5
[aggregator]
address = "{aggregator}"
retry_cap_s = 1.0
resend_s = 5.0
[batches]
allow_private = true
retry_first_s = 0.5
retry_cap_s = 2.0
[verifier]
programs = {{ SP1 = ["/bin/sh", "-c", 'given=$(cat); echo "$given" >> {log}'] }}
[log]
format = "json"
""")

    async def start(self):
        with (self.folder / "log").open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                [*ATTESTRIO, "operator", "run", "-c", str(self.folder / "operator.toml")],
                env=environment(ATTESTRIO_BLS_PASSWORD=PASSWORD), stdout=log, stderr=log,
            )  # fmt: skip

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        self.before_kill.append((len(self.verified), await self.verdicts()))

    async def rows_of(self, table):
        path = self.folder / "data" / "operator.db"
        if not path.exists():
            return {}
        journal = SqliteJournal(path)
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            found = dict(await journal.scan(table, 10_000))
            await journal.close()
        return found

    def outbox_history(self):
        """Keys of all that was ever in the outbox."""
        database = apsw.Connection(str(self.folder / "data" / "operator.db"), flags=apsw.SQLITE_OPEN_READONLY)
        found = database.execute(
            "SELECT key FROM items JOIN topics ON topics.id = items.topic WHERE topics.name = ?", (rows.OUTBOX,)
        ).fetchall()
        database.close()
        return [key for (key,) in found]

    async def verdicts(self):
        return {identifier.hex() for identifier in await self.rows_of(rows.VERDICTS)}


@asynccontextmanager
async def fleet_of(folder):
    """A chain, a contract, and operators that are registered and run."""
    async with running_anvil() as anvil, trio.open_nursery() as nursery:
        manager = await SimServiceManager.deploy(anvil, anvil.accounts[9])
        fleet = Fleet(folder, manager, anvil.accounts[8], anvil.accounts[9])
        fleet.members = [Member(folder / f"operator-{n}", SecretKey(1000 + n)) for n in range(OPERATORS)]
        for number, member in enumerate(fleet.members):
            await manager.register(anvil.accounts[number], member.secret, 100)
        await anvil.mine(10)  # no reorg reaches a registration
        fleet.url = await nursery.start(serve_app, fleet.storage, "127.0.0.1:0")
        handlers = [Handler(PROCESS_SIGNED_TASK_RESPONSE, fleet.process)]
        address = await nursery.start(serve, handlers, "127.0.0.1:0")
        for member in fleet.members:
            member.write(fleet, address)
        try:
            for member in fleet.members:
                await member.start()
            yield fleet
        finally:
            with trio.CancelScope(shield=True):
                for member in fleet.members:
                    if member.process is not None and member.process.returncode is None:
                        member.process.kill()
                        await member.process.wait()
            nursery.cancel_scope.cancel()


async def post_all(fleet, randomness):
    """All batches, now and then a reorg of three blocks."""
    reorgs = set(randomness.sample(range(10, BATCHES), REORGS))
    for number in range(BATCHES):
        await fleet.post(number)
        if number in reorgs:
            async with fleet.sending:
                await fleet.manager.anvil.reorg(3)
        await trio.sleep(0.3)


async def kill_all(fleet, randomness):
    """Each operator so many times, in any order, each away for a while."""
    order = fleet.members * KILLS_EACH
    randomness.shuffle(order)
    for member in order:
        await trio.sleep(randomness.uniform(0.5, 1.5))
        await member.kill()
        await trio.sleep(randomness.uniform(0.0, 1.0))
        await member.start()


async def test_eight_operators_answer_every_batch_whatever_happens(tmp_path):
    randomness = random.Random(6)
    with trio.fail_after(LIMIT_S):
        async with fleet_of(tmp_path) as fleet, trio.open_nursery() as settling:
            settling.start_soon(fleet.settle)
            async with trio.open_nursery() as trouble:
                trouble.start_soon(post_all, fleet, randomness)
                trouble.start_soon(kill_all, fleet, randomness)
            while len(fleet.answered) < BATCHES or any(len(one) < OPERATORS for one in fleet.signatures.values()):  # noqa: ASYNC110
                await trio.sleep(0.2)
            settling.cancel_scope.cancel()
            for member in fleet.members:
                await member.kill()

            wanted = {identifier.hex() for identifier in fleet.pending.values()}
            for member in fleet.members:
                await check(member, wanted, fleet)


async def check(member, wanted, fleet):
    """What the disk of one operator says: every batch signed once, nothing verified that had a verdict."""
    signed = {
        identifier.hex(): rows.unpack(raw, rows.Verdict)
        for identifier, raw in (await member.rows_of(rows.VERDICTS)).items()
    }
    assert signed.keys() == wanted
    for identifier, verdict in signed.items():
        assert verdict.signature == encode_g1(fleet.signatures[bytes.fromhex(identifier)][member.id])
    rounds = {
        key.hex(): rows.unpack(raw, rows.OnChain).round for key, raw in (await member.rows_of(rows.CHAIN)).items()
    }
    sent = Counter(rows.identifier_of(key).hex() for key in member.outbox_history())
    for identifier in wanted:  # once, and once more each time a reorg took the answer back
        assert 1 <= sent[identifier] <= 1 + rounds[identifier]
    by_proof = {}
    for root, identifier in fleet.pending.items():
        (entry,) = batch_untrusted(fleet.data[f"/{root.hex()}.json"])
        by_proof[entry.proof] = identifier.hex()
    lines = [by_proof[proof_of(line)] for line in member.verified]
    assert set(lines) == wanted
    for seen, verdicts in member.before_kill:
        assert verdicts.isdisjoint(lines[seen:]), "a proof was verified again although its verdict was on the disk"
    assert len(lines) <= BATCHES + 4 * KILLS_EACH  # four at a time may be under way when the kill comes


def proof_of(line):
    return base64.b64decode(json.loads(line)["proof"])
