"""A node is cancelled at any of its steps and started again over the same file: nothing is lost, nothing else raised.

SQLite runs inline, so that everything is in virtual time; the store is cancelled together with the node.
"""

from functools import partial

import pytest
import trio
import trio.testing
from attestrio.app import run_node
from attestrio.kit.blocking import inline
from attestrio.sim.links import Weather
from attestrio.sim.main_node import SimMainNode
from attestrio.store import SqliteBatchStore
from node_world import MAIN, World

ATTESTER = "attester-1"  # it alone is a quorum
LAST = 2  # with the certificate of this batch a node has been through everything
DELAY_S = 0.1


class CancelAtStep(trio.abc.Instrument):
    """Counts the steps of all tasks below `root`, and cancels `scope` before step `at`."""

    def __init__(self, at):
        self.at, self.steps, self.scope, self.root = at, 0, trio.CancelScope(), None

    def before_task_step(self, task):
        while task is not None and task is not self.root:
            task = task.parent_nursery.parent_task if task.parent_nursery else None
        if task is not None:
            self.steps += 1
            if self.steps == self.at:
                self.scope.cancel()


class Latest:
    """The store that is at `name` when asked: what a main node's machine serves after a restart."""

    def __init__(self, stores, name):
        self._stores, self._name = stores, name

    def __getattr__(self, attribute):
        return getattr(self._stores[self._name], attribute)


def store_of(world, name):
    """A new store over the node's one file."""
    world.stores[name] = SqliteBatchStore(world.folder / f"{name}.db", world.genesis.hash(), run_blocking=inline)
    return world.stores[name]


async def live(world, name, *, task_status=trio.TASK_STATUS_IGNORED):
    """Node and store, until cancelled."""
    async with trio.open_nursery() as nursery:
        store = store_of(world, name)
        await nursery.start(store.run)
        parts = {"store": store, "link": world.network.link(name), "batch_source": world.chain}
        if name == ATTESTER:
            parts["status_client"] = (await world.sim(ATTESTER)).client()
        world.up[name] = await nursery.start(
            partial(run_node, world.config(name), init_protection=True, run_blocking=inline, **parts)
        )
        task_status.started()


async def cancelled_life(world, name, cancel):
    """Run the node until batch LAST is certified there, or until it is cancelled."""

    async def counted(*, task_status):
        cancel.root = trio.lowlevel.current_task()
        await live(world, name, task_status=task_status)

    trio.lowlevel.add_instrument(cancel)
    try:
        with cancel.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(counted)
                await world.wait_certified(LAST, name)
                nursery.cancel_scope.cancel()
    finally:
        trio.lowlevel.remove_instrument(cancel)


async def cancel_and_restart(folder, victim, step):
    """The number of steps that were run, what the victim had kept, and what it and the main node hold in the end."""
    cancel = CancelAtStep(step)
    folder.mkdir(exist_ok=True)
    async with trio.open_nursery() as around:
        world = World(around, folder, [1], weather=Weather(delay_s=DELAY_S))
        store_of(world, victim)
        world.sims[ATTESTER] = SimMainNode(Latest(world.stores, MAIN), world.genesis)
        await world.start(ATTESTER if victim == MAIN else MAIN)

        await cancelled_life(world, victim, cancel)

        async with trio.open_nursery() as nursery:
            await nursery.start(live, world, victim)
            kept = await world.certified(victim)
            await world.wait_certified(LAST + 1)
            end = await world.certified(victim), await world.certified(MAIN)
            nursery.cancel_scope.cancel()
        around.cancel_scope.cancel()
    return cancel.steps, kept, *end


async def check(folder, victim, step):
    """One cancellation; True when the node was still alive at that step."""
    steps, kept, end, main = await cancel_and_restart(folder, victim, step)

    assert main == list(range(LAST + 2)), f"cancelled at step {step}"
    assert set(kept) <= set(end), f"cancelled at step {step}"
    assert end[-1] == LAST + 1
    return steps >= step


@pytest.mark.parametrize("victim", [MAIN, ATTESTER])
@pytest.mark.parametrize("step", [1, 5, 15, 30, 50, 70, 90, 120])
async def test_node_cancelled_anywhere_goes_on_after_a_restart(tmp_path, autojump_clock, victim, step):
    assert await check(tmp_path, victim, step)


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "stride"), [(MAIN, 5), (ATTESTER, 1)])
async def test_node_cancelled_at_every_step_goes_on_after_a_restart(tmp_path, autojump_clock, victim, stride):
    """The main node at every fifth: it has more steps, because it answers the other's polls."""
    step = 1

    while await check(tmp_path / str(step), victim, step):
        step += stride

    assert step > 120
