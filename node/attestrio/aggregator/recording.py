"""Verified signatures on their way into the journal: all that wait go together, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, NoReturn

import trio

from attestrio.aggregator import rows
from attestrio.aggregator.refusals import Unavailable
from attestrio.aggregator.rows import Evidence
from attestrio.aggregator.server_metrics import ServerMetrics
from attestrio.aggregator.state import Accepted, AggregatorState
from attestrio.errors import PeerError, SourceError
from attestrio.journal import Put

log = logging.getLogger("attestrio.aggregator")

TOGETHER: Final = 1_000  # signatures in one transaction
MAX_EVIDENCE: Final = 1_000  # rows; then the oldest make room
MAX_OPERATOR_EVIDENCE: Final = 10  # rows under one operator id: anybody can cause one, so no id may crowd out others
MAX_NOTES: Final = 64  # that wait to be written

Pair = tuple[bytes, bytes]
"""Identifier and operator id."""


class _Write:
    """A signature whose transaction is awaited."""

    def __init__(self, accepted: Accepted) -> None:
        self.accepted = accepted
        self.done = trio.Event()
        self.error: Unavailable | None = None

    def end(self, error: Unavailable | None = None) -> None:
        self.error = error
        self.done.set()


class Recording:
    """Writes signatures for whoever waits for them. `run` does the work; asked without it, everybody waits.

    Bounds: one entry for each call that waits, `MAX_NOTES` notes.
    """

    def __init__(self, metrics: ServerMetrics) -> None:
        self._metrics = metrics
        self._waiting: dict[AggregatorState, dict[Pair, _Write]] = {}
        self._under_way: dict[tuple[AggregatorState, Pair], _Write] = {}
        self._notes: dict[bytes, tuple[AggregatorState, Evidence]] = {}
        self._kept: tuple[AggregatorState, dict[bytes, float]] | None = None  # the evidence in its journal: key → when
        self._more = trio.Event()

    async def record(self, state: AggregatorState, accepted: Accepted) -> None:
        """Return once the signature is durable and in memory; at once if it is already.

        Raises Unavailable: nobody knows whether it is, it is to be sent again. Cancelled: the same.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        pair = accepted.identifier, accepted.operator_id
        if accepted.operator_id in state.signed.get(accepted.identifier, ()):
            return
        write = self._under_way.get((state, pair))
        if write is None:
            write = self._waiting.setdefault(state, {}).setdefault(pair, _Write(accepted))
            self._more.set()
        await write.done.wait()
        if write.error is not None:
            raise Unavailable(write.error.why, write.error.result)

    def has(self, state: AggregatorState, accepted: Accepted) -> bool:
        """Whether this very signature is on its way, and so was verified before."""
        pair = accepted.identifier, accepted.operator_id
        write = self._under_way.get((state, pair)) or self._waiting.get(state, {}).get(pair)
        return write is not None and write.accepted == accepted

    def note(self, state: AggregatorState, accepted: Accepted, first: bytes, peer: str) -> None:
        """Have a second, different signature kept as evidence, the first of its operator for this batch. It holds up
        nobody; of too many that come at once some are left out."""
        key = rows.signature_key(accepted.identifier, accepted.operator_id)
        kept = self._kept[1] if self._kept is not None and self._kept[0] is state else {}
        if len(self._notes) < MAX_NOTES and key not in kept:
            self._notes.setdefault(key, (state, Evidence(first, accepted.point, state.clock(), peer)))
            self._more.set()

    async def run(self) -> NoReturn:
        """Write what waits, for ever. Raises what a journal on this machine raises when its disk fails."""
        while True:
            while self._waiting:
                await self._write_some()
            await self._write_notes()
            if not (self._waiting or self._notes):
                await self._more.wait()
            self._more = trio.Event()
            await trio.lowlevel.checkpoint()

    async def _write_some(self) -> None:
        """One transaction."""
        state, waiting = next(iter(self._waiting.items()))
        taken = list(waiting.items())[:TOGETHER]
        for pair, write in taken:
            del waiting[pair]
            self._under_way[state, pair] = write
        if not waiting:
            del self._waiting[state]
        try:
            verdicts = await state.accept([write.accepted for _, write in taken])
        except (SourceError, PeerError) as exc:
            log.warning("%d signatures could not be recorded: %s (%s)", len(taken), exc, exc.code)
            for _, write in taken:
                write.end(Unavailable("the signature could not be recorded"))
        else:
            self._metrics.records.inc()
            for (_, write), full in zip(taken, verdicts, strict=True):
                write.end(None if full is None else orphans_full())
        finally:
            for pair, _ in taken:
                del self._under_way[state, pair]

    async def _write_notes(self) -> None:
        notes, self._notes = self._notes, {}
        for key, (state, evidence) in notes.items():
            try:
                await self._write_note(state, key, evidence)
            except (SourceError, PeerError) as exc:  # it proves nothing by itself: not worth a second attempt
                log.info("evidence is not kept: %s (%s)", exc, exc.code)

    async def _write_note(self, state: AggregatorState, key: bytes, evidence: Evidence) -> None:
        if self._kept is None or self._kept[0] is not state:
            found = await state.journal.scan(rows.EVIDENCE, MAX_EVIDENCE)
            self._kept = state, {key: rows.unpack(raw, Evidence).at for key, raw in found}
        kept = self._kept[1]
        if key in kept:
            return
        gone = _to_make_room(kept, rows.operator_of(key))
        puts = [Put(rows.EVIDENCE, key, rows.pack(evidence)), *(Put(rows.EVIDENCE, one, None) for one in gone)]
        await state.journal.append(rows.UNKNOWN, (), put=puts)
        for one in gone:
            del kept[one]
        kept[key] = evidence.at
        self._metrics.evidence.inc()
        log.warning(
            "batch 0x%s: a second signature under operator id 0x%s, from %s",
            rows.identifier_of(key).hex()[:16], rows.operator_of(key).hex()[:16], evidence.peer,
        )  # fmt: skip


def _to_make_room(kept: Mapping[bytes, float], operator_id: bytes) -> list[bytes]:
    """What goes for one more under this operator id: the oldest of its own, or else of all."""
    own = [one for one in kept if rows.operator_of(one) == operator_id]
    if len(own) >= MAX_OPERATOR_EVIDENCE:
        return sorted(own, key=kept.__getitem__)[: len(own) - MAX_OPERATOR_EVIDENCE + 1]
    return [min(kept, key=kept.__getitem__)] if len(kept) >= MAX_EVIDENCE else []


def orphans_full() -> Unavailable:
    """What an operator hears that has signed too many batches nobody knows."""
    return Unavailable("too many signatures of unknown batches", "orphans_full")
