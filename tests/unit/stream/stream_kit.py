"""What tests of stream files share: the Go server's files, a disk that misbehaves under a stream, entries to write."""

from __future__ import annotations

import json
import lzma
import os
from functools import cache
from pathlib import Path

from attestrio.kit.disk import read_at
from attestrio.sim.disk import SimDisk
from attestrio.sim.disk_model import Sync, Truncate, Write
from attestrio.stream import BatchEnd, BatchStart, Bookmark, Entry, EntryType, L2Block, L2BlockEnd
from attestrio.stream.reader import StreamReader

GOLDEN = Path(__file__).parents[2] / "golden" / "datastream"
NAMES = ("a", "b", "c", "d1", "d2", "d3", "d4", "d5")


@cache
def streams():
    return json.loads((GOLDEN / "streams.json").read_text())


@cache
def content(name):
    """The bytes of a Go file, up to the last data page that is not all zeros."""
    return lzma.decompress((GOLDEN / f"{name}.bin.xz").read_bytes())


def put(name, folder):
    """The file in a folder; its path."""
    path = folder / f"{name}.bin"
    path.write_bytes(content(name))
    return path


@cache
def entries_of(name):
    """The entries of a Go file, cut out at the places its server has told."""
    raw = content(name)
    return tuple(
        Entry(number, kind, raw[offset + 17 : offset + length])
        for number, kind, offset, length in streams()[name]["entries"]
    )


def given(pairs):
    """Entries as the manifest lists them."""
    return [Entry(one["number"], one["type"], bytes.fromhex(one["data"])) for one in pairs]


def write(file, entries):
    """All of them in one atomic operation."""
    with file.atomic():
        for entry in entries:
            file.add(entry.type, entry.data)


def read_all(path):
    with StreamReader.open(path) as reader:
        return list(reader.entries())


def chain(batches, blocks=1, first=0, block=0):
    """Messages of whole batches, in order."""
    root = b"\x07" * 32
    for batch in range(first, first + batches):
        yield Bookmark.batch(batch)
        yield BatchStart(batch, fork_id=9, chain_id=1001)
        for _ in range(blocks):
            yield Bookmark.block(block)
            yield L2Block(block, batch_number=batch, state_root=root)
            yield L2BlockEnd(block)
            block += 1
        yield BatchEnd(batch, state_root=root)


def numbered(messages, first=0):
    return [Entry(number, message.TYPE, message.encode()) for number, message in enumerate(messages, first)]


def filler(size, kind=EntryType.TRANSACTION):
    """Data of an entry that takes `size` bytes in the file."""
    return kind, bytes(index % 251 for index in range(size - 17))


class SimStreamDisk(SimDisk):
    """A `StreamDisk` whose files are those of a SimDisk."""

    def open_paged(self, path, *, writable):
        if not path.exists():
            raise FileNotFoundError(2, "no such file", str(path))
        return SimPagedFile(self, self.tree.names()[self.name_of(path)], path)


class SimPagedFile:
    """A `PagedFile` of a SimDisk."""

    def __init__(self, disk, file, path):
        self._disk, self._file = disk, file
        self._handle = os.open(path, os.O_RDWR)

    def size(self):
        return os.fstat(self._handle).st_size

    def read(self, offset, size):
        return read_at(self._handle, offset, size)

    def write(self, offset, data):
        self._disk.do(Write(self._file, offset, bytes(data)))
        os.pwrite(self._handle, data, offset)

    def resize(self, size):
        self._disk.do(Truncate(self._file, size))
        os.ftruncate(self._handle, size)

    def sync(self):
        self._disk.do(Sync(self._file))

    def close(self):
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
