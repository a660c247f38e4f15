"""Words from the operator to a running node: small files dropped into its data directory, looked for every second.

A socket would need rights of its own and a server; the directory already has the right owner and mode.
"""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from attestrio.errors import SetupError
from attestrio.kit.files import read_bounded, sync_folder, write_new

log = logging.getLogger("attestrio.protection")

FOLDER = "commands"
MAX_BYTES = 4096


class Verb(StrEnum):
    """What a node can be told."""

    END_EPOCH = "end-epoch"
    CONSENT = "consent"


class CommandNotPosted(SetupError):
    """The command could not be left for the node."""

    code: ClassVar[str] = "command_not_posted"


@dataclass(frozen=True, slots=True)
class Command:
    """One word from the operator. `at` is wall time in seconds; `why` ends up in the record."""

    verb: Verb
    why: str
    at: float
    about: str = ""
    """What the operator was looking at: for consent, `PendingRollback.subject`. It counts for nothing else."""


@dataclass(frozen=True, slots=True)
class CommandBox:
    """The letter box in a data directory. Several may post; one node takes, oldest first, each once."""

    data_dir: Path

    def post(self, verb: Verb, why: str, about: str = "") -> None:
        """Leave a command, durably. Raises CommandNotPosted."""
        if not self.data_dir.is_dir():
            raise CommandNotPosted(f"{self.data_dir} is no data directory")
        text = json.dumps({"verb": verb, "why": why, "at": time.time(), "about": about}) + "\n"
        if len(text) > MAX_BYTES:
            raise CommandNotPosted(f"the reason is too long: {len(text)} bytes with the rest, limit {MAX_BYTES}")
        name = f"{time.time_ns():020d}-{os.getpid()}.json"
        folder = self.data_dir / FOLDER
        try:
            write_new(folder / f".{name}", text)
            (folder / f".{name}").rename(folder / name)  # whole or not there
            sync_folder(folder)
        except OSError as exc:
            raise CommandNotPosted(f"{folder} cannot be written: {exc.strerror}") from exc

    def take(self) -> Command | None:
        """The oldest command, gone from the box; None while it is empty. One that cannot be read is thrown away.

        One that cannot be taken away is not obeyed: it would be obeyed every second.
        """
        try:
            waiting = sorted((self.data_dir / FOLDER).glob("[0-9]*.json"))
        except OSError as exc:  # above all a process without descriptors, which ends when those who took them leave
            log.warning("%s not looked into: %s", self.data_dir / FOLDER, exc.strerror)
            return None
        for path in waiting:
            command = _read(path)
            try:
                path.unlink(missing_ok=True)
            except OSError as exc:
                log.error("%s cannot be taken away (%s), not obeyed", path, exc.strerror)
                continue
            if command is not None:
                return command
        return None


def _read(path: Path) -> Command | None:
    try:
        table = json.loads(read_bounded(path, MAX_BYTES))
        return Command(Verb(table["verb"]), str(table["why"]), float(table["at"]), str(table.get("about", "")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        log.warning("%s is no command: %s", path.name, exc)
        return None
