"""As much of CBOR as a batch is written in, with a bound on everything it makes. Pure.

A library would make a list of Python numbers of each proof, eight bytes and more for one: 256 MB of arrays of small
numbers, or of empty arrays, would take gigabytes before anybody could count them. Here an array of bytes becomes bytes
at once, in pieces, and everything else is counted before it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attestrio.operator.errors import BatchTooLarge, BatchUnreadable

MAX_DEPTH: Final = 16
MAX_SKIPPED: Final = 1 << 14  # items inside values of unknown keys, in one batch
MAX_TEXT: Final = 256
PIECE: Final = 1 << 20  # bytes of an array that are looked at together

UINT, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, OTHER = range(8)
NULLS: Final = (0xF6, 0xF7)  # null, undefined
FLOAT_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}  # what follows the head of a simple value or float

# One letter for each byte of an array of small numbers: a number below 24, the mark before a larger one, the rest.
SMALL, MARK, REST = b"smr"
KINDS: Final = bytes(SMALL if byte < 24 else MARK if byte == 24 else REST for byte in range(256))


class Reader:
    """Reads one document from `raw`. Every method raises only BatchUnreadable."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0
        self._skipped = 0

    def bad(self, problem: str) -> BatchUnreadable:
        return BatchUnreadable(problem, self.at)

    def head(self) -> tuple[int, int]:
        """(major type, argument) of the next item."""
        first = self._take(1)[0]
        major, short = first >> 5, first & 31
        if short < 24:
            return major, short
        if short > 27:
            raise self.bad("a length that is not told beforehand" if short == 31 else "a reserved length")
        return major, int.from_bytes(self._take(1 << (short - 24)), "big")

    def array(self, most: int) -> int:
        """How many items follow, `most` at most."""
        return self._counted(ARRAY, "array", most)

    def map(self, most: int) -> int:
        """How many pairs follow, `most` at most."""
        return self._counted(MAP, "map", most)

    def text(self, most: int = MAX_TEXT) -> str:
        """A text of `most` bytes at most."""
        major, size = self.head()
        if major != TEXT:
            raise self.bad("not a text")
        if size > most:
            raise BatchTooLarge("bytes of a text", size, most)
        try:
            return self._take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise self.bad("a text that is not UTF-8") from None

    def octets(self) -> bytes:
        """A byte string, or an array of numbers from 0 to 255. About 10 ms per MB."""
        major, count = self.head()
        if major == BYTES:
            return self._take(count)
        if major != ARRAY:
            raise self.bad("not an array of bytes")
        if count > len(self.raw) - self.at:
            raise self.bad("ends inside an array")
        out = bytearray()
        while (left := count - len(out)) > 0:
            piece = self._numbers(left)
            out += piece
        return bytes(out)

    def or_null(self, read: Callable[[], bytes]) -> bytes | None:
        if self.at < len(self.raw) and self.raw[self.at] in NULLS:
            self.at += 1
            return None
        return read()

    def skip(self, depth: int = 0) -> None:
        """Pass over an item of any kind."""
        self._skipped += 1
        if depth > MAX_DEPTH:
            raise BatchTooLarge("levels", depth, MAX_DEPTH)
        if self._skipped > MAX_SKIPPED:
            raise BatchTooLarge("items under unknown keys", self._skipped, MAX_SKIPPED)
        major, argument = self.head_of_any()
        if major in (BYTES, TEXT):
            self._take(argument)
        elif major == ARRAY and argument > 0 and self._skip_numbers(argument):
            pass
        elif major in (ARRAY, MAP, TAG):
            if argument > len(self.raw) - self.at:
                raise self.bad("ends inside an item")
            for _ in range({ARRAY: argument, MAP: 2 * argument, TAG: 1}[major]):
                self.skip(depth + 1)

    def head_of_any(self) -> tuple[int, int]:
        """As `head`, and the value of a float is taken with it."""
        if self.at < len(self.raw) and self.raw[self.at] >> 5 == OTHER:
            short = self._take(1)[0] & 31
            if short > 27:
                raise self.bad("a break, or a reserved value")
            self._take(FLOAT_BYTES.get(short, 0))
            return OTHER, short
        return self.head()

    def end(self) -> None:
        if self.at != len(self.raw):
            raise self.bad("more after the end")

    def _counted(self, want: int, name: str, most: int) -> int:
        major, count = self.head()
        if major != want:
            raise self.bad(f"not a{'n' if want == ARRAY else ''} {name}")
        if count > most:
            raise BatchTooLarge(f"items of the {name}", count, most)
        return count

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.raw):
            raise self.bad("ends inside an item")
        taken = self.raw[self.at : end]
        self.at = end
        return taken

    def _skip_numbers(self, count: int) -> bool:
        """Pass over an array of bytes under an unknown key, as one item; False: it is something else."""
        start = self.at
        try:
            while count > 0:
                count -= len(self._numbers(count))
        except BatchUnreadable:
            self.at = start
            return False
        return True

    def _numbers(self, most: int) -> bytes:
        """The next numbers of an array of small ones, `most` at most and at least one.

        A number below 24 is one byte; a larger one has the mark 0x18 before it, and 24 itself is 18 18. What is read
        begins with a whole number, so the first of several 0x18 is a mark, and they go in pairs: cut at the pairs, the
        marks that are left stand alone and can be left out.
        """
        piece = self.raw[self.at : self.at + min(most, PIECE)]
        if (len(piece) - len(piece.rstrip(b"\x18"))) % 2:  # it ends in a mark
            piece = piece[:-1] if len(piece) > 1 else self.raw[self.at : self.at + 2]
        if not piece or piece == b"\x18":
            raise self.bad("ends inside an array")
        parts = piece.split(b"\x18\x18")
        for part in parts:
            kinds = part.translate(KINDS).replace(b"mr", b"s").replace(b"ms", b"s")
            if kinds.count(SMALL) != len(kinds):
                raise self.bad("an array holds something else than bytes")
        self.at += len(piece)
        return b"\x18".join(part.replace(b"\x18", b"") for part in parts)
