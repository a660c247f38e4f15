"""From signatures to an aggregate: quorum, the window after it, and the sums the contract wants.

Signatures are rows by the time they come here, so nothing is lost with this process: after a restart the same rows give
the same quorum, and a window that has passed meanwhile is not waited for again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import ne
from typing import Final, NoReturn

import trio
from trio_util import AsyncValue

from attestrio.aggregator.errors import KeysMissing, NotReady
from attestrio.aggregator.rows import Place, Task
from attestrio.aggregator.settings import USUAL, CollectSettings
from attestrio.aggregator.snapshot import Snapshots
from attestrio.aggregator.state import AggregatorState
from attestrio.aggregator.tally import Tally, tally
from attestrio.bls import G1, G2, BadPoint, g1_from_bytes_untrusted, sum_g1, sum_g2, verify
from attestrio.errors import SourceError
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.events import EventName, named

log = logging.getLogger("attestrio.aggregator")

READERS: Final = 8  # snapshots of different blocks that are read at the same time


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What the contract is told about a batch, without the indices."""

    identifier: bytes
    task: Task
    signers: tuple[bytes, ...]
    non_signers: tuple[bytes, ...]
    """Operator ids, ascending as numbers: the order the contract asks for."""
    non_signer_keys: tuple[G1, ...]
    """In the same order."""
    sigma: G1
    """The sum of the signatures."""
    apk_g2: G2
    """The sum of the signers' keys."""
    quorum_apk: G1
    """The sum of the keys of everybody in the quorum."""


