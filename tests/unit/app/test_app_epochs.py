"""Epochs one after the other in one process: what they share, what they begin with, and what ends the node."""

import pytest
import trio
from app_kit import Shown, Site, Told, genesis_of, voted
from attestrio.app.succession import GenesisOfOtherChain
from attestrio.errors import SafetyError
from attestrio.protection.commands import CommandBox, Verb
from attestrio.protection.epochs import EpochCause
from attestrio.roles import BatchNumber
from attestrio.sim.chain import SimChain
from attestrio.sim.rollup import next_fork
from attestrio.status import GenesisChanged, MovedBackwards
from attestrio.store.memory import MemoryBatchStore

FORK = next_fork(genesis_of(), 3)


def forked(site, to=2, fork=FORK):
    """The chain is reverted, and the main node shows it."""
    site.chain.revert(to, fork.hash())
    site.chain.seal(50)
    site.told.genesis, site.told.number = fork, to + 1


# --- what the epochs of a process share


async def test_node_epoch_metrics_and_duty_log_are_the_same_objects_through_a_fork(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    node = await site.start()
    metrics, duty, epoch = node.metrics, node.duty, node.epoch
    first = await node.wait_epoch()
    site.told.number = 5
    await voted(node, 5)
    before = metrics.value("attestrio_votes_recorded_total")

    forked(site)
    second = await node.wait_epoch(after=first.number)
    await voted(node, 3)

    assert (node.metrics, node.duty, node.epoch) == (metrics, duty, epoch)
    assert (first.cause, second.cause) == (EpochCause.START, EpochCause.GENESIS_CHANGED)
    assert (first.number, second.number, second.genesis) == (1, 2, FORK)
    assert metrics.value("attestrio_votes_recorded_total") > before
    assert metrics.value("attestrio_rollbacks_total", cause="genesis_changed") == 1
    assert metrics.value("attestrio_rollbacks_total", cause="command") == 0
    assert [int(number) for number in duty.batches()] == [3]  # the batches of the epoch that ended are over
    assert site.ended is None


async def test_store_factory_is_asked_for_each_epoch_and_the_node_runs_what_it_gives(nursery, tmp_path, autojump_clock):
    site, made = Site(nursery, tmp_path), []

    def factory(genesis, number):
        made.append((genesis, number, MemoryBatchStore(genesis.hash())))
        return made[-1][2]

    node = await site.start(store=factory)
    await voted(node, 0)
    forked(site)
    epoch = await node.wait_epoch(after=1)
    await voted(node, 3)

    assert [(genesis, number) for genesis, number, _ in made] == [(site.genesis, 1), (FORK, 2)]
    assert epoch.store is made[1][2]


async def test_between_two_epochs_there_is_none(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    node = await site.start()
    await voted(node, 0)
    seen = []

    async def note():
        async for epoch in node.epoch.eventual_values():
            seen.append(epoch and epoch.number)

    nursery.start_soon(note)
    site.told.genesis = FORK  # and shows it, so the status passes
    await node.wait_epoch(after=1)
    await trio.sleep(1)

    assert seen == [1, None, 2]


# --- what ends the node


async def test_given_store_is_for_one_epoch_and_its_owner_is_told_what_ended_it(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    store = MemoryBatchStore(site.genesis.hash())
    await nursery.start(store.run)
    node = await site.start(store=store)
    site.told.number = 4
    await voted(node, 4)

    forked(site)
    await site.gone.wait()

    assert isinstance(site.ended, GenesisChanged)
    assert (site.ended.old, site.ended.new) == (site.genesis.hash(), FORK.hash())
    assert [int(number) for number in node.duty.batches()] == [4]  # what it did can still be read


async def test_other_genesis_that_nobody_can_show_ends_the_node(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    site.told = Told(site.genesis)
    node = await site.start()
    await voted(node, 0)

    site.told.genesis = FORK
    await site.gone.wait()

    assert isinstance(site.ended, GenesisChanged)


async def test_what_has_no_named_cause_ends_the_node_and_no_epoch_follows(nursery, tmp_path, autojump_clock):
    class Wrong(SafetyError):
        """Something that must not happen."""

        code = "wrong"

    class Source:
        async def batch_to_sign(self, number):
            await trio.lowlevel.checkpoint()
            raise Wrong("stop")

    site = Site(nursery, tmp_path)
    node = await site.start(batch_source=Source())
    await site.gone.wait()

    assert isinstance(site.ended, Wrong)
    assert node.epoch.value is None
    assert node.metrics.value("attestrio_rollbacks_total", cause="command") == 0


# --- what an epoch begins with


async def test_restart_goes_on_in_the_epoch_that_was(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    await voted(await site.start(), 0)
    await site.stop()

    epoch = await (await site.start()).wait_epoch()

    assert (epoch.number, epoch.cause) == (1, EpochCause.START)


@pytest.mark.parametrize(
    "other", [genesis_of(chain_id=271), genesis_of(fork=1, chain_id=271), genesis_of(weight=2)],
    ids=["chain", "chain and fork", "committee"],
)  # fmt: skip
async def test_directory_that_signed_for_another_chain_is_refused(nursery, tmp_path, autojump_clock, other):
    site = Site(nursery, tmp_path)
    await voted(await site.start(), 0)
    await site.stop()

    site.pin(other)
    site.told = Shown(other)
    error = await site.refused()

    assert isinstance(error, GenesisOfOtherChain)
    assert error.exit_code == 2
    assert str(tmp_path / "data") in str(error)
    assert other.hash().to_text() in str(error)


async def test_lower_fork_in_the_file_of_a_main_node_is_refused(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path, genesis_of(fork=2))
    await (await site.start(site.config(serve=True))).wait_epoch()
    await site.stop()

    site.pin(genesis_of(fork=1))

    assert isinstance(await site.refused(site.config(serve=True)), GenesisOfOtherChain)


async def test_higher_fork_found_at_the_start_begins_an_epoch(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    await voted(await site.start(), 0)
    await site.stop()

    site.pin(FORK)
    forked(site)
    node = await site.start()
    epoch = await node.wait_epoch()
    await voted(node, 3)

    assert (epoch.number, epoch.genesis, epoch.cause) == (2, FORK, EpochCause.GENESIS_CHANGED)


# --- where a fork begins


async def test_main_node_asks_its_source_where_a_fork_begins_and_waits_for_the_answer(
    nursery, tmp_path, autojump_clock
):
    site = Site(nursery, tmp_path)
    node = await site.start(site.config(serve=True))
    first = await node.wait_epoch()

    site.pin(FORK)
    CommandBox(tmp_path / "data").post(Verb.END_EPOCH, "the chain will be reverted")
    await trio.sleep(30)
    waiting = node.epoch.value
    site.chain.revert(2, FORK.hash())
    site.chain.seal()
    second = await node.wait_epoch(after=1)
    await second.store.wait_until_persisted(BatchNumber(3))
    status = await second.status.wait_for(lambda now: now.next_batch is not None)

    assert first.first_batch == 0
    assert waiting is None
    assert (second.first_batch, status.next_batch) == (3, 3)
    assert second.store.persisted.first == 3


async def test_first_batch_of_the_configuration_is_not_that_of_a_fork(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path, chain=SimChain(genesis_of().hash(), first=0))
    node = await site.start(site.config())
    await node.wait_epoch()

    forked(site)
    epoch = await node.wait_epoch(after=1)

    assert epoch.first_batch is None  # an attester's floor is at the first status it hears
    await voted(node, 3)


async def test_source_that_is_on_another_fork_already_is_waited_for(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    node = await site.start()
    await voted(node, 0)

    site.chain.revert(2, FORK.hash())  # the program around the node is first to know
    site.chain.seal(50)
    site.told.number = 7
    await trio.sleep(20)
    waiting = node.duty.timeline(BatchNumber(7))
    site.told.genesis, site.told.number = FORK, 3
    await node.wait_epoch(after=1)
    await voted(node, 3)

    assert ("persisted", "other_genesis_answered") in [(event.step, event.detail) for event in waiting]
    assert site.ended is None


# --- a status that goes back


async def test_status_that_goes_back_begins_an_epoch_under_the_same_genesis(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    node = await site.start()
    site.told.number = 9
    await voted(node, 9)

    site.told.number = 4
    epoch = await node.wait_epoch(after=1)
    at = trio.current_time()
    await voted(node, 4)

    assert at == pytest.approx(7.0, abs=1.0)  # the grace of 5 s, from the first poll that told it
    assert (epoch.genesis, epoch.cause) == (site.genesis, EpochCause.MOVED_BACKWARDS)
    assert node.metrics.value("attestrio_rollbacks_total", cause="moved_backwards") == 1


async def test_given_store_and_a_status_that_goes_back_end_the_node(nursery, tmp_path, autojump_clock):
    site = Site(nursery, tmp_path)
    store = MemoryBatchStore(site.genesis.hash())
    await nursery.start(store.run)
    node = await site.start(store=store)
    site.told.number = 9
    await voted(node, 9)

    site.told.number = 4
    await site.gone.wait()

    assert isinstance(site.ended, MovedBackwards)
