"""The data stream: entries decoded from a file, against a loop that only hops from header to header.

Both read the same file page by page and do nothing with what they find. The floor takes the four fields of each header
and adds the length; it checks nothing, makes no value and touches no data. The file has the entries of a network at
work: blocks, most of them empty, and a transaction now and then; 300,000 entries, 50 pages.

Runs are interleaved in the thread's own time, after one that warms up; ratios are of medians. How fast the floor is
depends on the state of Python's allocator, by a third, so the ratio of the fastest runs is told too. What is no target
is measured once. Exit 1 if a target is missed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from _floor import Figure, arguments, cpu, report
from attestrio.stream import (
    PAGE,
    AnyMessage,
    BatchEnd,
    BatchStart,
    Bookmark,
    L2Block,
    L2BlockEnd,
    Transaction,
    message_untrusted,
)
from attestrio.stream.entries import ENTRY, page_start
from attestrio.stream.file import StreamFile
from attestrio.stream.reader import StreamReader
from attestrio.stream.verify import verify

DECODED = 0.5  # of the header walk
A_BATCH = 100  # blocks
A_TRANSACTION = 24  # blocks to one of them, as in chain 779


def chain(blocks: int) -> Iterator[AnyMessage]:
    """What a network writes."""
    root = b"\x07" * 32
    for block in range(blocks):
        batch, within = divmod(block, A_BATCH)
        if within == 0:
            yield Bookmark.batch(batch)
            yield BatchStart(batch, fork_id=9, chain_id=1001)
        yield Bookmark.block(block)
        yield L2Block(block, batch, 1_700_000_000 + block, 3, hash=root, state_root=root, block_info_root=root)
        if block % A_TRANSACTION == 0:
            yield Transaction(block, encoded=bytes(110 + block % 7 * 400), effective_gas_price_percentage=255)
        yield L2BlockEnd(block)
        if within == A_BATCH - 1:
            yield BatchEnd(batch, state_root=root)


def make(path: Path, blocks: int) -> int:
    """How many entries there are."""
    with StreamFile.create(path) as file:
        with file.atomic():
            for message in chain(blocks):
                file.add(message.TYPE, message.encode())
        return file.header.total_entries


def walk_headers(path: Path) -> int:
    """The floor."""
    with path.open("rb") as file:
        handle, unpack = file.fileno(), ENTRY.unpack_from
        length = int.from_bytes(os.pread(handle, 8, 38), "big")
        raw = bytearray(PAGE)  # one for all pages: new memory for each would make the floor slower
        entries = page = 0
        while page_start(page) < length:
            os.preadv(handle, [raw], page_start(page))
            # less than a head is left of a page: a pad
            position, last = 0, min(PAGE, length - page_start(page)) - ENTRY.size
            while position <= last:
                packet, size, _kind, _number = unpack(raw, position)
                if packet == 0:
                    break
                position += size
                entries += 1
            page += 1
        return entries


def decode(path: Path) -> int:
    with StreamReader.open(path) as reader:
        entries = 0
        for _entry in reader.entries():
            entries += 1
        return entries


def decode_messages(path: Path) -> int:
    with StreamReader.open(path) as reader:
        entries = 0
        for entry in reader.entries():
            message_untrusted(entry.type, entry.data)
            entries += 1
        return entries


def slices(path: Path) -> int:
    """As a server reads it."""
    with StreamReader.open(path) as reader:
        position = reader.locate(0)
        while (cut := reader.read_bytes(position, PAGE)).data:
            position = cut.next
        return reader.header.total_entries


def main() -> int:
    given = arguments((__doc__ or "").split("\n")[0])
    works: dict[str, Callable[[Path], object]] = {"floor": walk_headers, "decoded": decode, "slices": slices}
    once: dict[str, Callable[[Path], object]] = {"messages": decode_messages, "verified": verify}
    with tempfile.TemporaryDirectory(prefix="attestrio-bench-") as folder:
        path = Path(folder) / "stream.bin"
        entries = make(path, 33_000 if given.quick else 100_000)
        for work in works.values():
            work(path)
        taken: dict[str, list[float]] = {name: [cpu(lambda work=work: work(path))] for name, work in once.items()}
        for _ in range(max(3, given.rounds)):
            for name, work in works.items():
                taken.setdefault(name, []).append(cpu(lambda work=work: work(path)))
    each = {name: median(times) / entries for name, times in taken.items()}
    figures = [
        Figure("entries decoded / bare header walk", each["floor"] / each["decoded"], "ratio", DECODED),
        Figure("the same, of the fastest runs", min(taken["floor"]) / min(taken["decoded"]), "ratio"),
        Figure("entries decoded", 1e-6 / each["decoded"], "M/s"),
        Figure("bare header walk", 1e-6 / each["floor"], "M/s"),
        Figure("entries with their messages decoded", 1e-6 / each["messages"], "M/s"),
        Figure("entries in slices for the wire", 1e-6 / each["slices"], "M/s"),
        Figure("entries verified", 1e-6 / each["verified"], "M/s"),
    ]
    return report("stream", figures, as_json=given.json)


if __name__ == "__main__":
    sys.exit(main())
