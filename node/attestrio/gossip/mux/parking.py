"""Frames of rounds that have not begun, and how many of them one connection may keep."""

from __future__ import annotations

from typing import Final

from attestrio.gossip.mux.stream import Frame, Stream

MAX_PARKED_FRAMES: Final = 100  # of all streams together; the reference's budget for what nobody reads yet
MAX_PARKED_BYTES: Final = 160 * 1024


class Parking:
    """Counts what all streams of a connection have parked."""

    __slots__ = ("_bytes", "_frames")

    def __init__(self) -> None:
        self._frames = self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read. What was read is taken even then."""
        return self._frames > MAX_PARKED_FRAMES or self._bytes > MAX_PARKED_BYTES

    def add(self, stream: Stream, frame: Frame) -> None:
        """One frame more."""
        stream.parked.append(frame)
        self._frames += 1
        if isinstance(frame, bytearray):
            self._bytes += len(frame)

    def extend(self, stream: Stream, piece: bytes) -> None:
        """More of the DATA frame that was added last."""
        frame = stream.parked[-1]
        assert isinstance(frame, bytearray)  # nothing comes in the middle of a frame
        frame += piece
        self._bytes += len(piece)

    def take(self, stream: Stream) -> Frame:
        """The oldest frame, taken out."""
        frame = stream.parked.popleft()
        self._frames -= 1
        if isinstance(frame, bytearray):
            self._bytes -= len(frame)
        return frame
