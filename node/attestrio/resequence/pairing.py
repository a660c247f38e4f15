"""Which old block each new one is of: found by the transactions, in order, and then held against the old one.

What cannot be paired is told once; what follows is then said to be neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from attestrio.resequence.batches import StreamBatch, StreamBlock
from attestrio.resequence.terms import Kept, Terms

Blame = Callable[[str, str], None]
"""Told a property, and what is against it."""


@dataclass(slots=True)
class _Place:
    """An old block, or an old batch that has none, and what has come of it."""

    batch: StreamBatch
    block: StreamBlock | None
    taken: int = 0
    """Transactions."""
    parts: int = 0

    @property
    def through(self) -> bool:
        return self.block is not None and self.parts > 0 and self.taken == len(self.block.txs)


class Pairing:
    """P2 to P7 and P10, as far as old and new are compared. New batches are fed in their order."""

    def __init__(self, old: Iterator[StreamBatch], kept: Kept, terms: Terms, blame: Blame) -> None:
        self._terms, self._blame = terms, blame
        self._places = _places(old)
        self._here: _Place | None = next(self._places, None)
        self._broken = False
        self._time, self._progress = kept.timestamp, kept.l1_progress
        self._used: set[int] = set()
        self._owner = kept.batch  # the old batch the last new one was of
        self._same_parent = True
        self._lessened = {block for block, _ in terms.failed}
        self.indices = self.comparable = self.same_hashes = 0

    def feed(self, batch: StreamBatch) -> None:
        """The next new batch."""
        owners: list[StreamBatch] = []
        for block in batch.blocks:
            self._alone(block)
            place = None if self._broken else self._place(block)
            if place is not None:
                if not owners or owners[-1] is not place.batch:
                    owners.append(place.batch)
                self._compare(batch, block, place)
            else:
                self._same_parent = False
        if not self._broken:
            self._owned(batch, owners)

    def end(self) -> None:
        """There are no more new batches."""
        if self._broken:
            return
        if self._here is not None and self._here.parts:
            self._here = next(self._places, None)  # if it is not through, transactions are missing, which is P1
        while (here := self._here) is not None:
            self._missing(here)

    # --- pairing

    def _place(self, new: StreamBlock) -> _Place | None:
        """Where it belongs, which is marked as used; None, and somebody is to blame."""
        while (here := self._here) is not None:
            if here.through:
                self._here = next(self._places, None)
                continue
            if here.block is None or (new.txs and not here.block.txs):
                self._missing(here)
                continue
            if here.block.txs and not new.txs:
                self._blame("P4", f"block {new.number} is empty, old block {here.block.number} is not")
                return None
            rest = here.block.encoded[here.taken :]
            if rest[: len(new.txs)] != new.encoded:
                self._break(f"block {new.number} is no run of transactions of old block {here.block.number}")
                return None
            here.taken += len(new.txs)
            here.parts += 1
            return here
        if new.txs:
            self._break(f"block {new.number} is of no old block")
        else:
            self._blame("P4", f"block {new.number} is empty, and there is no old block for it")
        return None

    def _missing(self, place: _Place) -> None:
        if place.block is None:
            self._blame("P5", f"there is no new batch for old batch {place.batch.number}, which has no blocks")
        else:
            self._blame("P4", f"there is no new block for old block {place.block.number}")
        self._here = next(self._places, None)

    def _break(self, why: str) -> None:
        self._blame("P2", why)
        self._broken = True

    def _owned(self, batch: StreamBatch, owners: list[StreamBatch]) -> None:
        """P5, and the kind and number of a batch."""
        if not batch.blocks:
            if self._here is not None and self._here.through:
                self._here = next(self._places, None)
            if self._here is None or self._here.block is not None:
                self._blame("P5", f"batch {batch.number} has no blocks, and no old batch without blocks stands there")
                return
            owners = [self._here.batch]
            self._here = next(self._places, None)
        numbers = [owner.number for owner in owners]
        if len(owners) > 1:
            self._blame("P5", f"batch {batch.number} has blocks of the old batches {numbers}")
        for owner in owners:
            if self._terms.strict and owner.number == self._owner:
                self._blame("P5", f"old batch {owner.number} has more than one new batch")
            if owner.kind != batch.kind:
                self._blame("P5", f"batch {batch.number} is of kind {batch.kind}, the old one was of {owner.kind}")
            if batch.number < owner.number:
                self._blame("P6", f"batch {batch.number} was batch {owner.number}")
            self._owner = owner.number

    # --- comparing

    def _alone(self, new: StreamBlock) -> None:
        """What holds for every new block, whatever it is of."""
        if new.timestamp < self._time:
            self._blame("P3", f"block {new.number} has time {new.timestamp}, the one before it {self._time}")
        if self._time and new.message.delta_timestamp != new.timestamp - self._time:
            delta = new.message.delta_timestamp
            self._blame("P3", f"block {new.number} is {delta} s after the one before it by its own account")
        self._time = new.timestamp
        if self._terms.reuse_l1_info_index and new.l1_index:
            self._first_use(new)

    def _first_use(self, new: StreamBlock) -> None:
        index = new.l1_index
        self.indices += 1
        if index < self._progress and index not in self._used:
            self._blame("P7", f"block {new.number} uses L1 info index {index} first after {self._progress}")
        self._used.add(index)
        self._progress = max(self._progress, index)

    def _compare(self, batch: StreamBatch, new: StreamBlock, place: _Place) -> None:
        old = place.block
        assert old is not None
        if new.timestamp != old.timestamp:
            self._blame("P3", f"block {new.number} has time {new.timestamp}, old block {old.number} {old.timestamp}")
        if new.number < old.number:
            self._blame("P6", f"block {new.number} was block {old.number}")
        index = old.l1_index if place.parts == 1 else 0
        if self._terms.reuse_l1_info_index and new.l1_index != index:
            self._blame("P7", f"block {new.number} has L1 info index {new.l1_index}, not {index}")
        whole = place.parts == 1 and place.through and old.number not in self._lessened
        made_of_same = whole and self._same_parent and _made_of(batch, new) == _made_of(place.batch, old)
        if made_of_same:
            self.comparable += 1
            if _came_out(new) != _came_out(old):
                self._blame("P10", f"block {new.number} is {new.message.hash.hex()}, it was {old.message.hash.hex()}")
        self._same_parent = whole and new.message.hash == old.message.hash
        self.same_hashes += self._same_parent


def _made_of(batch: StreamBatch, block: StreamBlock) -> tuple[object, ...]:
    """What decides how a block comes out, next to its parent."""
    one = block.message
    txs = [(tx.encoded, tx.effective_gas_price_percentage) for tx in block.txs]
    return (
        batch.fork, one.number, one.timestamp, one.coinbase, one.l1_infotree_index, one.global_exit_root,
        one.l1_blockhash, txs,
    )  # fmt: skip


def _came_out(block: StreamBlock) -> tuple[bytes, bytes, bytes, int]:
    one = block.message
    return one.hash, one.state_root, one.block_info_root, one.min_timestamp


def _places(batches: Iterator[StreamBatch]) -> Iterator[_Place]:
    for batch in batches:
        if not batch.blocks:
            yield _Place(batch, None)
        for block in batch.blocks:
            yield _Place(batch, block)
