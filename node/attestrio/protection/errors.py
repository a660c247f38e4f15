"""Why a vote is not signed, one name per rule."""

from __future__ import annotations

from typing import ClassVar

from attestrio.errors import SafetyError, SourceError
from attestrio.roles import AttesterPublicKey, BatchHash, BatchNumber, GenesisHash

MAX_NUMBER = 2**63 - 2
"""The highest number that is signed: a column holds 2^63-1, and one more has to fit for "the next after it"."""

MAX_AHEAD = 1_000_000
"""How far above the newest vote of a history a number may be: almost two years of batches at one a minute."""


class SigningRefused(SafetyError):
    """The record says no. Raise one of the classes below; `code` is the rule in metrics and in the list of refusals."""

    code: ClassVar[str] = "signing_refused"


class DoubleVote(SigningRefused):
    """Another hash was signed for this number under this genesis. Both are here, and stay in the list of refusals."""

    code: ClassVar[str] = "double_vote"

    def __init__(self, number: BatchNumber, recorded: BatchHash, refused: BatchHash) -> None:
        super().__init__(f"batch {number}: {recorded.to_text()} is on record, {refused.to_text()} is not signed")
        self.number, self.recorded, self.refused = number, recorded, refused


class BelowWatermark(SigningRefused):
    """The number is at or below the watermark and has no row any more: what was signed for it is not known."""

    code: ClassVar[str] = "below_watermark"

    def __init__(self, number: BatchNumber, watermark: BatchNumber) -> None:
        super().__init__(f"batch {number} is not signed: the record is pruned up to {watermark}")
        self.number, self.watermark = number, watermark


class NumberNotRecordable(SigningRefused):
    """A number no record can hold; no chain gets there."""

    code: ClassVar[str] = "number_not_recordable"

    def __init__(self, number: BatchNumber) -> None:
        super().__init__(f"batch {number} is not signed: the record holds numbers up to {MAX_NUMBER}")
        self.number, self.limit = number, MAX_NUMBER


class NumberTooFarAhead(SigningRefused):
    """The number is far above the newest vote of the history: votes up there would push the watermark past the rest."""

    code: ClassVar[str] = "number_too_far_ahead"

    def __init__(self, number: BatchNumber, newest: BatchNumber) -> None:
        super().__init__(
            f"batch {number} is not signed: the newest vote is for batch {newest}, and {MAX_AHEAD} more is the limit;"
            " if the chain is really there, stop the node and `attestrio protection import` a history with a"
            " watermark just below the batch"
        )
        self.number, self.newest, self.limit = number, newest, MAX_AHEAD


class EpochClosed(SigningRefused):
    """The epoch has ended, or was never opened. `open_epoch` None: there is none at all."""

    code: ClassVar[str] = "epoch_closed"

    def __init__(self, epoch: int, open_epoch: int | None) -> None:
        now = "none is open" if open_epoch is None else f"the open one is {open_epoch}"
        super().__init__(f"nothing is signed in epoch {epoch}: {now}")
        self.epoch, self.open_epoch = epoch, open_epoch


class WrongEpochGenesis(SigningRefused):
    """The batch is of another genesis than the open epoch."""

    code: ClassVar[str] = "wrong_epoch_genesis"

    def __init__(self, epoch: int, got: GenesisHash, want: GenesisHash) -> None:
        super().__init__(f"a batch of {got.to_text()} is not signed: epoch {epoch} is of {want.to_text()}")
        self.epoch, self.got, self.want = epoch, got, want


class KeyNotInHistory(SigningRefused):
    """The history does not know this key: what it signed before is not known."""

    code: ClassVar[str] = "key_not_in_history"

    def __init__(self, key: AttesterPublicKey) -> None:
        super().__init__(f"nothing is signed with {key.to_text()}: its history has not been opened here")
        self.key = key


RULES: tuple[type[SigningRefused], ...] = (
    DoubleVote,
    BelowWatermark,
    NumberNotRecordable,
    NumberTooFarAhead,
    EpochClosed,
    WrongEpochGenesis,
    KeyNotInHistory,
)


class RecordClosed(SourceError):
    """The vote record was asked before `run` had opened it, or after it had ended."""

    code: ClassVar[str] = "record_closed"

    def __init__(self) -> None:
        super().__init__("the vote record is not running")
