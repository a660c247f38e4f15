"""Votes on the wire: a push is read with one look-up a known vote, written with one encoding a vote for all peers.

Pure: no task, no clock. A push is `PushBatchVotes{repeated Signed votes = 1}`; each vote of the canonical shape is

    0a <length, 2 B> <Signed, 184 to 193 B>

and a body that has another shape anywhere is read as ordinary protobuf from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Generic, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from attestrio.gossip.rpc.parse import check_unknown
from attestrio.roles import DecodeFailed, Malformed, SignedBatch
from attestrio.roles.conv import read
from attestrio.schema.attester_pb2 import Signed
from attestrio.schema.rpc_pb2 import PushBatchVotes

MAX_PUSH: Final = 100 * 1024  # bytes of a request; a receiver refuses more
VOTES_TAG: Final = 0x0A  # field 1, length-delimited
VOTES_FIELD: Final = 1
HEAD: Final = 3  # tag and length; a length of 128 to 255 is the varint <length> 01
MAX_ENTRY: Final = HEAD + 193  # a vote for a number of 10 bytes
VOTES_REMEMBERED: Final = 8_192  # in each of two generations; about 500 B each

K = TypeVar("K")
V = TypeVar("V")


class VoteUndecodable(DecodeFailed):
    """An entry of a push is no vote. Nothing of the push is taken, wherever the entry stands."""

    code: ClassVar[str] = "vote_undecodable"

    def __init__(self, index: int, cause: DecodeFailed) -> None:
        super().__init__(f"entry {index} of the votes: {cause}")
        self.index, self.cause = index, cause


class Remembered(Generic[K, V]):
    """The newest `limit` entries and up to as many before them; what is asked for stays. All O(1).

    Two dictionaries instead of an order: when the young one is full it becomes the old one, which is forgotten whole.
    """

    __slots__ = ("_limit", "_old", "_young")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        if len(self._young) >= self._limit:
            self._old, self._young = self._young, {}
        self._young[key] = value


class VoteCodec:
    """Bodies of push_batch_votes to votes and back, for all connections of one epoch; one task at a time.

    Remembers at most two times `remembered` votes each way. Whoever sends many that nobody wants makes the codec
    forget others, which then cost a decoding again; nothing else depends on it.
    """

    def __init__(self, remembered: int = VOTES_REMEMBERED) -> None:
        if remembered < 1:
            raise ValueError(f"remembered={remembered} must be at least 1")
        self._known: Remembered[bytes, SignedBatch] = Remembered(remembered)
        # By the signature, whose bytes remember their hash; the vote beside it says whether it is the same one.
        self._entries: Remembered[bytes, tuple[SignedBatch, bytes]] = Remembered(remembered)

    def decode_untrusted(self, body: bytes) -> list[SignedBatch]:
        """The votes of a request, in order; exact bytes that were seen before give the same object again.

        Raises VoteUndecodable for the whole request; its `index` is the entry's, or where the frame of an entry is
        broken, of the first entry that was not reached. No signature is checked. Cost: about 0.5 µs a known vote,
        4 µs a new one; `body` is bounded by whoever read it.

        Source: era-consensus d1d3b51e, rpc/push_batch_votes.rs. Decoded are all entries before one is judged.
        """
        known, size = self._known, len(body)
        votes: list[SignedBatch] = []
        at = 0
        try:
            while at < size:
                start = at + HEAD
                if start > size or body[at] != VOTES_TAG or body[at + 2] != 1 or body[at + 1] < 0x80:
                    break
                stop = start + body[at + 1]
                if stop > size:
                    break
                raw = body[start:stop]
                vote = known.get(raw)
                if vote is None:
                    vote = SignedBatch.decode(raw)
                    known.put(raw, vote)
                votes.append(vote)
                at = stop
            if at < size:
                for message in _messages(body[at:]):
                    votes.append(read(SignedBatch, message))  # noqa: PERF401 - the length is the index of a bad one
        except DecodeFailed as exc:
            raise VoteUndecodable(len(votes), exc) from exc
        return votes

    def entry(self, vote: SignedBatch) -> bytes:
        """The vote as one entry of a push, at most `MAX_ENTRY` bytes; the same object for everybody who asks."""
        key = vote.signature.raw
        kept = self._entries.get(key)
        if kept is not None and (kept[0] is vote or kept[0] == vote):
            return kept[1]
        raw = vote.encode()
        entry = bytes((VOTES_TAG, len(raw), 1)) + raw
        self._entries.put(key, (vote, entry))
        self._known.put(raw, vote)  # the reference sends back what it got
        return entry

    def encode(self, votes: Iterable[SignedBatch]) -> bytes:
        """One body with all the votes, canonical, however long."""
        return b"".join([self.entry(vote) for vote in votes])

    def split_push(self, votes: Iterable[SignedBatch], max_bytes: int = MAX_PUSH) -> list[bytes]:
        """Bodies of at most `max_bytes` that hold the votes in order, each as full as it can be; none for no votes."""
        check_max_bytes(max_bytes)
        bodies: list[bytes] = []
        body: list[bytes] = []
        size = 0
        for vote in votes:
            entry = self.entry(vote)
            if size + len(entry) > max_bytes:
                bodies.append(b"".join(body))
                body, size = [], 0
            body.append(entry)
            size += len(entry)
        if body:
            bodies.append(b"".join(body))
        return bodies


def check_max_bytes(max_bytes: int) -> None:
    """Raise ValueError for a push that might not hold a single vote."""
    if max_bytes < MAX_ENTRY:
        raise ValueError(f"max_bytes={max_bytes} must hold a vote, {MAX_ENTRY} B")


def _messages(body: bytes) -> Sequence[Signed]:
    """The entries of a body of any shape. Raises Malformed."""
    try:
        push = PushBatchVotes.FromString(body)
    except DecodeError:
        raise Malformed("PushBatchVotes", "not protobuf") from None
    check_unknown(push)
    # the network refuses a known field of another wire type, this library files it among the unknown ones
    unknown = UnknownFieldSet(push)
    if any(unknown[at].field_number == VOTES_FIELD for at in range(len(unknown))):
        raise Malformed("PushBatchVotes", "votes of another wire type")
    return push.votes
