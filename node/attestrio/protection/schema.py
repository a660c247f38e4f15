"""The tables of the vote record, one script per version of the file.

What a key did on one chain under one genesis is a history; its votes are keyed by number alone. The rule that follows
from the key: per (chain, genesis, attester, number) there is one hash, whatever the epoch. Numbers of 64 bits that
are only compared for being equal (chain, fork) are text, because a column holds 63 bits.
"""

from __future__ import annotations

APPLICATION_ID = 0x41545650  # "ATVP"
SCHEMA = (
    """
    CREATE TABLE attesters(                          -- keys whose past is wholly in here
      attester BLOB PRIMARY KEY CHECK (length(attester) = 33),
      at REAL NOT NULL,
      cause TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE histories(
      id INTEGER PRIMARY KEY,
      chain_id TEXT NOT NULL,
      genesis BLOB NOT NULL CHECK (length(genesis) = 32),
      attester BLOB NOT NULL REFERENCES attesters(attester),
      low INTEGER CHECK (low >= 0),                  -- at or below it only what has a row is signed; NULL: none
      UNIQUE (chain_id, genesis, attester)
    ) STRICT;
    CREATE TABLE votes(
      history INTEGER NOT NULL REFERENCES histories(id),
      number INTEGER NOT NULL CHECK (number >= 0),
      hash BLOB NOT NULL CHECK (length(hash) = 32),
      other BLOB CHECK (length(other) = 32),         -- a second hash, only from an import: never signed again
      signature BLOB CHECK (length(signature) = 65), -- NULL: imported without
      epoch INTEGER REFERENCES epochs(id),           -- NULL: imported
      at REAL NOT NULL,
      receipt BLOB,                                  -- head of the receipt log when it was signed
      PRIMARY KEY (history, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE epochs(
      id INTEGER PRIMARY KEY,
      chain_id TEXT NOT NULL,
      genesis BLOB NOT NULL CHECK (length(genesis) = 32),
      fork_number TEXT NOT NULL,
      cause TEXT NOT NULL,
      detail TEXT NOT NULL,
      at REAL NOT NULL
    ) STRICT;
    CREATE TABLE refusals(
      id INTEGER PRIMARY KEY,
      at REAL NOT NULL,
      rule TEXT NOT NULL,                            -- code of the error
      epoch INTEGER NOT NULL,
      attester BLOB NOT NULL,
      genesis BLOB NOT NULL,
      number TEXT NOT NULL,
      recorded BLOB,                                 -- the hash on record, for a double vote
      refused BLOB NOT NULL
    ) STRICT;
    """,
    """
    ALTER TABLE votes ADD COLUMN shared INTEGER NOT NULL DEFAULT 0; -- 1: others may hold this hash signed differently
    UPDATE votes SET shared = 1 WHERE signature IS NULL;
    """,
)
SHARED_SINCE = 2  # version of the file
