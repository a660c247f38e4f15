"""The only way from a verdict to a signature that leaves: it is on the disk first.

The secret key is here and nowhere else. `sign` writes the signature, the verdict, the outbox row and the watermark in
one transaction of a journal that flushes before it answers, and gives nothing back; whoever sends reads the outbox.
A batch that is signed already keeps its signature: the message does not depend on the block, so a second one would be
the same bytes.
"""

from __future__ import annotations

from attestrio.bls import SecretKey, encode_g1, g1_from_bytes_untrusted, operator_id, to_limbs
from attestrio.duty import Reason
from attestrio.gorpc.messages import Point, SignedTaskResponse
from attestrio.journal import Item, Work
from attestrio.operator import rows
from attestrio.operator.rows import Ended, Verdict
from attestrio.operator.state import Batch, OperatorState, put_verdict


class ResponseRecord:
    """Verdicts, for ever. Raises what the journal raises, and the caller has to end then: nobody knows what is kept."""

    def __init__(self, state: OperatorState, secret: SecretKey) -> None:
        """Raises MissingExtra."""
        self._state, self._secret = state, secret
        self.operator_id = operator_id(secret.public_g1())

    async def sign(self, batch: Batch) -> None:
        """All proofs of the batch are good: record that, with the response. Work that waits for it is done."""
        verdict = batch.verdict
        new = verdict is None or verdict.ended is not Ended.SIGNED
        if verdict is None or new:
            signature = encode_g1(self._secret.sign(batch.identifier))
            turn = verdict.turn if verdict else 0
            verdict = Verdict(Ended.SIGNED, Reason.OK, signature, turn=turn, at=self._state.wall())
        response = Work(rows.OUTBOX, [Item(batch.key)])
        await self._done(batch, verdict, [response])
        if new:
            self._state.ended(batch, verdict)

    async def end(self, batch: Batch, ended: Ended, reason: Reason, detail: str = "") -> None:
        """The batch is not signed, and why. Work that waits for it is done."""
        turn = batch.verdict.turn if batch.verdict else 0
        verdict = Verdict(ended, reason, detail=detail[:200], turn=turn, at=self._state.wall())
        await self._done(batch, verdict, ())
        self._state.ended(batch, verdict)

    async def forget(self, key: bytes) -> None:
        """Work that has been overtaken by a later round, or is done."""
        self._state.progress.finished(key)
        await self._state.journal.ack(rows.WORK, [key], put=[self._state.mark()])

    async def _done(self, batch: Batch, verdict: Verdict, append: list[Work] | tuple[()]) -> None:
        state = self._state
        state.progress.finished(batch.key)
        put = [put_verdict(batch.identifier, verdict), state.mark()]
        await state.journal.ack(rows.WORK, [batch.key], append=append, put=put)


def response_of(batch: Batch, operator: bytes) -> SignedTaskResponse | None:
    """What is sent for a batch; None where no signature is recorded."""
    if batch.verdict is None or not batch.verdict.signature:
        return None
    return SignedTaskResponse(
        batch.row.root, batch.row.sender, batch.identifier,
        Point(*to_limbs(g1_from_bytes_untrusted(batch.verdict.signature))), operator,
    )  # fmt: skip
