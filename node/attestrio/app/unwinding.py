"""Taking a sequencer's chain back to the end of a batch, by hand, while it does not run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final

import apsw

from attestrio.app.sequencer_config import SequencerConfig
from attestrio.app.sequencer_parts import CHAIN, NoSequencer, stream_path_of
from attestrio.errors import StorageUnusable
from attestrio.kit.datadir import DataDir
from attestrio.kit.files import sync_folder
from attestrio.kit.sqlite import storage_errors
from attestrio.resequence.errors import RebuildUnfinished
from attestrio.resequence.journal import Journal
from attestrio.sequencer.db import ChainDb, Unwound
from attestrio.sequencer.errors import StreamMissing
from attestrio.sequencer.tail import tail_of
from attestrio.stream.backup import Tell
from attestrio.stream.backup import backup as copy_stream
from attestrio.stream.reader import StreamReader

BACKUPS: Final = "backups"


class BackupFailed(StorageUnusable):
    """The copy before an unwind cannot be made; the chain is as it was. `--no-backup` goes without."""

    code: ClassVar[str] = "backup_failed"


@dataclass(frozen=True, slots=True)
class UnwindDone:
    """How it went."""

    unwound: Unwound
    backup: Path | None
    """Where stream and database were copied to before; None: nobody wanted that, or nothing was changed."""


def unwind(config: SequencerConfig, batch: int, tell: Tell, *, backup: bool = True) -> UnwindDone:
    """Take the chain back to the end of `batch`. The stream stays as it is, and is ahead from then on.

    For the last batch nothing happens. Blocks. Raises NoSequencer, DataDirInUse, UnwindRefused, RebuildUnfinished,
    StreamMissing, StorageUnusable, and as `StreamReader.open`; for the copy BackupFailed and as `stream.backup`. Then
    the chain is as it was.
    """
    folder = Path(config.sequencer.data_dir)
    if not (folder / CHAIN).exists():
        raise NoSequencer(folder)
    with DataDir.open(folder) as data_dir, ChainDb.open(data_dir / CHAIN) as db:
        stream = stream_path_of(config, data_dir.path)
        journal = Journal(stream)
        unfinished = journal.unfinished()
        if unfinished is not None:
            raise RebuildUnfinished(journal.record_path, unfinished.kept_batch, unfinished.phase)
        planned = db.trial(lambda: db.unwind_to_batch(batch))  # what is refused is refused before anything is copied
        if not planned.batches and not planned.blocks:
            return UnwindDone(planned, None)
        _refuse_without_stream(stream, db, planned)
        copied = _copy(data_dir.path, stream, batch, tell) if backup else None
        return UnwindDone(db.unwind_to_batch(batch), copied)


def _refuse_without_stream(stream: Path, db: ChainDb, planned: Unwound) -> None:
    """What is taken back has to be in the stream: nothing else could build it again."""
    with StreamReader.open(stream) as reader:
        tail = tail_of(reader)
    last, tip = db.last_batch, db.state.tip.number
    if tail is None or tail.block <= planned.block < tip:
        raise StreamMissing(0 if last is None else last.number, tip)


def _copy(data_dir: Path, stream: Path, batch: int, tell: Tell) -> Path:
    """A new folder with stream, bookmarks and database."""
    at = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = data_dir / BACKUPS / f"{at}-before-unwind-to-{batch}"
    try:
        folder.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise BackupFailed(f"{folder.parent} cannot be made: {exc.strerror}") from exc
    try:
        copy_stream(stream, folder, tell)
        target = folder / CHAIN
        with storage_errors(str(target)):
            source = apsw.Connection(str(data_dir / CHAIN), flags=apsw.SQLITE_OPEN_READONLY)
            copy = apsw.Connection(str(target))
            try:
                with copy.backup("main", source, "main") as copying:
                    copying.step()
            finally:
                copy.close()
                source.close()
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # half a copy is none
        raise
    return folder
