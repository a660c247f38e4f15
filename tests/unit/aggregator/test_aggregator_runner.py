"""An aggregator through its terms: who leads has a core, who does not says why, and nothing is kept in between."""

from contextlib import asynccontextmanager

import pytest
import trio
from aligned_chain import CONTRACTS, OPERATORS, SENDER, AlignedChain, Disturbed, batch, root_of
from attestrio.aggregator import rows
from attestrio.aggregator.desk import Absent
from attestrio.aggregator.errors import JournalOfAnotherContract
from attestrio.aggregator.runner import LEAD, AggregatorRunner
from attestrio.aggregator.settings import USUAL
from attestrio.aggregator.telemetry import Telemetry
from attestrio.bls import to_limbs
from attestrio.errors import leaves
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.errors import CallFailed
from attestrio.gorpc.messages import PROCESS_SIGNED_TASK_RESPONSE, SERVER_RUNNING, Nothing, Point, SignedTaskResponse
from attestrio.journal import JournalAway, SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import Address, BlockNumber
from attestrio.l1.scan import ScanSettings
from suite import patient

LEAD_S = 60.0  # a machine that is busy for a moment must not end the term that a test looks at


class NothingToSend:
    """An account that is asked for nothing but its balance, because no batch reaches its quorum here."""

    address = Address(b"\xaa" * 20)

    async def balance(self):
        await trio.lowlevel.checkpoint()
        return 1


@asynccontextmanager
async def shared_journal(path):
    """A journal, and the same one behind a door that can be shut."""
    journal = SqliteJournal(path / "aggregator.db", inline)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield journal, Disturbed(journal)
        nursery.cancel_scope.cancel()


@pytest.fixture
def chain():
    """Four operators, of whom three are enough."""
    made = AlignedChain()
    made.register(*OPERATORS[:4])
    made.mine()
    return made


def runner(journal, chain, owner="one", contracts=CONTRACTS):
    metrics = Metrics()
    return AggregatorRunner(
        journal, chain, contracts, NothingToSend(), "127.0.0.1:0", ScanSettings(BlockNumber(0), every_s=0.05), USUAL,
        metrics, Telemetry(None, metrics), owner, LEAD_S, run_blocking=inline,
    )  # fmt: skip


@asynccontextmanager
async def served(journal, chain, owner="one"):
    """An aggregator that runs, and a client of it."""
    with trio.fail_after(patient(10)):
        async with trio.open_nursery() as nursery:
            serving = await nursery.start(runner(journal, chain, owner).run)
            client = GoRpcClient(serving.address)
            await nursery.start(client.run)
            yield serving, client
            nursery.cancel_scope.cancel()


def response(number, operator):
    """What an operator sends for a batch."""
    identifier, root = batch(number)
    signature = operator.secret.sign(identifier)
    return SignedTaskResponse(root, SENDER, identifier, Point(*to_limbs(signature)), operator.id)


async def scanned(serving):
    """The core of the present term, once it knows the operators."""
    core = await serving.core.wait_value(lambda core: core is not None)
    while len(core.state.keys) < 4:  # noqa: ASYNC110  the scanner tells nobody
        await trio.sleep(0.01)
    return core


async def test_who_leads_takes_signatures(tmp_path, chain):
    async with shared_journal(tmp_path) as (journal, _), served(journal, chain) as (serving, client):
        await scanned(serving)

        reply = await client.call(PROCESS_SIGNED_TASK_RESPONSE, response(1, OPERATORS[0]))

        assert reply == 0
        identifier, _ = batch(1)
        assert await journal.get(rows.SIGNATURES, rows.signature_key(identifier, OPERATORS[0].id)) is not None
        assert (await journal.leader(LEAD)).owner == "one"


async def test_who_does_not_lead_says_so_and_takes_over_when_it_may(tmp_path, chain):
    async with shared_journal(tmp_path) as (journal, _):
        fence = await journal.lead(LEAD, "another", 60.0)
        async with served(journal, chain) as (serving, client):
            while serving.absent() is not Absent.NOT_THE_LEADER:  # noqa: ASYNC110  the first try tells nobody
                await trio.sleep(0.01)
            with pytest.raises(CallFailed, match="temporary: not the leader"):
                await client.call(PROCESS_SIGNED_TASK_RESPONSE, response(1, OPERATORS[0]))
            running = await client.call(SERVER_RUNNING, Nothing())
            nothing = serving.core.value
            await journal.resign(fence)
            await scanned(serving)
            reply = await client.call(PROCESS_SIGNED_TASK_RESPONSE, response(1, OPERATORS[0]))

    assert (running, nothing, reply) == (1, None, 0)


