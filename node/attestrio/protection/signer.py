"""The signer an attester is given: asks whether signing is safe, signs through the record, and can be stopped."""

from __future__ import annotations

from collections.abc import Callable

from attestrio.errors import SafetyError
from attestrio.protection.record import VoteRecord
from attestrio.roles import AttesterSecretKey, Batch, SignedBatch


class ProtectedSigner:
    """A VoteSigner for one key and one epoch.

    Args:
      guard: raises SafetyError when nothing may be signed now (halted, another sequencer in force); asked before each
        vote and again before it leaves. Must not wait.
      epoch: id of the epoch; once another one is open, nothing is signed here any more.
    """

    __slots__ = ("_epoch", "_guard", "_record", "_secret", "_stopped")

    def __init__(self, record: VoteRecord, secret: AttesterSecretKey, guard: Callable[[], None], *, epoch: int) -> None:
        self._record = record
        self._secret = secret
        self._guard = guard
        self._epoch = epoch
        self._stopped: SafetyError | None = None

    def stop(self, reason: SafetyError) -> None:
        """From this moment on no vote leaves; the first reason stays. On the trio thread, without waiting."""
        self._stopped = self._stopped or reason

    async def sign(self, batch: Batch) -> SignedBatch:
        """The vote, on record. Raises what `stop` was given, what the guard raises, and as `VoteRecord.sign`.

        A vote that was being recorded when signing was stopped stays on record and does not leave.
        """
        self._check()
        vote = await self._record.sign(self._secret, batch, epoch=self._epoch)
        self._check()
        return vote

    def _check(self) -> None:
        if self._stopped is not None:
            raise self._stopped
        self._guard()
