"""What a sequencer hears from L1: leaves of the info tree for its blocks, and rollbacks of its batches.

From the contracts, through a scanner whose place is kept with what it has found; or leaves alone from a file, one JSON
object a line: {"index": 1, "ger": "0x…", "l1_hash": "0x…", "timestamp": 1700000000}.

Source: events of Polygon's rollup manager and of PolygonZkEVMGlobalExitRootV2.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import ClassVar, Final, NoReturn

import msgspec
import trio
from trio_util import AsyncValue

from attestrio.errors import SafetyError, SetupError
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.l1.api import Address, Log, LogFilter, Step, Topic
from attestrio.l1.errors import UnreadableEvent
from attestrio.l1.logs import Event
from attestrio.roles.keccak import keccak256
from attestrio.sequencer.l1_store import Half, L1Store, Rollback
from attestrio.sequencer.leaves import Leaf, MemoryLeaves
from attestrio.sequencer.lines import GrowingFile
from attestrio.sequencer.shared import SharedChain

log = logging.getLogger("attestrio.sequencer")

ROLLBACK: Final = Event.parse(
    "RollbackBatches(uint32 indexed rollupID, uint64 indexed targetBatch, bytes32 accInputHashToRollback)"
)
EXIT_ROOTS: Final = Event.parse("UpdateL1InfoTree(bytes32 indexed mainnetExitRoot, bytes32 indexed rollupExitRoot)")
LEAF: Final = Event.parse(
    "UpdateL1InfoTreeV2(bytes32 currentL1InfoRoot, uint32 indexed leafCount, uint256 blockhash, uint64 minTimestamp)"
)


class LeafGone(SafetyError):
    """A block has taken over a leaf of the L1 info tree that a reorg of L1 has removed or replaced."""

    code: ClassVar[str] = "leaf_gone"

    def __init__(self, index: int) -> None:
        super().__init__(f"a block has leaf {index} of the L1 info tree, which L1 has taken back: go back to before it")
        self.index = index


class BadLeafFile(SetupError):
    """A line of the file with the leaves is none, or does not follow on the one before."""

    code: ClassVar[str] = "bad_leaf_file"


class LeafBook:
    """The leaves known so far, a `Leaves`: asked by the thread that builds while the next ones are added."""

    def __init__(self, leaves: Iterable[Leaf] = ()) -> None:
        self._leaves = MemoryLeaves(leaves)

    def leaf(self, index: int) -> Leaf | None:
        return self._leaves.leaf(index)

    def newest(self, timestamp: int) -> Leaf | None:
        return self._leaves.newest(timestamp)

    def add(self, leaf: Leaf) -> None:
        """Raises ValueError as `MemoryLeaves.add`."""
        self._leaves.add(leaf)

    def replace(self, leaves: Iterable[Leaf]) -> None:
        """Others instead, at once: a reorg of L1."""
        self._leaves = MemoryLeaves(leaves)


class _LeafLine(msgspec.Struct, forbid_unknown_fields=True):
    index: int
    ger: str
    l1_hash: str
    timestamp: int


class LeafFile:
    """Leaves from a file that may grow."""

    def __init__(self, file: GrowingFile, book: LeafBook, every_s: float = 1.0, run: RunBlocking = in_thread) -> None:
        self._file, self._book, self._every_s, self._run = file, book, every_s, run

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Started once everything is read that is there. Raises BadLeafFile, StorageUnusable."""
        told = False
        while True:
            while lines := await self._run(self._file.lines):
                for line in filter(None, map(bytes.strip, lines)):
                    self._take(line)
            if not told:
                task_status.started()
                told = True
            await trio.sleep(self._every_s)

    def _take(self, line: bytes) -> None:
        try:
            read = msgspec.json.decode(line, type=_LeafLine)
            self._book.add(Leaf(read.index, _word(read.ger), _word(read.l1_hash), read.timestamp))
        except (msgspec.DecodeError, ValueError) as exc:
            raise BadLeafFile(f"{self._file.path}: {exc}: {line[:120]!r}") from exc


