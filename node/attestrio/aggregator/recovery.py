"""Batches that operators have signed and nobody here has seen: found on the chain, or given up with a reason.

The signature is journalled and acknowledged before any of this, so all of it runs beside the requests and as long as it
takes. A claim is first looked for among the tasks, since the scanner may be about to bring it; then it waits for the
next round. Rounds come one after the other, and each asks once for everything that is unknown, so what they cost does
not depend on how many operators sign. The contract's state of what a round found is read beside the next round.

A claim is always in exactly one hand: leased by a look, a round or a reading of state, or waiting in the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import trio
from msgspec.structs import replace
from trio_util import AsyncValue

from attestrio.aggregator import rows
from attestrio.aggregator.lookup import Lookup, Searched, Seen, Wanted
from attestrio.aggregator.rows import Claim
from attestrio.aggregator.settings import RecoverySettings
from attestrio.aggregator.state import AggregatorState
from attestrio.errors import SourceError
from attestrio.l1.api import Address, Chain

log = logging.getLogger("attestrio.aggregator")

OWNER: Final = f"{rows.OWNER}/recovery"
LEASE_S: Final = 86_400.0  # only who leads takes work, and each start ends all leases
LOOK_S: Final = 1.0  # for what another process put into the journal
IN_HAND: Final = 2_000  # 8 queries a round, and about 3 MB
NOT_ON_CHAIN: Final = "not_on_chain"


@dataclass(frozen=True, slots=True)
class _Search:
    """One claim in hand."""

    key: bytes
    claim: Claim
    attempt: int
    """1 the first time."""

    @property
    def identifier(self) -> bytes:
        return rows.identifier_of(self.key)

    def __str__(self) -> str:
        return f"0x{self.key.hex()[:16]}"


class Recovery:
    """Finds what is unknown. `run` it once, where nobody else does."""

    def __init__(
        self,
        state: AggregatorState,
        chain: Chain,
        manager: Address,
        settings: RecoverySettings,
        *,
        in_hand: int = IN_HAND,
    ) -> None:
        """`in_hand`: claims leased at the same time; the rest stays in the journal."""
        self._state, self._settings, self._most = state, settings, in_hand
        self._lookup = Lookup(chain, manager, settings)
        self._in_hand: AsyncValue[int] = AsyncValue(0)
        self._next: list[_Search] = []  # for the next round
        self._wanted = trio.Event()
        self._first_head: int | None = None

    async def run(self) -> NoReturn:
        """Look for ever. A chain that fails is asked again; what the journal raises comes out, in groups."""
        await self._state.journal.abandon(OWNER)
        await self._begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._search_for_ever)
            await self._take_for_ever()
        raise AssertionError("unreachable: the recovery runs until cancelled")

    async def _begin(self) -> None:
        """A start asks at once for what was put off, and again for what was given up after a shorter look back."""
        state, back = self._state, self._settings.fetch_range_blocks
        for identifier in [one for one, dead in state.dead.items() if dead.claim.blocks < back]:
            await state.reclaim(identifier)
        for one in await state.journal.listed(rows.UNKNOWN, self._most):
            if one.due_in_s > 0:
                await state.journal.release(rows.UNKNOWN, one.key)

    # --- the table

    async def _take_for_ever(self) -> NoReturn:
        """Lease what is due, oldest first."""
        journal = self._state.journal
        async with trio.open_nursery() as looks:
            while True:
                await self._in_hand.wait_value(lambda held: held < self._most)
                if not await journal.wait(rows.UNKNOWN, LOOK_S):
                    continue
                leased = await journal.lease(rows.UNKNOWN, OWNER, self._most - self._in_hand.value, LEASE_S)
                self._in_hand.value += len(leased)
                searches = [_Search(one.key, rows.unpack(one.body, Claim), one.attempt) for one in leased]
                if searches:
                    looks.start_soon(self._look, searches)
        raise AssertionError("unreachable: ends only by being cancelled")

    async def _look(self, searches: Sequence[_Search]) -> None:
        """What is new is looked for in the table as often as the schedule says, the rest once."""
        searches = await self._unknown(searches)
        self._ask([one for one in searches if one.attempt > 1])
        new: Sequence[_Search] = [one for one in searches if one.attempt == 1]
        for wait_s in self._settings.task_lookup:
            if not new:
                return
            await trio.sleep(wait_s)
            new = await self._unknown(new)
        self._ask(new)

    async def _unknown(self, searches: Sequence[_Search]) -> Sequence[_Search]:
        """Those that are not on the chain as far as we know; the claims for the others end."""
        left: list[_Search] = []
        known: list[bytes] = []
        for one in searches:
            if self._state.is_live(one.identifier):
                known.append(one.key)
            else:
                left.append(one)
        if known:
            await self._state.explain(known)
            self._let_go("known", len(known))
        return left

    def _ask(self, searches: Sequence[_Search]) -> None:
        if searches:
            self._next += searches
            self._wanted.set()

    # --- the chain

    async def _search_for_ever(self) -> NoReturn:
        """One round after the other, each for all that has come until then."""
        async with trio.open_nursery() as reads:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                taken, self._next = self._next, []
                searches = await self._unknown(taken)
                if not searches:
                    continue
                found = await self._round(searches)
                for one in searches:  # beside the next round, so that the journal commits many at once
                    if found is None:
                        reads.start_soon(self._put_off, one, "failed")
                    elif (seen := found.seen.get(one.identifier)) is None:
                        reads.start_soon(self._missing, one, found.head)
                    else:
                        reads.start_soon(self._explain, one, seen)
        raise AssertionError("unreachable: ends only by being cancelled")

    async def _round(self, searches: Sequence[_Search]) -> Searched | None:
        """None: the chain did not answer."""
        self._state.metrics.rounds.inc()
        wanted = {one.identifier: Wanted(one.claim.root, self._blocks(one)) for one in searches}
        try:
            found = await self._lookup.search(wanted)
        except SourceError as exc:
            log.warning("%d unknown batches not looked for: %s (%s)", len(searches), exc, exc.code)
            return None
        if self._first_head is None:
            self._first_head = int(found.head)
        return found

    async def _explain(self, one: _Search, seen: Seen) -> None:
        """Make a task of what was found. A state that cannot be read puts it off."""
        try:
            task = await self._lookup.task(one.identifier, seen)
        except SourceError as exc:
            log.warning("batch %s: found in block %s, its state is not read: %s (%s)", one, seen.created, exc, exc.code)
            await self._put_off(one, "failed")
            return
        log.info("batch %s: found in block %s", one, seen.created)
        await self._state.add_tasks([task])
        self._let_go("found")

    async def _missing(self, one: _Search, head: int) -> None:
        """The chain knows nothing of it: asked again later, given up past the horizon. The signatures stay."""
        since = one.claim.since if one.claim.since > 0 else (self._first_head or head)  # 0: nothing was scanned then
        if head - since <= self._settings.horizon_blocks:
            await self._put_off(one, "missing")
            return
        blocks = self._blocks(one)
        detail = f"no event in the {blocks} blocks up to {head}"
        claim = replace(one.claim, reason=NOT_ON_CHAIN, detail=detail, blocks=blocks)
        if not await self._state.give_up(one.key, claim):  # the scanner has brought it this moment
            await self._state.explain([one.key])
            self._let_go("known")
            return
        log.error("batch %s is given up: %s, after %d blocks", one, detail, head - since)
        self._let_go("given_up")

    # --- ends

    async def _put_off(self, one: _Search, result: str) -> None:
        """Twice as many blocks as before, up to the cap."""
        blocks = min(2 ** min(one.attempt - 1, 30), self._settings.again_cap_blocks)
        await self._state.journal.release(rows.UNKNOWN, one.key, blocks * self._settings.block_s)
        self._let_go(result)

    def _let_go(self, result: str, count: int = 1) -> None:
        self._in_hand.value -= count
        self._state.metrics.searches.labels(result).inc(count)

    def _blocks(self, one: _Search) -> int:
        return one.claim.blocks or self._settings.fetch_range_blocks
