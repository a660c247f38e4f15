"""What can go wrong between a stream's server and its clients, or with a backup."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from attestrio.errors import PeerError, SetupError, SourceError, StorageUnusable


class BadStreamRequest(PeerError):
    """A client's bytes after which nothing can be understood: another stream type, a bookmark of impossible length."""

    code: ClassVar[str] = "bad_stream_request"


class StreamReaderStalled(PeerError):
    """A client that does not take what it asked for, or has been silent for longer than the server allows."""

    code: ClassVar[str] = "stream_reader_stalled"

    def __init__(self, what: str, limit_s: float) -> None:
        super().__init__(f"{what} for {limit_s:g} s")
        self.what, self.limit_s = what, limit_s


class StreamClientOutdated(PeerError):
    """The stream was truncated while a client read from it: its connection is closed so that it looks again."""

    code: ClassVar[str] = "stream_client_outdated"


class BadStreamPacket(PeerError):
    """A server's bytes that are no packet of the protocol, or one that nobody asked for."""

    code: ClassVar[str] = "bad_stream_packet"


class BadStreamAddress(SetupError):
    """The address of a stream server is not HOST:PORT."""

    code: ClassVar[str] = "bad_stream_address"

    def __init__(self, address: str) -> None:
        super().__init__(f"not HOST:PORT: {address}")
        self.address = address


class StreamUnreachable(SourceError):
    """Nobody listens at the address of a stream server, or not in time."""

    code: ClassVar[str] = "stream_unreachable"

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"dial tcp {address}: {why}")
        self.address, self.why = address, why


class StreamLost(SourceError):
    """The connection to a stream server ended, fell silent, or its bytes made no sense."""

    code: ClassVar[str] = "stream_lost"

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"{address}: {why}")
        self.address, self.why = address, why


class StreamRefused(SourceError):
    """The server answered a command with an error result; `number` is the protocol's."""

    code: ClassVar[str] = "stream_refused"

    def __init__(self, command: str, number: int, text: str) -> None:
        super().__init__(f"{command}: {text} ({number})")
        self.command, self.number, self.text = command, number, text


class StreamGap(SourceError):
    """Entries between ours and those that a server sends are missing: connect again."""

    code: ClassVar[str] = "stream_gap"

    def __init__(self, address: str, got: int, wanted: int) -> None:
        super().__init__(f"{address} sent entry {got}, the next one is {wanted}")
        self.address, self.got, self.wanted = address, got, wanted


class StreamMoved(SourceError):
    """A server has other entries than before under numbers that it has sent: its stream was truncated and rewritten."""

    code: ClassVar[str] = "stream_moved"

    def __init__(self, address: str, number: int, held: int) -> None:
        super().__init__(f"{address} has another entry {number}, of {held} held")
        self.address, self.number, self.held = address, number, held


class BackupUnusable(StorageUnusable):
    """A backup of a stream is not whole, or its files are not those that were written. Nothing was restored."""

    code: ClassVar[str] = "backup_unusable"

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder} is no backup that can be used: {why}")
        self.folder, self.why = folder, why
