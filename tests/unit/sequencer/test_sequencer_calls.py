"""Calls that are executed while a chain grows: no block waits for them, and none lasts for ever."""

import threading

import pytest
import trio
from attestrio.kit.blocking import in_thread, inline
from attestrio.sequencer import MemoryLeaves
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.call_desk import CallDesk
from attestrio.sequencer.calls import CallFailed, Wanted, call, estimate
from attestrio.sequencer.shared import SharedChain
from attestrio.sequencer.snapshot import ChainSnapshot
from sequencer_kit import ALICE, BOB, add_batch, own_chain, own_rules, tx

RULES = own_rules()
ENDLESS = Wanted(None, bytes.fromhex("5b600056"), gas=10**15)
NUMBER = Wanted(None, bytes.fromhex("4360005260206000f3"))
"""Returns the number of the block it is in."""
A_MINUTE = 60.0


@pytest.fixture
def db(tmp_path):
    db = own_chain(tmp_path / "chain.db")
    yield db
    db.close()


@pytest.fixture
def snapshot(db):
    with ChainSnapshot.open(db._path) as snapshot:
        yield snapshot


def next_block(db):
    return add_batch(BatchBuilder(db, RULES, MemoryLeaves()), [tx(0)])


def anything(chain):
    pass


async def number(desk):
    return int.from_bytes(await desk.execute(call, NUMBER, anything), "big")


class Hand:
    """A clock that goes on when it is told to, from any thread."""

    def __init__(self):
        self.now = 0.0
        self.looked = threading.Event()
        """While something is executed."""
        self._begun = False

    def __call__(self):
        if self._begun:
            self.looked.set()
        self._begun = True
        return self.now


@pytest.mark.parametrize("how", [call, estimate])
async def test_blocks_are_made_while_a_call_without_end_is_executed(db, snapshot, how):
    chain, clock = SharedChain(db), Hand()
    desk, ended = CallDesk(snapshot, RULES, A_MINUTE, in_thread, clock), []

    async def called():
        with pytest.raises(CallFailed, match="takes too long"):
            await desk.execute(how, ENDLESS, anything)
        ended.append(True)

    with trio.fail_after(A_MINUTE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(called)
            await trio.to_thread.run_sync(clock.looked.wait)
            await chain.change(next_block)
            made, still = chain.head.block, not ended
            clock.now += A_MINUTE

    assert (made, still) == (2, True)
    assert await number(desk) == 3


async def test_a_call_sees_the_block_it_began_at_to_its_end(db, snapshot):
    with snapshot.moment():
        before = (snapshot.tip.number, snapshot.state.nonce(ALICE), snapshot.state.balance(BOB))
        next_block(db)
        after = (snapshot.tip.number, snapshot.state.nonce(ALICE), snapshot.state.balance(BOB))
    with snapshot.moment():
        later = (snapshot.tip.number, snapshot.state.nonce(ALICE))

    assert before == after
    assert later == (before[0] + 1, before[1] + 1)


async def test_a_call_after_the_chain_went_back_sees_what_is_there_now(db, snapshot):
    desk = CallDesk(snapshot, RULES, A_MINUTE, inline)
    next_block(db)
    there = await number(desk)

    db.unwind_to_block(1)

    assert (there, await number(desk)) == (3, 2)
    with snapshot.moment():
        assert snapshot.state.nonce(ALICE) == 0


async def test_what_a_call_has_written_is_gone_for_the_next_one(snapshot):
    # returns what slot 0 is, and makes it one more
    desk = CallDesk(snapshot, RULES, A_MINUTE, inline)
    code = bytes.fromhex("6000548060005260010160005560206000f3")

    told = [await desk.execute(call, Wanted(None, code, sender=ALICE), anything) for _ in range(2)]

    assert told == [bytes(32)] * 2


async def test_a_state_of_no_moment_is_a_mistake(snapshot):
    with pytest.raises(RuntimeError, match="no moment"):
        snapshot.state.nonce(ALICE)


async def test_a_call_that_is_cancelled_ends_although_its_time_is_not_over(snapshot):
    clock = Hand()
    desk = CallDesk(snapshot, RULES, A_MINUTE, in_thread, clock)

    with trio.fail_after(A_MINUTE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.execute, call, ENDLESS, anything)
            await trio.to_thread.run_sync(clock.looked.wait)
            nursery.cancel_scope.cancel()

    assert await number(desk) == 2


async def test_a_call_whose_turn_does_not_come_is_told_so(snapshot, autojump_clock):
    free = trio.Event()

    async def held(work):
        await free.wait()
        return work()

    desk, told = CallDesk(snapshot, RULES, 5.0, held), []

    async def second():
        with pytest.raises(CallFailed, match="too many calls"):
            await desk.execute(call, NUMBER, anything)
        told.append(trio.current_time())
        free.set()

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.execute, call, NUMBER, anything)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(second)

    assert told == [began + 5.0]
