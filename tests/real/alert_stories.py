"""Every fault an alert is for, by name, and healthy runs: what fires when, exactly."""

import inspect
import itertools
from contextlib import asynccontextmanager
from hashlib import sha256

import alert_paths  # noqa: F401
import operator_world
import sender_world
import test_sequencer_runner as sequencer_tests
import test_story_aggregator_recovery as recovery_world
import trio
from alert_recording import Fired
from alert_worlds import Hub, Nodes, Other, Twin, Without, in_memory, nodes, recording, slow_disk
from aligned_chain import CONTRACTS, AlignedChain, journal_at, root_of
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.runner import AggregatorRunner, obey
from attestrio.aggregator.settings import USUAL, RecoverySettings
from attestrio.aggregator.telemetry import Telemetry
from attestrio.batches import MainNodeBatches
from attestrio.journal import JournalAway
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import BlockNumber as L1Block
from attestrio.l1.errors import LogHashDiffers
from attestrio.l1.scan import ScanSettings
from attestrio.mainnode.agree import AgreeingMainNodes
from attestrio.operator.verify import VerifierFailed
from attestrio.roles import Batch, BatchHash, BatchNumber
from attestrio.sim.faults import HEALTHY, Says, Slow
from attestrio.sim.links import Member
from attestrio.sim.main_node import SimMainNode
from node_world import MAIN, key
from test_aggregator_runner import NothingToSend
from test_story_agree import OtherHash

HEALTHY_MIN = 20


def down(instance):
    return Fired.of("ProcessDown", instance=instance)


# --- nodes


async def healthy_nodes(folder):
    async with nodes(folder) as (_, taken):
        for _ in range(12):
            await taken.hold(5)
        return taken


async def healthy_nodes_of_a_slow_chain(folder):
    async with nodes(folder, batch_s=1_500.0) as (_, taken):
        for _ in range(12):
            await taken.hold(10)
        return taken


