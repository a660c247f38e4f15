"""The state of a chain, flat: balances, nonces, code and storage, with a way back at every level.

    transaction   `begin_tx`, then `checkpoint` and `revert` as calls fail; `take_back_tx`
    block         `drop_block`, or `commit`: what was changed becomes the state at the end of the block
    history       `unwind_to`: the state at the end of an earlier block, from the old values each block has left behind

No tree is in here; what a block has changed goes to `smt`, and its root comes back with `commit`. An account is there
when it has a balance, a nonce or code: nothing is ever destroyed, so there is no other trace of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from attestrio.zkevm.errors import NoSuchBlock
from attestrio.zkevm.smt import EMPTY

if TYPE_CHECKING:
    import apsw

BALANCE, NONCE, CODE = -1, -2, -3
"""Fields of an account; every other field is a slot of its storage, 0 to 2^256-1."""

Key = tuple[bytes, int]
"""An address (20 bytes) and a field."""
Value = int | bytes
"""Bytes for code, a number for all else; b"" and 0 are what was never written."""


@dataclass(frozen=True, slots=True)
class Tip:
    """The block whose end the state is at."""

    number: int
    """-1: not even the genesis block."""
    root: bytes
    """32 bytes, as in headers."""
    depth: int
    """Of the state tree, as `Smt.depth`."""


BEFORE_GENESIS: Final = Tip(-1, EMPTY, 0)


class StateStore(Protocol):
    """Where a state lies, with what is needed to go back."""

    @property
    def tip(self) -> Tip: ...

    @property
    def oldest(self) -> int:
        """The earliest block there is a way back to."""
        ...

    def get(self, key: Key) -> Value: ...

    def commit(self, tip: Tip, changes: Mapping[Key, Value]) -> None:
        """The state at the end of block `tip.number`, which is the next: all of it or nothing."""
        ...

    def unwind_to(self, number: int) -> None:
        """Back to the end of a block from `oldest` to the tip."""
        ...

    def forget_before(self, number: int) -> None:
        """Give up the way back to blocks before `number`."""
        ...

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection | None]:
        """Everything inside at once, or nothing. Yields what rows of others can be written with, if there is such."""
        ...


class State:
    """The state as transactions see and change it. One thread at a time."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._changed: dict[Key, Value] = {}  # in this block
        self._undo: list[tuple[Key, Value | None]] = []  # what they were; None: a key that has become warm
        self._warm: set[Key] = set()
        self._before: dict[Key, Value] = {}  # what this transaction has found
        self._tx_mark = 0

    # --- values

    def get(self, key: Key) -> Value:
        value = self._changed.get(key)
        return self._store.get(key) if value is None else value

    def set(self, key: Key, value: Value) -> None:
        old = self.get(key)
        if value != old:
            self._before.setdefault(key, old)
            self._undo.append((key, old))
            self._changed[key] = value

    def number(self, address: bytes, field: int) -> int:
        """A balance, a nonce or a slot."""
        value = self.get((address, field))
        assert isinstance(value, int)
        return value

    def balance(self, address: bytes) -> int:
        """In wei."""
        return self.number(address, BALANCE)

    def add_balance(self, address: bytes, amount: int) -> None:
        """`amount` may be negative; who calls has looked that it is there."""
        self.set((address, BALANCE), self.balance(address) + amount)

    def nonce(self, address: bytes) -> int:
        return self.number(address, NONCE)

    def set_nonce(self, address: bytes, nonce: int) -> None:
        self.set((address, NONCE), nonce)

    def code(self, address: bytes) -> bytes:
        value = self.get((address, CODE))
        assert isinstance(value, bytes)
        return value

    def set_code(self, address: bytes, code: bytes) -> None:
        self.set((address, CODE), code)

    def storage(self, address: bytes, slot: int) -> int:
        return self.number(address, slot)

    def set_storage(self, address: bytes, slot: int, value: int) -> None:
        self.set((address, slot), value)

    def storage_before(self, address: bytes, slot: int) -> int:
        """What a slot was at the beginning of the transaction."""
        value = self._before.get((address, slot))
        if value is None:
            return self.storage(address, slot)
        assert isinstance(value, int)
        return value

    def is_there(self, address: bytes) -> bool:
        """Whether the account has anything but storage."""
        return bool(self.balance(address) or self.nonce(address) or self.code(address))

    # --- what a transaction has touched already

    def is_warm(self, address: bytes, field: int = BALANCE) -> bool:
        """`field`: a slot, or nothing for the account itself."""
        return (address, field) in self._warm

    def warm(self, address: bytes, field: int = BALANCE) -> None:
        key = (address, field)
        if key not in self._warm:
            self._warm.add(key)
            self._undo.append((key, None))

    # --- transactions

    def begin_tx(self) -> None:
        """The next transaction of this block begins. What is already changed stays."""
        self._tx_mark = len(self._undo)
        self._before.clear()
        self._warm.clear()

    def checkpoint(self) -> int:
        """To `revert` to, within the transaction."""
        return len(self._undo)

    def revert(self, checkpoint: int) -> None:
        """Everything since `checkpoint` has never happened, warmth included."""
        while len(self._undo) > checkpoint:
            key, old = self._undo.pop()
            if old is None:
                self._warm.discard(key)
            else:
                self._changed[key] = old

    def take_back_tx(self) -> None:
        """The state as it was before the last `begin_tx`."""
        self.revert(self._tx_mark)

    # --- blocks

    @property
    def tip(self) -> Tip:
        """The last committed block."""
        return self._store.tip

    def changes(self) -> dict[Key, Value]:
        """What is different from the state at the end of the last block, with its new value."""
        return {key: value for key, value in self._changed.items() if value != self._store.get(key)}

    def drop_block(self) -> None:
        """The state at the end of the last committed block."""
        self._changed.clear()
        self._undo.clear()
        self._before.clear()
        self._warm.clear()
        self._tx_mark = 0

    def commit(self, root: bytes, depth: int) -> Tip:
        """The block is finished; `root` and `depth` are those of a tree with its `changes`. Raises StorageUnusable."""
        tip = Tip(self.tip.number + 1, root, depth)
        self._store.commit(tip, self.changes())
        self.drop_block()
        return tip

    # --- history

    @property
    def oldest(self) -> int:
        """The earliest block `unwind_to` can go to; the genesis block unless history was forgotten."""
        return self._store.oldest

    def unwind_to(self, number: int) -> Tip:
        """Back to the end of block `number`; a block under way is dropped. Raises NoSuchBlock, StorageUnusable."""
        if not self.oldest <= number <= self.tip.number:
            raise NoSuchBlock(number, self.oldest, self.tip.number)
        self.drop_block()
        self._store.unwind_to(number)
        return self.tip

    def forget_before(self, number: int) -> None:
        """Give up the way back to blocks before `number`: the old values of each block take as much room as the new.

        Raises NoSuchBlock, StorageUnusable.
        """
        if not self.oldest <= number <= self.tip.number:
            raise NoSuchBlock(number, self.oldest, self.tip.number)
        self._store.forget_before(number)

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection | None]:
        """What is committed inside is on disk at once with the rows the caller writes, or none of it is.

        Yields the connection for those rows, None for a state in memory. When something is raised the state is at the
        end of the block it was at before. Nests; an inner one that fails must fail the outer ones too.
        """
        try:
            with self._store.transaction() as connection:
                yield connection
        except BaseException:
            self.drop_block()
            raise


