"""A whole node and a main node that lies to it, over real HTTP: the node keeps its state, says why, and never signs.

The committee has three members, so the one vote of this node certifies nothing by itself.
"""

import json
import logging
from dataclasses import dataclass, field

import pytest
import trio
from attestrio.app import run_node
from attestrio.config import load_config
from attestrio.duty import Reason, Step
from attestrio.errors import NodeError, leaves
from attestrio.mainnode.types import BATCH_TO_ATTEST, STATUS, hash_json
from attestrio.protection.epochs import RollbackNeedsRestart
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    BatchQC,
    Committee,
    Genesis,
    RoundRobin,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.sim import faults
from attestrio.sim.cluster import VALIDATOR
from attestrio.sim.main_node import SimMainNode
from attestrio.store.memory import MemoryBatchStore
from suite import patient

KEYS = [AttesterSecretKey.from_bytes(bytes([index]) * 32) for index in (1, 2, 3)]
ENOUGH = 4  # calls: the answers to all but the last were dealt with
TIMEOUT_S = patient(20)
NEXT = 1  # the batch that the main node names, as long as it is honest


def genesis_of(fork=0, chain_id=270, weight=1):
    return Genesis(
        chain_id=chain_id,
        fork_number=fork,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(VALIDATOR, 1),),
        leader_selection=RoundRobin(),
        attesters=Committee([WeightedAttester(key.public(), weight) for key in KEYS]),
    )


GENESIS, FORK = genesis_of(), genesis_of(fork=1)
OTHER_CHAIN, OTHER_COMMITTEE = genesis_of(fork=1, chain_id=271), genesis_of(weight=2)


def batch(number, of=GENESIS):
    return Batch(BatchNumber(number), BatchHash(bytes([(number + 1) % 256]) * 32), of.hash())


def batch_json(number, of=GENESIS):
    one = batch(number, of)
    return {"number": str(number), "hash": hash_json(one.hash), "genesis": hash_json(one.genesis)}


def batch_answer(number, of=GENESIS):
    """A main node that answers with this batch, whichever it was asked for."""
    return faults.Only(BATCH_TO_ATTEST, faults.Result(batch_json(number, of)))


@dataclass
class Watched:
    """A fault, and an event for the moment when it has met enough calls of `method`."""

    fault: faults.Fault
    method: str = STATUS
    calls: int = ENOUGH
    met: trio.Event = field(default_factory=trio.Event)

    async def __call__(self, call, honest):
        if call.method == self.method:
            self.calls -= 1
            if self.calls == 0:
                self.met.set()
        return await self.fault(call, honest)


class World:
    """A main node that names batch NEXT, and one attester."""

    def __init__(self, folder, nursery):
        self.folder, self.nursery = folder, nursery
        self.store = MemoryBatchStore(GENESIS.hash())
        self.ended = None
        self.gone = trio.Event()

    async def start(self, *, fault=faults.HEALTHY, on_rollback="restart", **main_node):
        await self.nursery.start(self.store.run)
        for number in range(NEXT + 1):
            await self.store.put_batch_to_sign(batch(number))
        await self.certify(*range(NEXT))
        self.main_node = SimMainNode(self.store, GENESIS, fault=fault)
        url = await self.nursery.start(self.main_node.run)
        (self.folder / "genesis.json").write_text(json.dumps(GENESIS.to_json()))
        (self.folder / "attester.key").write_text(KEYS[0].to_text())
        overrides = {
            "node.data_dir": str(self.folder / "data"),
            "genesis.file": str(self.folder / "genesis.json"),
            "keys.attester_file": str(self.folder / "attester.key"),
            "main_node.url": url,
            "main_node.poll_s": "0.01",
            "batches.poll_s": "0.01",
            "protection.on_rollback": on_rollback,
            **{f"main_node.{name}": str(value) for name, value in main_node.items()},
        }
        self.node = await self.nursery.start(self._live, load_config(overrides=overrides))
        self.duty = self.node.duty
        self.epoch = await self.node.wait_epoch()

    async def _live(self, config, *, task_status):
        try:
            await run_node(config, init_protection=True, task_status=task_status)
        except* NodeError as group:
            (self.ended,) = leaves(group)
        self.gone.set()

    async def certify(self, *numbers):
        """The main node gets the certificates of these batches from the others."""
        for number in numbers:
            one = batch(number)
            await self.store.persist_qc(BatchQC(one, {key.public(): key.sign_batch(one).signature for key in KEYS}))

    async def meet(self, fault, method=STATUS):
        """Set a fault, and wait until the node has met it often enough."""
        watched = Watched(fault, method)
        self.main_node.fault = watched
        await watched.met.wait()

    async def wait_sent(self, number):
        """Until the node has voted for a batch."""
        await self.duty.watch.wait_value(lambda _: self.noted(number, Step.SENT, Reason.OK))

    def noted(self, number, step, reason):
        """The details under which the duty log has this, empty if it does not."""
        events = self.duty.timeline(BatchNumber(number))
        return [event.detail for event in events if (event.step, event.reason) == (step, reason)]

    def signed(self):
        """For which batches a vote was signed, and for which there is one in the register."""
        done = {int(number) for number in self.duty.batches() if self.noted(number, Step.SIGNED, Reason.OK)}
        return done, {int(vote.batch.number) for vote in self.epoch.votes.votes()}

    def told(self):
        """The number the node goes by."""
        return self.epoch.status.status.next_batch

    async def held(self):
        """The batches to sign in the node's store, up to a bit above what is true."""
        found = [await self.epoch.store.batch_to_sign(BatchNumber(number)) for number in range(NEXT + 3)]
        return [one for one in found if one is not None]


