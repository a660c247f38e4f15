"""What is read and written in the tables of the vote record (`schema`).

Every function blocks; a read takes about 5 µs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import apsw

from attestrio.errors import PeerError
from attestrio.kit.sqlite import StorageCorrupt
from attestrio.protection.schema import SHARED_SINCE
from attestrio.roles import AttesterPublicKey, BatchHash, BatchNumber, GenesisHash, Signature

REFUSALS_KEPT = 1_000
PRUNED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One run of the node under one genesis; `id` grows by one. The newest is the open one."""

    id: int
    chain_id: int
    genesis: GenesisHash
    fork_number: int
    cause: str
    detail: str
    at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A vote that was not signed. `recorded` is the hash that stood in the way, where the rule is `double_vote`."""

    at: float
    rule: str
    epoch: int
    attester: AttesterPublicKey
    genesis: GenesisHash
    number: BatchNumber
    recorded: BatchHash | None
    refused: BatchHash


@dataclass(frozen=True, slots=True)
class RecordedVote:
    """One hash for one number. `signature` None: imported without. Two with one number: neither is signed again."""

    number: BatchNumber
    hash: BatchHash
    signature: Signature | None = None


@dataclass(frozen=True, slots=True)
class VoteHistory:
    """What one key signed on one chain under one genesis, in order of numbers; below `low` rows may be missing."""

    genesis: GenesisHash
    attester: AttesterPublicKey
    low: BatchNumber | None
    votes: tuple[RecordedVote, ...] = ()


class VoteRow(NamedTuple):
    """The history's watermark, and what is on record for one number."""

    low: int | None
    hash: bytes | None
    other: bytes | None
    shared: int | None


class HistoryRow(NamedTuple):
    """One history: its id, its watermark and the highest number with a vote."""

    id: int
    low: int | None
    newest: int | None


class StoredVote(NamedTuple):
    """What stands in the way of another vote for the number."""

    number: int
    hash: bytes
    other: bytes | None
    signature: bytes | None


class NewVote(NamedTuple):
    """A vote that was made here, in the order of the columns. A tuple and no dataclass: it costs a quarter."""

    history: int
    number: int
    hash: bytes
    signature: bytes
    epoch: int
    at: float
    receipt: bytes | None


def add_attester(connection: apsw.Connection, attester: AttesterPublicKey, cause: str, at: float) -> None:
    """From now on the history counts as this key's. Adding it again changes nothing."""
    connection.execute("INSERT OR IGNORE INTO attesters VALUES (?, ?, ?)", (attester.raw, at, cause))


def knows_attester(connection: apsw.Connection, attester: AttesterPublicKey) -> bool:
    return connection.execute("SELECT 1 FROM attesters WHERE attester = ?", (attester.raw,)).get is not None


def find_vote(
    connection: apsw.Connection, chain_id: int, genesis: GenesisHash, attester: AttesterPublicKey, number: int
) -> VoteRow | None:
    """None where the key has no history under this genesis; `number` at most 2^63-1."""
    # Two point reads: joined they take three times as long.
    history = _select(
        connection,
        "SELECT id, low FROM histories WHERE chain_id = ? AND genesis = ? AND attester = ?",
        (str(chain_id), genesis.raw, attester.raw),
    )
    if not history:
        return None
    vote = _select(
        connection,
        "SELECT hash, other, shared FROM votes WHERE history = ? AND number = ?",
        (history[0][0], int(number)),
    )
    return VoteRow(history[0][1], *(vote[0] if vote else (None, None, None)))


def history_id(connection: apsw.Connection, chain_id: int, genesis: GenesisHash, attester: AttesterPublicKey) -> int:
    """The id of the history, begun if it is new. The key has to be known (`add_attester`)."""
    named = (str(chain_id), genesis.raw, attester.raw)
    connection.execute("INSERT OR IGNORE INTO histories(chain_id, genesis, attester) VALUES (?, ?, ?)", named)
    return int(
        connection.execute("SELECT id FROM histories WHERE chain_id = ? AND genesis = ? AND attester = ?", named).get
    )


def find_history(
    connection: apsw.Connection, chain_id: int, genesis: GenesisHash, attester: AttesterPublicKey
) -> HistoryRow | None:
    """None where the key has no history under this genesis. Three steps in indexes."""
    found = _select(
        connection,
        "SELECT id, low, (SELECT max(number) FROM votes WHERE history = id)"
        " FROM histories WHERE chain_id = ? AND genesis = ? AND attester = ?",
        (str(chain_id), genesis.raw, attester.raw),
    )
    return HistoryRow(*found[0]) if found else None