class Collector:
    """Keeps `ready` true to the state. `run` it once; the rest is for the sender."""

    def __init__(
        self,
        state: AggregatorState,
        snapshots: Snapshots,
        settings: CollectSettings = USUAL.collect,
        run_blocking: RunBlocking = in_thread,
    ) -> None:
        self._state, self._snapshots, self._settings, self._run_blocking = state, snapshots, settings, run_blocking
        self.ready: dict[bytes, float] = {}
        """Batches with a quorum whose window is over, and without an answer on the chain; since when, on trio's clock.

        One stays until the chain has the answer, whatever the sender does about it.
        """
        self.changed: AsyncValue[int] = AsyncValue(0)
        """Grows whenever `ready` changes."""
        self._windows: dict[bytes, float] = {}  # batches with a quorum, and until when more signatures are waited for
        self._window_set = trio.Event()
        self._waiting: dict[tuple[int, bytes], set[bytes]] = {}  # for a snapshot that is being read
        self._since: dict[bytes, float] = {}
        self._readers = trio.CapacityLimiter(READERS)

    async def run(self) -> NoReturn:
        """Look at whatever changes. Chain faults are tried again; only what the journal raises comes out, in groups."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._close_windows)
            nursery.start_soon(self._finish_for_ever)
            while True:
                seen = self._state.changed.value
                for identifier in sorted(self._state.take_touched(), key=self._age):
                    self._look(identifier, nursery)
                await self._state.changed.wait_value(partial(ne, seen))

    async def aggregate(self, identifier: bytes) -> Aggregate:
        """The sums, from the signatures there are now. A few ms, in a worker.

        Raises NotReady, KeysMissing, and SourceError where the snapshot has to be read again and cannot be.
        """
        state = self._state
        while True:
            task = state.tasks.get(identifier)
            if task is None or task.void:
                raise NotReady(identifier, 0, 0)
            snapshot = await self._snapshots.at(task)
            if (now := state.tasks.get(identifier)) is not None and _block(now) == _block(task):
                break
        signed = state.signed.get(identifier, {})
        count = tally(snapshot, signed)
        if not count.reached:
            raise NotReady(identifier, count.signed, count.total)
        if (missing := self._without_key(count)) is not None:
            raise KeysMissing(identifier, missing)
        points = [signed[one] for one in count.signers]
        keys_g2 = [state.g2(one) for one in count.signers]
        signers_g1 = [state.g1(one) for one in count.signers]
        others_g1 = tuple(state.g1(one) for one in count.missing)

        def add() -> tuple[G1, G2, G1]:
            sigma = sum_g1(g1_from_bytes_untrusted(point) for point in points)
            return sigma, sum_g2(keys_g2), sum_g1((*signers_g1, *others_g1))

        sigma, apk_g2, quorum_apk = await self._run_blocking(add)
        return Aggregate(identifier, now, count.signers, count.missing, others_g1, sigma, apk_g2, quorum_apk)

    async def recheck(self, identifier: bytes) -> int:
        """The contract refused the aggregate: check each signature by itself, remove the bad ones; how many.

        The snapshot is read anew as well, since it may be what was wrong. 1.5 ms a signature, in a worker.
        """
        state = self._state
        members = [
            (operator_id, point, state.g2(operator_id))
            for operator_id, point in state.signed.get(identifier, {}).items()
            if operator_id in state.keys
        ]
        bad = await self._run_blocking(lambda: _bad(identifier, members))
        if (task := state.tasks.get(identifier)) is not None:
            self._snapshots.forget(task)
        self._drop(identifier)
        if bad:
            log.error("batch 0x%s: %d signatures of %d are bad", identifier.hex()[:16], len(bad), len(members))
            state.metrics.rechecked.inc(len(bad))
            await state.remove_signatures(identifier, bad)
        state.touch([identifier])
        return len(bad)

    # --- looking

    def _look(self, identifier: bytes, nursery: trio.Nursery) -> None:
        """Put one batch where it belongs: nowhere, behind a snapshot, into its window, or among the ready ones."""
        state = self._state
        task, signed = state.tasks.get(identifier), state.signed.get(identifier)
        if task is None or not task.is_open or not signed:
            self._drop(identifier)
            if task is None or not task.is_open:
                self._since.pop(identifier, None)
            return
        now = trio.current_time()
        since = self._since.setdefault(identifier, now)
        snapshot = self._snapshots.cached(task)
        if snapshot is None:
            self._drop(identifier)
            self._want(identifier, task, nursery)
            return
        count = tally(snapshot, signed)
        if not count.reached or self._without_key(count) is not None:
            self._drop(identifier)
            return
        if identifier not in self._windows and identifier not in self.ready:
            log.info(
                "batch 0x%s has a quorum: %s", identifier.hex()[:16], count,
                extra=named(EventName.ANSWER_QUORUM, batch=f"0x{identifier.hex()}"),
            )  # fmt: skip
            state.metrics.quorums.inc()
            state.metrics.quorum_s.observe(now - since)
            self._windows[identifier] = now + self._window_left_s(identifier)
            self._window_set.set()
        if count.complete and identifier in self._windows:
            self._windows[identifier] = now
            self._close_due(now)

    def _drop(self, identifier: bytes) -> None:
        self._windows.pop(identifier, None)
        if self.ready.pop(identifier, None) is not None:
            self._told()

    def _without_key(self, count: Tally) -> bytes | None:
        """Somebody of the quorum whose key is not known."""
        return next((one for one in (*count.signers, *count.missing) if one not in self._state.keys), None)

    def _age(self, identifier: bytes) -> Place:
        task = self._state.tasks.get(identifier)
        return Place(0) if task is None else task.place

    # --- snapshots

    def _want(self, identifier: bytes, task: Task, nursery: trio.Nursery) -> None:
        waiting = self._waiting.get(_block(task))
        if waiting is not None:
            waiting.add(identifier)
            return
        self._waiting[_block(task)] = {identifier}
        nursery.start_soon(self._read, task)

    async def _read(self, task: Task) -> None:
        """Read one snapshot for all who wait for it, as long as somebody does."""
        block = _block(task)
        while self._is_wanted(block):
            try:
                async with self._readers:
                    await self._snapshots.at(task)
                break
            except SourceError as exc:
                wait_s = self._settings.snapshot_again_s
                log.warning("operators of block %d: asked again in %g s: %s (%s)", block[0], wait_s, exc, exc.code)
            await trio.sleep(wait_s)
        self._state.touch(self._waiting.pop(block))

    def _is_wanted(self, block: tuple[int, bytes]) -> bool:
        tasks = (self._state.tasks.get(one) for one in self._waiting[block])
        return any(task is not None and task.is_open and _block(task) == block for task in tasks)

    # --- windows, and what is over

    def _window_left_s(self, identifier: bytes) -> float:
        """What is left of the window: all of it, unless the newest signature came before a restart."""
        gone_s = self._state.clock() - self._state.signed_at[identifier]
        return self._settings.window_s - min(max(gone_s, 0.0), self._settings.window_s)

    async def _close_windows(self) -> NoReturn:
        while True:
            self._window_set = trio.Event()
            self._close_due(trio.current_time())
            with trio.move_on_at(min(self._windows.values(), default=math.inf)):
                await self._window_set.wait()

    def _close_due(self, now: float) -> None:
        due = [identifier for identifier, until in self._windows.items() if until <= now]
        for identifier in due:
            del self._windows[identifier]
            self.ready[identifier] = now
        if due:
            self._told()

    async def _finish_for_ever(self) -> NoReturn:
        """As blocks pass: what is answered, deep enough, needs its signatures no more."""
        state = self._state
        head: int | None = None
        while True:
            head = await state.head.wait_value(partial(ne, head))
            await state.finish([one for one in state.signed if state.is_finished(one)])

    def _told(self) -> None:
        self._state.metrics.ready.set(len(self.ready))
        self.changed.value += 1


def _block(task: Task) -> tuple[int, bytes]:
    return task.created, task.created_hash


def _bad(identifier: bytes, members: Sequence[tuple[bytes, bytes, G2]]) -> list[bytes]:
    """Whose signature is none."""
    bad = []
    for operator_id, raw, key in members:
        try:
            good = verify(identifier, g1_from_bytes_untrusted(raw), key)
        except BadPoint:
            good = False
        if not good:
            bad.append(operator_id)
    return bad
