"""What the journal of an aggregator holds: topics, tables, and the values in them. Pure.

Each table has one writer, named beside it, so that nobody overwrites what another one has found out. What a reorg takes
back is found in the rows themselves: a batch, an answer on the chain and a key each happen once, and carry their block.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

UNKNOWN: Final = "unknown"  # batches that operators signed and the chain has not explained; claim_key → Claim
DEAD: Final = "dead"  # the same, given up; the same keys, the Claim with its reason
TASKS: Final = "tasks"  # identifier hash → Task; state.commit, for the sink and the recovery
SIGNATURES: Final = "signatures"  # identifier hash ‖ operator id → Signed; the server, verified ones only
KEYS: Final = "keys"  # operator id → OperatorKey; the sink
ANSWERS: Final = "answers"  # identifier hash → Answer; the sender
EVIDENCE: Final = "evidence"  # identifier hash ‖ operator id → Evidence; the server, bounded
COMMANDS: Final = "commands"  # what somebody at a terminal wants done
REPLIES: Final = "replies"
ABOUT: Final = "about"  # whose journal this is, and how far it is
SCAN: Final = "scan"  # cursor of the scanner
END, FIRST = b"end", b"first"  # in ABOUT, as a Place: before END all is scanned, tasks are taken up from FIRST on
FORGOTTEN: Final = b"forgotten"  # in ABOUT: a turn above those of all claims that no row tells of any more
OWNER: Final = "aggregator"  # of leases

ID_BYTES: Final = 32
TURN: Final = struct.Struct(">I")
PLACE: Final = struct.Struct(">qI")
MAX_POINTER: Final = 8192  # characters that are kept of a data pointer; a URL has 100

Row = TypeVar("Row", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A log on the chain: block, and index in it. They sort as the chain does."""

    block: int
    index: int = 0

    def to_bytes(self) -> bytes:
        return PLACE.pack(self.block, self.index)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Place:
        return cls(*PLACE.unpack(raw))


class Task(msgspec.Struct, frozen=True, array_like=True):
    """A batch as the chain tells of it."""

    root: bytes
    sender: bytes
    created: int
    """The block that counts for the contract: stakes are those of it."""
    created_hash: bytes
    index: int
    """Of the log in its block."""
    fee_limit: int
    """Wei that the batcher pays at most; 0: the event did not say (V2), ask `batchesState`."""
    pointer: str
    verified: int | None = None
    """The block of BatchVerified."""
    void: bool = False
    """A reorg took the batch off the chain, and it has not come back."""
    turn: int = 0
    """Of the next claim for it: how often the chain was asked what it is."""

    @property
    def place(self) -> Place:
        return Place(self.created, self.index)

    @property
    def is_open(self) -> bool:
        """It is on the chain, and the chain has no answer to it."""
        return not self.void and self.verified is None


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """An operator's signature of a batch, verified."""

    point: bytes
    """x ‖ y, 64 bytes."""
    at: float
    """Unix seconds."""


class OperatorKey(msgspec.Struct, frozen=True, array_like=True):
    """The key an operator registered; checked to be points of the groups."""

    operator: bytes
    """Its address, 20 bytes."""
    g1: bytes
    """x ‖ y, 64 bytes."""
    g2: bytes
    """As `bls.encode_g2` writes it, 128 bytes."""
    block: int
    """Of the registration."""


class Phase(StrEnum):
    """How far the answer to a batch is on its way to the chain."""

    WAITING = "waiting"  # for its turn, for a price, for a block
    PREPARED = "prepared"  # signed bytes are recorded, perhaps not sent
    SENT = "sent"
    REPLACED = "replaced"  # sent again at another price
    MINED = "mined"
    CONFIRMED = "confirmed"  # deep enough: nothing is left to be done
    REVERTED = "reverted"  # mined, and refused by the contract
    PARKED = "parked"  # waits for a person, or for the price to fall


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """One transaction, recorded before it is sent."""

    raw: bytes
    """The signed bytes."""
    hash: bytes
    price: int
    """Wei per gas."""
    at: float
    """Unix seconds."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What was done to bring the answer to a batch onto the chain."""

    phase: Phase
    reason: str = ""
    """A code: why it is in this phase; empty: nothing in particular."""
    detail: str = ""
    nonce: int | None = None
    attempts: tuple[Attempt, ...] = ()
    """The oldest first, all with that nonce."""
    mined: tuple[int, bytes] | None = None
    """Block, and hash of the transaction."""
    updated: float = 0.0
    """Unix seconds."""


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """Somebody says that there is a batch of this root and sender."""

    root: bytes
    sender: bytes
    since: int
    """The block that was scanned last when the claim was made."""
    reason: str = ""
    """A code: why it was given up, for those in DEAD."""
    detail: str = ""
    blocks: int = 0
    """How far below the head it is to be looked for; 0: as configured. In DEAD: how far it was."""


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """A second, different signature under an operator's id. Anybody can send one; only a valid one says something."""

    first: bytes
    """The one that is kept, x ‖ y."""
    second: bytes
    at: float
    """Unix seconds."""
    peer: str
    """Who sent it, as the socket says."""


def claim_key(identifier: bytes, turn: int) -> bytes:
    """A journal takes a key once, so a claim that is made again has the next turn."""
    return identifier + TURN.pack(turn)


def turn_of(key: bytes) -> int:
    turn: int = TURN.unpack_from(key, ID_BYTES)[0]
    return turn


def signature_key(identifier: bytes, operator_id: bytes) -> bytes:
    return identifier + operator_id


def identifier_of(key: bytes) -> bytes:
    """Of the key of a claim or of a signature."""
    return key[:ID_BYTES]


def operator_of(key: bytes) -> bytes:
    """The operator id in the key of a signature."""
    return key[ID_BYTES:]


def pack(row: msgspec.Struct) -> bytes:
    return msgspec.msgpack.encode(row)


def unpack(raw: bytes, kind: type[Row]) -> Row:
    """A row of ours. Raises msgspec.DecodeError where the database was written by something else."""
    return msgspec.msgpack.decode(raw, type=kind)