def find_votes(connection: apsw.Connection, history: int, numbers: Sequence[int]) -> list[StoredVote]:
    """What is on record for any of the numbers (up to 2^63-1), in any order. 1 µs each."""
    found = _select(
        connection,
        "SELECT number, hash, other, signature FROM votes"
        " WHERE history = ? AND number IN (SELECT value FROM json_each(?))",
        (history, json.dumps(numbers)),
    )
    return [StoredVote(*row) for row in found]


def insert_votes(connection: apsw.Connection, votes: Sequence[NewVote]) -> None:
    """Raises apsw.ConstraintError where a number has a vote already: nothing is ever replaced."""
    connection.executemany(
        "INSERT INTO votes(history, number, hash, signature, epoch, at, receipt) VALUES (?, ?, ?, ?, ?, ?, ?)", votes
    )


def insert_vote(
    connection: apsw.Connection,
    history: int,
    vote: RecordedVote,
    epoch: int | None,
    at: float,
    receipt: bytes | None = None,
) -> None:
    signature = None if vote.signature is None else vote.signature.raw
    # Without its signature it was signed elsewhere, and whatever is signed here later is another one.
    connection.execute(
        "INSERT INTO votes(history, number, hash, signature, epoch, at, receipt, shared)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (history, int(vote.number), vote.hash.raw, signature, epoch, at, receipt, int(signature is None)),
    )


def set_signature(connection: apsw.Connection, history: int, number: int, signature: Signature) -> None:
    """Keep the signature of a vote that was imported without."""
    connection.execute(
        "UPDATE votes SET signature = ? WHERE history = ? AND number = ?", (signature.raw, history, int(number))
    )


def share(connection: apsw.Connection, history: int, number: int) -> None:
    """Note that other signatures of the recorded hash are about: none of them means another signer any more."""
    connection.execute("UPDATE votes SET shared = 1 WHERE history = ? AND number = ?", (history, int(number)))


def shared_numbers(
    connection: apsw.Connection, chain_id: int, genesis: GenesisHash, attester: AttesterPublicKey
) -> frozenset[int]:
    """The numbers of a history that are shared. Reads every vote; a file from before the column has none."""
    if connection.execute("PRAGMA user_version").get < SHARED_SINCE:
        return frozenset()
    found = _select(
        connection,
        "SELECT v.number FROM histories h JOIN votes v ON v.history = h.id"
        " WHERE h.chain_id = ? AND h.genesis = ? AND h.attester = ? AND v.shared",
        (str(chain_id), genesis.raw, attester.raw),
    )
    return frozenset(number for (number,) in found)


def open_epoch(
    connection: apsw.Connection,
    chain_id: int,
    genesis: GenesisHash,
    fork_number: int,
    cause: str,
    detail: str,
    at: float,
) -> EpochRow:
    """Begin an epoch; the one before it is closed by that."""
    connection.execute(
        "INSERT INTO epochs(chain_id, genesis, fork_number, cause, detail, at) VALUES (?, ?, ?, ?, ?, ?)",
        (str(chain_id), genesis.raw, str(fork_number), cause, detail, at),
    )
    return EpochRow(connection.last_insert_rowid(), chain_id, genesis, fork_number, cause, detail, at)


def epochs(connection: apsw.Connection, *, newest: bool = False) -> list[EpochRow]:
    """Oldest first; with `newest` only the open one, or none."""
    sql = "SELECT * FROM epochs ORDER BY id DESC LIMIT 1" if newest else "SELECT * FROM epochs ORDER BY id"
    return [
        EpochRow(row, int(chain), GenesisHash(genesis), int(fork), cause, detail, at)
        for row, chain, genesis, fork, cause, detail, at in _select(connection, sql)
    ]


def newest_epoch(connection: apsw.Connection) -> tuple[int, bytes] | None:
    """Id and genesis of the open epoch: what every vote is checked against."""
    found = _select(connection, "SELECT id, genesis FROM epochs ORDER BY id DESC LIMIT 1")
    return found[0] if found else None


def note_refusal(connection: apsw.Connection, refusal: Refusal) -> None:
    """Keep it; the oldest above `REFUSALS_KEPT` go."""
    connection.execute(
        "INSERT INTO refusals(at, rule, epoch, attester, genesis, number, recorded, refused)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            refusal.at,
            refusal.rule,
            refusal.epoch,
            refusal.attester.raw,
            refusal.genesis.raw,
            str(int(refusal.number)),
            None if refusal.recorded is None else refusal.recorded.raw,
            refusal.refused.raw,
        ),
    )
    connection.execute("DELETE FROM refusals WHERE id <= ?", (connection.last_insert_rowid() - REFUSALS_KEPT,))


