"""Receipts read again by somebody who believes nothing: every hash, every link, every signature.

A hash tells that a line was altered, not where. But a byte that was altered alone can be found: put back, it makes the
hash right again, and no other byte does. So every line that does not hold is searched for the one byte, as far as its
length allows; where more was altered the report names the first byte of what is not proven any more, and where it ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, ClassVar

from attestrio.errors import PeerError, StorageUnusable
from attestrio.kit.sqlite import storage_errors
from attestrio.protection.receipt_lines import (
    FIRST_PREV,
    MAX_LINE,
    TAIL,
    ReceiptLine,
    hash_of,
    holds,
    line_untrusted,
    tail_of,
)
from attestrio.protection.receipt_segments import name_of_full, open_files

PRINTABLE = bytes(range(0x20, 0x7F))  # what a canonical line consists of
SEARCHES: tuple[tuple[int, Sequence[Sequence[bytes]]], ...] = (
    (16_384, [[bytes((value ^ 1 << bit,)) for bit in range(8)] for value in range(256)]),
    (4_096, [[bytes((byte,)) for byte in PRINTABLE]] * 256),
)
"""What is put in place of each byte, in lines up to how many bytes: single bits first, they are what disks and memory
flip; then every character. Both take some 2 s at most, in a usual line of 1 kB 0.01 s and 0.1 s."""

PREV = re.compile(rb'\{"seq":[0-9]+,"prev":"([0-9a-f]{64})"')
LAST_HASH = re.compile(rb',"hash":"([0-9a-f]{64})"\}\Z')
ENDING = re.compile(rb'","hash":"[0-9a-f]{64}"\}')


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing in a log that is not as it was written.

    The first altered byte is at `offset` when `end` is `offset + 1`, else somewhere in `offset`..`end` (not included).
    """

    seq: int
    """Of the receipt it was found in, counted from 1."""
    offset: int
    end: int
    problem: str
    full: int | None = None
    """The full file of the log it is in, by its number; None: the newest one. Offsets count from its beginning."""

    @property
    def exact(self) -> bool:
        return self.end == self.offset + 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a log proves. `head` is the hash of the last receipt that holds, zeros before the first."""

    receipts: int
    head: bytes
    size: int
    """Bytes of the receipts that hold, in all files of the log: from there on nothing is proven."""
    torn: int
    """Bytes after the last whole line: a crash while it was written, repaired when the log is opened next."""
    fault: Fault | None

    @property
    def ok(self) -> bool:
        return self.fault is None


class ReceiptsAltered(StorageUnusable):
    """A receipt log is not as it was written. `fault` says where, as far as that can be known."""

    code: ClassVar[str] = "receipts_altered"

    def __init__(self, path: str | Path, fault: Fault) -> None:
        where = f"byte {fault.offset}" if fault.exact else f"within bytes {fault.offset} to {fault.end - 1}"
        file = Path(path) if fault.full is None else name_of_full(Path(path), fault.full)
        super().__init__(f"{file}: altered from {where} on, in receipt {fault.seq}: {fault.problem}")
        self.path, self.fault = file, fault


def verify_receipts(path: str | Path, *, head: bytes | None = None) -> Verdict:
    """Recompute the chain and every signature of a log, its full files included; stops at the first fault.

    Args:
      head: hash of a receipt that has to be in the log, from somewhere else (a note, a vote on record): without it
        receipts that were cut off at the end, or a log that was written anew as a whole, cannot be noticed.

    Raises StorageUnusable when the file cannot be read. About 0.1 ms a receipt, memory for one line.
    """
    with storage_errors(str(path)):
        return _Audit(Path(path), head).run()


def read_receipts(path: str | Path) -> Iterator[tuple[ReceiptLine, bytes]]:
    """Every receipt and its hash, in order; only that each line holds by itself is checked. Memory for one line.

    Raises StorageUnusable: ReceiptsAltered at the first line that does not hold. A torn end is left out.
    """
    seq = 0
    with storage_errors(str(path)):
        for full, file in open_files(Path(path)):
            at = 0
            for line in _lines(file):
                seq += 1
                if not line.endswith(b"\n") and len(line) <= MAX_LINE and full is None:
                    return
                made = _whole_line(line)
                if made is None:
                    problem = "it does not match its hash; `attestrio receipt verify` says more"
                    raise ReceiptsAltered(path, Fault(seq, at, at + len(line), problem, full))
                yield made, hash_of(line[:-1])
                at += len(line)


class _Audit:
    """One pass over the files of one log."""

    def __init__(self, path: Path, wanted: bytes | None) -> None:
        self._path = path
        self._wanted = wanted
        self._found = wanted is None or wanted == FIRST_PREV
        self._seq = 0
        self._head = FIRST_PREV
        self._size = 0
        self._full: int | None = None  # number of the file that is read
        self._at = 0  # in it
        self._before = b""  # the line the head is the hash of
        self._before_in: int | None = None
        self._before_at = 0

    def run(self) -> Verdict:
        torn, fault = 0, None
        for full, file in open_files(self._path):
            self._full, self._file, self._at = full, file, 0
            torn, fault = self._read()
            if fault is not None:
                break
        if fault is None and not self._found:
            fault = self._fault(self._at, self._at + 1, "it ends without the receipt it has to contain")
        return Verdict(self._seq, self._head, self._size, 0 if fault else torn, fault)

    def _read(self) -> tuple[int, Fault | None]:
        """One file to its end, or to the first fault; how many bytes of a torn line it ends with."""
        for line in _lines(self._file):
            if len(line) > MAX_LINE:
                return 0, self._fault(self._at, self._at + len(line), f"longer than {MAX_LINE} bytes")
            if not line.endswith(b"\n"):
                return len(line), self._check_torn(line)
            fault = self._check(line[:-1])
            if fault is not None:
                return 0, fault
            self._before, self._before_in, self._before_at = line[:-1], self._full, self._at
            self._head = hash_of(line[:-1])
            self._seq += 1
            self._at += len(line)
            self._size += len(line)
            self._found = self._found or self._head == self._wanted
        if self._full is not None and self._full != self._seq:
            return 0, self._fault(self._at, self._at + 1, f"it ends here and not with receipt {self._full}")
        return 0, None

    def _fault(self, start: int, end: int, problem: str) -> Fault:
        return Fault(self._seq + 1, start, end, problem, self._full)

    def _check(self, line: bytes) -> Fault | None:
        if not holds(line):
            start, end = self._locate(line)
            return self._fault(self._at + start, self._at + end, "it does not match its hash")
        whole = (self._at, self._at + len(line))
        try:
            made = line_untrusted(line)
        except PeerError as exc:
            return self._fault(*whole, str(exc))
        if made.seq != self._seq + 1:
            file = "" if self._at else f" (no {name_of_full(self._path, made.seq - 1).name})"
            return self._fault(self._at, self._at + 1, f"receipt {made.seq} stands here: receipts are missing{file}")
        if made.prev != self._head:
            return self._blame_before(made)
        try:
            made.receipt.vote.verify()
        except PeerError as exc:
            return self._fault(*whole, str(exc))
        return None

    def _blame_before(self, made: ReceiptLine) -> Fault:
        """The line before holds by itself, but it is not the one this line was written after."""
        if not self._before:
            return self._fault(self._at, self._at + 1, "the receipts before it are missing")
        begin = self._before_at
        problem = "it was replaced: the receipt after it was written after another"
        found = _search(self._before[:-TAIL], made.prev)
        start, end = (0, len(self._before)) if found is None else (found, found + 1)
        return Fault(self._seq, begin + start, begin + end, problem, self._before_in)

    def _check_torn(self, line: bytes) -> Fault | None:
        """A crash leaves the beginning of a line. A whole receipt with something else than a newline is no crash."""
        whole = _whole_prefix(line)
        if (whole is None or whole == len(line)) and self._full is not None:
            return self._fault(self._at, self._at + len(line), "it is torn, and no crash tears a full file")
        if whole is None or whole == len(line):
            return None
        return self._fault(self._at + whole, self._at + whole + 1, "something else than a newline ends it")

    def _locate(self, line: bytes) -> tuple[int, int]:
        """Where in a line that does not hold the first altered byte is: start and end of what it may be."""
        whole = _whole_prefix(line)
        if whole is not None:  # the newline became something else, and the next line was read with it
            return whole, whole + 1
        after = self._file.readline(MAX_LINE + 1)
        begin = b'{"seq":%d,"prev":"%s","synced":' % (self._seq + 1, self._head.hex().encode())
        known = _first_difference(line, begin)
        if known < len(begin):
            return known, known + 1
        right = tail_of(hash_of(line))
        if _differences(line[-TAIL:], right) == 1 or hash_of(line) == _prev_of(after):
            at = len(line) - TAIL + _first_difference(line[-TAIL:], right)
            return at, at + 1
        found = _search_line(line, after)
        return (0, len(line)) if found is None else (found, found + 1)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE + 1):
        yield line


def _whole_line(line: bytes) -> ReceiptLine | None:
    """The receipt of a line with its newline; None where that is not what it is."""
    try:
        return line_untrusted(line[:-1]) if line.endswith(b"\n") and holds(line[:-1]) else None
    except PeerError:
        return None


def _whole_prefix(line: bytes) -> int | None:
    """How long the receipt is that a line begins with; None where it begins with none."""
    for found in ENDING.finditer(line):
        if holds(line[: found.end()]):
            return found.end()
    return None


def _first_difference(got: bytes, want: bytes) -> int:
    """Position of the first byte of `got` that is not as in `want`; its length where it begins with `want`."""
    return next((at for at, byte in enumerate(want) if got[at : at + 1] != bytes((byte,))), len(want))


def _differences(got: bytes, want: bytes) -> int:
    return sum(one != other for one, other in zip(got, want, strict=False)) + abs(len(got) - len(want))


def _prev_of(line: bytes) -> bytes | None:
    """What a line says about the line before, if it can be read as far as that."""
    found = PREV.match(line)
    return None if found is None else bytes.fromhex(found[1].decode("ascii"))


def _told_hash(line: bytes) -> bytes | None:
    """The hash a line ends with, right or wrong."""
    found = LAST_HASH.search(line)
    return None if found is None else bytes.fromhex(found[1].decode("ascii"))


def _search_line(line: bytes, after: bytes) -> int | None:
    """Where the one byte is that explains why a line does not hold; None where one is not enough."""
    rest = after.rstrip(b"\n")
    if any(holds(line + bytes((byte,)) + rest) for byte in PRINTABLE):
        return len(line)  # it became a newline, and cut the receipt in two
    for digest in dict.fromkeys((_told_hash(line), _prev_of(after))):
        found = None if digest is None else _search(line[:-TAIL], digest)
        if found is not None:
            return found
    return None


def _search(body: bytes, digest: bytes) -> int | None:
    """Where the one byte is that, put right, gives a body (without its closing brace) its hash back; None: nowhere."""
    for most, replacements in SEARCHES:
        found = _try(body, digest, replacements) if len(body) <= most else None
        if found is not None:
            return found
    return None


def _try(body: bytes, digest: bytes, replacements: Sequence[Sequence[bytes]]) -> int | None:
    state = sha256()
    for at, value in enumerate(body):
        rest = body[at + 1 :] + b"}"
        for byte in replacements[value]:
            trial = state.copy()
            trial.update(byte + rest)
            if trial.digest() == digest:
                return at
        state.update(body[at : at + 1])
    return None
