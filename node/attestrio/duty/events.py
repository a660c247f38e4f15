"""What can happen to a batch, and why it did not: steps, reasons and end states.

The codes are public: they appear in logs, metrics, JSON output and `batch explain`, and `docs/reasons.md` is made
from `Reason.meaning`. A code may be added; none is renamed or given another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from attestrio.roles import BatchNumber


class Step(StrEnum):
    """One stage a batch passes on this node, in the usual order."""

    TOLD = "told"  # the status named this number
    PERSISTED = "persisted"  # this node holds the batch durably
    HASHED = "hashed"  # its hash is known, so there is something to sign
    RECORDED = "recorded"  # the vote is on disk, before any signature leaves
    SIGNED = "signed"
    SENT = "sent"  # the vote is in the register; links carry it from there
    SEEN = "seen"  # a vote of somebody for this batch was counted
    CERTIFIED = "certified"  # a verified certificate is stored durably
    SUBMITTED = "submitted"  # the main node has the certificate, or Ethereum the answer


class Reason(StrEnum):
    """Why a step ended as it did. The value is the stable code; `meaning` is one sentence for an operator."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = "ok", "The step was done."

    # the main node, or whoever else was asked
    MAIN_NODE_DOWN = "main_node_down", "The main node gave no usable answer; it is asked again at every interval."
    STATUS_NOT_KNOWN = "status_not_known", "The main node answers, but names no batch yet."
    FIRST_BATCH_PRUNED = (
        "first_batch_pruned",
        "The first batch to attest was pruned before it had a certificate, so no batch can be named.",
    )
    SOURCE_FAILED = "source_failed", "The store or the batch source failed to answer; it is asked again."
    GENESIS_CHANGED = "genesis_changed", "The status belongs to another genesis, which ends the epoch."
    STATUS_LOWER = "status_lower", "The status named a lower number; the known one is held for stale_grace_s."
    MOVED_BACKWARDS = (
        "moved_backwards",
        "The status stayed below the known number longer than stale_grace_s, which ends the epoch.",
    )

    DISSENT = "dissent", "One of several main nodes contradicted what the others agree on."
    EPOCH_ENDED = "epoch_ended", "The epoch ended before the batch did: a rollback, a new genesis, or the operator."

    NODE_STOPPED = "node_stopped", "The node did not run for a part of the time in which the batch was attested."

    # this node and its batch
    BATCH_NOT_PERSISTED = "batch_not_persisted", "This node does not hold the batch yet."
    HASH_NOT_AVAILABLE = "hash_not_available", "The batch is held, but its hash is not known yet."
    BATCH_CONFLICT = "batch_conflict", "Two different hashes were given for one batch number."
    NOT_ON_CHAIN = "not_on_chain", "Ethereum does not have the batch at the finality asked for; it is asked again."
    CHAIN_CONTRADICTS = (
        "chain_contradicts",
        "Ethereum has another batch under this number than the main node or this node: nothing is signed.",
    )
    SUPERSEDED = "superseded", "The status moved past the batch before this node could sign it."

    # voting
    NO_COMMITTEE = "no_committee", "The genesis names no attesters, so nobody votes."
    NOT_IN_COMMITTEE = "not_in_committee", "The key of this node is not in the committee."
    SIGNING_REFUSED = "signing_refused", "Signing was refused, because the vote could contradict an earlier one."
    VOTE_BELOW_FLOOR = "vote_below_floor", "The vote came after the register had left this number behind."
    VOTE_NOT_NEWER = "vote_not_newer", "The register already holds an equal or newer vote of the same key."
    VOTE_INVALID = "vote_invalid", "A vote was malformed, for another genesis, or badly signed."

    # certificates
    QUORUM_NOT_REACHED = (
        "quorum_not_reached",
        "The main node went on while this node had heard too little weight for one hash.",
    )
    QC_CONFLICT = "qc_conflict", "A certificate names another hash than the batch this node holds."
    QC_INVALID = "qc_invalid", "A certificate was assembled or received that does not verify."
    QC_KNOWN = "qc_known", "A certificate for the batch was stored before."
    QC_ELSEWHERE = "qc_elsewhere", "The main node went on, so it has the certificate; this node had heard no vote."

    # batches of Aligned, as an operator answers them
    PROOF_INVALID = "proof_invalid", "A proof of the batch is not good, so the batch is never signed."
    VERIFIER_DISABLED = "verifier_disabled", "The contract has disabled the verifier of a proof: it is not signed."
    DATA_UNAVAILABLE = (
        "data_unavailable",
        "No URL of the batch gave data with the root of the chain before the batch was past the horizon.",
    )
    VERIFIER_FAILED = "verifier_failed", "The verifier gave no verdict before the batch was past the horizon."
    AGGREGATOR_AWAY = (
        "aggregator_away",
        "The batch was signed, and the aggregator took no response before the batch was past the horizon.",
    )
    RESPONSE_REFUSED = "response_refused", "The aggregator will never take the response, and says why."
    ANSWERED_BY_OTHERS = "answered_by_others", "The chain had the answer before this operator could give its own."
    REORGED_AWAY = "reorged_away", "A reorg took the batch off the chain, and it did not come back."
    DROPPED = "dropped", "Somebody gave the batch up with `attestrio operator drop`."


