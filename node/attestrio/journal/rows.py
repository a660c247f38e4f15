"""The tables of the SQLite journal, and what is read and written in them.

Every function blocks. What changes rows belongs inside a transaction of the caller, and is undone with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from attestrio.journal.api import (
    Cursor,
    Fence,
    FencedOff,
    Item,
    Leadership,
    Leased,
    Limits,
    Listed,
    Put,
    TopicCount,
    TopicFull,
    Work,
)

APPLICATION_ID = 0x41544A4C  # "ATJL"
SCHEMA = (
    """
    CREATE TABLE topics(
      id INTEGER PRIMARY KEY,
      name TEXT NOT NULL UNIQUE,
      waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting >= 0),  -- how many rows of items: counting them would
      done INTEGER NOT NULL DEFAULT 0 CHECK (done >= 0)         -- cost more with every row
    ) STRICT;
    CREATE TABLE items(
      position INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of appending; never used twice
      topic INTEGER NOT NULL REFERENCES topics(id),
      key BLOB NOT NULL,
      body BLOB,                                   -- NULL once acknowledged
      attempt INTEGER NOT NULL DEFAULT 0,
      due REAL NOT NULL DEFAULT 0,                 -- Unix seconds: before that it is leased, or was put off
      owner TEXT,                                  -- who leases it until `due`
      done_at REAL,                                -- NULL: not acknowledged
      UNIQUE (topic, key)
    ) STRICT;
    CREATE INDEX items_waiting ON items(topic, position, due) WHERE done_at IS NULL;
    CREATE INDEX items_due ON items(topic, due) WHERE done_at IS NULL;
    CREATE INDEX items_owner ON items(owner) WHERE owner IS NOT NULL;
    CREATE INDEX items_done ON items(topic, done_at) WHERE done_at IS NOT NULL;
    CREATE TABLE cursors(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE state(
      name TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, key)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE leads(
      name TEXT PRIMARY KEY,
      token INTEGER NOT NULL,  -- of the last who took it; never goes back
      owner TEXT,              -- NULL: it was resigned
      until REAL NOT NULL      -- Unix seconds: from then on another may take it
    ) STRICT, WITHOUT ROWID;
    """,
)


# --- writing ------------------------------------------------------------------------------------------------------


def append(connection: apsw.Connection, work: Work, limits: Limits) -> int:
    """How many items were new. Raises TopicFull: then the whole transaction has to be undone."""
    topic = _topic(connection, work.topic)
    before = connection.total_changes()
    connection.executemany(
        "INSERT INTO items(topic, key, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(topic, item.key, item.body) for item in work.items],
    )
    new = connection.total_changes() - before
    waiting = _counted(connection, topic, waiting=new)
    if new and waiting > limits.max_waiting:
        raise TopicFull(work.topic, waiting, limits.max_waiting)
    return new


def ack(connection: apsw.Connection, topic: str, keys: Sequence[bytes], now: float) -> int:
    """How many of the keys were waiting."""
    id = _topic(connection, topic)
    before = connection.total_changes()
    connection.executemany(
        "UPDATE items SET body = NULL, owner = NULL, done_at = ? WHERE topic = ? AND key = ? AND done_at IS NULL",
        [(now, id, key) for key in keys],
    )
    ended = connection.total_changes() - before
    _counted(connection, id, waiting=-ended, done=ended)
    return ended


def lease(connection: apsw.Connection, topic: str, owner: str, limit: int, until: float, now: float) -> list[Leased]:
    """O(limit + what is leased or put off before it)."""
    id = _topic(connection, topic)
    found = connection.execute(
        "SELECT position FROM items WHERE topic = ? AND done_at IS NULL AND due <= ? ORDER BY position LIMIT ?",
        (id, now, limit),
    ).fetchall()
    leased: list[Leased] = []
    for (position,) in found:
        row: Any = connection.execute(
            "UPDATE items SET due = ?, owner = ?, attempt = attempt + 1 WHERE position = ?"
            " RETURNING key, body, attempt",
            (until, owner, position),
        ).get
        leased.append(Leased(*row))
    return leased


def release(connection: apsw.Connection, topic: str, key: bytes, due: float) -> bool:
    connection.execute(
        "UPDATE items SET due = ?, owner = NULL WHERE topic = ? AND key = ? AND done_at IS NULL",
        (due, _topic(connection, topic), key),
    )
    return connection.changes() > 0


def abandon(connection: apsw.Connection, owner: str, now: float) -> int:
    connection.execute("UPDATE items SET due = ?, owner = NULL WHERE owner = ? AND due > ?", (now, owner, now))
    return connection.changes()


def bodies(connection: apsw.Connection, topic: str, keys: Sequence[bytes]) -> list[Item]:
    """Those of the keys that wait, with their bodies, in the order asked for."""
    found = (
        (
            key,
            connection.execute("SELECT body FROM items WHERE topic = ? AND key = ? AND done_at IS NULL", (id, key)).get,
        )
        for id in [_topic(connection, topic)]
        for key in dict.fromkeys(keys)
    )
    return [Item(key, body) for key, body in found if body is not None]


def set_cursor(connection: apsw.Connection, cursor: Cursor) -> None:
    connection.execute("INSERT OR REPLACE INTO cursors(name, value) VALUES (?, ?)", cursor)


def put(connection: apsw.Connection, values: Sequence[Put]) -> None:
    for each in values:
        if each.value is None:
            connection.execute("DELETE FROM state WHERE name = ? AND key = ?", (each.table, each.key))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO state(name, key, value) VALUES (?, ?, ?)", (each.table, each.key, each.value)
            )


def prune(connection: apsw.Connection, topic: str, before: float, limit: int) -> int:
    id = _topic(connection, topic)
    connection.execute(
        "DELETE FROM items WHERE position IN"
        " (SELECT position FROM items WHERE topic = ? AND done_at < ? ORDER BY done_at LIMIT ?)",
        (id, before, limit),
    )
    gone = connection.changes()
    _counted(connection, id, done=-gone)
    return gone


def require_newest(connection: apsw.Connection, fence: Fence) -> None:
    """Raises FencedOff."""
    token, owner, _ = _lead(connection, fence.name)
    if token != fence.token or owner is None:
        raise FencedOff(fence, token)


def lead(connection: apsw.Connection, name: str, owner: str, until: float, now: float) -> Fence | None:
    token, held_by, held_until = _lead(connection, name)
    if held_by != owner:
        if held_by is not None and held_until > now:
            return None
        token += 1
    connection.execute(
        "INSERT OR REPLACE INTO leads(name, token, owner, until) VALUES (?, ?, ?, ?)", (name, token, owner, until)
    )
    return Fence(name, token)


def resign(connection: apsw.Connection, fence: Fence) -> None:
    connection.execute("UPDATE leads SET owner = NULL WHERE name = ? AND token = ?", (fence.name, fence.token))


def _lead(connection: apsw.Connection, name: str) -> tuple[int, str | None, float]:
    """Token, owner, until when; token 0: nobody ever led."""
    found: Any = connection.execute("SELECT token, owner, until FROM leads WHERE name = ?", (name,)).fetchone()
    return (0, None, 0.0) if found is None else found


def _topic(connection: apsw.Connection, name: str) -> int:
    """The topic's id; a new one is made."""
    if (found := find_topic(connection, name)) is not None:
        return found
    connection.execute("INSERT INTO topics(name) VALUES (?)", (name,))
    return connection.last_insert_rowid()


def _counted(connection: apsw.Connection, topic: int, *, waiting: int = 0, done: int = 0) -> int:
    """The number waiting after the change."""
    return int(
        connection.execute(
            "UPDATE topics SET waiting = waiting + ?, done = done + ? WHERE id = ? RETURNING waiting",
            (waiting, done, topic),
        ).get
    )


# --- reading ------------------------------------------------------------------------------------------------------


def find_topic(connection: apsw.Connection, name: str) -> int | None:
    found: int | None = connection.execute("SELECT id FROM topics WHERE name = ?", (name,)).get
    return found


def cursor(connection: apsw.Connection, name: str) -> bytes | None:
    found: bytes | None = connection.execute("SELECT value FROM cursors WHERE name = ?", (name,)).get
    return found


def get(connection: apsw.Connection, table: str, key: bytes) -> bytes | None:
    found: bytes | None = connection.execute("SELECT value FROM state WHERE name = ? AND key = ?", (table, key)).get
    return found


def scan(connection: apsw.Connection, table: str, limit: int, after: bytes | None) -> list[tuple[bytes, bytes]]:
    start = ("key >= ?", b"") if after is None else ("key > ?", after)
    found: list[Any] = connection.execute(
        f"SELECT key, value FROM state WHERE name = ? AND {start[0]} ORDER BY key LIMIT ?", (table, start[1], limit)
    ).fetchall()
    return found


def listed(connection: apsw.Connection, topic: str, limit: int, after: int, now: float) -> list[Listed]:
    rows: Any = connection.execute(
        "SELECT position, key, body, attempt, owner, due FROM items"
        " WHERE topic = ? AND done_at IS NULL AND position > ? ORDER BY position LIMIT ?",
        (find_topic(connection, topic), after, limit),
    )
    return [
        Listed(position, key, body, attempt, owner if due > now else None, due - now)
        for position, key, body, attempt, owner, due in rows
    ]


def count(connection: apsw.Connection, topic: str) -> TopicCount:
    found: Any = connection.execute("SELECT waiting, done FROM topics WHERE name = ?", (topic,)).get
    return TopicCount(0, 0) if found is None else TopicCount(*found)


def knows(connection: apsw.Connection, topic: str, key: bytes) -> bool:
    id = find_topic(connection, topic)
    return bool(connection.execute("SELECT count(*) FROM items WHERE topic = ? AND key = ?", (id, key)).get)


def leader(connection: apsw.Connection, name: str, now: float) -> Leadership | None:
    token, owner, until = _lead(connection, name)
    return None if owner is None else Leadership(owner, token, until - now)


def next_due(connection: apsw.Connection, topic: str) -> float | None:
    """When something can be leased: Unix seconds, past ones included; None: nothing waits."""
    found: float | None = connection.execute(
        "SELECT min(due) FROM items WHERE topic = ? AND done_at IS NULL", (find_topic(connection, topic),)
    ).get
    return found
