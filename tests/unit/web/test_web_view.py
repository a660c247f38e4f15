"""What the document says of committee, batches, peers and epochs."""

import msgspec
import pytest
from attestrio.duty import DutyLog, EndState, EpochOf, Reason, Step
from attestrio.gossip.peers import Direction, PeerInfo
from attestrio.protection.record import EpochRow
from attestrio.roles import AttesterSecretKey, BatchNumber, Committee, WeightedAttester
from attestrio.web.api import BatchView
from attestrio.web.attendance import Attendance
from attestrio.web.names import Names
from attestrio.web.view import (
    BATCHES,
    MEMBERS,
    PEERS,
    VOTES,
    BatchViews,
    batch_view,
    committee_view,
    epoch_views,
    peers_view,
)
from web_kit import ALL, COMMITTEE, GENESIS, KEYS, PEER, Chain, Wall

NAMES = Names([f"{KEYS[4].to_text()}=eve", f"{PEER}=node-x"])


def committee_of(chain, own=KEYS[2]):
    wanted = chain.duty.story(chain.attendance.wanted)
    return committee_view(COMMITTEE, chain.attendance, wanted, NAMES, own)


def story(chain, number):
    return chain.duty.story(BatchNumber(number))


def test_the_committee_says_who_has_voted_for_the_batch_at_hand():
    chain = Chain()
    chain.told(7)
    chain.vote(7, [0, 1, 2])
    chain.vote(7, [3], content=b"\x0b")

    view = committee_of(chain)

    rows = {member.key: member for member in view.members}
    assert view.members[0].own
    assert view.members[0].key == KEYS[2].to_text()
    assert [rows[key.to_text()].standing for key in KEYS] == ["voted", "voted", "voted", "other", "waiting"]
    assert rows[KEYS[4].to_text()].name == "eve"
    assert (view.size, view.total_weight, view.threshold, view.left_out) == (5, 50, 41, 0)


def test_who_has_not_voted_when_the_batch_is_over_has_missed_it():
    chain = Chain()
    chain.told(7)
    chain.vote(7, [0, 1, 2, 3])
    chain.duty.end(BatchNumber(7), EndState.CERTIFIED)

    assert [member.standing for member in committee_of(chain).members if member.name == "eve"] == ["missed"]


def test_a_late_vote_is_shown_with_how_late_it_was_and_its_member_is_not_missing():
    chain = Chain()
    chain.told(7)
    chain.vote(7, [0, 1, 2, 3])
    chain.told(8)
    chain.vote(7, [4], via=PEER)

    view = batch_view(story(chain, 7), NAMES)

    assert [(vote.name, vote.late_s) for vote in view.votes if vote.late_s is not None] == [("eve", 0.1)]
    assert view.missing == []


def test_before_a_number_is_named_nobody_waits_for_anybody():
    chain = Chain()

    view = committee_view(COMMITTEE, chain.attendance, None, NAMES, None)

    assert {member.standing for member in view.members} == {None}
    assert not any(member.own for member in view.members)


def test_of_a_large_committee_the_own_row_and_the_first_ones_are_shown():
    keys = [AttesterSecretKey.from_bytes((one + 1).to_bytes(32, "big")).public() for one in range(MEMBERS + 50)]
    committee = Committee([WeightedAttester(key, 1) for key in keys])
    duty = DutyLog(Wall())

    own = committee[MEMBERS + 20].key

    view = committee_view(committee, Attendance(duty.story, Wall()), None, NAMES, own)

    assert (len(view.members), view.left_out, view.size) == (MEMBERS, 50, MEMBERS + 50)
    assert view.members[0].key == own.to_text()
    assert view.members[1].key == committee[0].key.to_text()


def test_a_batch_shows_its_bar_its_timeline_and_who_brought_each_vote():
    chain = Chain()
    chain.told(7)
    chain.vote(7, [0])
    chain.vote(7, [1, 2], via=PEER)
    chain.vote(7, [3], content=b"\x0b", via=PEER)
    chain.duty.delivered(PEER, BatchNumber(7))
    chain.duty.record(BatchNumber(7), Step.HASHED, Reason.HASH_NOT_AVAILABLE, "asked twice")

    view = batch_view(story(chain, 7), NAMES)

    assert (view.weight, view.other_weight, view.threshold, view.total_weight) == (30, 10, 41, 50)
    assert (view.state, view.reason, view.ended_at) == ("open", "", None)
    assert [(vote.via, vote.other, vote.weight) for vote in view.votes] == [
        ("own", False, 10),
        ("node-x", False, 10),
        ("node-x", False, 10),
        ("node-x", True, 10),
    ]
    assert view.missing == ["eve"]
    assert [one.name for one in view.taken_by] == ["node-x"]
    assert [(step.step, step.reason, step.detail) for step in view.steps] == [
        ("told", "ok", ""),
        ("hashed", "hash_not_available", "asked twice"),
    ]
    assert view.steps[0].meaning == ""
    assert view.steps[1].meaning == Reason.HASH_NOT_AVAILABLE.meaning


