"""A batch told to people: a timeline with times that count from the beginning, and why it ended so. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from attestrio.duty.advice import ADVICE
from attestrio.duty.events import DutyEvent, EndState, Reason, Step
from attestrio.duty.story import BatchStory, HeardVote
from attestrio.roles import AttesterPublicKey, NodePublicKey

MOST: Final = 40  # votes and members that are told one by one
DONE: Final[Mapping[Step, str]] = {
    Step.TOLD: "the main node wants it attested",
    Step.PERSISTED: "this node holds it",
    Step.HASHED: "its hash is known",
    Step.RECORDED: "the vote is on disk",
    Step.SIGNED: "the vote is signed",
    Step.SENT: "the vote is where peers get it from",
    Step.SEEN: "votes are counted",
    Step.CERTIFIED: "a verified certificate is stored",
    Step.SUBMITTED: "the main node has the certificate",
}
"""What each step means when it was done."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline."""

    at: float | None
    """Seconds since 1970; None: nobody noted it. Such lines stand where they are put."""
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Telling:
    """A batch, ready to be printed."""

    name: str
    state: str
    why: str
    """Why it ended so, or what it waits for, in a sentence; may be empty."""
    todo: str
    facts: tuple[str, ...]
    zero: float | None
    """Seconds since 1970: what times are counted from; None: nothing is noted."""
    moments: tuple[Moment, ...]
    after: tuple[str, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)

    def brief(self) -> Iterator[str]:
        """What stands at the head."""
        yield f"{self.name}: {self.state}"
        if self.why:
            yield f"  why    {self.why}"
        if self.todo:
            yield f"  to do  {self.todo}"
        yield from self.facts
        yield from self.after

    def lines(self) -> Iterator[str]:
        """Everything."""
        yield f"{self.name}: {self.state}"
        if self.why:
            yield f"  why    {self.why}"
        if self.todo:
            yield f"  to do  {self.todo}"
        yield from self.facts
        if self.moments:
            yield ""
            if self.zero is not None:
                yield f"times count from {moment(self.zero)}"
            wide = max(len(one.what) for one in self.moments)
            for one in self.moments:
                after = "" if one.at is None or self.zero is None else since(one.at - self.zero)
                yield f"{after:>13}  {one.what:<{wide}}  {one.text}".rstrip()
        if self.after:
            yield ""
            yield from self.after


def of_story(story: BatchStory, names: Mapping[str, str] | None = None, most: int = MOST) -> Telling:
    """A batch of the duty book. `names` are those of keys, by their text; `most` bounds the lists of votes."""
    teller = _Teller(story, names or {}, most)
    waits, state = teller.waits_for(), str(story.state)
    if story.state is EndState.CERTIFIED and (held := story.hindrance()):
        waits, state = held, f"{state}, without this node's vote"
    ended = story.state in (EndState.MISSED, EndState.SKIPPED)
    reason = story.reason if ended else waits.reason if waits else Reason.OK
    detail = waits.detail if waits else ""
    why = "" if reason is Reason.OK else _because(reason, detail)
    return Telling(
        f"batch {story.number}", state, why, ADVICE.get(reason, "") if why else "",
        tuple(teller.facts()), teller.zero, tuple(teller.moments()), tuple(teller.after()), document(story),
    )  # fmt: skip


