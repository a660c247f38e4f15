"""The tables of the duty book, and what is written in them and read from them. Every function blocks.

A batch is one row. Its votes stand in a column of their own: a log that has forgotten them leaves the column alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from attestrio.duty.events import DutyEvent, EndState, Reason, Step
from attestrio.duty.story import BatchStory, Delivery, EpochOf, HeardVote
from attestrio.errors import PeerError
from attestrio.roles import (
    AttesterPublicKey,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    NodePublicKey,
    WeightedAttester,
)

APPLICATION_ID: Final = 0x41545344  # "ATSD"
SCHEMA: Final = (
    """
    CREATE TABLE epochs(
      epoch INTEGER PRIMARY KEY CHECK (epoch >= 0),
      genesis BLOB NOT NULL CHECK (length(genesis) = 32),
      own BLOB,                                      -- public key, 33 bytes; NULL: this node does not vote
      members BLOB                                   -- msgpack: [[key, weight], ...] in key order; NULL: no committee
    ) STRICT;
    CREATE TABLE batches(
      id INTEGER PRIMARY KEY,                        -- the smaller the older
      epoch INTEGER NOT NULL,
      number BLOB NOT NULL CHECK (length(number) = 8),  -- big-endian: numbers go beyond what an INTEGER can hold
      state TEXT NOT NULL,
      reason TEXT NOT NULL,
      ended_at REAL,
      events BLOB NOT NULL,                          -- msgpack: [[step, at, reason, detail], ...]
      votes BLOB,                                    -- msgpack: Ballot; NULL: not known
      UNIQUE (epoch, number)
    ) STRICT;
    CREATE INDEX open_batches ON batches(epoch) WHERE state = 'open';
    CREATE TABLE forgotten(                          -- how many of the batches that were deleted ended how
      state TEXT PRIMARY KEY,
      count INTEGER NOT NULL
    ) STRICT;
    """,
)

UNREADABLE: Final = (ValueError, LookupError, msgspec.DecodeError, PeerError)
"""What a row that is not one of ours raises when it is read."""
REASONS: Final = {reason.value: reason for reason in Reason}

FORGET: Final = 100  # rows at least that are deleted at a time
PUT: Final = """
    INSERT INTO batches(epoch, number, state, reason, ended_at, events, votes) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (epoch, number) DO UPDATE SET
      state = excluded.state, reason = excluded.reason, ended_at = excluded.ended_at, events = excluded.events,
      votes = coalesce(excluded.votes, votes)