class EndState(StrEnum):
    """How a batch ended on this node. Every batch seen has exactly one."""

    CERTIFIED = "certified"  # a verified certificate is stored here
    MISSED = "missed"  # this node had to act and could not
    SKIPPED = "skipped"  # this node had nothing to do, or the network went on without it
    OPEN = "open"  # not ended yet


ENDS: Final[Mapping[Reason, tuple[str, ...]]] = {
    Reason.OK: ("certified",),
    Reason.FIRST_BATCH_PRUNED: ("missed",),
    Reason.SOURCE_FAILED: ("missed",),
    Reason.GENESIS_CHANGED: ("skipped",),
    Reason.MOVED_BACKWARDS: ("skipped",),
    Reason.EPOCH_ENDED: ("skipped",),
    Reason.NODE_STOPPED: ("missed", "skipped"),
    Reason.BATCH_NOT_PERSISTED: ("missed",),
    Reason.HASH_NOT_AVAILABLE: ("missed",),
    Reason.BATCH_CONFLICT: ("missed",),
    Reason.NOT_ON_CHAIN: ("missed",),
    Reason.CHAIN_CONTRADICTS: ("missed",),
    Reason.SUPERSEDED: ("missed",),
    Reason.NO_COMMITTEE: ("skipped",),
    Reason.NOT_IN_COMMITTEE: ("skipped",),
    Reason.SIGNING_REFUSED: ("missed",),
    Reason.VOTE_BELOW_FLOOR: ("missed",),
    Reason.QUORUM_NOT_REACHED: ("skipped",),
    Reason.QC_CONFLICT: ("missed",),
    Reason.QC_INVALID: ("skipped",),
    Reason.QC_ELSEWHERE: ("skipped",),
    Reason.PROOF_INVALID: ("refused",),
    Reason.VERIFIER_DISABLED: ("refused",),
    Reason.DATA_UNAVAILABLE: ("missed",),
    Reason.VERIFIER_FAILED: ("missed",),
    Reason.AGGREGATOR_AWAY: ("missed",),
    Reason.RESPONSE_REFUSED: ("signed",),
    Reason.ANSWERED_BY_OTHERS: ("skipped",),
    Reason.REORGED_AWAY: ("skipped",),
    Reason.DROPPED: ("dropped",),
}
"""The reasons that a batch ends with, and how it then ended. The others are notes beside a step: what they name
passes, or hinders nobody. A batch of Aligned ends in the words of `operator.rows.Ended`."""


FIRST: Final = "the first one since this node was started"
"""How the detail of a `told` begins where the node had stopped before it."""


@dataclass(frozen=True, slots=True)
class DutyEvent:
    """One step of one batch. `at` is wall time, in seconds since 1970; `detail` is free text for people."""

    batch: BatchNumber
    step: Step
    at: float
    reason: Reason
    detail: str