def refusals(connection: apsw.Connection) -> list[Refusal]:
    """Oldest first, at most `REFUSALS_KEPT`."""
    rows = _select(
        connection, "SELECT at, rule, epoch, attester, genesis, number, recorded, refused FROM refusals ORDER BY id"
    )
    return [
        Refusal(
            at,
            rule,
            epoch,
            AttesterPublicKey.from_bytes(attester),
            GenesisHash(genesis),
            BatchNumber(int(number)),
            None if recorded is None else BatchHash(recorded),
            BatchHash(refused),
        )
        for at, rule, epoch, attester, genesis, number, recorded, refused in rows
    ]


def prune(connection: apsw.Connection, keep: int, at_most: int = PRUNED_AT_ONCE) -> int:
    """Remove the oldest votes of every history down to `keep`, and raise the watermarks in the same transaction.

    Returns how many are gone, at most `at_most`: below it there is no more to remove. Cost: `keep` index entries a
    history are stepped over.
    """
    gone = 0
    for (history,) in _select(connection, "SELECT id FROM histories"):
        if gone == at_most:
            break
        ordered = "SELECT number FROM votes WHERE history = ? ORDER BY number"
        border = connection.execute(f"{ordered} DESC LIMIT 1 OFFSET ?", (history, keep)).get
        if border is None:
            continue
        last = connection.execute(f"{ordered} LIMIT 1 OFFSET ?", (history, at_most - gone - 1)).get
        cut = border if last is None else min(border, last)
        connection.execute("DELETE FROM votes WHERE history = ? AND number <= ?", (history, cut))
        gone += connection.changes()
        raise_watermark(connection, history, cut)
    return gone


def raise_watermark(connection: apsw.Connection, history: int, low: int) -> None:
    """Never lowers it."""
    connection.execute(
        "UPDATE histories SET low = ? WHERE id = ? AND (low IS NULL OR low < ?)", (int(low), history, int(low))
    )


def histories(connection: apsw.Connection, chain_id: int) -> list[VoteHistory]:
    """Every history of the chain without its votes, by genesis, then key."""
    rows = _select(
        connection,
        "SELECT genesis, attester, low FROM histories WHERE chain_id = ? ORDER BY genesis, attester",
        (str(chain_id),),
    )
    return [
        VoteHistory(
            GenesisHash(genesis), AttesterPublicKey.from_bytes(attester), None if low is None else BatchNumber(low)
        )
        for genesis, attester, low in rows
    ]


def attesters(connection: apsw.Connection) -> list[AttesterPublicKey]:
    """Every key whose past is in here."""
    rows = _select(connection, "SELECT attester FROM attesters ORDER BY attester")
    return [AttesterPublicKey.from_bytes(attester) for (attester,) in rows]


def votes(
    connection: apsw.Connection,
    chain_id: int,
    genesis: GenesisHash,
    attester: AttesterPublicKey,
    first: int,
    limit: int,
) -> list[RecordedVote]:
    """At most `limit` rows from number `first` on, in order; a row with two hashes gives two votes."""
    rows = _select(
        connection,
        "SELECT v.number, v.hash, v.other, v.signature FROM histories h JOIN votes v ON v.history = h.id"
        " WHERE h.chain_id = ? AND h.genesis = ? AND h.attester = ? AND v.number >= ? ORDER BY v.number LIMIT ?",
        (str(chain_id), genesis.raw, attester.raw, int(first), limit),
    )
    found = []
    for number, hash_, other, signature in rows:
        found.append(RecordedVote(BatchNumber(number), BatchHash(hash_), read_signature(connection, signature)))
        if other is not None:
            found.append(RecordedVote(BatchNumber(number), BatchHash(other)))
    return found


def read_signature(connection: apsw.Connection, raw: bytes | None) -> Signature | None:
    try:
        return None if raw is None else Signature(raw)
    except PeerError as exc:  # no peer wrote this: it was a signature once
        raise StorageCorrupt(connection.filename, f"a stored signature cannot be read: {exc}") from exc


def _select(connection: apsw.Connection, sql: str, bindings: tuple[object, ...] = ()) -> list[Any]:
    """All rows, and no cursor left open: an open read would keep the WAL from being folded back."""
    return connection.execute(sql, bindings).fetchall()
