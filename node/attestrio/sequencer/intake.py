"""How a transaction gets into the pool: over JSON-RPC, from a file, or from what was there before a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import trio
from trio_util import AsyncValue

from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.lines import GrowingFile
from attestrio.sequencer.pool import AccountFacts, NoRoom, Pool, TransactionRefused
from attestrio.sequencer.pool_store import Kept, PoolStore
from attestrio.sequencer.shared import SharedChain
from attestrio.zkevm.errors import BadTransaction
from attestrio.zkevm.transactions import Tx, tx_untrusted

log = logging.getLogger("attestrio.sequencer")


class Intake:
    """The door of the pool. One task may wait for what comes in.

    Args:
      store: where the pool outlives the process; None: nowhere.
      now: seconds since 1970.
    """

    def __init__(
        self,
        chain: SharedChain,
        pool: Pool,
        store: PoolStore | None = None,
        now: Callable[[], float] = time.time,
        run: RunBlocking = in_thread,
    ) -> None:
        self.chain, self.pool = chain, pool
        self._store, self._now, self._run = store, now, run
        self._arrived = AsyncValue(0)

    async def restore(self) -> None:
        """Fill the pool with what waited when the process before this one ended. Raises StorageUnusable."""
        if self._store is None:
            return
        kept = await self._store.load()
        txs = await self._run(lambda: list(_read(kept)))
        nonces = await self.chain.ask(lambda db: {tx.sender(): db.state.nonce(tx.sender()) for tx, _ in txs})
        wall, now = self._now(), trio.current_time()
        for tx, at in txs:
            self.pool.restore(tx, nonces[tx.sender()], now - max(wall - at, 0.0))
        await self.settle()
        if len(self.pool):
            log.info("%d transactions wait from before", len(self.pool))
        self._arrived.value += 1

    async def settle(self) -> None:
        """Forget on disk what the pool has let go. Raises StorageUnusable."""
        gone = set() if self._store is None else self._store.hashes - self.pool.hashes()
        if self._store is not None and gone:
            await self._store.remove(gone)
        else:
            await trio.lowlevel.checkpoint()

    async def add(self, raw: bytes, *, keep: bool = True) -> bytes:
        """Take a transaction in; its hash, once a crash does not lose it any more. Raises TransactionRefused.

        `keep`: false for one that comes again after a restart anyway.
        """
        if self.chain.head.halted is not None:
            raise NoRoom(f"nothing is taken in: {self.chain.head.halted}")
        tx = self.pool.read_untrusted(raw)
        facts = await self.chain.ask(lambda db: facts_of(db, tx))
        hash = self.pool.add(tx, facts, trio.current_time())
        self._arrived.value += 1
        if self._store is not None and keep:
            await self._store.put(Kept(hash, raw, self._now()))
        return hash

    async def wait_some(self) -> None:
        """Until something waits for a block, or came in just now."""
        seen = self._arrived.value
        if not self.pool.ready(1):
            await self._arrived.wait_value(lambda now: now != seen)


def _read(kept: Iterable[Kept]) -> Iterator[tuple[Tx, float]]:
    """Those that can still be read, with their senders worked out, and since when they wait."""
    for one in kept:
        try:
            tx = tx_untrusted(one.raw)
            tx.sender()
        except BadTransaction as exc:
            log.warning("transaction %s is passed over: %s", one.hash.hex(), exc)
        else:
            yield tx, one.at


def facts_of(db: ChainDb, tx: Tx) -> AccountFacts:
    """Of the sender, at the end of the last block."""
    sender = tx.sender()
    return AccountFacts(db.state.nonce(sender), db.state.balance(sender))


class TransactionFile:
    """Transactions from a file, one a line, in hex, as `eth_sendRawTransaction` has them; it may grow.

    Read from the beginning at every start: those that are in a block already are passed over by their nonces. While
    there is no room the rest waits.
    """

    def __init__(self, path: Path, intake: Intake, every_s: float = 1.0, run: RunBlocking = in_thread) -> None:
        self._file, self._intake, self._every_s, self._run = GrowingFile(path), intake, every_s, run

    async def run(self) -> NoReturn:
        """Raises StorageUnusable when the file is there and cannot be read."""
        while True:
            while lines := await self._run(self._file.lines):
                for line in lines:
                    await self._take(line)
            await trio.sleep(self._every_s)

    async def _take(self, line: bytes) -> None:
        raw = self._raw(line)
        while raw:
            try:
                await self._intake.add(raw, keep=False)  # the file has it
            except NoRoom:
                await trio.sleep(self._every_s)
                continue
            except TransactionRefused as exc:
                log.info("%s: a transaction is passed over: %s", self._file.path, exc)
            return

    def _raw(self, line: bytes) -> bytes:
        try:
            return bytes.fromhex(line.strip().decode("ascii").removeprefix("0x"))
        except ValueError:
            log.warning("%s: a line that is not hex is passed over: %r", self._file.path, line[:40])
            return b""