async def test_its_metrics_say_whether_it_leads(tmp_path, chain):
    async with shared_journal(tmp_path) as (journal, _):
        fence, made = await journal.lead(LEAD, "another", 60.0), runner(journal, chain)
        with trio.fail_after(patient(10)):
            async with trio.open_nursery() as nursery:
                serving = await nursery.start(made.run)
                before = made.metrics.value("attestrio_aggregator_leads")
                await journal.resign(fence)
                await scanned(serving)
                during = made.metrics.value("attestrio_aggregator_leads")
                nursery.cancel_scope.cancel()

    assert (before, during, made.metrics.value("attestrio_aggregator_leads")) == (0, 1, 0)


async def test_a_store_that_went_away_ends_the_term_and_the_next_one_has_everything(tmp_path, chain):
    async with shared_journal(tmp_path) as (_, door), served(door, chain) as (serving, client):
        before, calm = await scanned(serving), door.before
        await client.call(PROCESS_SIGNED_TASK_RESPONSE, response(1, OPERATORS[0]))

        async def away(_):
            raise JournalAway("the store", "as the test has it")

        door.before = away
        with pytest.raises(CallFailed, match="temporary:"):
            await client.call(PROCESS_SIGNED_TASK_RESPONSE, response(2, OPERATORS[0]))
        await serving.core.wait_value(lambda core: core is None)
        said = ""
        while said != f"temporary: {Absent.STORE_AWAY}":  # what is said before depends on how far the next term came
            with pytest.raises(CallFailed) as refused:
                await client.call(PROCESS_SIGNED_TASK_RESPONSE, response(2, OPERATORS[0]))
            said = refused.value.text
        door.before = calm
        after = await serving.core.wait_value(lambda core: core is not None)

        identifier, _ = batch(1)
        assert after is not before
        assert after.state.signed[identifier] == before.state.signed[identifier]
        assert await client.call(PROCESS_SIGNED_TASK_RESPONSE, response(2, OPERATORS[0])) == 0


@pytest.mark.slow
async def test_a_leader_that_slept_is_fenced_off_and_begins_anew(tmp_path, chain):
    async with shared_journal(tmp_path) as (journal, door), served(door, chain) as (serving, client):
        before = await scanned(serving)
        old = await journal.leader(LEAD)
        await journal.resign(before.state.journal.fence)
        assert await journal.lead(LEAD, "another", 0.2) is not None

        with pytest.raises(CallFailed, match="temporary:"):
            await client.call(PROCESS_SIGNED_TASK_RESPONSE, response(1, OPERATORS[0]))
        after = await serving.core.wait_value(lambda core: core is not None and core is not before)

        identifier, _ = batch(1)
        assert identifier not in before.state.signed
        assert (await journal.leader(LEAD)).token > old.token + 1
        assert after.state.keys.keys() == before.state.keys.keys()


async def test_a_new_batch_is_taken_up_from_the_chain(tmp_path, chain):
    async with shared_journal(tmp_path) as (journal, _), served(journal, chain) as (serving, _):
        core = await scanned(serving)

        chain.post(root_of(5))
        chain.mine()

        identifier, _ = batch(5)
        while identifier not in core.state.tasks:  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert core.state.tasks[identifier].is_open


async def test_a_journal_of_another_contract_ends_it(tmp_path, chain):
    async with shared_journal(tmp_path) as (journal, _):
        async with served(journal, chain) as (serving, _):
            await scanned(serving)
        await journal.put(rows.ABOUT, b"contract", b"0x00")

        with trio.fail_after(patient(10)), pytest.raises(BaseExceptionGroup) as caught:
            await runner(journal, chain).run()

    assert [type(one) for one in leaves(caught.value)] == [JournalOfAnotherContract]