"""
COLUMNS: Final = "epoch, number, state, reason, ended_at, events, votes"


class Ballot(msgspec.Struct, array_like=True):
    """The votes for one number, some 10 bytes each: what repeats stands once, and times count from the first."""

    began: float
    hashes: list[bytes]
    peers: list[bytes]
    votes: list[tuple[int, int, int, int]]
    """Index in the committee; µs after `began`; index in `hashes`; 0: nobody knows, -1: only in a certificate, else
    one above the index in `peers`."""
    deliveries: list[tuple[int, int]]
    """Index in `peers`, µs after `began`."""


Events = list[tuple[str, float, str, str]]
Members = list[tuple[bytes, int]]


class Row(NamedTuple):
    """One batch as it is read."""

    epoch: int
    number: bytes
    state: str
    reason: str
    ended_at: float | None
    events: bytes
    votes: bytes | None


def put_epoch(connection: apsw.Connection, of: EpochOf) -> None:
    """Write an epoch once; a later call for it changes nothing but who we are."""
    committee = of.committee
    members = None if committee is None else [(member.key.raw, member.weight) for member in committee]
    connection.execute(
        "INSERT INTO epochs VALUES (?, ?, ?, ?) ON CONFLICT (epoch) DO UPDATE SET own = excluded.own",
        (
            of.epoch,
            of.genesis.to_bytes(),
            of.own.raw if of.own else None,
            None if members is None else msgspec.msgpack.encode(members),
        ),
    )


def put_stories(connection: apsw.Connection, stories: Iterable[BatchStory]) -> None:
    """Write batches; of an epoch that was put before, or of none: those are left out."""
    connection.executemany(PUT, (_row(story, story.of) for story in stories if story.of is not None))


def end_old(connection: apsw.Connection) -> None:
    """End what is open in an epoch that is not the newest: it was stopped before it could say so."""
    connection.execute(
        "UPDATE batches SET state = ?, reason = ?, ended_at = ?"
        " WHERE state = 'open' AND epoch < (SELECT max(epoch) FROM epochs)",
        (EndState.SKIPPED, Reason.EPOCH_ENDED, time.time()),
    )


def prune(connection: apsw.Connection, keep: int, max_bytes: int) -> int:
    """Delete the oldest rows beyond `keep`, and a tenth of them while the file holds more than `max_bytes`; how many.

    The space is used again, so the file stays about where it is. O(deleted).
    """
    span = connection.execute("SELECT min(id), max(id), count(*) FROM batches").get
    lowest, _, count = span
    if lowest is None:
        return 0
    page, free = (int(connection.execute(f"PRAGMA {name}").get) for name in ("page_count", "freelist_count"))
    used = (page - free) * int(connection.execute("PRAGMA page_size").get)
    many = max(count - keep, 0)
    if used > max_bytes:
        many = max(many, count // 10, 1)
    elif many < FORGET and many < keep:
        return 0
    last = connection.execute("SELECT id FROM batches ORDER BY id LIMIT 1 OFFSET ?", (many - 1,)).get
    connection.execute(
        "INSERT INTO forgotten SELECT state, count(*) FROM batches WHERE id <= ? GROUP BY state"
        " ON CONFLICT (state) DO UPDATE SET count = count + excluded.count",
        (last,),
    )
    connection.execute("DELETE FROM batches WHERE id <= ?", (last,))
    connection.execute(
        "DELETE FROM epochs WHERE epoch < (SELECT max(epoch) FROM epochs) AND epoch NOT IN (SELECT epoch FROM batches)"
    )
    return int(many)


def epochs(connection: apsw.Connection) -> list[int]:
    """Those known, oldest first."""
    return [epoch for (epoch,) in connection.execute("SELECT epoch FROM epochs ORDER BY epoch")]


def epoch_of(connection: apsw.Connection, epoch: int) -> EpochOf | None:
    """One epoch, with its committee. Some 20 µs a member, the first time."""
    found = connection.execute("SELECT genesis, own, members FROM epochs WHERE epoch = ?", (epoch,)).fetchone()
    if found is None:
        return None
    genesis, own, members = found
    committee = None
    if members is not None:
        rows = msgspec.msgpack.decode(members, type=Members)
        committee = Committee([WeightedAttester(AttesterPublicKey.from_bytes(key), weight) for key, weight in rows])
    return EpochOf(epoch, GenesisHash(genesis), committee, AttesterPublicKey.from_bytes(own) if own else None)


def newest(connection: apsw.Connection, epoch: int | None, count: int) -> list[Row]:
    """The batches seen last, of one epoch or of all, the oldest first."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM batches WHERE epoch = ?1 OR ?1 IS NULL ORDER BY id DESC LIMIT ?2", (epoch, count)
    )
    return [Row(*row) for row in found][::-1]