async def one_attester_stops(folder):
    async with nodes(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        await world.stop("attester-6")
        await taken.hold(30, down("attester-6"))
        await world.start("attester-6")
        await taken.hold(40)
        return taken


async def quorum_is_lost(folder):
    async with nodes(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        await world.stop("attester-5", "attester-6")
        both = down("attester-5"), down("attester-6")
        seen_by = [MAIN, *world.attesters[:4]]
        await taken.hold(25, *both, *(Fired.of("NothingCertified", instance=name) for name in seen_by))
        await world.start("attester-5", "attester-6")
        await taken.hold(40)
        return taken


async def main_node_is_away(folder):
    async with nodes(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        world.reach_main(False)
        await taken.hold(10, *(Fired.of("NotReady", instance=name, check="main_node") for name in world.attesters))
        world.reach_main(True)
        await taken.hold(20)
        return taken


async def a_node_is_cut_off(folder):
    async with nodes(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        world.network.isolate("attester-6", world.names)
        await taken.hold(30, Fired.of("NodeBehind", instance="attester-6"))
        world.network.mend()
        await taken.hold(40)
        return taken


async def a_node_knows_no_batches(folder):
    async with nodes(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        await world.stop("attester-6")
        await world.start("attester-6", batch_source=Without())
        both = Fired.of("NotVoting", instance="attester-6"), Fired.of("NodeBehind", instance="attester-6")
        await taken.hold(30, *both)  # a certificate is not stored before its batch
        await world.stop("attester-6")
        await world.start("attester-6")
        await taken.hold(40)
        return taken


async def a_history_forbids_a_vote(folder):
    async with nodes(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        await world.stop("attester-5", "attester-6")
        await trio.sleep(61.0)  # the batch now is signed by the others, and stays
        await world.stop("attester-1")
        del world.stores["attester-1"]
        await world.start("attester-5", "attester-1", batch_source=Other(world.chain))
        await trio.sleep(1.0)
        await taken.hold(1, Fired.of("SigningRefused", instance="attester-1", rule="double_vote"))
        return taken


async def an_attester_votes_twice(folder):
    async with nodes(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        coming = BatchNumber(world.chain.height.value + 3)
        votes = [
            key(2).sign_batch(Batch(coming, BatchHash(bytes([byte]) * 32), world.genesis.hash())) for byte in (1, 2)
        ]
        twin = Member("twin", Twin(*votes))  # to attester-2 a clone, which ends it for good; to the others a cheat
        world.nursery.start_soon(world.network.join, twin)
        others = [Fired.of("Equivocation", instance=name) for name in world.names if name != "attester-2"]
        await taken.hold(4, down("attester-2"), *others)
        await taken.hold(40, down("attester-2"))
        return taken


async def a_disk_is_slow(folder):
    async with nodes(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        await world.stop("attester-6")
        await world.start("attester-6", run_blocking=slow_disk)
        await taken.hold(20, Fired.of("DiskSlow", instance="attester-6"))
        await world.stop("attester-6")
        await world.start("attester-6")
        await taken.hold(20)
        return taken


@asynccontextmanager
async def with_three_main_nodes(folder):
    """attester-1 asks three main nodes for everything; one of them is a moment late all the time."""
    async with recording() as (taken, nursery):
        world = Nodes(nursery, folder, taken)
        await world.start(MAIN)
        metrics = Metrics()
        sims = [SimMainNode(await world.store(MAIN), world.genesis) for _ in range(3)]
        clients = [sim.client(url=f"http://main-{index}/") for index, sim in enumerate(sims)]
        sims[1].fault = Slow(2.0)
        agreeing = AgreeingMainNodes(clients, 2, metrics)
        batches = MainNodeBatches(agreeing, world.genesis.hash())
        await world.start("attester-1", also=[metrics], status_client=agreeing, batch_source=batches)
        await world.start(*world.attesters[1:])
        nursery.start_soon(taken.run)
        yield world, taken, sims, clients


async def a_main_node_contradicts(folder):
    async with with_three_main_nodes(folder) as (_, taken, sims, clients):
        await taken.hold(HEALTHY_MIN)
        sims[0].fault = Says(7)
        await taken.hold(20, Fired.of("MainNodeDissent", instance="attester-1", main_node=clients[0].name))
        sims[0].fault = HEALTHY
        await taken.hold(20)
        return taken


async def a_main_node_lies_about_a_batch(folder):
    async with with_three_main_nodes(folder) as (_, taken, sims, clients):
        await taken.hold(HEALTHY_MIN)
        sims[0].fault = OtherHash()
        await trio.sleep(60.0)  # two batches
        sims[0].fault = HEALTHY
        await taken.hold(1, Fired.of("MainNodeOtherBatch", instance="attester-1", main_node=clients[0].name))
        await taken.hold(40)
        return taken


async def healthy_node_with_three_main_nodes(folder):
    async with with_three_main_nodes(folder) as (_, taken, _, _):
        for _ in range(6):
            await taken.hold(5)
        return taken


async def peers_go(folder):
    async with recording() as (taken, nursery):
        hub = Hub(nursery)
        with in_memory(hub), taken.target("node", hub.metrics):
            await hub.start()
            nursery.start_soon(taken.run)
            for _ in range(3):
                await taken.hold(HEALTHY_MIN)
            gone = list(hub.lives)[:3]
            for address in gone:
                hub.end(address)
            await taken.hold(7, Fired.of("PeersLost", instance="node"))
            for address in gone:
                await hub.begin(address)
            await taken.hold(10)
            for address in list(hub.lives):
                hub.end(address)
            await taken.hold(90, Fired.of("PeersLost", instance="node"))
            return taken


# --- an operator


class Verifier:
    """Finds every proof good, while it works."""

    works = True

    async def verify(self, entry):
        await trio.lowlevel.checkpoint()
        if not self.works:
            raise VerifierFailed(entry.system.text, "as the story has it")
        return True


@asynccontextmanager
async def operator(folder):
    """A batch a minute, which is answered on the chain two minutes later."""
    verifier = Verifier()
    async with (
        operator_world.world_of(folder, verifier=verifier) as world,
        world.operator(),
        recording() as (taken, nursery),
    ):
        nursery.start_soon(world.chain.run)

        async def batches():
            for number in itertools.count():
                root, url = world.storage.put(operator_world.batch_of(b"%d" % number))
                world.chain.post(root, url)
                nursery.start_soon(answered, root)
                await trio.sleep(60.0)

        async def answered(root):
            await trio.sleep(120.0)
            if world.aggregator.up and world.aggregator.reply == 0 and verifier.works:
                world.chain.answer(root)

        nursery.start_soon(batches)
        with taken.target("operator", world.metrics):
            nursery.start_soon(taken.run)
            yield world, taken


async def healthy_operator(folder):
    async with operator(folder) as (_, taken):
        for _ in range(12):
            await taken.hold(5)
        return taken


async def ethereum_is_away(folder):
    async with operator(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        world.chain.fault = LogHashDiffers("stub", "no answer")
        await taken.hold(17, Fired.of("L1Stuck", instance="operator", scan="operator"))
        world.chain.fault = None
        await taken.hold(15)
        return taken


async def an_operator_has_no_verifier(folder):
    async with operator(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        world.verifier.works = False
        await taken.hold(27, Fired.of("OperatorBehind", instance="operator"))
        world.verifier.works = True
        await taken.hold(30)
        return taken


async def the_aggregator_is_away(folder):
    async with operator(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        world.aggregator.down()
        await taken.hold(30, Fired.of("OperatorOutboxStuck", instance="operator"))
        world.aggregator.up = True
        await taken.hold(15)
        return taken


async def the_aggregator_refuses_for_good(folder):
    async with operator(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        world.aggregator.reply = operator_world.Told("permanent: not in quorum")
        await taken.hold(3, Fired.of("OperatorResponsesDead", instance="operator"))
        return taken


# --- an aggregator


@asynccontextmanager
async def sender(folder):
    """A batch a minute, and whoever answers it."""
    async with sender_world.world_of(folder) as world, world.running(), recording() as (taken, nursery):
        numbers = itertools.count()

        async def goes_on():
            while True:
                world.post(next(numbers))
                await world.block(5)

        nursery.start_soon(goes_on)
        nursery.start_soon(obey, world.state)
        AggregatorMetrics(world.metrics).leads.set(1)
        with taken.target("aggregator", world.metrics):
            nursery.start_soon(taken.run)
            yield world, taken


async def healthy_aggregator(folder):
    async with sender(folder) as (_, taken):
        for _ in range(12):
            await taken.hold(5)
        return taken


async def the_account_has_no_money(folder):
    async with sender(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        poor = sender_world.RpcFailed("stub", -32000, "insufficient funds for gas * price + value")
        world.chain.refuses = Always(poor)
        await taken.hold(7, Fired.of("SendingHeld", instance="aggregator"))
        world.chain.refuses = {}
        await taken.hold(15)
        return taken


async def the_wallet_runs_low(folder):
    async with sender(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        spent = world.metrics.value("attestrio_aggregator_gas_paid_wei_total")
        world.chain.money = int(2 * spent)
        await taken.hold(14, Fired.of("WalletLow", instance="aggregator"))
        world.chain.money = 10**19
        await taken.hold(5)
        return taken


async def no_transaction_is_mined(folder):
    async with sender(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        world.chain.stuck = True
        await taken.hold(30, Fired.of("AnswerPending", instance="aggregator"))
        world.chain.stuck = False
        await taken.hold(15)
        return taken


async def a_contract_refuses_one_batch(folder):
    async with sender(folder) as (world, taken):
        await taken.hold(HEALTHY_MIN)
        bad = world.post(10**6)
        world.chain.refuses[bad] = sender_world.revert("Error", "Pausable: index is paused")
        await taken.hold(15, Fired.of("AnswersParked", instance="aggregator"))
        del world.chain.refuses[bad]
        await taken.hold(40)
        return taken


@asynccontextmanager
async def two_aggregators(folder):
    """Over one journal, each with its own way to it; a batch a minute, which is answered on the chain two later."""
    chain, doors, metrics = AlignedChain(), [], []
    folder.mkdir(exist_ok=True)
    async with journal_at(folder) as journal, recording() as (taken, nursery):
        for name in ("one", "two"):
            doors.append(Door(journal))
            metrics.append(Metrics())
            await nursery.start(
                AggregatorRunner(
                    doors[-1], chain, CONTRACTS, NothingToSend(), "127.0.0.1:0",
                    ScanSettings(L1Block(0)), USUAL, metrics[-1], Telemetry(None, metrics[-1]),
                    name, run_blocking=inline,
                ).run
            )  # fmt: skip
            await trio.sleep(1.0)

        async def batches():
            for number in itertools.count():
                chain.post(root_of(number))
                if number >= 2:
                    chain.answer(root_of(number - 2))
                for _ in range(5):
                    chain.mine()
                    await trio.sleep(12.0)

        nursery.start_soon(batches)
        with taken.target("one", metrics[0]), taken.target("two", metrics[1]):
            nursery.start_soon(taken.run)
            yield taken, doors, chain


async def healthy_aggregators_that_take_over(folder):
    async with two_aggregators(folder) as (taken, doors, _):
        for one in doors:
            await taken.hold(HEALTHY_MIN)
            one.away = True
            await trio.sleep(60.0)
            one.away = False
            await taken.hold(30)
        return taken


async def ethereum_is_away_for_the_aggregator_that_leads(folder):
    async with two_aggregators(folder) as (taken, _, chain):
        await taken.hold(HEALTHY_MIN)

        def nothing(_):
            raise LogHashDiffers("stub", "no answer")

        chain.fault = nothing
        await taken.hold(17, Fired.of("L1Stuck", instance="one", scan="aggregator"))
        chain.fault = None
        await taken.hold(30)
        return taken


async def the_journal_is_away(folder):
    async with two_aggregators(folder) as (taken, doors, _):
        await taken.hold(HEALTHY_MIN)
        doors[0].away = doors[1].away = True
        await taken.hold(4, Fired.of("NobodyLeads"))
        doors[0].away = doors[1].away = False
        await taken.hold(30)
        return taken


class Door:
    """The way of one process to a journal it shares."""

    def __init__(self, journal):
        self.journal, self.away = journal, False

    def __getattr__(self, name):
        method = getattr(self.journal, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def through(*given, **more):
            await trio.lowlevel.checkpoint()
            if self.away:
                raise JournalAway("the store", "as the story has it")
            return await method(*given, **more)

        return through


class Always(dict):
    """The same for every key."""

    def __init__(self, value):
        self.value = value

    def get(self, key, default=None):
        return self.value


async def signatures_of_what_nobody_posted(folder):
    world = recovery_world.World(folder / "aggregator.db")
    world.chain.mine(1_500)
    async with world.aggregator(RecoverySettings(horizon_blocks=20)) as state, recording() as (taken, nursery):
        nursery.start_soon(world.chain.run)
        nursery.start_soon(obey, state)
        AggregatorMetrics(world.metrics).leads.set(1)
        with taken.target("aggregator", world.metrics):
            nursery.start_soon(taken.run)
            await taken.hold(5)
            await state.accept([recovery_world.signature(sha256(b"nobody's").digest())])
            await taken.hold(15, Fired.of("BatchesGivenUp", instance="aggregator"))
            return taken


# --- a sequencer


@asynccontextmanager
async def sequencer(folder):
    async with sequencer_tests.running(folder) as world, recording() as (taken, nursery):
        with taken.target("sequencer", world.metrics):
            nursery.start_soon(taken.run)
            yield world, taken, sequencer_tests


async def batches_are_rolled_back(folder):
    async with sequencer(folder) as (world, taken, of):
        await of.grow(world, 4)
        for _ in range(4):
            await taken.hold(5)
        await world.roll_back(3)
        await taken.hold(3, Fired.of("SequencerHalted", instance="sequencer"))
        return taken


SOAKS = [
    healthy_nodes,
    healthy_nodes_of_a_slow_chain,
    healthy_node_with_three_main_nodes,
    healthy_operator,
    healthy_aggregator,
    healthy_aggregators_that_take_over,
]
FAULTS = [
    one_attester_stops,
    quorum_is_lost,
    main_node_is_away,
    a_node_is_cut_off,
    a_node_knows_no_batches,
    a_history_forbids_a_vote,
    an_attester_votes_twice,
    a_disk_is_slow,
    a_main_node_contradicts,
    a_main_node_lies_about_a_batch,
    peers_go,
    ethereum_is_away,
    an_operator_has_no_verifier,
    the_aggregator_is_away,
    the_aggregator_refuses_for_good,
    the_wallet_runs_low,
    the_account_has_no_money,
    no_transaction_is_mined,
    a_contract_refuses_one_batch,
    signatures_of_what_nobody_posted,
    ethereum_is_away_for_the_aggregator_that_leads,
    the_journal_is_away,
    batches_are_rolled_back,
]
