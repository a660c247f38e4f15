"""A rollback that waits for the operator: a note in the data directory for as long as it waits."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from attestrio.kit.datadir import DataDirUnwritable
from attestrio.kit.files import read_bounded
from attestrio.protection.epochs import EpochCause

log = logging.getLogger("attestrio.protection")

ROLLBACK = "ROLLBACK"
MAX_NOTE = 1 << 16  # bytes; a note has about 500


@dataclass(frozen=True, slots=True)
class PendingRollback:
    """What ended the epoch, and the genesis of the one that would begin."""

    ended: int
    """The epoch that is over."""
    cause: EpochCause
    detail: str
    genesis: str
    fork_number: int
    at: float
    """Unix seconds."""

    @property
    def subject(self) -> str:
        """What consent is given to: this epoch's end, and this genesis for the next. Another one needs its own."""
        return f"{self.ended} -> {self.genesis}"


def write_pending(data_dir: Path, pending: PendingRollback) -> None:
    """Leave the note, in the place of an older one. Need not be durable: it is made again. Raises DataDirUnwritable."""
    draft = data_dir / f".{ROLLBACK}.{os.getpid()}"
    try:
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(pending), indent=2) + b"\n")
        draft.rename(data_dir / ROLLBACK)
    except OSError as exc:
        raise DataDirUnwritable(data_dir, f"{ROLLBACK}: {exc.strerror}") from exc


def read_pending(data_dir: Path) -> PendingRollback | None:
    """The note; None where nothing waits, or where it cannot be read."""
    try:
        return msgspec.json.decode(read_bounded(data_dir / ROLLBACK, MAX_NOTE), type=PendingRollback)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        log.warning("%s is not read: %s", data_dir / ROLLBACK, exc)
        return None


def clear_pending(data_dir: Path) -> None:
    """Nothing waits any more. Raises DataDirUnwritable."""
    try:
        (data_dir / ROLLBACK).unlink(missing_ok=True)
    except OSError as exc:
        raise DataDirUnwritable(data_dir, f"{ROLLBACK}: {exc.strerror}") from exc
