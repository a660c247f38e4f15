"""What the journal of an operator holds: topics, tables, and the values in them. Pure.

Two tables have a row for each batch, and each table has one writer, so that nobody overwrites what another one has
found out: `chain` is the scanner's, `verdicts` belongs to whoever verifies, sends and gives up.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from attestrio.duty import Reason

WORK: Final = "work"  # batches without a verdict; a key is an identifier hash, a round and a turn
OUTBOX: Final = "outbox"  # responses that nobody has seen on the chain yet; the same keys
DEAD: Final = "dead"  # responses the aggregator will never take
CHAIN: Final = "chain"  # identifier hash → OnChain
VERDICTS: Final = "verdicts"  # identifier hash → Verdict
RECENT: Final = "recent"  # key of a log → what it said, for when it turns out not to have happened
COMMANDS: Final = "commands"  # what somebody at a terminal wants done
ANSWERS: Final = "answers"
ABOUT: Final = "about"  # whose journal this is
SCAN: Final = "scan"  # cursor of the scanner
END, MARK = b"end", b"watermark"  # in ABOUT: how far everything is known, and done
OWNER: Final = "operator"

ID_BYTES: Final = 32
COUNT: Final = struct.Struct(">HH")  # round, turn
MAX_POINTER: Final = 8192  # characters that are kept of a data pointer; a URL has 100

Row = TypeVar("Row", bound=msgspec.Struct)


class Ended(StrEnum):
    """What has become of a batch here."""

    OPEN = "open"  # no verdict yet
    SIGNED = "signed"  # all proofs are good, and the signature is recorded
    REFUSED = "refused"  # a proof is bad or its verifier disabled: never signed
    SKIPPED = "skipped"  # the chain had its answer before this operator could give one
    MISSED = "missed"  # this operator had to answer and could not
    DROPPED = "dropped"  # given up by a command


class OnChain(msgspec.Struct, frozen=True, array_like=True):
    """A batch as the events tell of it."""

    root: bytes
    sender: bytes
    created: int
    """The block that counts for the contract, and for the horizon."""
    index: int
    """Of the log in its block."""
    pointer: str
    responded: int | None = None
    """The block of BatchVerified."""
    void: bool = False
    """A reorg took the batch off the chain, and it has not come back."""
    round: int = 0
    """How often a reorg took BatchVerified back: then everything begins again, under new keys."""
    seen_at: float = 0.0
    """When this operator first heard of it: Unix seconds; 0: written by a release that did not note it. So below."""
    responded_at: float = 0.0
    """When it heard of BatchVerified."""


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """What this operator found out about a batch, for ever."""

    ended: Ended
    reason: Reason
    signature: bytes = b""
    """64 bytes where `ended` is signed."""
    detail: str = ""
    acknowledged: bool = False
    """The aggregator has taken the response at least once."""
    turn: int = 0
    """How often a command had it tried anew."""
    at: float = 0.0
    """When it was found out."""
    acknowledged_at: float = 0.0
    """When the aggregator took the response first."""

    @property
    def final(self) -> bool:
        """Nothing is left to find out. What was skipped is looked at if a reorg takes the chain's answer back."""
        return self.ended not in (Ended.OPEN, Ended.SKIPPED)


class Recent(msgspec.Struct, frozen=True, array_like=True):
    """One event, to be undone if its block goes."""

    identifier: bytes
    verified: bool
    """BatchVerified; else a new batch."""


def key_of(identifier: bytes, row: OnChain, verdict: Verdict | None) -> bytes:
    """The key of work for a batch as it is now. A journal takes a key once, so what begins anew has another."""
    return identifier + COUNT.pack(row.round, 0 if verdict is None else verdict.turn)


def identifier_of(key: bytes) -> bytes:
    return key[:ID_BYTES]


def pack(row: msgspec.Struct) -> bytes:
    return msgspec.msgpack.encode(row)


def unpack(raw: bytes, kind: type[Row]) -> Row:
    """A row of ours. Raises msgspec.DecodeError where the database was written by something else."""
    return msgspec.msgpack.decode(raw, type=kind)
