"""A file of sealed batches, read while somebody appends to it. Blocks on the disk; `local` calls it off the loop.

One JSON object a line, `{"number": 7, "hash": "batch:keccak256:<64 hex digits>"}`, each number one more than the last.
A line counts once its newline is there. A repetition of the last line is harmless (the sealer crashed and wrote again).
"""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from threading import Lock
from typing import BinaryIO, ClassVar

import msgspec

from attestrio.errors import PeerError, SourceError
from attestrio.kit.files import open_regular
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash

MAX_LINE = 1024  # bytes; a line as above has about 100
STRIDE = 64  # one offset is kept for so many batches: 8 bytes for 64 lines, 1 MB for 8 million batches


class BatchFileMalformed(SourceError):
    """A line is no batch, or not the next one. What stands before it goes on being served."""

    code: ClassVar[str] = "batch_file_malformed"

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path}, line {line}: {problem}")
        self.path, self.line, self.problem = path, line, problem


class BatchFileUnreadable(SourceError):
    """The operating system refused to read the file, or it is no regular one."""

    code: ClassVar[str] = "batch_file_unreadable"

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(f"{path} cannot be read: {cause.strerror or cause}")
        self.path = path


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int
    hash: str


_DECODER = msgspec.json.Decoder(_Line)


def batch_of_line(raw: bytes, genesis: GenesisHash) -> Batch:
    """Read one line. Raises ValueError with what is wrong."""
    try:
        line = _DECODER.decode(raw)
        return Batch(BatchNumber(line.number), BatchHash.from_text(line.hash), genesis)
    except (msgspec.MsgspecError, PeerError, UnicodeDecodeError) as exc:
        raise ValueError(str(exc)) from exc


class BatchFile:
    """The batches of one file, found by number. Memory is a few bytes per 64 batches, whatever the file's size.

    A file that was truncated, rewritten or rotated is noticed, because the last line taken is no longer where it was;
    it is then read from its beginning. One that is absent is empty: the sealer may not have started.
    All methods raise BatchFileUnreadable; safe to call from several threads.
    """

    def __init__(self, path: Path, genesis: GenesisHash) -> None:
        self.path = path
        self._genesis = genesis
        self._lock = Lock()  # refresh and find are called from worker threads, each for as long as a read takes
        self._forget()

    def refresh(self) -> None:
        """Take the lines that are complete by now. Raises BatchFileMalformed at a bad one, until it is repaired."""
        with self._lock:
            try:
                with open_regular(self.path) as file:
                    if not self._is_where_it_was(file):
                        self._forget()
                    self._read_on(file)
            except FileNotFoundError:
                self._forget()
            except OSError as exc:
                raise BatchFileUnreadable(self.path, exc) from exc

    def first(self) -> BatchNumber | None:
        """The number on the first line taken, None while there is none."""
        return self._first

    def find(self, number: BatchNumber) -> Batch | None:
        """The batch among the lines taken; None when it is not there. Reads at most about 64 lines."""
        with self._lock:
            if self._first is None or self._last is None or not self._first <= number <= self._last.number:
                return None
            if number == self._last.number:
                return self._last
            try:
                with open_regular(self.path) as file:
                    file.seek(self._offsets[(number - self._first) // STRIDE])
                    return self._scan(file, number)
            except FileNotFoundError:
                return None
            except OSError as exc:
                raise BatchFileUnreadable(self.path, exc) from exc

    def _forget(self) -> None:
        self._first: BatchNumber | None = None
        self._last: Batch | None = None
        self._last_line = b""  # its bytes, newline included, and where it begins
        self._last_at = 0
        self._end = 0  # everything before is taken
        self._lines = 0
        self._offsets = array("Q")  # where the lines of the numbers first, first + 64, first + 128, ... begin

    def _is_where_it_was(self, file: BinaryIO) -> bool:
        if os.fstat(file.fileno()).st_size < self._end:
            return False
        file.seek(self._last_at)
        return file.read(len(self._last_line)) == self._last_line

    def _read_on(self, file: BinaryIO) -> None:
        file.seek(self._end)
        while line := file.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise self._malformed(f"longer than {MAX_LINE} bytes")
            if not line.endswith(b"\n"):
                return  # the sealer is still writing it
            if line.strip():
                self._take(line)
            self._end += len(line)
            self._lines += 1

    def _take(self, line: bytes) -> None:
        try:
            batch = batch_of_line(line, self._genesis)
        except ValueError as exc:
            raise self._malformed(str(exc)) from exc
        if self._last is None:
            self._first = batch.number
        elif batch.number == self._last.number:
            if batch != self._last:
                raise self._malformed(f"another hash for batch {batch.number}")
        elif batch.number != self._last.number.next():
            raise self._malformed(f"batch {batch.number} after batch {self._last.number}")
        if self._first is not None and batch.number - self._first == len(self._offsets) * STRIDE:
            self._offsets.append(self._end)
        self._last, self._last_line, self._last_at = batch, line, self._end

    def _malformed(self, problem: str) -> BatchFileMalformed:
        return BatchFileMalformed(self.path, self._lines + 1, problem)

    def _scan(self, file: BinaryIO, number: BatchNumber) -> Batch | None:
        """From here to the line of `number`. None when the file is not the one that was read; refresh notices."""
        while (line := file.readline(MAX_LINE + 1)).endswith(b"\n"):
            if not line.strip():
                continue
            try:
                batch = batch_of_line(line, self._genesis)
            except ValueError:
                return None
            if batch.number >= number:
                return batch if batch.number == number else None
        return None
