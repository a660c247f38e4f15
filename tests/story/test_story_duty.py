"""What an operator finds in the duty book: who voted, who missed, and why, also after the node is gone."""

from contextlib import closing

import apsw
import msgspec
import trio
from attestrio.duty import EndState, Reason, Step
from attestrio.duty.book import BOOK
from attestrio.duty.reader import open_book
from attestrio.duty.telling import of_story
from attestrio.roles import BatchNumber
from node_world import MAIN, World, key

SIX = (1, 1, 1, 1, 1, 1)


def story_of(world, name, number):
    """The newest story of a batch in the data directory of a node, whether it runs or not."""
    with open_book(world.folder / name / BOOK) as book:
        stories = book.stories(BatchNumber(number))
    return stories[0] if stories else None


def counts_of(world, name):
    with open_book(world.folder / name / BOOK) as book:
        return book.counts()


async def test_a_member_that_is_off_is_named_by_every_node_and_the_batch_is_certified_all_the_same(
    nursery, tmp_path, autojump_clock
):
    world = World(nursery, tmp_path, SIX)
    await world.start(MAIN, *world.attesters[:5])

    await world.wait_certified(2)
    await trio.sleep(2.0)

    for name in (MAIN, "attester-1"):
        story = story_of(world, name, 1)
        assert story.state is EndState.CERTIFIED
        assert [one.key for one in story.missing()] == [key(6).public()]
        assert story.events[-1].step is Step.SUBMITTED
        assert story.events == world.up[name].duty.timeline(BatchNumber(1))


async def test_a_node_that_has_ended_left_its_story_and_says_who_kept_the_batch_open(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start(MAIN, *world.attesters[:4])
    await trio.sleep(5.0)

    await world.stop("attester-1")

    story = story_of(world, "attester-1", 0)
    assert story.state is EndState.OPEN
    assert {one.key for one in story.missing()} == {key(5).public(), key(6).public()}
    assert [line for line in of_story(story).brief() if line.startswith("has not voted yet: ")] != []


async def test_batches_of_the_time_a_node_was_away_say_so_after_its_restart(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(2)
    source = Withheld(world.chain, 3)
    await world.stop("attester-6")
    await world.start("attester-6", batch_source=source)
    await trio.sleep(0.9)
    await world.wait_certified(3, *world.attesters[:5])
    await world.stop("attester-6")  # told of batch 3, without having it

    await trio.sleep(5.0)
    await world.start("attester-6")
    await trio.sleep(3.0)

    story = story_of(world, "attester-6", 3)
    assert (story.state, story.reason) == (EndState.MISSED, Reason.NODE_STOPPED)
    assert any(event.reason is Reason.NODE_STOPPED for event in story.events)


async def test_a_batch_that_was_certified_before_the_node_was_killed_is_no_missed_one_after_its_restart(
    nursery, tmp_path, autojump_clock
):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    await world.wait_certified(3)
    await trio.sleep(0.5)
    await world.stop("attester-6")
    forget(tmp_path / "attester-6" / BOOK, 3)

    await trio.sleep(5.0)
    await world.start("attester-6")
    await trio.sleep(3.0)

    story = story_of(world, "attester-6", 3)
    assert (story.state, story.reason) == (EndState.CERTIFIED, Reason.OK)
    assert len(story.votes) >= 5


def forget(path, number):
    """What a kill does: the book lacks the last moments, which the store has."""
    told = msgspec.msgpack.encode([["told", 0.0, "ok", ""]])
    with closing(apsw.Connection(str(path))) as book:
        book.execute(
            "UPDATE batches SET state = 'open', reason = 'ok', ended_at = NULL, votes = NULL, events = ?"
            " WHERE number = ?",
            (told, number.to_bytes(8, "big")),
        )
        assert book.changes() == 1


async def test_end_states_add_up_over_restarts_and_every_batch_below_the_status_has_ended(
    nursery, tmp_path, autojump_clock
):
    world = World(nursery, tmp_path, SIX)
    await world.start_all()
    for turn in range(4):
        await trio.sleep(3.3 + turn)
        await world.stop("attester-2")
        await trio.sleep(2.2)
        await world.start("attester-2")
    await trio.sleep(3.0)

    counts = counts_of(world, "attester-2")
    with open_book(world.folder / "attester-2" / BOOK) as book:
        stories = book.newest(1_000)

    assert sum(counts.values()) == len(stories) == len({one.number for one in stories})
    told = (await world.up["attester-2"].wait_epoch()).status.status.next_batch
    assert [one.number for one in stories if one.state is EndState.OPEN and one.number < told - 1] == []


class Withheld:
    """The batches of a chain, without one of them."""

    def __init__(self, chain, number):
        self.chain, self.number = chain, number

    async def batch_to_sign(self, number):
        await trio.lowlevel.checkpoint()
        return None if number == self.number else await self.chain.batch_to_sign(number)
