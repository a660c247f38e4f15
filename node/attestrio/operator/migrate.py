"""Taking over from an operator written in Go: the position in its `last_processed_batch` file, read once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import msgspec

from attestrio.journal import Journal, Put
from attestrio.kit.files import read_bounded, sync_folder
from attestrio.l1.place import Place
from attestrio.operator import rows
from attestrio.operator.errors import OldPositionUnreadable
from attestrio.operator.progress import Watermark

log = logging.getLogger("attestrio.operator")

MARGIN: Final = 100
"""Blocks before the old position that are scanned again: that is how far back its own catch-up looks."""
MAX_BYTES: Final = 4096
SUFFIX: Final = ".migrated"


class _Old(msgspec.Struct):
    block_number: int


async def migrate(journal: Journal, file: Path, first: int) -> bool:
    """Begin the scan where the old operator stopped, and rename its file to `.migrated`. True: the position counts.

    A scan that has begun already keeps its place: then the file is only renamed. The old position is the highest batch
    that was finished, not one before which all were, so `MARGIN` blocks before it are scanned again; what was answered
    is skipped. Raises OldPositionUnreadable; the file then stays as it is.
    """
    try:
        raw = read_bounded(file, MAX_BYTES)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise OldPositionUnreadable(str(file), exc.strerror or str(exc)) from exc
    begun = await journal.cursor(rows.SCAN) is not None
    if not begun:
        begin = max(first, _block_untrusted(raw, file) - MARGIN)
        put = [Put(rows.ABOUT, rows.END, Watermark(begin).to_bytes())]
        await journal.append(rows.WORK, (), cursor=(rows.SCAN, Place(begin - 1).to_bytes()), put=put)
        log.info("%s: going on from block %d", file, begin)
    _set_aside(file)
    return not begun


def _set_aside(file: Path) -> None:
    try:
        file.rename(file.with_name(file.name + SUFFIX))
        sync_folder(file.parent)
    except OSError as exc:  # it counts only once, whatever it is called
        log.warning("%s cannot be renamed: %s", file, exc.strerror)


def _block_untrusted(raw: bytes, file: Path) -> int:
    """A crash may have left half a file. Raises OldPositionUnreadable."""
    try:
        block = msgspec.json.decode(raw, type=_Old).block_number
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise OldPositionUnreadable(str(file), str(exc)) from exc
    if not 0 <= block < 1 << 62:
        raise OldPositionUnreadable(str(file), f"block {block}")
    return block
