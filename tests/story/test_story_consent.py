"""Whole nodes in virtual time: who has a word when an epoch ends, and what a supervisor or an operator does then."""

from dataclasses import replace

import pytest
import trio
from attestrio.protection.commands import CommandBox, Verb
from attestrio.protection.epochs import EpochCause, RollbackNeedsRestart
from attestrio.protection.pending import read_pending
from fork_world import ForkWorld
from node_world import MAIN

THREE = [1] * 3  # threshold 3


async def reverted(world, to=1):
    """A world in which the main node has followed a revert."""
    await world.start_all()
    await world.wait_certified(3)
    following = await world.revert(to)
    world.chain.seal(50)
    return following


async def test_node_that_shall_ask_signs_nothing_in_the_fork_before_it_is_told_to(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, THREE, on_rollback="ask")
    following = await reverted(world)
    await trio.sleep(120)
    waiting = read_pending(tmp_path / "attester-1")
    meanwhile = world.archived(MAIN, 2, following), {genesis for genesis, _, _ in world.witness.hashes}

    for name in world.attesters:
        world.post(name, Verb.CONSENT)
    at = trio.current_time()
    await world.wait_followed(following)
    took = trio.current_time() - at
    await world.wait_certified(4)

    assert (waiting.ended, waiting.cause) == (1, EpochCause.GENESIS_CHANGED)
    assert (waiting.genesis, waiting.fork_number) == (following.hash().to_text(), 1)
    assert meanwhile == ([], {world.genesis.hash()})
    assert took <= 1.0
    assert read_pending(tmp_path / "attester-1") is None
    assert world.archived(MAIN, 2, following)[:3] == [2, 3, 4]


async def test_consent_is_for_the_rollback_that_waits_and_not_for_a_later_one(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, THREE, on_rollback="ask")
    await world.start_all()
    await world.wait_certified(1)
    world.post("attester-1", Verb.CONSENT)  # nothing waits
    await trio.sleep(2)

    await world.revert(1)
    await trio.sleep(60)

    assert read_pending(tmp_path / "attester-1") is not None
    assert world.up["attester-1"].epoch.value is None
    assert len(world.rows("attester-1")) == 1


async def test_node_that_is_restarted_while_it_waits_asks_again(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, THREE, on_rollback="ask")
    following = await reverted(world)
    await trio.sleep(10)

    await world.stop("attester-1")
    stopped = read_pending(tmp_path / "attester-1")
    await world.start("attester-1")
    await trio.sleep(10)
    started = read_pending(tmp_path / "attester-1")
    world.post("attester-1", Verb.CONSENT)
    await world.wait_followed(following, "attester-1")

    assert stopped is None
    assert started is not None


async def test_node_that_finds_a_fork_at_its_start_asks_too(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, THREE, on_rollback="ask")
    await world.start_all()
    await world.wait_certified(3)
    await world.stop("attester-1")
    following = await world.revert(1)
    world.chain.seal(50)

    world.pin("attester-1", following)  # as if asked from the main node
    await world.start("attester-1")
    await trio.sleep(10)
    waiting = read_pending(tmp_path / "attester-1"), world.up["attester-1"].epoch.value
    world.post("attester-1", Verb.CONSENT)
    await world.wait_followed(following, "attester-1")

    assert waiting[0].detail == "found at start"
    assert waiting[1] is None
    assert [row.cause for row in world.rows("attester-1")] == ["start", "genesis_changed"]


async def test_node_that_shall_exit_ends_with_3_and_its_next_start_is_in_the_fork(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, THREE, on_rollback="exit")
    following = await reverted(world)
    for name in world.attesters:
        await world.wait_gone(name)
    ended = dict(world.ended)

    await world.start(*world.attesters)
    await world.wait_certified(5)

    assert {type(error) for error in ended.values()} == {RollbackNeedsRestart}
    assert {error.exit_code for error in ended.values()} == {3}
    assert {error.cause for error in ended.values()} == {EpochCause.GENESIS_CHANGED}
    assert [row.cause for row in world.rows("attester-1")] == ["start", "genesis_changed"]
    assert world.archived("attester-1", 2, following)[:4] == [2, 3, 4, 5]


@pytest.mark.parametrize("on_rollback", ["restart", "ask", "exit"])
async def test_command_ends_the_epoch_whatever_the_rule_for_rollbacks(nursery, tmp_path, autojump_clock, on_rollback):
    world = ForkWorld(nursery, tmp_path, THREE, on_rollback=on_rollback)
    await world.start_all()
    await world.wait_certified(3)

    world.post("attester-1", Verb.END_EPOCH, "to see it")
    epoch = await world.up["attester-1"].wait_epoch(after=1)
    await world.wait_certified(6)

    assert (epoch.number, epoch.genesis, epoch.cause) == (2, world.genesis, EpochCause.COMMAND)
    assert world.rows("attester-1")[-1].detail == "the operator ended the epoch: to see it"
    assert world.ended == {}
    assert world.witness.contradictions() == {}


async def test_command_after_a_fork_was_followed_does_not_go_back_to_the_old_genesis_file(
    nursery, tmp_path, autojump_clock
):
    world = ForkWorld(nursery, tmp_path, THREE)
    following = await reverted(world)
    await world.wait_followed(following)
    await world.wait_certified(3)

    world.post("attester-1", Verb.END_EPOCH)
    epoch = await world.up["attester-1"].wait_epoch(after=2)
    await world.wait_certified(6)

    assert epoch.genesis == following
    assert world.ended == {}


async def test_genesis_file_that_cannot_be_read_does_not_end_a_main_node_that_runs(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, THREE)
    await world.start_all()
    await world.wait_certified(2)

    world.main_genesis.write_text("{")
    world.post(MAIN, Verb.END_EPOCH)
    epoch = await world.up[MAIN].wait_epoch(after=1)

    assert epoch.genesis == world.genesis
    assert world.ended == {}


async def test_consent_to_another_fork_is_left_aside(nursery, tmp_path, autojump_clock):
    world = ForkWorld(nursery, tmp_path, THREE, on_rollback="ask")
    following = await reverted(world)
    await trio.sleep(10)
    data_dir = tmp_path / "attester-1"
    shown = read_pending(data_dir)

    CommandBox(data_dir).post(Verb.CONSENT, "to something else", replace(shown, genesis="another").subject)
    await trio.sleep(10)
    still = read_pending(data_dir)
    world.post("attester-1", Verb.CONSENT)
    await world.wait_followed(following, "attester-1")

    assert still == shown
