"""An operator's response, from the wire into the journal. No chain is asked, and nothing is locked, on the way.

In this order, the cheap before the dear: is it a signature at all, is the identifier that of root and sender, is it
known already, is its key known, is it good, is it durable. Only then the operator hears 0.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from attestrio.aggregator.desk import Core, Desk
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.recording import Recording, orphans_full
from attestrio.aggregator.refusals import (
    NilSignature,
    NotInQuorum,
    ResponseRefused,
    Unavailable,
    UnusablePoint,
    WrongIdentifier,
    WrongSignature,
)
from attestrio.aggregator.state import Accepted, AggregatorState
from attestrio.aggregator.surface import identifier_hash
from attestrio.aggregator.verifying import Candidate, Lane, Verifying
from attestrio.bls import BadPoint, encode_g1, from_limbs_untrusted
from attestrio.gorpc.messages import SignedTaskResponse

log = logging.getLogger("attestrio.aggregator")

DONE: Final = 0  # the reply; there is no other, since a Go operator takes every one for the end of it
ID: Final = 32  # bytes of an identifier, and of an operator id


def candidate_untrusted(response: SignedTaskResponse) -> Candidate:
    """What a stranger sent, if it could be a signature of the batch it names.

    Raises NilSignature, UnusablePoint, WrongIdentifier. About 50 µs.
    """
    if response.signature is None:
        raise NilSignature
    try:
        signature = from_limbs_untrusted(response.signature.x, response.signature.y)
    except BadPoint:
        raise UnusablePoint from None
    identifier = identifier_hash(response.batch_merkle_root, response.sender_address)
    if identifier != response.batch_identifier_hash:
        raise WrongIdentifier
    claimed = Accepted(
        identifier, response.batch_merkle_root, response.sender_address, response.operator_id, encode_g1(signature)
    )
    return Candidate(claimed, signature)


class Intake:
    """Takes responses in. Each connection has its own lane, and counts what is refused itself."""

    def __init__(
        self, desk: Desk[Core], verifying: Verifying, recording: Recording, metrics: AggregatorMetrics
    ) -> None:
        self._desk, self._verifying, self._recording = desk, verifying, recording
        self._duplicates = metrics.signatures.labels("duplicate")
        self._metrics = metrics

    async def take(self, response: SignedTaskResponse, lane: Lane, peer: str) -> int:
        """DONE once the signature is durable, or is not needed any more.

        Raises ResponseRefused: it never will be; Unavailable: it is to be sent again.
        """
        try:
            result = await self._take(response, lane, peer)
        except (ResponseRefused, Unavailable) as exc:
            self._metrics.signatures.labels(exc.result).inc()
            raise
        self._metrics.signatures.labels(result).inc()
        return DONE

    def key(self, response: SignedTaskResponse) -> bytes:
        """What `again` needs of a response that was taken."""
        claimed = candidate_untrusted(response).claimed
        return claimed.identifier + claimed.operator_id + claimed.point

    def again(self, key: bytes) -> int | None:
        """The reply to the same response once more, as long as what was said still holds. About 2 µs."""
        core = self._desk.core.value
        identifier, operator_id = key[:ID], key[ID : 2 * ID]
        if core is None or _known(core.state, identifier, operator_id, key[2 * ID :]) is None:
            return None
        self._duplicates.inc()
        return DONE

    async def _take(self, response: SignedTaskResponse, lane: Lane, peer: str) -> str:
        """What became of it, as it is counted."""
        await trio.lowlevel.checkpoint()
        core = self._desk.needed()
        candidate = candidate_untrusted(response)
        claimed, state = candidate.claimed, core.state
        known = _known(state, claimed.identifier, claimed.operator_id, claimed.point)
        if known is not None:
            return known
        first = state.signed.get(claimed.identifier, {}).get(claimed.operator_id)
        if first is not None:  # it is verified, and of all points only one is the signature: this one is not
            self._recording.note(state, claimed, first, peer)
            raise WrongSignature
        if claimed.operator_id not in state.keys:
            raise self._stranger(core, claimed)
        if state.room_for(claimed) is not None:
            raise orphans_full()
        good = self._recording.has(state, claimed)
        if not (good or await self._verifying.check(candidate, state.g2(claimed.operator_id), lane)):
            raise WrongSignature
        await self._recording.record(state, claimed)
        if self._desk.core.value is not core:  # the next term may have read the journal before this was written
            raise Unavailable(self._desk.absent.value)
        return "accepted"

    def _stranger(self, core: Core, claimed: Accepted) -> ResponseRefused | Unavailable:
        """What somebody hears whose key is not known: perhaps its registration is not scanned yet."""
        task = core.state.tasks.get(claimed.identifier)
        snapshot = None if task is None or task.void else core.snapshots.cached(task)
        if snapshot is not None and claimed.operator_id not in snapshot.stakes:
            return NotInQuorum()
        return Unavailable("operator not known yet", "unknown_operator")


def _known(state: AggregatorState, identifier: bytes, operator_id: bytes, point: bytes) -> str | None:
    """How a signature is done with: "finished", "duplicate", or None: it is not."""
    if state.is_finished(identifier):  # before that a reorg may take the answer back, and the signature is needed
        return "finished"
    signed = state.signed.get(identifier)
    return "duplicate" if signed is not None and signed.get(operator_id) == point else None
