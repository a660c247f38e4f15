"""How a transaction gets into the pool: over JSON-RPC, or from a file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NoReturn

import trio
from trio_util import AsyncValue

from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.lines import GrowingFile
from attestrio.sequencer.pool import AccountFacts, NoRoom, Pool, TransactionRefused
from attestrio.sequencer.shared import SharedChain
from attestrio.zkevm.transactions import Tx

log = logging.getLogger("attestrio.sequencer")


class Intake:
    """The door of the pool. One task may wait for what comes in."""

    def __init__(self, chain: SharedChain, pool: Pool) -> None:
        self.chain, self.pool = chain, pool
        self._arrived = AsyncValue(0)

    async def add(self, raw: bytes) -> bytes:
        """Take a transaction in; its hash. Raises TransactionRefused."""
        if self.chain.head.halted is not None:
            raise NoRoom(f"nothing is taken in: {self.chain.head.halted}")
        tx = self.pool.read_untrusted(raw)
        facts = await self.chain.ask(lambda db: facts_of(db, tx))
        hash = self.pool.add(tx, facts, trio.current_time())
        self._arrived.value += 1
        return hash

    async def wait_some(self) -> None:
        """Until something waits for a block, or came in just now."""
        seen = self._arrived.value
        if not self.pool.ready(1):
            await self._arrived.wait_value(lambda now: now != seen)


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
                await self._intake.add(raw)
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
