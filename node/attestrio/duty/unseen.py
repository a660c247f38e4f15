"""A batch that was attested while this node was away: it saw one before and one after, and never this one. Pure."""

from __future__ import annotations

from attestrio.duty.events import FIRST, DutyEvent, EndState, Reason, Step
from attestrio.duty.story import BatchStory, HeardVote
from attestrio.roles import BatchNumber, BatchQC


def unseen(
    number: BatchNumber, before: BatchStory, after: BatchStory, certificate: BatchQC | None = None
) -> BatchStory:
    """What can be said of `number`, from the batches seen last before it and first after it in one epoch.

    `certificate`: what the store has of it, since a node that comes back asks for what it lacks.
    """
    at = after.began_at or 0.0
    had_to = after.of is not None and after.of.has_vote
    reason = why_unseen(before, after)
    detail = f"never told of it: after batch {before.number} came batch {after.number}"
    events = [DutyEvent(number, Step.TOLD, at, reason, detail)]
    if certificate is None or after.of is None or certificate.batch.genesis != after.of.genesis:
        state = EndState.MISSED if had_to else EndState.SKIPPED
        return BatchStory(after.of, number, state, reason, at, tuple(events), None, ())
    events.append(DutyEvent(number, Step.CERTIFIED, at, Reason.OK, "obtained from a main node"))
    votes = tuple(HeardVote(key, at, None, certificate.batch.hash, True) for key in certificate.signatures)
    return BatchStory(after.of, number, EndState.CERTIFIED, Reason.OK, at, tuple(events), votes, ())


def why_unseen(before: BatchStory, after: BatchStory) -> Reason:
    """Why what lies between two batches was not seen. O(events)."""
    if any(event.reason is Reason.NODE_STOPPED for event in before.events):
        return Reason.NODE_STOPPED  # in the middle of one
    if any(event.detail.startswith(FIRST) for event in after.events):
        return Reason.NODE_STOPPED  # between two
    return Reason.SUPERSEDED if after.of is not None and after.of.has_vote else Reason.QC_ELSEWHERE
