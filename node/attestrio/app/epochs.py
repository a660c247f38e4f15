"""One epoch after the other: what may follow, when, and with whose consent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

import trio

from attestrio.app.epoch import EpochParts
from attestrio.app.files import genesis_of_file
from attestrio.app.parts import Epoch
from attestrio.app.succession import Succession
from attestrio.attester.api import VoteSigner
from attestrio.batches.api import KnowsFirstBatch
from attestrio.duty import EpochOf
from attestrio.errors import SafetyError, SourceError
from attestrio.kit.events import EventName, named
from attestrio.mainnode.server import MainNodeServer
from attestrio.protection.clone import CloneGuard, CloneSeen
from attestrio.protection.commands import Verb
from attestrio.protection.epochs import EpochCause, RollbackNeedsRestart, cause_of
from attestrio.protection.errors import RULES
from attestrio.protection.halt import refuse_if_halted, write_halt
from attestrio.protection.pending import PendingRollback, clear_pending, write_pending
from attestrio.protection.receipts import Circumstances, ReceiptedSigner, RuleAnswer
from attestrio.protection.record import EpochRow, VoteRecord
from attestrio.protection.signer import ProtectedSigner
from attestrio.quorum.verify import Verifier
from attestrio.quorum.watch import VotesWatch
from attestrio.quorum.witness import Witness
from attestrio.roles import AttesterSecretKey, Batch, BatchNumber, Committee, Genesis, GenesisHash
from attestrio.status import AttestationStatusWatch
from attestrio.store.api import BatchStore
from attestrio.store.sqlite import SqliteBatchStore

log = logging.getLogger("attestrio.app")

QUIET_S = 60.0
PAUSES_S = (0.0, 0.0, 1.0, 5.0, 15.0, 60.0)
"""After the n-th epoch in a row that lasted less than QUIET_S, and after every later one the last: a main node that
contradicts itself must not keep the node busy with beginnings, and a real rollback, or two, must not wait."""
CONSENT_POLL_S = 1.0
REDIALS = 1.5
"""Redial times to wait for the first link before a node votes without one: by then each peer has dialled once."""

RULES_PASSED = tuple(RuleAnswer(code, "passed") for code in ("halted", CloneSeen.code, *(rule.code for rule in RULES)))
"""For receipts: a vote exists only if each of these was asked and had no objection."""


@dataclass(slots=True)
class Epochs:
    """The epochs of one process. Nothing but the epoch's own nursery ends between two of them."""

    parts: EpochParts
    record: VoteRecord
    secret: AttesterSecretKey | None
    server: MainNodeServer | None
    _short: int = field(default=0, init=False)
    _listened: bool = field(default=False, init=False)
    _configured: GenesisHash | None = field(default=None, init=False)

    async def run(self, genesis: Genesis, announce: Callable[[], None]) -> NoReturn:
        """Run epochs for ever, the first one under `genesis`. `announce` is called when an epoch runs.

        Raises GenesisOfOtherChain, SafetyError that nothing may follow, RollbackNeedsRestart with on_rollback = exit.
        """
        succession = Succession(self.parts, self.record)
        clear_pending(self.parts.data_dir)
        genesis = await succession.newest(genesis, announce)
        row = succession.resumed(genesis) or await self._open_at_start(genesis, announce)
        while True:
            began = trio.current_time()
            ended = await self._run_one(row, genesis, announce)
            lasted_s = trio.current_time() - began
            cause = cause_of(ended)
            assert cause is not None  # of all others `_run_one` raises
            log.warning(
                "epoch %d ended (%s): %s", row.id, cause, ended,
                extra=named(EventName.EPOCH_ENDED, epoch=row.id, reason=cause),
            )  # fmt: skip
            self.parts.counts.epoch_ended(cause)
            self._listened = self._listened or lasted_s >= self.parts.config.protection.listen_s
            genesis = await succession.after(genesis, ended)
            row = await self._open_next(row, genesis, cause, str(ended), lasted_s)

    async def _open_at_start(self, genesis: Genesis, announce: Callable[[], None]) -> EpochRow:
        """The first epoch of the directory, or one for a fork that came while no node ran."""
        before = self.record.current_epoch()
        if before is None:
            return await self.record.open_epoch(genesis.hash(), genesis.fork_number, EpochCause.START)
        cause, detail = EpochCause.GENESIS_CHANGED, "found at start"
        if self.parts.config.protection.on_rollback == "ask":
            announce()
            await self._consent(before, genesis, cause, detail)
        return await self.record.open_epoch(genesis.hash(), genesis.fork_number, cause, detail)

    async def _open_next(
        self, before: EpochRow, genesis: Genesis, cause: EpochCause, detail: str, lasted_s: float
    ) -> EpochRow:
        """The epoch after `before`, once it may begin. Raises RollbackNeedsRestart, after it is on record."""
        rule = self.parts.config.protection.on_rollback if cause is not EpochCause.COMMAND else "restart"
        if rule == "ask":
            await self._consent(before, genesis, cause, detail)
        elif rule == "restart":
            await self._pause(lasted_s)
        row = await self.record.open_epoch(genesis.hash(), genesis.fork_number, cause, detail)
        if rule == "exit":  # on record by now, so that the next start goes on in it
            raise RollbackNeedsRestart(cause, detail)
        self.parts.evidence.begin_epoch()
        return row

    async def _run_one(self, row: EpochRow, genesis: Genesis, announce: Callable[[], None]) -> SafetyError:
        genesis_hash = genesis.hash()
        self.parts.node.duty.begin_epoch(EpochOf(row.id, genesis_hash, genesis.attesters, self.parts.key))
        if (batches := self.parts.local_batches(genesis_hash)) is not None:
            await batches.check()  # here, so that a file that is wrong ends the start, not the run
        guard = self._clone_guard(genesis_hash)
        status = AttestationStatusWatch(genesis_hash)
        votes = None
        if genesis.attesters is not None:
            book = self.parts.book
            witness = Witness(None, on_conflict=book.conflict)
            if guard is not None:
                witness = Witness(guard.key, guard.heard, book.conflict)
            verifier = Verifier(self.parts.given.run_blocking)
            on_list = self.parts.counts.lists(self.parts.node.duty, status)
            duty = self.parts.node.duty
            votes = VotesWatch(
                genesis.attesters, genesis_hash, verifier, witness, on_list, duty.heard, duty.wants_late
            )  # fmt: skip
        first = await self._first_batch(genesis)
        store = self._store(genesis, row.id, first or BatchNumber(0))
        epoch = Epoch(row.id, genesis, EpochCause(row.cause), status, votes, store, first)
        signer = None if guard is None else self._signer(row.id, guard, genesis.attesters)

        def started() -> None:
            log.info(
                "epoch %d begins (%s) under %s", row.id, row.cause, genesis_hash.to_text(),
                extra=named(EventName.EPOCH_BEGAN, epoch=row.id, hash=genesis_hash.to_text(), reason=row.cause),
            )  # fmt: skip
            if self.server is not None:
                self.server.show(epoch.store, genesis)
            announce()

        try:
            return await self.parts.run(epoch, signer, guard, started=started)
        finally:
            if self.server is not None:
                self.server.show(None, None)

    def _signer(self, epoch: int, clones: CloneGuard, committee: Committee | None) -> VoteSigner | None:
        """On record first, then its receipt, then the vote may leave."""
        if self.secret is None or self.parts.receipts is None:
            return None
        check = partial(self._guard, clones)
        signer = ProtectedSigner(self.record, self.secret, check, epoch=epoch)
        if committee is None:
            return signer  # nobody asks it: the attester says so and idles

        def known(batch: Batch) -> Circumstances:
            return Circumstances(epoch, committee, self.parts.evidence.of(batch), RULES_PASSED)

        return ReceiptedSigner(signer, self.parts.receipts, known, check)

    def _guard(self, clones: CloneGuard) -> None:
        """Asked before and after each vote is recorded: a HALT that somebody else left counts at once too."""
        refuse_if_halted(self.parts.data_dir)
        clones.check()

    def _clone_guard(self, genesis: GenesisHash) -> CloneGuard | None:
        """Listens for our key. A process has to listen once before it signs, and only with links."""
        if self.secret is None:
            return None
        network, config = self.parts.node.network, self.parts.config
        has_links = self.parts.given.link is not None or network is not None
        listen_s = config.protection.listen_s if has_links and not self._listened else 0.0
        halt = partial(write_halt, self.parts.data_dir)
        return CloneGuard(
            self.record, self.secret.public(), genesis, halt, book=self.parts.book, listen_s=listen_s,
            links=network.heard_from if network is not None and listen_s else None,
            links_s=REDIALS * config.gossip.redial_s if config.gossip is not None else 0.0,
        )  # fmt: skip

    async def _first_batch(self, genesis: Genesis) -> BatchNumber | None:
        """Where attestation begins under `genesis`; None where nobody has said.

        `batches.first` is about the genesis that was configured with it. Where a fork that was followed begins, the
        batch source may know, and a main node waits until it does: it has to name that batch first.
        """
        config, source = self.parts.config, self.parts.given.batch_source or self.parts.local_batches(genesis.hash())
        if self._is_configured(genesis):
            return None if config.batches.first is None else BatchNumber(config.batches.first)
        if config.serve is None or not isinstance(source, KnowsFirstBatch):
            return None
        while True:
            try:
                if (first := await source.first_batch(genesis.hash())) is not None:
                    return first
            except SourceError as exc:
                log.warning("first batch of the fork not known, asking again: %s", exc)
            await trio.sleep(config.batches.poll_s)

    def _is_configured(self, genesis: Genesis) -> bool:
        """Whether `genesis` is the one this process was configured for, not one that was followed."""
        if self._configured is None:
            oldest = next(iter(self.record.epochs()), None)
            pinned = genesis_of_file(self.parts.config)
            self._configured = pinned.hash() if pinned else oldest.genesis if oldest else genesis.hash()
        return self._configured == genesis.hash()

    def _store(self, genesis: Genesis, number: int, first: BatchNumber) -> BatchStore:
        config, given = self.parts.config, self.parts.given.store
        if given is not None:
            return given(genesis, number) if callable(given) else given
        return SqliteBatchStore(
            self.parts.data_dir / "store.db",
            genesis.hash(),
            first_batch=first,
            next_rule=config.serve.next_rule if config.serve else "gap",
            run_blocking=self.parts.given.run_blocking,
            epoch=number,
        )

    async def _consent(self, before: EpochRow, genesis: Genesis, cause: EpochCause, detail: str) -> None:
        """Wait for the operator's word, with a note in the data directory meanwhile."""
        data_dir = self.parts.data_dir
        genesis_text = genesis.hash().to_text()
        note = PendingRollback(before.id, cause, detail, genesis_text, genesis.fork_number, time.time())
        write_pending(data_dir, note)
        log.warning("nothing is signed until `attestrio rollback apply --data-dir %s`", data_dir)
        try:
            while True:
                command = self.parts.commands.take()
                if command is not None and command.verb is Verb.CONSENT and command.about == note.subject:
                    log.warning("rollback consented to: %s", command.why)
                    return
                if command is not None:
                    log.warning("%s is not about what waits here, left aside: %s", command.verb, command.about)
                await trio.sleep(CONSENT_POLL_S)
        finally:
            clear_pending(data_dir)

    async def _pause(self, lasted_s: float) -> None:
        self._short = self._short + 1 if lasted_s < QUIET_S else 0
        pause_s = PAUSES_S[min(self._short, len(PAUSES_S)) - 1] if self._short else 0.0
        if pause_s:
            log.warning("%d epochs lasted less than %g s: the next begins in %g s", self._short, QUIET_S, pause_s)
        await trio.sleep(pause_s)
