"""Which genesis an epoch begins with: at the start of a process, and after an epoch that ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import trio

from attestrio.app.epoch import EpochParts, genesis_source
from attestrio.app.files import genesis_of_file
from attestrio.config import BadConfig
from attestrio.errors import SafetyError, SetupError, SourceError
from attestrio.protection.epochs import MAX_FORK_JUMP, KnowsGenesis, NotASuccessor, require_successor
from attestrio.protection.record import EpochRow, VoteRecord
from attestrio.roles import Genesis
from attestrio.status.watch import GenesisChanged

log = logging.getLogger("attestrio.app")


class GenesisOfOtherChain(SetupError):
    """The data directory has signed for a genesis that the one now in force cannot follow."""

    code: ClassVar[str] = "genesis_of_other_chain"

    def __init__(self, data_dir: str, genesis: Genesis, last: EpochRow) -> None:
        super().__init__(
            f"data directory {data_dir} has signed for {last.genesis.to_text()} (chain {last.chain_id}, fork"
            f" {last.fork_number}), which {genesis.hash().to_text()} (chain {genesis.chain_id}, fork"
            f" {genesis.fork_number}) cannot follow: choose another data directory or the right genesis; where a main"
            " node has led this one to a fork that never was, start once with --accept-genesis HASH"
        )
        self.genesis, self.last = genesis, last


@dataclass(frozen=True, slots=True)
class Succession:
    """Decides by the record, the configured genesis file and what the main node shows; signs and opens nothing."""

    parts: EpochParts
    record: VoteRecord

    async def newest(self, genesis: Genesis, announce: Callable[[], None]) -> Genesis:
        """The genesis to start with: `genesis`, or a later one where this node has followed a fork past it.

        Then the main node is asked until it shows that one, or one that may follow it; a replica that lags shows the
        old one for a while. Likewise where only the main node has named `genesis`, and it cannot be right: one lie at
        start must not end a node that would ignore it later. `announce` is called before, since nobody knows how long
        that takes.
        """
        last = self.record.current_epoch()
        shows = genesis_source(self.parts.given.status_client, self.parts.main_node)
        if last is None or shows is None or self._is_accepted(genesis) or _fits(genesis, last):
            return genesis
        if genesis_of_file(self.parts.config) is not None and not _is_left_behind(genesis, last):
            return genesis  # what the operator configured is not waited for: `resumed` says what is wrong with it
        log.info("genesis %s has fork %d, epoch %d has fork %d: the main node is asked", genesis.hash().to_text(),
                 genesis.fork_number, last.id, last.fork_number)  # fmt: skip
        announce()

        def judge(found: Genesis) -> str:
            if _fits(found, last):
                return ""
            return f"it shows chain {found.chain_id}, fork {found.fork_number}, which cannot follow epoch {last.id}"

        return await self._ask(shows, judge)

    def resumed(self, genesis: Genesis) -> EpochRow | None:
        """The epoch on record that `genesis` goes on with; None when it begins another. Raises GenesisOfOtherChain."""
        last = self.record.current_epoch()
        if last is None:
            return None
        if last.chain_id == genesis.chain_id and last.genesis == genesis.hash():
            return last
        if not _fits(genesis, last) and not self._is_accepted(genesis):
            raise GenesisOfOtherChain(self.parts.config.node.data_dir, genesis, last)
        return None

    def _is_accepted(self, genesis: Genesis) -> bool:
        """Whether the operator has named this genesis for this start. The record keeps votes by genesis, so that a
        lower fork permits no second hash."""
        return self.parts.given.accept_genesis == genesis.hash()

    async def after(self, genesis: Genesis, ended: SafetyError) -> Genesis:
        """The genesis of the epoch after one under `genesis`. Raises `ended` where this process cannot know it."""
        if self.parts.store_is_given:
            raise ended  # a given store holds one epoch: its owner decides
        if not isinstance(ended, GenesisChanged):
            return self._configured(genesis)
        shows = genesis_source(self.parts.given.status_client, self.parts.main_node)
        if shows is None:
            raise ended

        def judge(found: Genesis) -> str:
            if found == genesis:  # it went back meanwhile: so does this node, and signs no second hash there
                return ""
            try:
                require_successor(genesis, found)
            except NotASuccessor as exc:
                return str(exc)
            return ""

        return await self._ask(shows, judge)

    def _configured(self, genesis: Genesis) -> Genesis:
        """What the genesis file says now, if that may follow `genesis`; else `genesis` itself.

        So the operator of a main node changes the file and ends the epoch. A file that a fork has left behind, or that
        cannot be used, changes nothing: a node that runs is not ended for it.
        """
        try:
            configured = genesis_of_file(self.parts.config)
            if configured is None or configured == genesis:
                return genesis
            require_successor(genesis, configured)
        except BadConfig as exc:
            log.error("the genesis stays %s: %s", genesis.hash().to_text(), exc)
            return genesis
        except NotASuccessor as exc:
            log.info("the genesis stays: %s", exc)
            return genesis
        return configured

    async def _ask(self, shows: KnowsGenesis, judge: Callable[[Genesis], str]) -> Genesis:
        """Ask for the genesis until `judge` finds nothing wrong with it; what is wrong is logged once."""
        said = ""
        while True:
            try:
                found = await shows.consensus_genesis()
                problem = "it has none" if found is None else judge(found)
            except SourceError as exc:
                found, problem = None, str(exc)
            if found is not None and not problem:
                return found
            if problem != said:
                log.warning("the main node's genesis is not taken, asking again: %s", problem)
                said = problem
            await trio.sleep(self.parts.config.poll_s)


def _fits(genesis: Genesis, last: EpochRow) -> bool:
    """Whether an epoch under `genesis` may go on with, or come after, `last`."""
    if genesis.chain_id != last.chain_id:
        return False
    return genesis.hash() == last.genesis or 0 < genesis.fork_number - last.fork_number <= MAX_FORK_JUMP


def _is_left_behind(genesis: Genesis, last: EpochRow) -> bool:
    return genesis.chain_id == last.chain_id and genesis.fork_number < last.fork_number
