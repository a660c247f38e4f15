"""Votes that come when their batch is over: told of once they are verified, and never counted."""

import pytest
import trio
from attestrio.duty import DutyLog, EpochOf, Step
from attestrio.quorum.late import BAD
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import BatchNumber, NodeSecretKey
from quorum_kit import GENESIS, KEYS, STRANGER, batch, committee, forged, vote

COMMITTEE = committee()
PEER = NodeSecretKey.from_bytes(b"\x07" * 32).public()
SEVEN, EIGHT = BatchNumber(7), BatchNumber(8)
BOTH = pytest.mark.parametrize("many", [False, True], ids=["add", "add_many"])


class Passed:
    """A register and a log whose status has gone from batch 7 to 8; all but the last two had voted for 7."""

    def __init__(self):
        self.now = 100.0
        self.duty = DutyLog(lambda: self.now)
        self.duty.begin_epoch(EpochOf(1, GENESIS, COMMITTEE))
        self.watch = VotesWatch(COMMITTEE, GENESIS, on_counted=self.duty.heard, wants_late=self.duty.wants_late)
        self.tell(SEVEN)
        self.watch.add([vote(key, 7) for key in KEYS[:8]])
        self.tell(EIGHT)
        self.duty.record(SEVEN, Step.SUBMITTED)
        self.watch.raise_floor(EIGHT)
        self.now += 2.5

    def tell(self, number):
        self.duty.record(BatchNumber(number), Step.TOLD)

    async def add(self, many, *votes):
        return await self.watch.add_many(votes, PEER) if many else self.watch.add(votes, PEER)

    def late(self):
        return self.duty.story(SEVEN).latecomers()

    def silent(self):
        return [one.key for one in self.duty.story(SEVEN).missing()]


@BOTH
async def test_who_votes_when_the_batch_is_over_is_late_by_so_much_and_not_silent(many):
    passed = Passed()

    added = await passed.add(many, vote(KEYS[8], 7))

    assert passed.late() == {KEYS[8].public(): 2.5}
    assert passed.silent() == [KEYS[9].public()]
    assert passed.duty.story(SEVEN).votes[-1].via == PEER
    assert added.added == 0
    assert passed.watch.support(batch(7)) == 0  # the register has left that batch behind


@BOTH
async def test_a_forged_late_vote_is_held_to_be_none_and_refuses_nothing(many):
    passed = Passed()

    added = await passed.add(many, forged(KEYS[8], 7), vote(KEYS[0], 8))

    assert passed.late() == {}
    assert added.added == 1


@BOTH
async def test_after_so_many_forged_ones_none_is_looked_at_until_the_floor_rises(many):
    passed = Passed()
    for _ in range(BAD):
        await passed.add(many, forged(KEYS[8], 7))

    await passed.add(many, vote(KEYS[8], 7))
    unheard = passed.late()
    passed.watch.raise_floor(9)
    await passed.add(many, vote(KEYS[8], 7))

    assert unheard == {}
    assert list(passed.late()) == [KEYS[8].public()]


@BOTH
async def test_strangers_and_old_batches_are_left_out(many):
    passed = Passed()

    await passed.add(many, vote(STRANGER, 7), vote(KEYS[8], 3))
    for number in (9, 10, 11):
        passed.tell(number)
    await passed.add(many, vote(KEYS[9], 7))

    assert passed.late() == {}
    assert passed.silent() == [KEYS[8].public(), KEYS[9].public()]


async def test_a_late_vote_is_told_once_whoever_brings_it_again():
    passed = Passed()
    told = []
    passed.watch = VotesWatch(
        COMMITTEE, GENESIS, on_counted=lambda votes, via: (told.extend(votes), passed.duty.heard(votes, via)),
        wants_late=passed.duty.wants_late,
    )  # fmt: skip
    passed.watch.raise_floor(EIGHT)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(passed.watch.add_many, [vote(KEYS[8], 7)])
    passed.watch.add([vote(KEYS[8], 7)])

    assert told == [vote(KEYS[8], 7)]
