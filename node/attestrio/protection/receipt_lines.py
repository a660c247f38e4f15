"""Receipts: what was known when a vote was signed, as lines that hold on to each other.

A line is canonical JSON (fields in the order below, no blanks, ASCII) and one newline:

    {"seq":7,"prev":"<64 hex>","synced":6,"at":1732165505123,"epoch":1,
     "batch":{"number":"41","hash":"batch:keccak256:...","genesis":"genesis_hash:keccak256:..."},
     "attester":"attester:public:secp256k1:...","upstream":[{"name":"...","answer":"..."}],
     "committee":{"hash":"<64 hex>","members":4,"weight":"40","threshold":"33"},
     "rules":[{"rule":"...","answer":"..."}],"signature":"attester:signature:secp256k1:...","hash":"<64 hex>"}

`seq` counts from 1. `hash` is sha256 over the line without its newline and without `,"hash":"..."`; `prev` is the hash
of the line before, 64 zeros in the first. `synced` is the newest seq that was surely on disk when the line was written:
what a crash may have torn lies above it. `at` is Unix time in milliseconds. Numbers of 64 bits are text, as in proto3
JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, ClassVar, cast

from attestrio.errors import PeerError
from attestrio.roles import (
    AttesterPublicKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    Signature,
    SignedBatch,
)

MAX_TEXT = 256  # characters of one answer or name; what is longer is cut, because a vote must not wait for prose
MAX_ENTRIES = 64  # answers and rules of one receipt
MAX_LINE = 1 << 20  # bytes; 128 entries in which every character is escaped are below 800 kB, a usual line is 1 kB
FIRST_PREV = bytes(32)

HASH_HEAD = b',"hash":"'
HASH_TAIL = b'"}'
TAIL = len(HASH_HEAD) + 64 + len(HASH_TAIL)


class BadReceipt(PeerError):
    """A line that is no receipt."""

    code: ClassVar[str] = "bad_receipt"

    def __init__(self, problem: str) -> None:
        super().__init__(f"no receipt: {problem}")
        self.problem = problem


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """What one main node (or file, or chain) said about the batch. Texts above `MAX_TEXT` characters are cut."""

    name: str
    answer: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name[:MAX_TEXT])
        object.__setattr__(self, "answer", self.answer[:MAX_TEXT])


@dataclass(frozen=True, slots=True)
class RuleAnswer:
    """What one rule said when it was asked whether to sign."""

    rule: str
    answer: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", self.rule[:MAX_TEXT])
        object.__setattr__(self, "answer", self.answer[:MAX_TEXT])


@dataclass(frozen=True, slots=True)
class CommitteeBrief:
    """Which committee: sha256 over key (33 B) and weight (8 B, big-endian) of each member in committee order."""

    hash: bytes
    members: int
    weight: int
    threshold: int

    @classmethod
    def of(cls, committee: Committee) -> CommitteeBrief:
        """Some milliseconds for 10,000 members, once per committee."""
        return _brief(committee)


@lru_cache(maxsize=8)
def _brief(committee: Committee) -> CommitteeBrief:
    digest = sha256()
    for member in committee:
        digest.update(member.key.raw + member.weight.to_bytes(8, "big"))
    return CommitteeBrief(digest.digest(), len(committee), committee.total_weight, committee.threshold)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One vote and what was known when it was signed. Entries above `MAX_ENTRIES` are left out."""

    vote: SignedBatch
    epoch: int
    committee: CommitteeBrief
    upstream: tuple[UpstreamAnswer, ...] = ()
    rules: tuple[RuleAnswer, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "upstream", tuple(self.upstream)[:MAX_ENTRIES])
        object.__setattr__(self, "rules", tuple(self.rules)[:MAX_ENTRIES])


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """A receipt in its place in the log."""

    seq: int
    prev: bytes
    synced: int
    at_ms: int
    """Unix time in milliseconds."""
    receipt: Receipt

    def encode(self) -> tuple[bytes, bytes]:
        """The canonical line with its newline, and its hash."""
        body = _canonical(self._fields())
        return seal(body)

    def to_json(self) -> dict[str, Any]:
        """The line as a JSON value, its hash included."""
        return cast("dict[str, Any]", json.loads(self.encode()[0]))

    def _fields(self) -> dict[str, Any]:
        receipt, vote = self.receipt, self.receipt.vote
        batch = vote.batch
        return {
            "seq": self.seq,
            "prev": self.prev.hex(),
            "synced": self.synced,
            "at": self.at_ms,
            "epoch": receipt.epoch,
            "batch": {
                "number": str(int(batch.number)),
                "hash": batch.hash.to_text(),
                "genesis": batch.genesis.to_text(),
            },
            "attester": vote.key.to_text(),
            "upstream": [{"name": one.name, "answer": one.answer} for one in receipt.upstream],
            "committee": {
                "hash": receipt.committee.hash.hex(),
                "members": receipt.committee.members,
                "weight": str(receipt.committee.weight),
                "threshold": str(receipt.committee.threshold),
            },
            "rules": [{"rule": one.rule, "answer": one.answer} for one in receipt.rules],
            "signature": vote.signature.to_text(),
        }