@pytest.fixture
async def world(tmp_path, nursery):
    with trio.fail_after(TIMEOUT_S):
        yield World(tmp_path, nursery)


def status(number):
    return faults.Result({"genesis": hash_json(GENESIS.hash()), "nextBatchToAttest": number})


NO_ANSWER = [
    pytest.param(faults.Huge(10_000_000), "answer_too_large", id="10 MB", marks=pytest.mark.slow),
    pytest.param(faults.Huge(10_000_000, packed=True), "answer_too_large", id="gzip bomb", marks=pytest.mark.slow),
    pytest.param(faults.Huge(2_000_000), "answer_too_large", id="2 MB"),
    pytest.param(faults.Deep(100_000), "malformed_answer", id="deep"),
    pytest.param(faults.WRONG_TYPES, "malformed_answer", id="wrong types"),
    pytest.param(status("-1"), "malformed_answer", id="negative"),
    pytest.param(status(str(2**64)), "malformed_answer", id="too great"),
    pytest.param(status(None), "malformed_answer", id="no number"),
    pytest.param(
        faults.Result({"genesis": {"keccak256": "AAAA"}, "nextBatchToAttest": "9"}), "malformed_answer", id="hash"
    ),
    pytest.param(faults.Result([]), "malformed_answer", id="list"),
    pytest.param(faults.Raw(b"<html>"), "malformed_answer", id="html"),
    pytest.param(faults.Raw(b""), "malformed_answer", id="empty"),
    pytest.param(faults.WrongId(), "malformed_answer", id="wrong id"),
    pytest.param(faults.RpcError(), "rpc_error", id="error"),
    pytest.param(faults.MethodMissing(), "method_missing", id="missing"),
    pytest.param(faults.HttpStatus(403), "http_status", id="403"),
]


@pytest.mark.parametrize(("fault", "code"), NO_ANSWER)
async def test_what_is_no_status_changes_nothing_and_is_asked_again(world, caplog, fault, code):
    await world.start()
    await world.wait_sent(NEXT)

    await world.meet(fault)

    assert world.told() == NEXT
    assert world.signed() == ({NEXT}, {NEXT})
    assert await world.held() == [batch(NEXT)]
    assert world.noted(NEXT, Step.TOLD, Reason.MAIN_NODE_DOWN) == [code]
    assert world.node.metrics.value("attestrio_main_node_errors_total", method=STATUS, code=code) >= ENOUGH - 1
    complaints = [record.getMessage() for record in caplog.records if record.name == "attestrio.status"]
    assert len(complaints) == 1, "once, however often it is asked"
    assert complaints[0].startswith("status not read, asking again every 0.01 s: http://127.0.0.1:")
    assert len(complaints[0]) < 300

    await world.store.put_batch_to_sign(batch(NEXT + 1))
    await world.certify(NEXT)
    world.main_node.fault = faults.HEALTHY
    await world.wait_sent(NEXT + 1)
    assert world.ended is None


