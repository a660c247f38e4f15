"""When a key may be used without a past: on its very first start, or because the operator says so.

`keys generate FILE` leaves `FILE.unused` beside the key. The first start with that marker begins the history of the
key, commits it, and only then takes the marker away; a crash in between leaves both, which is the same as after it.
From then on a history that is missing, or does not know the key, ends the start: whatever was signed is in there.

The marker says "this key never signed", so whoever copies a key leaves it behind. What it cannot see is a copy of key
and marker from before the first start.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import ClassVar

import apsw

from attestrio.errors import SetupError
from attestrio.kit.files import read_bounded, sync_folder, write_new
from attestrio.kit.sqlite import open_database, storage_errors
from attestrio.protection import rows
from attestrio.protection.schema import APPLICATION_ID, SCHEMA
from attestrio.roles import AttesterPublicKey

log = logging.getLogger("attestrio.protection")

HISTORY = "protection.db"
UNUSED = ".unused"
MAX_MARKER = 200  # bytes; a public key has 92


class HistoryMissing(SetupError):
    """The key has been used, or may have been, and its signing history is not here. Nothing was changed."""

    code: ClassVar[str] = "history_missing"
    exit_code = 71

    def __init__(self, path: Path, key: AttesterPublicKey, *, exists: bool) -> None:
        what = "does not know" if exists else "is missing, the signing history of"
        super().__init__(
            f"{path} {what} {key.to_text()}: restore it, or import it with `attestrio protection import`. Only if this"
            " key never signed, or nothing it signed can matter any more, start once with --init-protection: a batch"
            " it signed before would be signed again, and a second hash for it burns the key"
        )
        self.path, self.key = path, key


class MarkerStuck(SetupError):
    """The marker of an unused key cannot be removed, although the key's history has begun."""

    code: ClassVar[str] = "marker_stuck"

    def __init__(self, marker: Path, detail: str) -> None:
        super().__init__(
            f"{marker} cannot be removed ({detail}): remove it before the next start, or a history that is lost later"
            " would be taken for one that never was"
        )
        self.marker = marker


def marker_of(key_file: Path) -> Path:
    return key_file.with_name(key_file.name + UNUSED)


def mark_unused(key_file: Path, key: AttesterPublicKey) -> None:
    """Leave the marker beside a key that was just made, durably. Raises OSError.

    After the key, never before: a marker without its key is useless, a marker beside an older key would be a lie. For
    that reason it names the key; one that an older key left behind is replaced.
    """
    marker = marker_of(key_file)
    marker.unlink(missing_ok=True)
    write_new(marker, key.to_text() + "\n")


def open_history(
    data_dir: Path,
    key: AttesterPublicKey,
    *,
    key_file: Path | None = None,
    init: bool = False,
    vfs: str | None = None,
    at: float | None = None,
) -> Path:
    """The path of the history that knows `key`, begun where that is right; then a `VoteRecord` may sign with it.

    Args:
      data_dir: held by this process (`DataDir`).
      key_file: where the key was read from; None for a key from the environment, which has no marker.
      init: the operator's word (`--init-protection`) that the past of the key does not matter.
      vfs: the disk below the database.
      at: Unix seconds, for the key's row; None is now.

    Raises HistoryMissing (exit 71), MarkerStuck, StorageUnusable. Blocks for some milliseconds at any size.
    """
    path = data_dir / HISTORY
    marker = None if key_file is None else marker_of(key_file)
    unused = marker is not None and _marks(marker, key)
    exists = _exists(path, vfs)
    if not (exists or unused or init):
        raise HistoryMissing(path, key, exists=False)
    with storage_errors(str(path)):
        connection = open_database(path, application_id=APPLICATION_ID, schema=SCHEMA, vfs=vfs)
        try:
            known = rows.knows_attester(connection, key)
            if not known and not (unused or init):
                raise HistoryMissing(path, key, exists=exists)
            if not known:
                cause = "first start" if unused else "--init-protection"
                rows.add_attester(connection, key, cause, time.time() if at is None else at)
        finally:
            connection.close(True)
        sync_folder(data_dir)
        if not exists:
            sync_folder(data_dir.absolute().parent)  # the data directory itself may be as new
    if known and init:
        log.warning("%s knows %s already: take --init-protection out, it hides a lost history", path, key.to_text())
    if unused and marker is not None:
        _use_up(marker)
    return path


def _exists(path: Path, vfs: str | None) -> bool:
    """Asked of the disk the database is on; opening it to find out would make it."""
    if vfs is None:
        return path.exists()
    try:
        apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs).close()
    except apsw.CantOpenError:
        return False
    return True


def _marks(marker: Path, key: AttesterPublicKey) -> bool:
    """Whether it is there and names this key; a marker of another key says nothing about this one."""
    try:
        return read_bounded(marker, MAX_MARKER).decode("ascii", "replace").strip() == key.to_text()
    except FileNotFoundError:
        return False
    except OSError as exc:
        log.warning("%s is not read (%s): the key counts as used", marker, exc.strerror)
        return False


def _use_up(marker: Path) -> None:
    try:
        os.unlink(marker)
        sync_folder(marker.parent)
    except OSError as exc:
        raise MarkerStuck(marker, exc.strerror or str(exc)) from exc
