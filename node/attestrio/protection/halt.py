"""A safety stop that stays stopped: the `HALT` file, which only an operator takes away."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from attestrio.errors import NodeError, SafetyError, SetupError
from attestrio.kit.disk import Disk, RealDisk, write_whole
from attestrio.kit.files import FileUnwritable, read_bounded, sync_folder

log = logging.getLogger("attestrio.protection")

HALT = "HALT"
RESERVE = ".HALT.reserve"
RESERVE_BYTES = 4096
MAX_HALT_FILE = 1 << 20  # bytes; two votes with their signatures are below 2 KiB


@dataclass(frozen=True, slots=True)
class HaltNote:
    """What stands in the file: the rule, what happened in a sentence, and what proves it (JSON values)."""

    code: str
    sentence: str
    evidence: Mapping[str, Any]
    at: float
    """Unix seconds."""


class Halted(SafetyError):
    """A `HALT` file is in the data directory: the node stopped for safety and does not start until it is acknowledged.

    `note` None: the file is there but cannot be read, which stops the node just the same.
    """

    code: ClassVar[str] = "halted"

    def __init__(self, path: Path, note: HaltNote | None) -> None:
        why = "the file cannot be read" if note is None else f"{note.sentence} [{note.code}]"
        super().__init__(
            f"{path}: stopped for safety: {why}; find out why, then `attestrio protection repair --ack` lets it start"
        )
        self.path, self.note = path, note


class NotHalted(SetupError):
    """There is no `HALT` file to acknowledge."""

    code: ClassVar[str] = "not_halted"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} does not exist: this node is not halted")
        self.path = path


class HaltUnexplained(SafetyError):
    """The node stopped for safety while the disk could not take the reason: that stands in the log only."""

    code: ClassVar[str] = "halt_unexplained"

    def __init__(self) -> None:
        super().__init__("the disk could not take the reason, which is in the log of the node when it stopped")


def reserve(data_dir: Path, disk: Disk | None = None) -> None:
    """Lay by the file that becomes HALT where the disk is full: a new name for an old file needs no space.

    At every start, before anything is signed; costs nothing where the file is there. Raises FileUnwritable.
    """
    path = data_dir / RESERVE
    note = HaltNote(HaltUnexplained.code, str(HaltUnexplained()), {}, 0.0)
    raw = msgspec.json.encode(note).ljust(RESERVE_BYTES - 1) + b"\n"
    try:
        if not (path.is_file() and read_bounded(path, RESERVE_BYTES) == raw):
            write_whole(disk or RealDisk(), path, raw)
    except OSError as exc:
        raise FileUnwritable(path, exc) from exc


def write_halt(
    data_dir: Path,
    reason: NodeError,
    evidence: Mapping[str, Any],
    at: float | None = None,
    *,
    disk: Disk | None = None,
) -> Path:
    """Stop the node for good: whole and on disk when it returns. The first one stays: it is the cause of the others.

    Where the disk does not take it, what `reserve` has laid by becomes HALT, without the reason.

    Args:
      evidence: JSON values with which somebody else can check the reason.
      at: Unix seconds; None is now.

    Raises OSError; then the node has to end all the same, and a restart may find no HALT.
    """
    path, disk = data_dir / HALT, disk or RealDisk()
    if os.path.lexists(path):
        log.error("%s is there already and stays; also: %s [%s]", path, reason, reason.code)
        return path
    note = HaltNote(reason.code, str(reason), evidence, time.time() if at is None else at)
    try:
        _write_whole(disk, path, msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n")
    except OSError as exc:
        if os.path.lexists(path) or not (data_dir / RESERVE).exists():
            raise
        log.critical("%s does not take its reason (%s): %s [%s]", path, exc.strerror, reason, reason.code)
        disk.rename(data_dir / RESERVE, path)
        disk.sync_folder(data_dir)
    return path


def read_halt(data_dir: Path) -> HaltNote | None:
    """The note; None where there is no file. Raises Halted for a file that cannot be read."""
    path = data_dir / HALT
    if not os.path.lexists(path):
        return None
    try:
        return msgspec.json.decode(read_bounded(path, MAX_HALT_FILE), type=HaltNote)
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Halted(path, None) from None


def refuse_if_halted(data_dir: Path) -> None:
    """Raise Halted (exit 70) as long as there is a `HALT` file, whatever is in it: supervisors restart what ends."""
    note = read_halt(data_dir)
    if note is not None:
        raise Halted(data_dir / HALT, note)


def repair(data_dir: Path, *, ack: bool, at: float | None = None) -> Path:
    """Keep the file as `HALT.<UTC time>`, durably, so that the node may start; returns its new name.

    Raises Halted without `ack` (which tells what there is to acknowledge), NotHalted, OSError.
    """
    path = data_dir / HALT
    if not os.path.lexists(path):
        raise NotHalted(path)
    if not ack:
        refuse_if_halted(data_dir)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    kept, more = data_dir / f"{HALT}.{stamp}", 0
    while os.path.lexists(kept):
        more += 1
        kept = data_dir / f"{HALT}.{stamp}.{more}"
    path.rename(kept)
    sync_folder(data_dir)
    return kept


def _write_whole(disk: Disk, path: Path, raw: bytes) -> None:
    # By another name first: half a file would halt as well, but without a reason in it. One for each process: a
    # command may halt the node while the node does.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        file = disk.open(draft)
        try:
            file.truncate(0)
            file.append(raw)
            file.sync()
        finally:
            file.close()
        disk.rename(draft, path)
    except OSError:
        with suppress(OSError):  # what is told is why it was not written
            disk.remove(draft)
        raise
    disk.sync_folder(path.parent)