def empty(key: Key) -> Value:
    """What was never written."""
    return b"" if key[1] == CODE else 0


class MemoryStore:
    """A `StateStore` that is gone with the process."""

    def __init__(self) -> None:
        self._values: dict[Key, Value] = {}
        self._history: list[tuple[Tip, dict[Key, Value]]] = []  # the tip before each block, and the old values
        self._tip = BEFORE_GENESIS
        self._depth = 0  # of transactions
        self._kept: tuple[dict[Key, Value], list[tuple[Tip, dict[Key, Value]]], Tip] | None = None

    @property
    def tip(self) -> Tip:
        return self._tip

    @property
    def oldest(self) -> int:
        return max(0, self._tip.number - len(self._history)) if self._tip.number >= 0 else -1

    def get(self, key: Key) -> Value:
        value = self._values.get(key)
        return empty(key) if value is None else value

    def commit(self, tip: Tip, changes: Mapping[Key, Value]) -> None:
        self._history.append((self._tip, {key: self.get(key) for key in changes}))
        self._write(changes)
        self._tip = tip

    def unwind_to(self, number: int) -> None:
        self._keep()
        while self._tip.number > number:
            self._tip, old = self._history.pop()
            self._write(old)

    def forget_before(self, number: int) -> None:
        self._keep()
        self._history = self._history[len(self._history) - (self._tip.number - number) :]

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection | None]:
        began, self._depth = self._tip.number, self._depth + 1
        try:
            yield None
        except BaseException:
            if self._kept is not None:
                self._values, self._history, self._tip = self._kept
            self._kept = None
            self.unwind_to(began)
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self._kept = None

    def _keep(self) -> None:
        """What a transaction is about to throw away; commits alone can be taken back without."""
        if self._depth and self._kept is None:
            self._kept = (dict(self._values), list(self._history), self._tip)

    def _write(self, values: Mapping[Key, Value]) -> None:
        for key, value in values.items():
            if value:
                self._values[key] = value
            else:
                self._values.pop(key, None)
