"""The names of what is logged about the main steps. Texts may change from release to release; names do not.

A log call passes `extra=named(...)`. In JSON and logfmt the name stands in `name`, beside the fields it has.
`docs/events.md` is made from `EventName`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

NAMED: Final = "_attestrio"
"""The attribute of a log record that holds name and fields."""

FIELDS: Final = {
    "batch": "number of a batch; of Aligned its identifier hash: 0x and 64 hex digits",
    "hash": "hash of the batch",
    "member": "public key of a node on the network",
    "epoch": "number of the epoch",
    "check": "name of a check of `/readyz`",
    "step": "which step, see `attestrio batch explain`",
    "reason": "a stable code: of docs/reasons.md, of docs/errors.md, or one that the last column lists",
}


class EventName(StrEnum):
    """One name. `level` is that of the log, `fields` are those it may have, `meaning` is one sentence."""

    level: str
    fields: tuple[str, ...]
    meaning: str

    def __new__(cls, name: str, level: str, fields: str, meaning: str) -> Self:
        member = str.__new__(cls, name)
        member._value_ = name
        member.level, member.fields, member.meaning = level, tuple(fields.split()), meaning
        return member

    BATCH_TOLD = "batch_told", "debug", "batch", "The status named the batch: it is to be attested now."
    BATCH_PERSISTED = "batch_persisted", "debug", "batch", "This node holds the batch durably."
    BATCH_HASHED = "batch_hashed", "debug", "batch", "The hash of the batch is known."
    BATCH_RECORDED = "batch_recorded", "debug", "batch", "The vote is in the signing history, on disk."
    BATCH_SIGNED = "batch_signed", "debug", "batch", "The vote is signed."
    BATCH_SENT = "batch_sent", "debug", "batch", "The vote is with the links that carry it to the peers."
    BATCH_SEEN = "batch_seen", "debug", "batch", "Votes for the batch have counted."
    BATCH_CERTIFIED = "batch_certified", "info", "batch hash", "A verified certificate of the batch is stored."
    BATCH_SUBMITTED = "batch_submitted", "debug", "batch", "The main node went past the batch."
    BATCH_WAITS = "batch_waits", "debug", "batch step reason", "A step was not done, or something was refused."
    BATCH_MISSED = "batch_missed", "info", "batch reason", "This node had to act on the batch, and could not."
    BATCH_SKIPPED = "batch_skipped", "debug", "batch reason", "The network went on without this node's certificate."
    EPOCH_BEGAN = "epoch_began", "info", "epoch hash reason", "An epoch begins; hash: its genesis, reason: the cause."
    EPOCH_ENDED = "epoch_ended", "warning", "epoch reason", "An epoch ended; reason: the cause."
    PEER_CONNECTED = "peer_connected", "info", "member", "A link with a node that has proved its key is up."
    PEER_LOST = "peer_lost", "info", "member", "That link has ended."
    HALTED = "halted", "critical", "batch reason", "The node stops for safety, and stays stopped: see its HALT file."
    READINESS_CHANGED = (
        "readiness_changed", "warning", "check reason",
        "A check of readiness changed; reason: not_ok, or ok, which has level info.",
    )  # fmt: skip
    RESPONSE_ENDED = (
        "response_ended", "info", "batch reason",
        "A batch came to its end at an operator; reason: how, or why it was not signed.",
    )  # fmt: skip
    ANSWER_QUORUM = "answer_quorum", "info", "batch", "A batch has its quorum at an aggregator."
    ANSWER_ENDED = (
        "answer_ended", "info", "batch reason", "The answer to a batch is final on the chain; reason: us or others."
    )  # fmt: skip
    LEAD_TAKEN = "lead_taken", "info", "", "This aggregator leads from now on."
    LEAD_LOST = "lead_lost", "warning", "", "It leads no more: another one may, and it has given up what it was at."
    SENDING_HELD = "sending_held", "error", "reason", "An aggregator sends nothing; reason: why."
    SENDING_RESUMED = "sending_resumed", "warning", "", "It sends again."
    BATCHES_ROLLED_BACK = "batches_rolled_back", "warning", "", "A sequencer has taken back what L1 has rolled back."
    BUILDING_STOPPED = "building_stopped", "error", "", "A sequencer builds no blocks until it is started anew."


def named(
    name: EventName,
    *,
    batch: int | str | None = None,
    hash: str | None = None,
    member: str | None = None,
    epoch: int | None = None,
    check: str | None = None,
    step: str | None = None,
    reason: str | None = None,
) -> dict[str, object]:
    """What a log call passes as `extra`. Costs about a microsecond: ask `isEnabledFor` first where that counts."""
    given = {
        "batch": batch, "hash": hash, "member": member, "epoch": epoch, "check": check, "step": step, "reason": reason
    }  # fmt: skip
    fields = {field: str(value) if isinstance(value, str) else value for field, value in given.items()}
    return {NAMED: {"name": name.value, **{field: value for field, value in fields.items() if value is not None}}}