def seal(body: bytes) -> tuple[bytes, bytes]:
    """The line made of a JSON object without `hash`, and its hash."""
    digest = sha256(body).digest()
    return body[:-1] + tail_of(digest) + b"\n", digest


def tail_of(digest: bytes) -> bytes:
    """How a line with this hash ends, newline not included."""
    return HASH_HEAD + digest.hex().encode() + HASH_TAIL


def hash_of(line: bytes) -> bytes:
    """What the hash of a line (without newline) has to be, whatever stands there."""
    return sha256(line[:-TAIL] + b"}").digest()


def holds(line: bytes) -> bool:
    """Whether a line (without newline) ends with its own hash."""
    return len(line) > TAIL and line.endswith(tail_of(hash_of(line)))


def line_untrusted(line: bytes) -> ReceiptLine:
    """Read one line, without its newline; signatures are not looked at. Raises BadReceipt unless it is canonical.

    Source: the layout above; what this accepts encodes to the same bytes again.
    """
    try:
        found = json.loads(line.decode("ascii"))
        made = _read(found)
        same = made.encode()[0] == line + b"\n"
    except RecursionError:
        raise BadReceipt("nested too deeply") from None
    except (PeerError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as exc:
        raise BadReceipt(str(exc) or type(exc).__name__) from None
    if not same:
        raise BadReceipt("not in canonical form")
    return made


def _read(found: Mapping[str, Any]) -> ReceiptLine:
    batch, committee = found["batch"], found["committee"]
    vote = SignedBatch(
        Batch(
            BatchNumber(int(batch["number"])),
            BatchHash.from_text(batch["hash"]),
            GenesisHash.from_text(batch["genesis"]),
        ),
        AttesterPublicKey.from_text(found["attester"]),
        Signature.from_text(found["signature"]),
    )
    receipt = Receipt(
        vote,
        int(found["epoch"]),
        CommitteeBrief(
            bytes.fromhex(committee["hash"]),
            int(committee["members"]),
            int(committee["weight"]),
            int(committee["threshold"]),
        ),
        tuple(UpstreamAnswer(_text(one["name"]), _text(one["answer"])) for one in _entries(found["upstream"])),
        tuple(RuleAnswer(_text(one["rule"]), _text(one["answer"])) for one in _entries(found["rules"])),
    )
    return ReceiptLine(int(found["seq"]), bytes.fromhex(found["prev"]), int(found["synced"]), int(found["at"]), receipt)


def _entries(found: Any) -> Iterable[Mapping[str, Any]]:  # noqa: ANN401 - any JSON value
    if not isinstance(found, list):
        raise BadReceipt("upstream and rules are lists")
    return found


def _text(found: Any) -> str:  # noqa: ANN401 - any JSON value
    if not isinstance(found, str):
        raise BadReceipt("names and answers are texts")
    return found


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")