def test_a_batch_that_was_missed_says_why_in_words():
    chain = Chain()
    chain.told(7)

    chain.duty.end(BatchNumber(7), EndState.MISSED, Reason.SUPERSEDED)

    view = batch_view(story(chain, 7), NAMES)
    assert (view.state, view.reason, view.meaning) == ("missed", "superseded", Reason.SUPERSEDED.meaning)
    assert view.ended_at == chain.wall.now
    assert view.hash is None


def test_a_batch_without_a_committee_is_shown_too():
    duty = DutyLog(Wall())
    duty.begin_epoch(EpochOf(1, GENESIS, None))
    duty.record(BatchNumber(1), Step.TOLD)

    view = batch_view(duty.story(BatchNumber(1)), NAMES)

    assert (view.threshold, view.weight, view.votes, view.missing) == (0, 0, [], [])


def test_votes_beyond_the_bound_are_counted():
    chain = Chain()
    chain.told(7)
    chain.vote(7, [0, 1, 2])

    view = batch_view(story(chain, 7), NAMES, most=1)

    assert (len(view.votes), view.votes_left_out) == (1, 2)
    assert (len(view.missing), view.missing_left_out) == (1, 1)
    assert view.weight == 30
    assert len(ALL) < VOTES


def renewed(views):
    """The newest batches, made without a pause."""
    list(views.renew())
    return views.newest()


def test_the_newest_batches_are_made_one_at_a_time_so_that_votes_are_counted_in_between():
    chain = Chain()
    for number in range(1, 6):
        chain.told(number)
        chain.vote(number, ALL)
        if number < 5:
            chain.duty.end(BatchNumber(number), EndState.CERTIFIED)
    views = BatchViews(chain.duty, NAMES)

    work = []
    for _ in range(3):
        work.append(len(list(views.renew())))
    chain.vote(5, [0], content=b"\x0b")

    assert work == [5, 1, 1]  # what has ended is not made again; the open one is
    assert [view.number for view in views.newest()] == [5, 4, 3, 2, 1]
    assert views.newest()[0].other_weight == 0
    assert renewed(views)[0].other_weight == 10


def test_the_newest_batches_come_first_and_what_has_ended_is_not_made_again():
    chain = Chain()
    views = BatchViews(chain.duty, NAMES)
    for number in range(BATCHES + 5):
        chain.told(number)
        chain.duty.end(BatchNumber(number), EndState.SKIPPED, Reason.SUPERSEDED)
    first = renewed(views)

    chain.vote(BATCHES + 4, [0])
    chain.told(BATCHES + 5)
    second = renewed(views)

    assert [view.number for view in first] == list(range(BATCHES + 4, 4, -1))
    assert [view.number for view in second][:2] == [BATCHES + 5, BATCHES + 4]
    assert second[1].weight == 10
    assert [one is other for one, other in zip(second[2:], first[1:], strict=False)] == [True] * (BATCHES - 2)


def test_peers_are_bounded_and_named():
    peers = [PeerInfo(PEER, Direction.INBOUND, "192.0.2.1:1", 5.0, 10, 20, 99.96) for _ in range(PEERS + 1)]

    view = peers_view(peers, NAMES, expected=3)

    assert (view.connected, len(view.rows), view.left_out, view.expected) == (PEERS + 1, PEERS, 1, 3)
    assert (view.rows[0].name, view.rows[0].score, view.rows[0].received_bytes) == ("node-x", 100.0, 10)


@pytest.mark.parametrize("count", [0, 1, 12])
def test_epochs_come_newest_first_and_each_ends_where_the_next_begins(count):
    rows = [EpochRow(one, 270, GENESIS, one, "start", "", 100.0 + one) for one in range(count)]

    views = epoch_views(rows)

    assert [view.number for view in views] == list(range(count))[::-1][:10]
    assert [view.ended_at for view in views] == [None, *(view.began_at for view in views)][: len(views)]


def test_the_document_is_json_that_can_be_read_back():
    chain = Chain()
    chain.told(7)
    chain.vote(7, ALL)
    view = batch_view(story(chain, 7), NAMES)

    assert msgspec.json.decode(msgspec.json.encode(view), type=BatchView) == view
