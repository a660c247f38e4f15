"""The file in which a running node says who is connected, for `attestrio peers`.

A socket would need rights of its own and a server; the data directory already has the right owner and mode.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec

from attestrio.errors import PeerError, StorageUnusable
from attestrio.gossip.peers import Direction, PeerInfo
from attestrio.kit.files import read_bounded
from attestrio.roles import NodePublicKey

PEERS: Final = "peers.json"
MAX_BYTES: Final = 16 << 20  # of the file; a peer is about 250 B

Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Address = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x20\x7f]{1,300}$")]  # it is printed on a terminal


class PeersUnreadable(StorageUnusable):
    """The list of peers in the data directory is broken or cannot be read. A node that runs writes it anew."""

    code: ClassVar[str] = "peers_unreadable"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} cannot be read ({problem}): a node that runs writes it anew, try again")
        self.path = path


@dataclass(frozen=True, slots=True)
class PeerList:
    """Who is connected to one node at one moment."""

    as_of: float  # Unix time in seconds
    node: NodePublicKey  # whose peers they are
    listening: str  # host:port where others dial in
    peers: tuple[PeerInfo, ...]


class _Peer(msgspec.Struct, frozen=True):
    key: str
    direction: Direction
    address: Address
    since: Seconds
    received: Number
    sent: Number
    score: Annotated[float, msgspec.Meta(ge=0, le=100)]


class _File(msgspec.Struct, frozen=True):
    as_of: Seconds
    node: str
    listening: Address
    peers: tuple[_Peer, ...]


def write_peers(path: Path, told: PeerList) -> None:
    """Replace the file with `told`, whole or not at all. Raises OSError.

    One writer at a time, which the lock of the data directory sees to. Not synced: after a power cut there are no
    peers, and a list that is torn then is refused by the reader.
    """
    peers = tuple(
        _Peer(str(one.key), one.direction, one.address, one.since, one.received, one.sent, one.score)
        for one in told.peers
    )
    raw = msgspec.json.encode(_File(told.as_of, str(told.node), told.listening, peers))
    part = path.with_name(f".{path.name}.new")  # always the same name: what a killed process leaves is written over
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(raw)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def forget_peers(path: Path) -> None:
    """Take the file away. What cannot be removed (somebody made a directory of it) stays: no vote depends on it."""
    with suppress(OSError):
        path.unlink()


def read_peers(path: Path) -> PeerList | None:
    """What the node wrote last; None where it has written nothing. Raises PeersUnreadable."""
    try:
        file = msgspec.json.decode(read_bounded(path, MAX_BYTES), type=_File)
        peers = tuple(
            PeerInfo(
                NodePublicKey.from_text(one.key),
                one.direction,
                one.address,
                one.since,
                one.received,
                one.sent,
                one.score,
            )
            for one in file.peers
        )
        return PeerList(file.as_of, NodePublicKey.from_text(file.node), file.listening, peers)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise PeersUnreadable(path, exc.strerror or str(exc)) from None
    except (msgspec.MsgspecError, PeerError, UnicodeDecodeError, RecursionError):
        raise PeersUnreadable(path, "not what a node writes") from None
