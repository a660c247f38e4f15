"""A text file that somebody appends to, read line by line as it grows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attestrio.errors import StorageUnusable
from attestrio.kit.files import open_regular

CHUNK: Final = 1 << 20  # bytes read at once; a line that is longer than that is not one of ours


class GrowingFile:
    """Whole lines, each once. It need not be there yet; one that became shorter is read from its beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0

    def lines(self) -> list[bytes]:
        """The next ones, about a mebibyte of them, without their ends; none: that was all so far. Blocks.

        A last line without an end waits for the rest. Raises StorageUnusable.
        """
        try:
            with open_regular(self.path) as file:
                size = file.seek(0, 2)
                self._at = self._at if self._at <= size else 0
                file.seek(self._at)
                chunk = file.read(CHUNK)
        except FileNotFoundError:
            self._at = 0
            return []
        except OSError as exc:
            raise StorageUnusable(f"{self.path} cannot be read: {exc.strerror}") from exc
        whole, end, _ = chunk.rpartition(b"\n")
        if not end and len(chunk) == CHUNK:
            raise StorageUnusable(f"{self.path} has a line of more than {CHUNK} B")
        self._at += len(whole) + len(end)
        return whole.split(b"\n") if end else []
