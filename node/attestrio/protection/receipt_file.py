"""The files of a receipt log, as its worker writes them: the newest, and the full ones it was called before.

Lines are appended to `receipts.log`. When it is full it gets the number of its last receipt for a name,
`receipts.log.000000065001`, and the next line goes to a new file; `prev` leads from file to file. The order is rename,
new file, sync of the folder, first line: wherever a crash comes, every receipt that was acknowledged has a name.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from pathlib import Path

from attestrio.kit.disk import Disk, DiskFile
from attestrio.kit.sqlite import storage_errors
from attestrio.protection.receipt_audit import Fault, ReceiptsAltered
from attestrio.protection.receipt_lines import Receipt, ReceiptLine
from attestrio.protection.receipt_segments import full_files, name_of_full
from attestrio.protection.receipt_tail import MAX_GROUP_BYTES, WINDOWS, DamagedEnd, LogEnd, WindowTooSmall, find_end

log = logging.getLogger("attestrio.protection")

SEGMENT_BYTES = 64 << 20
"""Some 65,000 receipts. A file that has as many bytes gets no line more."""


class ReceiptFiles:
    """Opened by `open`, then `append`. All of it blocks and raises OSError; for one thread at a time.

    Args:
      path: the newest file; the full ones are beside it.
      segment_bytes: after how many bytes a file is full.
    """

    def __init__(self, path: Path, disk: Disk, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._path = path
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._file: DiskFile | None = None

    def open(self) -> LogEnd:
        """Where the log goes on; what is torn is gone, and what is left is on disk. Raises StorageUnusable.

        The end of the newest file is read, and of the last full one if nothing else says how the newest begins.
        """
        with storage_errors(str(self._path)):
            file = self._disk.open(self._path)
            try:
                end = self._find_end(file)
                if end.size < file.size():
                    log.warning("%s: %d torn bytes cut off at %d", self._path, file.size() - end.size, end.size)
                    file.truncate(end.size)
                file.sync()  # whole lines too may have been in nothing but the page cache of a killed process
                self._disk.sync_folder(self._path.parent)
            except BaseException:
                file.close()
                raise
        self._file = file
        return end

    def append(self, end: LogEnd, receipts: Sequence[Receipt], at_ms: int) -> tuple[LogEnd, list[bytes]]:
        """Write and sync; where the log ends now, and the hash of each line."""
        if end.size >= self._segment_bytes:
            end = self._begin_next(end)
        synced, group, heads = end, bytearray(), list[bytes]()
        for receipt in receipts:
            line, head = ReceiptLine(end.seq + 1, end.head, synced.seq, at_ms, receipt).encode()
            if group and len(group) + len(line) > MAX_GROUP_BYTES:
                self._write_through(group)
                synced, group = end, bytearray()
                line, head = ReceiptLine(end.seq + 1, end.head, synced.seq, at_ms, receipt).encode()
            group += line
            end = LogEnd(end.seq + 1, head, end.size + len(line))
            heads.append(head)
        self._write_through(group)
        return end, heads

    def close(self) -> None:
        """Does not sync: what was acknowledged has been."""
        if self._file is not None:
            self._file.close()

    def _begin_next(self, end: LogEnd) -> LogEnd:
        full = name_of_full(self._path, end.seq)
        if full.exists():
            raise FileExistsError(errno.EEXIST, "the name for the full receipt log is taken", str(full))
        self.close()
        self._disk.rename(self._path, full)
        self._file = self._disk.open(self._path)
        self._disk.sync_folder(self._path.parent)
        return LogEnd(end.seq, end.head)

    def _write_through(self, group: bytearray) -> None:
        assert self._file is not None
        self._file.append(bytes(group))
        self._file.sync()

    def _find_end(self, file: DiskFile) -> LogEnd:
        before = LogEnd()
        if file.size() <= WINDOWS[-1] and (full := full_files(self._path)):
            before = self._end_of_full(*full[-1])
        return self._read_end(self._path, file, before, None)

    def _end_of_full(self, last: int, path: Path) -> LogEnd:
        """Of a file that was synced before it got its name: nothing in it is torn."""
        file = self._disk.open(path)
        try:
            size = file.size()
            end = self._read_end(path, file, None, last)
        finally:
            file.close()
        if end.seq != last or end.size != size:
            problem = f"it does not end with receipt {last}, after which it is named"
            raise ReceiptsAltered(self._path, Fault(end.seq + 1, end.size, max(size, end.size + 1), problem, last))
        return LogEnd(end.seq, end.head)

    def _read_end(self, path: Path, file: DiskFile, before: LogEnd | None, full: int | None) -> LogEnd:
        size = file.size()
        for most in WINDOWS:
            start = max(0, size - most)
            try:
                return find_end(file.read(start, size - start), start, before)
            except WindowTooSmall:
                continue
            except DamagedEnd as exc:
                raise ReceiptsAltered(self._path, exc.fault) from None
        problem = f"no receipt can be made out in the last {WINDOWS[-1]} bytes"
        raise ReceiptsAltered(self._path, Fault(0, size - WINDOWS[-1], size, problem, full))
