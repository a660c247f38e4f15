"""Reusable streams, the transient streams that run over them, and what is told about these.

A reusable stream has a fixed id and carries transient streams one after the other. Each round, at each end:

    A  what is left to send, then CLOSE (also once at the very beginning)
    B  reserve a permit of the capability's rate
    C  discard what comes, up to the peer's OPEN (starts when the reader of the last round has let go)
    D  somebody here wants a stream of this capability
    E  OPEN
    F  both OPENs exchanged: the transient stream is handed out, the permit is spent

The ACCEPT end goes B, C, D, E; the CONNECT end B, D, E, C. So the CONNECT end opens first, and the ACCEPT end answers
when it has something to say. What the peer sends behind its OPEN belongs to the round that begins with it, and is kept.

    sending   STARVED -B-> ARMED -D,E-> OPENED -F-> RUNNING -finish, A-> STARVED
    reading   WAITING -OPEN, C-> OPENED -F-> RUNNING -CLOSE-> ENDED ; release leads from either to WAITING,
              and on to OPENED if the peer's next OPEN is here already

Source: era-consensus d1d3b51e, network/mux/reusable_stream.rs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from attestrio.gossip.limiter import Limiter, Rate
from attestrio.gossip.mux.header import HEADER, End, Kind

OPEN: Final = int(Kind.OPEN)
DATA: Final = int(Kind.DATA)
CLOSE: Final = int(Kind.CLOSE)

Frame = bytearray | Kind
"""What is kept of a parked frame: the bytes of a DATA, or Kind.OPEN, or Kind.CLOSE."""


@dataclass(frozen=True, slots=True)
class Half:
    """What this end keeps of a capability at one end: how many streams, and how often one may be opened."""

    max_streams: int
    rate: Rate


class Reading(Enum):
    """Where the receiving half of a reusable stream is."""

    WAITING = auto()  # discarding until the peer's OPEN
    OPENED = auto()  # the peer's OPEN is here, the round has not begun: what comes is parked
    RUNNING = auto()  # handed out: what comes is told
    ENDED = auto()  # the peer's CLOSE was told, the reader has not let go: from the next OPEN on it is parked


class Sending(Enum):
    """Where the sending half of a reusable stream is."""

    STARVED = auto()  # in line for a permit
    ARMED = auto()  # holds a permit
    OPENED = auto()  # our OPEN is sent, the round has not begun
    RUNNING = auto()  # handed out


class Lane:
    """The reusable streams of one capability at one end: one rate, one number of wishes, two lines to stand in."""

    __slots__ = ("capability", "end", "limiter", "ready", "starved", "wanted")

    def __init__(self, end: End, capability: int, limiter: Limiter) -> None:
        self.end, self.capability, self.limiter = end, capability, limiter
        self.wanted = 0  # wishes that no OPEN of ours has answered
        self.starved: deque[Stream] = deque()  # at B
        self.ready: deque[Stream] = deque()  # at D: only a wish is missing


class Stream:
    """One reusable stream at this end. Changed by the machine only."""

    __slots__ = ("close", "data", "lane", "open", "parked", "reading", "round", "sending")

    def __init__(self, lane: Lane, id_: int) -> None:
        self.lane = lane
        self.open = HEADER.pack(OPEN | lane.end | id_)
        self.close = HEADER.pack(CLOSE | lane.end | id_)
        self.data = DATA | lane.end | id_  # the bits of its DATA header
        self.sending = Sending.STARVED
        self.reading = Reading.WAITING
        self.parked: deque[Frame] = deque()  # not told yet, in order
        self.round: Transient | None = None  # the newest one

    @property
    def is_cut(self) -> bool:
        """Whether what comes next belongs to no round, unless it is an OPEN. For a stream that parks."""
        return self.parked[-1] is Kind.CLOSE if self.parked else self.reading is Reading.ENDED


class Transient:
    """A transient stream: one round of a reusable one. Who is handed it finishes the one half and releases the other.

    Compared by identity, so that what was told about an earlier round is never taken for this one.
    """

    __slots__ = ("is_reading", "is_writing", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.is_writing = self.is_reading = True

    @property
    def end(self) -> End:
        """Which end of it we are."""
        return self.stream.lane.end

    @property
    def capability(self) -> int:
        return self.stream.lane.capability


@dataclass(frozen=True, slots=True)
class Opened:
    """A transient stream begins."""

    stream: Transient


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a transient stream, at least one; how they are cut means nothing."""

    stream: Transient
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The peer sends nothing more on a transient stream."""

    stream: Transient


Event = Opened | Data | Ended
