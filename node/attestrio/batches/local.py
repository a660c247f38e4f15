"""Batches from a file that whatever seals them appends to."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from attestrio.batches.file import BatchFile
from attestrio.errors import SetupError, SourceError, for_want_of_descriptors
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.roles import Batch, BatchNumber, GenesisHash


class BatchFileUnusable(SetupError):
    """The batch file cannot be followed as it is."""

    code: ClassVar[str] = "batch_file_unusable"

    def __init__(self, problem: str) -> None:
        super().__init__(f"batch file unusable: {problem}")


class LocalBatches:
    """A BatchSource over a file of JSON lines, followed while it grows; see `batches.file` for its form.

    A bad line is a SetupError when the node starts (`check`), and a SourceError later: the batches before it are still
    served, and reading goes on once the line is repaired.
    """

    def __init__(self, path: Path, genesis: GenesisHash, run_blocking: RunBlocking = in_thread) -> None:
        self._file = BatchFile(path, genesis)
        self._run_blocking = run_blocking

    async def check(self) -> None:
        """Read the file as it is now. Raises BatchFileUnusable; the file may be absent, its directory not.

        Raises BatchFileUnreadable where only a descriptor is wanting: that says nothing about the file.
        """
        if not await self._run_blocking(self._file.path.parent.is_dir):
            raise BatchFileUnusable(f"{self._file.path.parent} is not a directory")
        try:
            await self._run_blocking(self._file.refresh)
        except SourceError as exc:
            if for_want_of_descriptors(exc) is not None:
                raise
            raise BatchFileUnusable(str(exc)) from exc

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """The batch, None while its line is not complete. Raises BatchFileMalformed, BatchFileUnreadable."""
        return await self._run_blocking(lambda: self._find(number))

    async def first_number(self) -> BatchNumber | None:
        """The number on the file's first line, None while there is none. Raises as `batch_to_sign`."""
        await self._run_blocking(self._file.refresh)
        return self._file.first()

    async def first_batch(self, genesis: GenesisHash) -> BatchNumber | None:
        """As `first_number`: after a revert the file is written anew before the epoch ends, with the fork's batches."""
        return await self.first_number()

    def _find(self, number: BatchNumber) -> Batch | None:
        try:
            self._file.refresh()
        except SourceError:
            if (batch := self._file.find(number)) is not None:
                return batch  # it stands before the bad line
            raise
        return self._file.find(number)
