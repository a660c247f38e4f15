"""Certificates that were made while this node was away, asked from the main node."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn, Protocol

import trio

from attestrio.errors import PeerError, SourceError
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.jsonrpc import MethodMissing
from attestrio.roles import BatchNumber, BatchQC, Committee, GenesisHash
from attestrio.status.watch import AttestationStatusWatch
from attestrio.store.api import BatchStore

log = logging.getLogger("attestrio.mainnode")

PAGE: Final = 10_000  # numbers looked through at a time, some 2 ms
NO_METHOD_S: Final = 3600.0  # until main nodes that do not know the method are asked again


class KnowsCertificates(Protocol):
    """What is needed of a main-node client."""

    @property
    def name(self) -> str:
        """For the log."""
        ...

    async def certificate(self, number: BatchNumber) -> BatchQC | None:
        """What it has for the batch, unchecked, or None. Raises SourceError."""
        ...


@dataclass(frozen=True, slots=True)
class CertificateBackfill:
    """Fills the gaps between the certificates stored here.

    Certificates do not travel by gossip: each node makes its own out of the votes it hears, and members repeat only
    their newest vote. So a node that was away can never make those of the batches it missed, but a main node of ours
    has them all. Who signed may differ from node to node; that enough have, for this hash, is verified before anything
    is stored, so it does not matter whom the answer comes from.

    Asked for is what lies below the status, from where attestation begins, if this node was told. One that was not
    has no history to complete: it begins at its first certificate or, without one, at the first status it hears. One
    call at a time.

    Args:
      first: where attestation begins; None on a node that was not told.
      sources: asked in this order until one has the certificate.
      patience_s: between a new status and the look for gaps, in which the node's own certificates come in; and between
        two attempts while sources fail.
      run_blocking: where signatures are verified, some 40 µs each.
    """

    watch: AttestationStatusWatch
    sources: Sequence[KnowsCertificates]
    store: BatchStore
    genesis: GenesisHash
    committee: Committee
    first: BatchNumber | None
    patience_s: float
    on_certificate: Callable[[BatchQC], None] = lambda certificate: None
    run_blocking: RunBlocking = in_thread

    async def run(self) -> NoReturn:
        """Fill for ever. Raises QCConflict: the committee has certified another hash than this node holds."""
        position = self.first
        async for status in self.watch.subscribe():
            if status.next_batch is None:
                continue
            if position is None:
                position = next(iter(await self.store.certified(BatchNumber(0), 1)), status.next_batch)
            await trio.sleep(self.patience_s)
            while position < status.next_batch:
                position, pause_s = await self._fill(position, status.next_batch)
                await trio.sleep(pause_s)
        raise AssertionError("unreachable: a watch has no end")

    async def _fill(self, position: BatchNumber, end: BatchNumber) -> tuple[BatchNumber, float]:
        """Ask for what is missing from `position` to below `end`, one page of it; how far it came, and what to wait."""
        end = min(end, BatchNumber(position + PAGE))
        present = set(await self.store.certified(position, PAGE))
        for number in (BatchNumber(number) for number in range(position, end) if number not in present):
            try:
                await self._obtain(number)
            except MethodMissing as exc:
                log.info("certificates from batch %d on are missing, and cannot be asked for: %s", number, exc)
                return number, NO_METHOD_S
            except SourceError as exc:
                log.debug("batch %d: certificate not obtained: %s", number, exc)
                return number, self.patience_s
        return end, 0.0

    async def _obtain(self, number: BatchNumber) -> None:
        """Store the certificate of one batch, if a source has it. Raises SourceError when one that failed may have."""
        failed: list[SourceError] = []
        for source in self.sources:
            try:
                certificate = await source.certificate(number)
            except SourceError as exc:
                failed.append(exc)
                continue
            if certificate is not None and await self._holds(number, certificate, source.name):
                await self._keep(certificate)
                return
        if failed:  # one that does not know the method counts only when nobody else may have it
            raise min(failed, key=lambda exc: isinstance(exc, MethodMissing))

    async def _keep(self, certificate: BatchQC) -> None:
        """A certificate waits for its batch, as always. A node without whole batches has nothing to wait for: it holds
        a batch when it knows number, hash and genesis, and the committee has just told it."""
        number = certificate.batch.number
        if self.store.held.last is None and number >= self.store.persisted.next():
            await self.store.put_batch_to_sign(certificate.batch)
        known = await self.store.qc(number) is not None
        await self.store.persist_qc(certificate)  # also if known by now: a conflict has to be seen
        if not known:
            self.on_certificate(certificate)

    async def _holds(self, number: BatchNumber, certificate: BatchQC, name: str) -> bool:
        got = certificate.batch.number
        try:
            await self.run_blocking(partial(certificate.verify_with, self.genesis, self.committee))
        except PeerError as exc:
            log.warning("batch %d: the certificate of %s is worth nothing: %s", number, name, exc)
            return False
        if got != number:
            log.warning("batch %d: %s answered with the certificate of batch %d", number, name, got)
        return got == number
