"""A copy of a server's stream that is kept equal to it, whatever happens to the connection or to the server's file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NoReturn

import trio
from trio_util import AsyncValue

from attestrio.errors import PeerError, SourceError
from attestrio.kit.retry import Schedule
from attestrio.stream.client import DEFAULT_TIMES, ClientTimes, StreamClient, connect
from attestrio.stream.entries import Entry, EntryType
from attestrio.stream.live import LiveStream
from attestrio.stream.merge import Verdict, merge, runs
from attestrio.stream.messages import Bookmark, BookmarkType, L2Block, bookmark_untrusted, message_untrusted
from attestrio.stream.wire_errors import StreamGap, StreamMoved, StreamRefused

log = logging.getLogger("attestrio.stream")

WINDOW: Final = 256  # entries looked through at once for the last block


@dataclass(frozen=True, slots=True)
class Progress:
    """Entries received or found here already, and how many the server had when it was asked last."""

    entries: int
    wanted: int

    @property
    def caught_up(self) -> bool:
        return self.entries >= self.wanted


class Begin(Enum):
    """Where a connection begins to read: further back after each failure to find the copy's entries there."""

    LAST_BLOCK = auto()
    COMMON_BATCH = auto()
    ZERO = auto()


@dataclass(frozen=True, slots=True)
class StreamFollower:
    """Follows one server. The only writer of `copy`, which may be served at the same time.

    Each connection begins at the last block of the copy and not behind its last entry: so a server that has written
    other entries under numbers that are here already is noticed. Then the newest block that both have is looked for,
    its batch is read again, and the copy is cut where the first entry differs. A server whose stream has only become
    shorter changes nothing until it sends something else, or for `shorter_s` nothing at all: then the copy is cut to
    it. It may be rebuilding what it took away, and most of that comes back as it was.

    After `refresh_s` without an entry it connects again: servers drop who is silent for ten minutes, and tell nobody
    when they truncate.
    """

    address: str
    copy: LiveStream
    times: ClientTimes = DEFAULT_TIMES
    refresh_s: float = 240.0
    shorter_s: float = 30.0
    waits_s: Schedule = (0.1, 1.0, 5.0)
    """Before each further attempt to connect, the last one again and again."""
    progress: AsyncValue[Progress | None] = field(default_factory=lambda: AsyncValue(None))

    async def run(self) -> NoReturn:
        """Follow until cancelled. Raises BadStreamAddress, and what writing the copy raises."""
        failed, begin = 0, Begin.LAST_BLOCK
        while True:
            before = self.copy.state.header
            try:
                async with connect(self.address, self.times) as client:
                    await self._follow(client, begin)
                failed, begin = 0, Begin.LAST_BLOCK
            except SourceError as exc:
                if isinstance(exc, StreamMoved | StreamRefused):
                    log.warning("%s: looking for the place where it parts from the copy", exc)
                    begin = Begin.COMMON_BATCH if begin is Begin.LAST_BLOCK else Begin.ZERO
                else:
                    # Once, and not at every attempt: who follows a wrong address has to see why nothing comes.
                    log.log(logging.INFO if failed else logging.WARNING, "stream not read: %s", exc)
                    begin = Begin.LAST_BLOCK
                failed = 0 if self.copy.state.header != before else failed + 1
            if failed:
                await trio.sleep(self.waits_s[min(failed, len(self.waits_s)) - 1])

    async def _follow(self, client: StreamClient, begin: Begin) -> None:
        """Until the stream has been quiet for `refresh_s`. Raises StreamLost, StreamRefused, StreamMoved, StreamGap."""
        wanted = (await client.header()).total_entries
        expected = await self._start(client, begin)
        if expected == 0:  # else the copy may part from the server's before this, which its first entry tells
            self.progress.value = Progress(expected, wanted)
        searching, first = begin is not Begin.LAST_BLOCK, True
        while True:
            shorter = not first and wanted <= expected < self.copy.state.header.total_entries
            with trio.move_on_after(min(self.refresh_s, self.shorter_s) if shorter else self.refresh_s) as quiet:
                entries = await client.entries()
            if quiet.cancelled_caught:
                if shorter:
                    await self.cut()
                return
            for run in runs(entries):
                number = run[0].number
                if first and number != expected:
                    raise StreamMoved(self.address, number, expected)
                if number > expected:
                    raise StreamGap(self.address, number, expected)
                cut_from = expected if searching else self.copy.state.header.total_entries
                searching = not await self._take(run, cut_from) and searching
                first, expected = False, run[-1].number + 1
                self.progress.value = Progress(expected, wanted)

    async def cut(self) -> None:
        """Take out of the copy what the server no longer has. For `run`, or after it. Raises as writing does.

        Only when the server was heard to its end, and never all of it: a server that has lost its stream can be given
        it back from a copy.
        """
        heard, total = self.progress.value, self.copy.state.header.total_entries
        if heard is not None and heard.caught_up and 0 < heard.entries < total:
            log.warning("entries %d to %d of the copy are removed: the server has none there", heard.entries, total - 1)
            await self.copy.truncate(heard.entries)

    async def _take(self, run: Sequence[Entry], cut_from: int) -> bool:
        """Bring entries into the copy; whether it was changed. Raises StreamMoved, StreamGap."""
        total = self.copy.state.header.total_entries
        held = await self.copy.entries(run[0].number, run[-1].number + 1)
        done = merge(run, held, total, cut_from)
        if done.verdict is Verdict.NOTHING:
            return False
        number = run[done.news].number
        if done.verdict is Verdict.GAP:
            raise StreamGap(self.address, number, total)
        if done.verdict is Verdict.REWRITTEN:
            raise StreamMoved(self.address, number, total)
        if done.verdict is Verdict.REPLACE:
            log.warning("entries %d to %d of the copy are replaced", number, total - 1)
            await self.copy.truncate(number)
        await self.copy.append((entry.type, entry.data) for entry in run[done.news :])
        return True

    async def _start(self, client: StreamClient, begin: Begin) -> int:
        """Have the stream sent; the number that its first entry has here."""
        bookmark = await self._bookmark(client, begin)
        number = None if bookmark is None else await self.copy.find(bookmark)
        if bookmark is None or number is None:
            await client.start(0)
            return 0
        await client.start_bookmark(bookmark)
        return number

    async def _bookmark(self, client: StreamClient, begin: Begin) -> bytes | None:
        """Where to start; None: at the beginning of the stream."""
        last = None if begin is Begin.ZERO else await self._last_block()
        if last is None:
            return None
        if begin is Begin.LAST_BLOCK:
            return Bookmark.block(last).encode()
        common = await self._common_block(client, last)
        return None if common is None else Bookmark.batch(common.batch_number).encode()

    async def _last_block(self) -> int | None:
        """The number of the last block with a bookmark in the copy."""
        stop = self.copy.state.header.total_entries
        while stop > 0:
            start = max(0, stop - WINDOW)
            for entry in reversed(await self.copy.entries(start, stop)):
                if entry.type == EntryType.BOOKMARK and (number := _block_of(entry)) is not None:
                    return number
            stop = start
        return None

    async def _common_block(self, client: StreamClient, last: int) -> L2Block | None:
        """The newest block with the same bytes under the same number here and there, found by halving.

        Once a block differs all later ones do: its hash is in theirs, and a batch that was split moves all entries
        behind it. What stands between two blocks may still differ, which is why its batch is compared again.
        """
        low, high, found = 0, last, None
        while low <= high:
            middle = (low + high) // 2
            bookmark = Bookmark.block(middle).encode()
            ours = await self.copy.after(bookmark)
            if ours is not None and ours == await client.after(bookmark) and (block := _l2_block(ours)) is not None:
                found, low = block, middle + 1
            else:
                high = middle - 1
        return found


def _block_of(entry: Entry) -> int | None:
    try:
        bookmark = bookmark_untrusted(entry.data)
    except PeerError:
        return None  # what a server calls a bookmark and we do not is not followed by
    return bookmark.value if bookmark.type == BookmarkType.L2_BLOCK else None


def _l2_block(entry: Entry) -> L2Block | None:
    try:
        message = message_untrusted(entry.type, entry.data)
    except PeerError:
        return None
    return message if isinstance(message, L2Block) else None
