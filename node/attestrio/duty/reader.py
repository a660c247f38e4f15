"""A look into a duty book, also while a node writes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import apsw

from attestrio.duty import rows
from attestrio.duty.events import EndState
from attestrio.duty.story import BatchStory, EpochOf
from attestrio.duty.unseen import unseen
from attestrio.errors import StorageUnusable
from attestrio.kit.sqlite import open_read_only, storage_errors
from attestrio.roles import BatchNumber, BatchQC


class BookUnreadable(StorageUnusable):
    """A row of a duty book that this release does not understand: a later one wrote it, or the disk is at fault."""

    code: ClassVar[str] = "book_unreadable"

    def __init__(self, path: str, cause: Exception) -> None:
        super().__init__(f"{path} holds a batch that cannot be understood ({cause}): read it with the newest release")
        self.path = path


@dataclass(frozen=True, slots=True)
class BookFile:
    """An open book. Its methods block, and raise StorageUnusable."""

    path: str
    connection: apsw.Connection

    def stories(self, number: BatchNumber) -> list[BatchStory]:
        """What each epoch knows of a batch, the newest first; empty for one never seen, or forgotten."""
        return self._stories(lambda: rows.of_number(self.connection, number))

    def newest(self, count: int) -> list[BatchStory]:
        """The batches seen last, the oldest first."""
        return self._stories(lambda: rows.newest(self.connection, None, count))

    def unseen(self, number: BatchNumber, certificate: BatchQC | None = None) -> BatchStory | None:
        """What can be said of a batch of the newest epoch that was attested while the node was away; None where no
        batch was seen before it, or none after it. `certificate`: what the store has of it."""
        around = self._stories(lambda: rows.beside(self.connection, number))
        if len(around) != 2:
            return None
        before, after = around
        return unseen(number, before, after, certificate) if before.number < number < after.number else None

    def counts(self) -> dict[EndState, int]:
        """How many batches ended how, forgotten ones included; the sum is the number of batches seen."""
        with storage_errors(self.path):
            return rows.counts(self.connection)

    def _stories(self, read: Callable[[], list[rows.Row]]) -> list[BatchStory]:
        known: dict[int, EpochOf] = {}
        found = []
        with storage_errors(self.path):
            try:
                for row in read():
                    of = known.get(row.epoch) or rows.epoch_of(self.connection, row.epoch)
                    if of is not None:
                        known[row.epoch] = of
                        found.append(rows.story_of(row, of))
            except rows.UNREADABLE as exc:
                raise BookUnreadable(self.path, exc) from exc
        return found


@contextmanager
def open_book(path: str | Path) -> Iterator[BookFile]:
    """Open the file of a `DutyBook`. Raises StorageUnusable."""
    connection = open_read_only(path, application_id=rows.APPLICATION_ID, version=len(rows.SCHEMA))
    try:
        yield BookFile(str(path), connection)
    finally:
        connection.close(True)
