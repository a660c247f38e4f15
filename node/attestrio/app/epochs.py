"""One epoch after the other: what may follow, when, and with whose consent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

import trio

from attestrio.app.epoch import EpochParts, genesis_source
from attestrio.app.files import genesis_of_file
from attestrio.app.parts import Epoch
from attestrio.app.upstream import first_genesis
from attestrio.errors import SafetyError, SetupError, SourceError
from attestrio.mainnode.server import MainNodeServer
from attestrio.protection.clone import CloneGuard
from attestrio.protection.commands import Verb
from attestrio.protection.epochs import EpochCause, RollbackNeedsRestart, cause_of, require_successor
from attestrio.protection.halt import refuse_if_halted, write_halt
from attestrio.protection.record import EpochRow, VoteRecord
from attestrio.protection.signer import ProtectedSigner
from attestrio.quorum.verify import Verifier
from attestrio.quorum.watch import VotesWatch
from attestrio.quorum.witness import Witness
from attestrio.roles import AttesterSecretKey, BatchNumber, Genesis, GenesisHash
from attestrio.status import AttestationStatusWatch
from attestrio.status.watch import GenesisChanged
from attestrio.store.api import BatchStore
from attestrio.store.sqlite import SqliteBatchStore

log = logging.getLogger("attestrio.app")

QUIET_S = 60.0
PAUSES_S = (0.0, 0.0, 1.0, 5.0, 15.0, 60.0)
"""Before the epoch after the n-th that lasted less than QUIET_S: a main node that contradicts itself must not keep the
node busy with beginnings, and a real rollback, or two, must not wait."""


class GenesisOfOtherChain(SetupError):
    """The data directory has signed for a genesis that the one now in force cannot follow."""

    code = "genesis_of_other_chain"

    def __init__(self, data_dir: str, genesis: Genesis, last: EpochRow) -> None:
        super().__init__(
            f"data directory {data_dir} has signed for {last.genesis.to_text()} (chain {last.chain_id}, fork"
            f" {last.fork_number}), which {genesis.hash().to_text()} (chain {genesis.chain_id}, fork"
            f" {genesis.fork_number}) cannot follow: choose another data directory or the right genesis"
        )
        self.genesis, self.last = genesis, last


@dataclass(slots=True)
class Epochs:
    """The epochs of one process. Nothing but the epoch's own nursery ends between two of them."""

    parts: EpochParts
    record: VoteRecord
    secret: AttesterSecretKey | None
    server: MainNodeServer | None
    _short: int = field(default=0, init=False)
    _listened: bool = field(default=False, init=False)

    async def run(self, genesis: Genesis, announce: Callable[[], None]) -> NoReturn:
        """Run epochs for ever, the first one under `genesis`. `announce` is called when an epoch runs.

        Raises GenesisOfOtherChain, SafetyError that nothing may follow, RollbackNeedsRestart with on_rollback = exit.
        """
        cause, detail = EpochCause.START, ""
        genesis = await self._newest(genesis)
        number = self._resumed(genesis)
        if number is None and self.record.current_epoch() is not None:
            cause, detail = EpochCause.GENESIS_CHANGED, "found at start"
        while True:
            if number is None:
                number = (await self.record.open_epoch(genesis.hash(), genesis.fork_number, cause, detail)).id
            began = trio.current_time()
            ended = await self._run_one(number, genesis, cause, announce)
            cause, detail = cause_of(ended) or EpochCause.COMMAND, str(ended)
            log.warning("epoch %d ended (%s): %s", number, cause, detail)
            self.parts.node.duty.begin_epoch()
            self._count(cause)
            genesis = await self._next_genesis(genesis, ended)
            await self._consent(cause, detail)
            await self._pause(trio.current_time() - began)
            number = None

    async def _newest(self, genesis: Genesis) -> Genesis:
        """The genesis to start with: a configured one may have been left behind by a fork this node followed."""
        last = self.record.current_epoch()
        shows = genesis_source(self.parts.given.status_client, self.parts.main_node)
        if last is None or shows is None or last.chain_id != genesis.chain_id:
            return genesis
        if genesis.fork_number >= last.fork_number:
            return genesis
        log.info(
            "the configured genesis has fork %d, epoch %d had fork %d", genesis.fork_number, last.id, last.fork_number
        )
        return await first_genesis(shows, self.parts.config.poll_s)

    def _resumed(self, genesis: Genesis) -> int | None:
        """The epoch on record that `genesis` goes on with; None when it begins another. Raises GenesisOfOtherChain."""
        last = self.record.current_epoch()
        if last is None:
            return None
        if last.chain_id == genesis.chain_id and last.genesis == genesis.hash():
            return last.id
        if last.chain_id != genesis.chain_id or genesis.fork_number <= last.fork_number:
            raise GenesisOfOtherChain(self.parts.config.node.data_dir, genesis, last)
        return None

    async def _run_one(
        self, number: int, genesis: Genesis, cause: EpochCause, announce: Callable[[], None]
    ) -> SafetyError:
        genesis_hash = genesis.hash()
        if (batches := self.parts.local_batches(genesis_hash)) is not None:
            await batches.check()  # here, so that a file that is wrong ends the start, not the run
        guard = self._clone_guard(genesis_hash)
        votes = None
        if genesis.attesters is not None:
            book = self.parts.book
            witness = Witness(None, on_conflict=book.conflict)
            if guard is not None:
                witness = Witness(guard.key, guard.heard, book.conflict)
            votes = VotesWatch(genesis.attesters, genesis_hash, Verifier(self.parts.given.run_blocking), witness)
        epoch = Epoch(number, genesis, cause, AttestationStatusWatch(genesis_hash), votes, self._store(genesis, number))
        signer = None
        if self.secret is not None and guard is not None:
            signer = ProtectedSigner(self.record, self.secret, partial(self._guard, guard), epoch=number)

        def started() -> None:
            if self.server is not None:
                self.server.show(epoch.store, genesis)
            announce()

        try:
            return await self.parts.run(epoch, signer, guard, started=started)
        finally:
            if self.server is not None:
                self.server.show(None, None)

    def _guard(self, clones: CloneGuard) -> None:
        """Asked before and after each vote is recorded: a HALT that somebody else left counts at once too."""
        refuse_if_halted(self.parts.data_dir)
        clones.check()

    def _clone_guard(self, genesis: GenesisHash) -> CloneGuard | None:
        """Listens for our key. Only the first epoch of a process has to listen before it signs, and only with links."""
        if self.secret is None:
            return None
        listen_s = 0.0 if self._listened or self.parts.given.link is None else self.parts.config.protection.listen_s
        self._listened = True
        halt = partial(write_halt, self.parts.data_dir)
        return CloneGuard(self.record, self.secret.public(), genesis, halt, book=self.parts.book, listen_s=listen_s)

    def _store(self, genesis: Genesis, number: int) -> BatchStore:
        config, given = self.parts.config, self.parts.given.store
        if given is not None:
            return given(genesis, number) if callable(given) else given
        return SqliteBatchStore(
            self.parts.data_dir / "store.db",
            genesis.hash(),
            first_batch=BatchNumber(config.batches.first or 0),
            next_rule=config.serve.next_rule if config.serve else "gap",
            run_blocking=self.parts.given.run_blocking,
            epoch=number,
        )

    async def _next_genesis(self, genesis: Genesis, ended: SafetyError) -> Genesis:
        """The genesis of the next epoch. Raises `ended` itself where this process cannot know it, or may not go on."""
        if self.parts.store_is_given:
            raise ended  # a given store holds one epoch: its owner decides
        if not isinstance(ended, GenesisChanged):
            configured = genesis_of_file(self.parts.config)
            if configured is None or configured.hash() == genesis.hash():
                return genesis
            return _checked(genesis, configured)
        shows = genesis_source(self.parts.given.status_client, self.parts.main_node)
        if shows is None:
            raise ended
        while True:
            try:
                found = await shows.consensus_genesis()
            except SourceError as exc:
                log.warning("the new genesis is not read: %s", exc)
            else:
                if found is not None and found.hash() != genesis.hash():
                    return _checked(genesis, found)
            await trio.sleep(self.parts.config.poll_s)

    async def _consent(self, cause: EpochCause, detail: str) -> None:
        """Let the operator have a word, as `on_rollback` says. Raises RollbackNeedsRestart."""
        rule = self.parts.config.protection.on_rollback
        if cause is EpochCause.COMMAND or rule == "restart":
            return
        if rule == "exit":
            raise RollbackNeedsRestart(cause, detail)
        log.warning("nothing is signed until `attestrio rollback apply --data-dir %s`", self.parts.data_dir)
        while True:
            command = self.parts.commands.take()
            if command is not None and command.verb is Verb.CONSENT:
                log.warning("rollback consented to: %s", command.why)
                return
            await trio.sleep(1.0)

    async def _pause(self, lasted_s: float) -> None:
        self._short = self._short + 1 if lasted_s < QUIET_S else 0
        pause_s = PAUSES_S[min(self._short, len(PAUSES_S) - 1)]
        if pause_s:
            log.warning("%d epochs lasted less than %g s: the next begins in %g s", self._short, QUIET_S, pause_s)
        await trio.sleep(pause_s)

    def _count(self, cause: EpochCause) -> None:
        self.parts.node.metrics.counter(
            "attestrio_rollbacks_total", "Epochs that ended, by cause.", labels={"cause": [*EpochCause]}
        ).labels(cause=cause).inc()


def _checked(genesis: Genesis, found: Genesis) -> Genesis:
    require_successor(genesis, found)
    return found