@pytest.mark.parametrize(("fault", "code"), NO_ANSWER)
async def test_a_node_that_never_heard_the_truth_never_signs(world, fault, code):
    watched = Watched(fault)

    await world.start(fault=watched)
    await watched.met.wait()

    assert world.told() is None
    assert world.signed() == (set(), set())
    assert await world.held() == []
    assert world.node.metrics.value("attestrio_main_node_errors_total", method=STATUS, code=code) >= ENOUGH - 1
    assert world.ended is None


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (batch_answer(NEXT + 1), "other_batch_answered"),
        (batch_answer(NEXT, FORK), "other_genesis_answered"),
        (faults.Only(BATCH_TO_ATTEST, faults.WRONG_TYPES), "malformed_answer"),
        (faults.Only(BATCH_TO_ATTEST, faults.Huge()), "answer_too_large"),
        (faults.Only(BATCH_TO_ATTEST, faults.Deep()), "malformed_answer"),
        (faults.Only(BATCH_TO_ATTEST, faults.WrongId()), "malformed_answer"),
    ],
    ids=["other number", "other genesis", "wrong types", "10 MB", "deep", "wrong id"],
)
async def test_what_is_not_the_batch_asked_for_is_not_signed(world, caplog, fault, code):
    watched = Watched(fault, BATCH_TO_ATTEST)

    await world.start(fault=watched)
    await watched.met.wait()

    assert world.told() == NEXT
    assert world.signed() == (set(), set())
    assert await world.held() == []
    assert world.noted(NEXT, Step.PERSISTED, Reason.SOURCE_FAILED) == [code]
    assert caplog.text.count("batch 1: not obtained, asking again") == 1

    world.main_node.fault = faults.HEALTHY
    await world.wait_sent(NEXT)
    assert await world.held() == [batch(NEXT)]


async def test_a_number_that_does_not_exist_is_not_signed(world):
    watched = Watched(faults.Says(10**6, GENESIS), BATCH_TO_ATTEST)

    await world.start(fault=watched)
    await watched.met.wait()

    assert world.signed() == (set(), set())
    assert world.noted(10**6, Step.PERSISTED, Reason.BATCH_NOT_PERSISTED) == [""]
    assert world.ended is None


async def test_the_greatest_number_there_is_harms_nobody(world):
    greatest = 2**64 - 1

    async def says(call, honest):
        fault = (
            faults.Result(batch_json(greatest)) if call.method == BATCH_TO_ATTEST else faults.Says(greatest, GENESIS)
        )
        return await fault(call, honest)

    watched = Watched(says, BATCH_TO_ATTEST)
    await world.start(fault=watched)
    await watched.met.wait()

    assert world.signed() == (set(), set())
    assert await world.held() == []
    assert world.noted(greatest, Step.PERSISTED, Reason.SOURCE_FAILED) == ["batch_number_too_large"]
    assert world.ended is None


@pytest.mark.parametrize("other", [OTHER_CHAIN, OTHER_COMMITTEE], ids=["other chain", "same fork"])
async def test_a_genesis_that_must_not_follow_changes_nothing(world, caplog, other):
    await world.start()
    await world.wait_sent(NEXT)

    await world.meet(faults.OtherGenesis(other))

    assert world.told() == NEXT
    assert world.signed() == ({NEXT}, {NEXT})
    assert world.noted(NEXT, Step.TOLD, Reason.MAIN_NODE_DOWN) == ["genesis_not_followed"]
    assert caplog.text.count("the status belongs to a genesis that is not followed: ") == 1
    assert other.hash().to_text() in caplog.text
    assert world.ended is None


@pytest.mark.parametrize("other", [OTHER_CHAIN, OTHER_COMMITTEE], ids=["other chain", "same fork"])
async def test_a_node_that_is_told_another_genesis_from_the_start_signs_nothing(world, other):
    watched = Watched(faults.OtherGenesis(other))

    await world.start(fault=watched)
    await watched.met.wait()

    assert world.told() is None
    assert world.signed() == (set(), set())
    assert world.ended is None


async def test_a_fork_ends_the_epoch_and_what_was_signed_stays_what_it_was(world):
    await world.start(on_rollback="exit")
    await world.wait_sent(NEXT)

    world.main_node.fault = faults.OtherGenesis(FORK)
    await world.gone.wait()

    assert isinstance(world.ended, RollbackNeedsRestart)
    assert world.ended.cause == "genesis_changed"
    assert world.told() == NEXT
    assert world.signed()[1] == {NEXT}


async def test_a_number_that_goes_back_is_held_for_a_while(world, caplog):
    caplog.set_level(logging.INFO, "attestrio.status")
    await world.start(stale_grace_s=30)
    await world.wait_sent(NEXT)

    await world.meet(faults.Says(0))

    assert world.told() == NEXT
    assert world.signed() == ({NEXT}, {NEXT})
    assert world.noted(NEXT, Step.TOLD, Reason.STATUS_LOWER) == ["told 0"]
    assert caplog.text.count("status names 0 after 1: held for up to 30 s") == 1
    assert world.ended is None


async def test_a_number_that_stays_back_ends_the_epoch(world):
    await world.start(stale_grace_s=0.1, on_rollback="exit")
    await world.wait_sent(NEXT)

    world.main_node.fault = faults.Says(0)
    await world.gone.wait()

    assert isinstance(world.ended, RollbackNeedsRestart)
    assert world.ended.cause == "moved_backwards"
    assert "1 -> 0" in str(world.ended)
    assert world.told() == NEXT
    assert world.signed()[1] == {NEXT}