def still_open(connection: apsw.Connection, epoch: int, count: int) -> list[Row]:
    """The batches of an epoch that have no end, the newest of them, the oldest first."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM batches WHERE state = 'open' AND epoch = ? ORDER BY id DESC LIMIT ?", (epoch, count)
    )
    return [Row(*row) for row in found][::-1]


def of_number(connection: apsw.Connection, number: BatchNumber) -> list[Row]:
    """What each epoch knows of a number, the newest epoch first."""
    found = connection.execute(
        f"SELECT {COLUMNS} FROM batches WHERE number = ? AND epoch IN (SELECT epoch FROM epochs) ORDER BY epoch DESC",
        (_number(number),),
    )
    return [Row(*row) for row in found]


def beside(connection: apsw.Connection, number: BatchNumber) -> list[Row]:
    """The batches of the newest epoch next to a number: the highest below it, the lowest above it. O(log batches)."""
    found: list[Any] = []
    for side, order in (("<", "DESC"), (">", "ASC")):
        found += connection.execute(
            f"SELECT {COLUMNS} FROM batches WHERE epoch = (SELECT max(epoch) FROM epochs) AND number {side} ?"
            f" ORDER BY number {order} LIMIT 1",
            (_number(number),),
        ).fetchall()
    return [Row(*row) for row in found]


def counts(connection: apsw.Connection) -> dict[EndState, int]:
    """How many batches ended how, deleted ones included; the sum is the number of batches seen."""
    found = dict.fromkeys(EndState, 0)
    for state, count in connection.execute(
        "SELECT state, count(*) FROM batches GROUP BY state UNION ALL SELECT state, count FROM forgotten"
    ):
        found[EndState(state)] += count
    return found


def _row(story: BatchStory, of: EpochOf) -> Sequence[apsw.SQLiteValue]:
    events: Events = [(event.step, event.at, event.reason, event.detail) for event in story.events]
    votes = None
    if story.votes is not None:
        votes = msgspec.msgpack.encode(_ballot(story.votes, story.deliveries, of.committee))
    return (
        of.epoch, _number(story.number), str(story.state), str(story.reason), story.ended_at,
        msgspec.msgpack.encode(events), votes,
    )  # fmt: skip


def _number(number: BatchNumber) -> bytes:
    return int(number).to_bytes(8, "big")


def _ballot(votes: Sequence[HeardVote], deliveries: Sequence[Delivery], committee: Committee | None) -> Ballot:
    began = min([*(vote.at for vote in votes), *(one.at for one in deliveries)], default=0.0)
    places = {member.key.raw: place for place, member in enumerate(committee or ())}
    hashes: dict[bytes, int] = {}
    peers: dict[bytes, int] = {}
    ballot = Ballot(began, [], [], [], [])
    for vote in votes:
        place = places.get(vote.key.raw)
        if place is None:
            continue  # no member: it could not be named again
        which = hashes.setdefault(vote.hash.to_bytes(), len(hashes))
        via = -1 if vote.in_certificate else 0
        if vote.via is not None:
            via = 1 + peers.setdefault(vote.via.to_bytes(), len(peers))
        ballot.votes.append((place, _us(vote.at - began), which, via))
    for one in deliveries:
        ballot.deliveries.append((peers.setdefault(one.peer.to_bytes(), len(peers)), _us(one.at - began)))
    ballot.hashes, ballot.peers = list(hashes), list(peers)
    return ballot


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def story_of(row: Row, of: EpochOf) -> BatchStory:
    """What a row says. Raises one of UNREADABLE."""
    number = BatchNumber(int.from_bytes(row.number, "big"))
    events = tuple(
        DutyEvent(number, Step(step), at, REASONS[reason], detail)
        for step, at, reason, detail in msgspec.msgpack.decode(row.events, type=Events)
    )
    votes: tuple[HeardVote, ...] | None = None
    deliveries: tuple[Delivery, ...] = ()
    if row.votes is not None:
        ballot, members = msgspec.msgpack.decode(row.votes, type=Ballot), tuple(of.committee or ())
        hashes = [BatchHash(raw) for raw in ballot.hashes]
        peers = [NodePublicKey.from_bytes(raw) for raw in ballot.peers]
        votes = tuple(
            HeardVote(
                members[place].key,
                ballot.began + us / 1_000_000,
                peers[via - 1] if via > 0 else None,
                hashes[which],
                via < 0,
            )
            for place, us, which, via in ballot.votes
        )
        deliveries = tuple(Delivery(peers[which], ballot.began + us / 1_000_000) for which, us in ballot.deliveries)
    return BatchStory(of, number, EndState(row.state), REASONS[row.reason], row.ended_at, events, votes, deliveries)
