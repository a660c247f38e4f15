"""Overwriting an entry in the middle of a stream file so that a crash leaves the old one or the new one.

The new one is first put, durably, into a small file beside the stream; who opens the stream next and finds it does
the write again. The side file is whole or not there: it gets its name by a rename.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Final

from attestrio.kit.disk import write_whole
from attestrio.stream.disk import PagedFile, StreamDisk
from attestrio.stream.entries import ENTRY, PAGE, Header

HEAD: Final = struct.Struct(">8sQI")  # magic, position of the entry in the stream file, CRC-32 of the entry
MAGIC: Final = b"redo\0\0\0\1"


def side_file(path: Path) -> Path:
    """Beside the file itself and not beside a link to it: the same one by whatever name the stream is opened."""
    path = Path(os.path.realpath(path))  # `resolve` raises for links in a circle
    return path.with_name(f".{path.name}.redo")


def write(disk: StreamDisk, path: Path, file: PagedFile, position: int, entry: bytes) -> None:
    """Put `entry`, all of its bytes, in the place of one with the same number, type and length. Raises OSError."""
    side = side_file(path)
    write_whole(disk, side, HEAD.pack(MAGIC, position, zlib.crc32(entry)) + entry)
    _apply(disk, side, file, position, entry)


def finish(disk: StreamDisk, path: Path, file: PagedFile, header: Header) -> None:
    """What a crash has interrupted. A side file that is not for this stream is left alone: the next one replaces it.

    Raises OSError.
    """
    side = side_file(path)
    try:
        raw = disk.read(side, HEAD.size + PAGE)
    except FileNotFoundError:
        return
    if len(raw) < HEAD.size + ENTRY.size:
        return
    magic, position, checksum = HEAD.unpack_from(raw)
    entry = raw[HEAD.size :]
    if magic != MAGIC or zlib.crc32(entry) != checksum or position + len(entry) > header.total_length:
        return
    # The head of the entry stays as it is: another head means that the stream was replaced by another.
    if file.read(position, ENTRY.size) == entry[: ENTRY.size]:
        _apply(disk, side, file, position, entry)


def _apply(disk: StreamDisk, side: Path, file: PagedFile, position: int, entry: bytes) -> None:
    file.write(position, entry)
    file.sync()
    disk.remove(side)
    disk.sync_folder(side.parent)
