"""What can be wrong with a data stream: `PeerError` for bytes, `StorageUnusable` for a file on our own disk."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from attestrio.errors import DataDirInUse, PeerError, SetupError, SourceError, StorageUnusable


class BadStreamHeader(PeerError):
    """The first bytes are not the header of a data stream of the sequencer's kind."""

    code: ClassVar[str] = "bad_stream_header"


class BadEntry(PeerError):
    """Bytes that should be an entry of a data stream are none, or one with another number than the next."""

    code: ClassVar[str] = "bad_entry"


class EntryTooLong(PeerError):
    """An entry does not fit into a data page. Upstream writes it across two, which spoils the second for searching."""

    code: ClassVar[str] = "entry_too_long"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"entry of {size} B, a data page has {limit} B")
        self.size, self.limit = size, limit


class BadMessage(PeerError):
    """The data of an entry is not the message its type says, or a bookmark is not in its one encoding."""

    code: ClassVar[str] = "bad_stream_message"


class OrderBroken(PeerError):
    """An entry stands where no entry of its kind may stand, or contradicts those before it."""

    code: ClassVar[str] = "stream_order_broken"

    def __init__(self, number: int, rule: str) -> None:
        super().__init__(f"entry {number}: {rule}")
        self.number, self.rule = number, rule


class NotAStream(StorageUnusable):
    """The file is no data stream, one of another kind, or was cut inside a page."""

    code: ClassVar[str] = "not_a_stream"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is not a data stream that can be used: {why}")
        self.path, self.why = path, why


class StreamCorrupt(StorageUnusable):
    """Between header and end of a stream file stands something that is no entry: recover it, or take the backup."""

    code: ClassVar[str] = "stream_corrupt"

    def __init__(self, path: Path, position: int, why: str) -> None:
        super().__init__(f"{path} at byte {position}: {why}")
        self.path, self.position, self.why = path, position, why


class HeaderAhead(StreamCorrupt):
    """The header of a stream file promises entries that are not there: power was lost before they were on disk."""

    code: ClassVar[str] = "stream_header_ahead"


class StreamInUse(DataDirInUse):
    """Another process writes this stream file."""

    code: ClassVar[str] = "stream_in_use"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is being written by another process: stop it first")
        self.path = path


class StreamUnreadable(StorageUnusable):
    """A stream file is missing, may not be opened, or the disk below it fails."""

    code: ClassVar[str] = "stream_unreadable"

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(f"{path} cannot be read ({detail})")
        self.path = path


class StreamUnwritable(StorageUnusable):
    """A write to a stream file failed. What was committed before is intact; open the file again to go on."""

    code: ClassVar[str] = "stream_unwritable"

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(f"{path} cannot be written ({detail}): mend the disk, then open the file again")
        self.path = path


class StreamChangeRefused(SetupError):
    """A truncation or an update asks for an entry that is not there, or for another type or length."""

    code: ClassVar[str] = "stream_change_refused"


class StreamRewritten(SourceError):
    """The stream file was truncated or updated under a reader: begin again at an entry that is still there."""

    code: ClassVar[str] = "stream_rewritten"


class BookmarksUnusable(StorageUnusable):
    """The bookmark index cannot be opened or read; it can be rebuilt from the stream file."""

    code: ClassVar[str] = "bookmarks_unusable"

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(f"bookmark index {path} cannot be used ({detail}): remove it, it is rebuilt from the stream")
        self.path = path
