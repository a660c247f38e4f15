"""How far everything is done: the watermark, and what is unfinished above it. Pure.

Batches are finished in any order, several at a time. The watermark is the place before which nothing is left, so a
batch that takes long holds it and holds up nobody; what was finished above it is not done again after a restart.
"""

from __future__ import annotations

import heapq
import struct
from dataclasses import dataclass
from typing import Final

FORMAT: Final = struct.Struct(">qI")


@dataclass(frozen=True, slots=True, order=True)
class Watermark:
    """Everything before log `index` of `block` is processed: signed, refused, or given up for a reason."""

    block: int
    index: int = 0

    def to_bytes(self) -> bytes:
        return FORMAT.pack(self.block, self.index)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Watermark:
        """Raises ValueError."""
        if len(raw) != FORMAT.size:
            raise ValueError(f"a watermark of {len(raw)} B")
        return cls(*FORMAT.unpack(raw))


class Progress:
    """What is unfinished of everything known. O(log n) each.

    What a reorg took off the chain is parked: it is unfinished, and holds nothing up.
    """

    def __init__(self, end: Watermark) -> None:
        self.end = end
        """The place before which every batch is known."""
        self._open: dict[bytes, Watermark | None] = {}
        self._places: list[tuple[Watermark, bytes]] = []

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, key: bytes) -> bool:
        return key in self._open

    def opened(self, key: bytes, place: Watermark) -> None:
        """There is work; again, at another place after a reorg."""
        self._open[key] = place
        heapq.heappush(self._places, (place, key))

    def parked(self, key: bytes) -> None:
        """The work has no place on the chain at present."""
        self._open[key] = None

    def finished(self, key: bytes) -> None:
        """Nothing is left to be done; also for what is not open."""
        self._open.pop(key, None)

    def watermark(self) -> Watermark:
        """The place of the first unfinished batch, or the end of what is known."""
        while self._places and self._open.get(self._places[0][1]) != self._places[0][0]:
            heapq.heappop(self._places)
        return min(self._places[0][0], self.end) if self._places else self.end