class _Teller:
    def __init__(self, story: BatchStory, names: Mapping[str, str], most: int) -> None:
        self.story, self.names, self.most = story, names, most
        self.committee = story.of.committee if story.of else None
        self.hash = story.hash()
        self.late = story.latecomers()
        self.zero = zero_of(story)

    def waits_for(self) -> DutyEvent | None:
        """The last thing that did not go well; of a batch that has ended, the last that says why it ended so."""
        bad = [event for event in self.story.events if event.reason is not Reason.OK]
        if self.story.state is not EndState.OPEN:
            bad = [event for event in bad if event.reason is self.story.reason]
        return bad[-1] if bad else None

    def facts(self) -> Iterator[str]:
        story, committee = self.story, self.committee
        if self.hash is not None:
            yield f"  hash   {self.hash.to_text()}"
        if story.of is not None:
            yield f"  epoch  {story.of.epoch}, {story.of.genesis.to_text()}"
        if committee is not None and story.votes is not None:
            weight = 0 if self.hash is None else story.weight(self.hash)
            yield (
                f"  votes  {len(story.votes)} of {len(committee)} members, weight {weight} of {committee.total_weight}"
                f", {committee.threshold} certifies"
            )

    def moments(self) -> Iterator[Moment]:
        story = self.story
        told = [Moment(event.at, event.step, self._step(event)) for event in story.events]
        told.extend(self._votes())
        if story.deliveries:
            peers = [self._peer(one.peer) for one in story.deliveries[: self.most]]
            left = len(story.deliveries) - len(peers)
            more = f" and {left} more" if left else ""
            first, last = story.deliveries[0].at, story.deliveries[-1].at
            text = f"{len(story.deliveries)} peers have taken this node's vote: {', '.join(peers)}{more}"
            if last - first >= 0.001:
                text += f"; the last one {_seconds(last - first)} later"
            told.append(Moment(first, "sent to", text))
        if story.ended_at is not None and story.state is not EndState.CERTIFIED:
            told.append(Moment(story.ended_at, "ended", str(story.state)))
        yield from sorted(told, key=lambda one: one.at or 0.0)  # stable: in one moment steps stand before votes

    def _step(self, event: DutyEvent) -> str:
        if event.reason is Reason.OK:
            return DONE[event.step] + (f": {event.detail}" if event.detail else "")
        return f"{_because(event.reason, event.detail)} [{event.reason}]"

    def _votes(self) -> Iterator[Moment]:
        votes, weights = self.story.votes or (), dict[bytes, int]()
        for place, vote in enumerate(votes):
            raw = vote.hash.to_bytes()
            weight = (self.committee.weight(vote.key) or 0) if self.committee else 0
            weights[raw] = weights.get(raw, 0) + weight
            if place < self.most:
                yield Moment(vote.at, "vote", f"{self._vote(vote)}; weight {weight}, together {weights[raw]}")
        if len(votes) > self.most:
            yield Moment(votes[-1].at, "votes", f"{len(votes) - self.most} more, this is the last of them")

    def _vote(self, vote: HeardVote) -> str:
        who = self._member(vote.key)
        if vote.in_certificate:
            how = "not heard here, it is in the certificate"
        elif vote.via is not None:
            how = f"through {self._peer(vote.via)}"
        else:
            how = "its own" if self._is_own(vote.key) else ""
        other = ", for ANOTHER HASH" if vote.hash != self.hash else ""
        late = f", LATE by {_seconds(self.late[vote.key])}" if vote.key in self.late else ""
        return f"{who} {how}{other}{late}".strip()

    def after(self) -> Iterator[str]:
        missing = self.story.missing()
        for key, late_s in list(self.late.items())[: self.most]:
            yield f"late: {self._member(key)}, {_seconds(late_s)} after the main node went on"
        if not missing:
            return
        verb = "has not voted yet" if self.story.state is EndState.OPEN else "missed"
        for one in missing[: self.most]:
            yield f"{verb}: {self._member(one.key)}, weight {one.weight}"
        if len(missing) > self.most:
            yield f"and {len(missing) - self.most} more; --json names all"

    def _is_own(self, key: AttesterPublicKey) -> bool:
        return self.story.of is not None and key == self.story.of.own

    def _member(self, key: AttesterPublicKey) -> str:
        name = self.names.get(key.to_text()) or short(key.to_bytes())
        return f"{name} (this node)" if self._is_own(key) else name

    def _peer(self, key: NodePublicKey) -> str:
        return self.names.get(key.to_text()) or short(key.to_bytes())


def zero_of(story: BatchStory) -> float | None:
    """When the main node named it; else the first thing known of it."""
    told = (event.at for event in story.events if event.step is Step.TOLD and event.reason is Reason.OK)
    return next(told, story.began_at)


def document(story: BatchStory) -> dict[str, Any]:
    """Everything, for --json. Times are seconds since 1970, `after_s` seconds after the batch was told."""
    zero, winner, late = zero_of(story), story.hash(), story.latecomers()
    committee, own = (story.of.committee, story.of.own) if story.of else (None, None)

    def after(at: float) -> float | None:
        return None if zero is None else round(at - zero, 6)

    return {
        "number": int(story.number),
        "epoch": story.of.epoch if story.of else None,
        "genesis": story.of.genesis.to_text() if story.of else None,
        "state": str(story.state),
        "reason": str(story.reason) if story.state is not EndState.OPEN else "",
        "meaning": story.reason.meaning if story.state is not EndState.OPEN else "",
        "hash": winner.to_text() if winner else None,
        "weight": story.weight(winner) if winner else 0,
        "threshold": committee.threshold if committee else None,
        "total_weight": committee.total_weight if committee else None,
        "told_at": zero,
        "ended_at": story.ended_at,
        "steps": [
            {
                "step": str(event.step), "at": event.at, "after_s": after(event.at), "reason": str(event.reason),
                "meaning": event.reason.meaning, "detail": event.detail,
            }
            for event in story.events
        ],
        "votes_known": story.votes is not None,
        "votes": [
            {
                "key": vote.key.to_text(), "weight": (committee.weight(vote.key) or 0) if committee else 0,
                "own": vote.key == own, "at": vote.at, "after_s": after(vote.at),
                "via": vote.via.to_text() if vote.via else None, "other_hash": vote.hash != winner,
                "only_in_certificate": vote.in_certificate,
                "late_s": round(late[vote.key], 6) if vote.key in late else None,
            }
            for vote in story.votes or ()
        ],
        "sent_to": [
            {"peer": one.peer.to_text(), "at": one.at, "after_s": after(one.at)} for one in story.deliveries
        ],
        "missed": [
            {"key": one.key.to_text(), "weight": one.weight, "own": one.key == own} for one in story.missing()
        ],
    }  # fmt: skip


def _because(reason: Reason, detail: str) -> str:
    return f"{reason.meaning} ({detail})" if detail else reason.meaning


def short(raw: bytes) -> str:
    """The beginning and the end of a key."""
    text = raw.hex()
    return f"{text[:8]}…{text[-4:]}"


def since(seconds: float) -> str:
    """A difference of any size, to the millisecond where that matters."""
    sign, size = "-" if seconds < 0 else "+", abs(seconds)
    if size < 100:
        return f"{sign}{size:.3f} s"
    whole = round(size)
    if whole < 3600:
        return f"{sign}{whole // 60} min {whole % 60:02} s"
    return f"{sign}{whole // 3600} h {whole % 3600 // 60:02} min"


def _seconds(size: float) -> str:
    return since(size).removeprefix("+")


def moment(at: float) -> str:
    """A point of time for people, always UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
