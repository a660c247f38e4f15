"""Which files a receipt log consists of: the one that is written to, and the full ones beside it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

DIGITS = 12  # so that names are in the order of their numbers


def name_of_full(path: Path, last: int) -> Path:
    """What the log `path` is called when it is full and ends with receipt `last`."""
    return path.with_name(f"{path.name}.{last:0{DIGITS}}")


def full_files(path: Path) -> list[tuple[int, Path]]:
    """The full files of the log `path`, oldest first, each with the number of its last receipt. Raises OSError."""
    name = re.compile(rf"{re.escape(path.name)}\.([0-9]{{{DIGITS}}})")
    found = ((name.fullmatch(one.name), one) for one in path.parent.iterdir())
    return sorted((int(match[1]), one) for match, one in found if match is not None)


def open_files(path: Path) -> Iterator[tuple[int | None, BinaryIO]]:
    """Every file of a log, oldest first and the newest last: the number of a full one, and the file, open meanwhile.

    The log may be written to, and its newest file get a number, at any moment. Raises OSError.
    """
    with path.open("rb") as newest:
        # Opened before the others are listed: what is listed under a number now may be this very file.
        same = os.fstat(newest.fileno())
        for last, full in full_files(path):
            with full.open("rb") as file:
                if os.path.samestat(os.fstat(file.fileno()), same):
                    break
                yield last, file
        yield None, newest
