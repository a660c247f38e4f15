"""How far a scanner has come, and how many blocks it asks for at once. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from attestrio.errors import SourceError
from attestrio.l1.api import BlockHash, BlockNumber, BlockRef

VERSION: Final = 1
# version u8 | block i64 | index i64, -1: whole block | whole u8 | number of checkpoints u16, then each: u64, 32 bytes
HEAD: Final = struct.Struct(">BqqBH")
CHECKPOINT: Final = struct.Struct(">Q32s")


class CursorUnreadable(SourceError):
    """A cursor that this release did not write. The scan begins anew at its first block; nothing is missed."""

    code = "cursor_unreadable"

    def __init__(self, size: int) -> None:
        super().__init__(f"cursor of {size} B cannot be read")
        self.size = size


@dataclass(frozen=True, slots=True)
class Place:
    """Everything up to log `index` of `block` is delivered; up to the end of it where `index` is None."""

    block: int
    """-1 before block 0."""
    index: int | None = None
    checkpoints: tuple[BlockRef, ...] = ()
    """Scanned blocks as they were, oldest first; the last is `block`. Empty: nothing is scanned."""
    whole: bool = True
    """No checkpoint was dropped: before the oldest there is only the beginning."""

    @property
    def newest(self) -> BlockRef | None:
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def next_block(self) -> BlockNumber:
        """Where the next query begins: the same block while logs of it are left."""
        return BlockNumber(self.block + (self.index is None))

    def reached(self, block: BlockRef, index: int | None, remember: int) -> Place:
        """The place after delivering up to there. The oldest checkpoints above `remember` are dropped."""
        before = [ref for ref in self.checkpoints if ref.number < block.number]
        kept = (*before, block)[-remember:]
        return Place(block.number, index, kept, self.whole and len(kept) == len(before) + 1)

    def back_to(self, checkpoint: BlockRef) -> Place:
        """The place when this checkpoint was the newest."""
        kept = tuple(ref for ref in self.checkpoints if ref.number <= checkpoint.number)
        return replace(self, block=int(checkpoint.number), index=None, checkpoints=kept)

    def to_bytes(self) -> bytes:
        index = -1 if self.index is None else self.index
        head = HEAD.pack(VERSION, self.block, index, self.whole, len(self.checkpoints))
        return head + b"".join(CHECKPOINT.pack(ref.number, ref.hash) for ref in self.checkpoints)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Place:
        """Raises CursorUnreadable."""
        try:
            version, block, index, whole, count = HEAD.unpack_from(raw)
            found = [BlockRef(BlockNumber(number), BlockHash(hash_)) for number, hash_ in _checkpoints(raw)]
        except struct.error as exc:
            raise CursorUnreadable(len(raw)) from exc
        if version != VERSION or count != len(found) or block < -1 or index < -1:
            raise CursorUnreadable(len(raw))
        if found != sorted(found) or (found and found[-1].number != block):
            raise CursorUnreadable(len(raw))
        return cls(block, None if index == -1 else index, tuple(found), bool(whole))


def _checkpoints(raw: bytes) -> list[tuple[int, bytes]]:
    return list(CHECKPOINT.iter_unpack(raw[HEAD.size :]))


CALM: Final = 4  # answers after a refusal before a window grows again: each refusal costs a call


@dataclass(slots=True)
class Window:
    """How many blocks to ask for: half after each refusal, a quarter more after each answer once it is calm."""

    size: int
    most: int
    _calm: int = 0

    def refused(self, most: int | None = None) -> bool:
        """Ask for fewer, at most what the endpoint said it takes. False: it was one block already."""
        if self.size == 1:
            return False
        self.size = max(1, min(self.size // 2, most or self.size))
        self._calm = CALM
        return True

    def answered(self) -> None:
        if self._calm:
            self._calm -= 1
        else:
            self.size = min(self.most, self.size + max(1, self.size // 4))
