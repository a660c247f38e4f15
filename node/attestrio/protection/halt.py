"""A safety stop that stays stopped: the `HALT` file, which only an operator takes away."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from attestrio.errors import NodeError, SafetyError, SetupError
from attestrio.kit.files import read_bounded, sync_folder

log = logging.getLogger("attestrio.protection")

HALT = "HALT"
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


def write_halt(data_dir: Path, reason: NodeError, evidence: Mapping[str, Any], at: float | None = None) -> Path:
    """Stop the node for good: whole and on disk when it returns. The first one stays: it is the cause of the others.

    Args:
      evidence: JSON values with which somebody else can check the reason.
      at: Unix seconds; None is now.

    Raises OSError; then the node has to end all the same, and a restart finds no HALT.
    """
    path = data_dir / HALT
    if os.path.lexists(path):
        log.error("%s is there already and stays; also: %s [%s]", path, reason, reason.code)
        return path
    note = HaltNote(reason.code, str(reason), evidence, time.time() if at is None else at)
    _write_whole(path, msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n")
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


def _write_whole(path: Path, raw: bytes) -> None:
    # By another name first: half a file would halt as well, but without a reason in it.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(raw)
        out.flush()
        os.fsync(out.fileno())
    draft.rename(path)
    sync_folder(path.parent)
