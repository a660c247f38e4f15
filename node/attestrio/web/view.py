"""From what the parts of a process know to the sections of the document. Pure: values in, values out, bounded rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from attestrio.duty.events import DutyEvent, EndState, Reason
from attestrio.duty.story import BatchStory, HeardVote, weights_of
from attestrio.gossip.peers import PeerInfo
from attestrio.roles import AttesterPublicKey, BatchHash, BatchNumber, Committee
from attestrio.web.api import (
    BatchView,
    CheckView,
    CommitteeView,
    DeliveryView,
    EpochView,
    MemberView,
    PeersView,
    PeerView,
    Standing,
    StepView,
    VoteView,
)
from attestrio.web.attendance import Attendance
from attestrio.web.health import Check
from attestrio.web.names import Names

if TYPE_CHECKING:
    from attestrio.duty import DutyLog
    from attestrio.protection.rows import EpochRow

MEMBERS: Final = 200
BATCHES: Final = 30
VOTES: Final = 100
PEERS: Final = 100
EPOCHS: Final = 10
ALL: Final = 500  # votes of one batch, where it is asked for alone


def check_views(checks: Iterable[Check]) -> list[CheckView]:
    return [CheckView(name=one.name, ok=one.ok, reason=one.reason, since=one.since) for one in checks]


def committee_view(
    committee: Committee,
    attendance: Attendance,
    wanted: BatchStory | None,
    names: Names,
    own: AttesterPublicKey | None,
) -> CommitteeView:
    """The own row first; `wanted` is the batch to attest now. O(rows shown and votes for that batch)."""
    attendance.look()
    shown = list(committee.members[:MEMBERS])
    if own is not None and (at := committee.index(own)) is not None:
        row = committee.members[at]
        shown = [row, *(one for one in shown if one is not row)][:MEMBERS]
    voted = {} if wanted is None else {vote.key.raw: vote.hash for vote in wanted.votes or ()}
    most = None if wanted is None else wanted.hash()
    members = []
    for member in shown:
        last, key = attendance.last(member.key), member.key.to_text()
        members.append(
            MemberView(
                name=names.of(key), key=key, weight=member.weight, own=member.key == own,
                standing=None if wanted is None else _standing(voted.get(member.key.raw), most, wanted.state),
                last_vote=None if last is None else int(last.number), last_vote_at=None if last is None else last.at,
                missed=dict(attendance.missed(member.key)),
            )
        )  # fmt: skip
    return CommitteeView(
        size=len(committee), total_weight=committee.total_weight, threshold=committee.threshold, members=members,
        left_out=len(committee) - len(members),
    )  # fmt: skip


def _standing(voted: BatchHash | None, most: BatchHash | None, state: EndState) -> Standing:
    if voted is None:
        return "waiting" if state is EndState.OPEN else "missed"
    return "voted" if voted == most else "other"


class BatchViews:
    """The newest batches of a log, newest first. What has ended and not changed since is not made again."""

    def __init__(self, duty: DutyLog, names: Names) -> None:
        self._duty = duty
        self._names = names
        self._made: dict[BatchNumber, tuple[object, BatchView]] = {}

    def renew(self) -> Iterator[None]:
        """Make what is new of the newest batches; stops after each one, so that others can run in between.

        O(votes of the batches shown) to look for what is new; then O(members) for each batch that is.
        """
        made: dict[BatchNumber, tuple[object, BatchView]] = {}
        for number in sorted(self._duty.batches(), reverse=True)[:BATCHES]:
            story = self._duty.story(number)
            if story is None:
                continue  # forgotten meanwhile
            mark, known = _mark(story), self._made.get(number)
            if known is not None and known[0] == mark and story.state is not EndState.OPEN:
                made[number] = known
            else:
                made[number] = mark, batch_view(story, self._names)
                yield
        self._made = made

    def newest(self) -> list[BatchView]:
        """As they were renewed last."""
        return [view for _, view in self._made.values()]


def _mark(story: BatchStory) -> object:
    """Another one when anything of the story is another."""
    votes = None if story.votes is None else len(story.votes)
    return story.of, story.state, story.reason, len(story.events), story.events[-1:], votes, len(story.deliveries)


def batch_view(story: BatchStory, names: Names, most: int = VOTES) -> BatchView:
    """One batch with at most `most` votes and missing members. O(members)."""
    of, votes = story.of, story.votes or ()
    committee, own = (None, None) if of is None else (of.committee, of.own)
    leading = story.hash()
    weight = 0 if leading is None else story.weight(leading)
    missing, late = story.missing(), story.latecomers()
    return BatchView(
        number=int(story.number),
        state=story.state.value,
        reason="" if story.state is EndState.OPEN else story.reason.value,
        meaning="" if story.reason is Reason.OK else story.reason.meaning,
        hash=None if leading is None else leading.to_text(),
        weight=weight,
        other_weight=0 if of is None or committee is None else _all_weight(committee, votes) - weight,
        threshold=committee.threshold if committee is not None else 0,
        total_weight=committee.total_weight if committee is not None else 0,
        first_seen=story.began_at,
        ended_at=story.ended_at,
        steps=[_step(event) for event in story.events],
        votes=[_vote(one, leading, committee, own, names, late.get(one.key)) for one in votes[:most]],
        votes_left_out=max(len(votes) - most, 0),
        missing=[names.of(member.key.to_text()) for member in missing[:most]],
        missing_left_out=max(len(missing) - most, 0),
        taken_by=[DeliveryView(name=names.of(str(one.peer)), at=one.at) for one in story.deliveries[:most]],
    )


def _all_weight(committee: Committee, votes: Sequence[HeardVote]) -> int:
    weights = weights_of(committee)
    return sum(weights.get(vote.key.raw, 0) for vote in votes)


def _step(event: DutyEvent) -> StepView:
    reason = event.reason
    return StepView(
        step=event.step.value, at=event.at, reason=reason.value,
        meaning="" if reason is Reason.OK else reason.meaning, detail=event.detail,
    )  # fmt: skip


def _vote(
    vote: HeardVote,
    most: BatchHash | None,
    committee: Committee | None,
    own: AttesterPublicKey | None,
    names: Names,
    late_s: float | None,
) -> VoteView:
    key = vote.key.to_text()
    weight = 0 if committee is None else committee.weight(vote.key) or 0
    return VoteView(
        name=names.of(key), key=key, weight=weight, at=vote.at, via=_via(vote, own, names), other=vote.hash != most,
        late_s=None if late_s is None else round(late_s, 6),
    )  # fmt: skip


def _via(vote: HeardVote, own: AttesterPublicKey | None, names: Names) -> str:
    if vote.in_certificate:
        return "certificate"
    if vote.via is not None:
        return names.of(str(vote.via))
    return "own" if vote.key == own else ""


def peers_view(peers: Sequence[PeerInfo], names: Names, expected: int) -> PeersView:
    """Who is connected, in the order of coming."""
    rows = []
    for one in peers[:PEERS]:
        key = str(one.key)
        rows.append(
            PeerView(
                name=names.of(key), key=key, direction=one.direction.value, address=one.address, since=one.since,
                received_bytes=one.received, sent_bytes=one.sent, score=round(one.score, 1),
            )
        )  # fmt: skip
    return PeersView(connected=len(peers), rows=rows, left_out=len(peers) - len(rows), expected=expected)


def epoch_views(rows: Sequence[EpochRow]) -> list[EpochView]:
    """The newest epochs, newest first, from the rows of the record, oldest first. Each ends where the next begins."""
    ends = [*(row.at for row in rows[1:]), None][: len(rows)]
    views = [
        EpochView(
            number=row.id, genesis=row.genesis.to_text(), fork_number=row.fork_number, cause=row.cause,
            began_at=row.at, ended_at=ended, detail=row.detail,
        )
        for row, ended in zip(rows, ends, strict=True)
    ]  # fmt: skip
    return views[::-1][:EPOCHS]