def _word(text: str) -> bytes:
    raw = bytes.fromhex(text.removeprefix("0x"))
    if len(raw) != 32:
        raise ValueError(f"{text} has not 32 B")
    return raw


def wanted(manager: Address, ger_manager: Address) -> LogFilter:
    """The logs of both contracts."""
    addresses = tuple(dict.fromkeys((manager, ger_manager)))
    return LogFilter(addresses, ((ROLLBACK.topic, EXIT_ROOTS.topic, LEAF.topic),))


class L1Sink:
    """Where the scanner's logs go. `rollbacks` counts what may have to be obeyed; who obeys asks the store which."""

    def __init__(
        self,
        store: L1Store,
        book: LeafBook,
        chain: SharedChain,
        rollup_id: int,
        manager: Address,
        ger_manager: Address,
        run: RunBlocking = in_thread,
    ) -> None:
        self.store, self._book, self._chain, self._run = store, book, chain, run
        self._rollup = Topic(rollup_id.to_bytes(32, "big"))
        self.manager, self.ger_manager = manager, ger_manager
        self._heard = AsyncValue(0)
        book.replace(store.leaves())

    @property
    def heard(self) -> int:
        """How many rollbacks were delivered since the start."""
        return self._heard.value

    async def wait_more(self, than: int) -> None:
        """Until more rollbacks were delivered."""
        await self._heard.wait_value(lambda heard: heard > than)

    async def cursor(self) -> bytes | None:
        return await self._run(self.store.cursor)

    async def record(self, step: Step) -> None:
        """Raises LeafGone, with which nothing was recorded."""
        progress = 0 if step.void_above is None else await self._chain.ask(lambda db: db.l1_progress)
        rollbacks = await self._run(lambda: self._record(step, progress))
        self._heard.value += rollbacks

    def _record(self, step: Step, progress: int) -> int:
        rollbacks, leaves = 0, []
        with self.store.transaction():
            if step.void_above is not None:
                self.store.forget_above(step.void_above)
                if (left := self.store.last_leaf()) < progress:
                    raise LeafGone(left + 1)
            half = self.store.half()
            for one in step.logs:
                try:
                    if one.topics[0] == ROLLBACK.topic:
                        rollbacks += self._rollback(one)
                    elif one.address == self.ger_manager:
                        leaf, half = self._leaf(one, half)
                        if leaf is not None:
                            self.store.put_leaf(leaf, one.block.number)
                            leaves.append(leaf)
                except UnreadableEvent as exc:  # of another contract than was meant
                    log.error("passed over: %s", exc)
            self.store.put_half(half)
            self.store.put_cursor(step.cursor)
        if step.void_above is not None:
            self._book.replace(self.store.leaves())
        for leaf in leaves:
            self._book.add(leaf)
        return rollbacks

    def _rollback(self, one: Log) -> int:
        if one.address != self.manager or one.topics[1] != self._rollup:
            return 0
        self.store.put_rollback(Rollback(one.key, one.block.number, ROLLBACK.read_untrusted(one)["targetBatch"]))
        return 1

    def _leaf(self, one: Log, half: Half | None) -> tuple[Leaf | None, Half | None]:
        """A leaf comes as two events of one transaction: its exit roots, then its number and block."""
        if one.topics[0] == EXIT_ROOTS.topic:
            read = EXIT_ROOTS.read_untrusted(one)
            ger = keccak256(read["mainnetExitRoot"] + read["rollupExitRoot"])
            return None, Half(one.transaction, ger, one.block.number)
        read = LEAF.read_untrusted(one)
        index = read["leafCount"] - 1
        if half is None or half.tx != one.transaction:
            log.warning("leaf %d of the L1 info tree has no exit roots: passed over", index)
            return None, None
        return Leaf(index, half.ger, read["blockhash"].to_bytes(32, "big"), read["minTimestamp"]), None
