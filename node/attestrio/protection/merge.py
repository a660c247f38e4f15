"""What another record knows of a key, taken into this one. Blocks, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apsw

from attestrio.protection.rows import (
    RecordedVote,
    VoteHistory,
    add_attester,
    history_id,
    insert_vote,
    raise_watermark,
    set_signature,
    share,
)


def merge(connection: apsw.Connection, chain_id: int, history: VoteHistory, at: float, cause: str) -> tuple[int, int]:
    """Take over what another record knows of a key; returns (votes added, numbers that now have two hashes).

    Afterwards a number has a row below a watermark only if neither record can have signed anything else for it:

    - the watermark becomes the higher of both;
    - a vote of theirs at or below our own watermark, for which we have no row, is left out: ours may have been another;
    - a vote of ours at or below their watermark, for which they have none, is removed for the same reason;
    - for two hashes both are kept, and neither is signed again;
    - a hash that was signed there with another signature, or one that is not told, is marked as shared.
    """
    add_attester(connection, history.attester, cause, at)
    mine = history_id(connection, chain_id, history.genesis, history.attester)
    low = connection.execute("SELECT low FROM histories WHERE id = ?", (mine,)).get
    added = contested = 0
    for vote in history.votes:
        stored: list[Any] = connection.execute(
            "SELECT hash, other, signature FROM votes WHERE history = ? AND number = ?", (mine, int(vote.number))
        ).fetchall()
        if not stored:
            if low is None or vote.number > low:
                insert_vote(connection, mine, vote, None, at)
                added += 1
            continue
        hash_, other, signature = stored[0]
        if vote.hash.raw == hash_:
            _merge_signature(connection, mine, vote, signature)
        elif other is None:
            connection.execute(
                "UPDATE votes SET other = ? WHERE history = ? AND number = ?", (vote.hash.raw, mine, int(vote.number))
            )
            contested += 1
    if history.low is not None:
        _forget_untold(connection, mine, history.low, (vote.number for vote in history.votes))
        raise_watermark(connection, mine, history.low)
    return added, contested


def _merge_signature(connection: apsw.Connection, history: int, vote: RecordedVote, stored: bytes | None) -> None:
    """Keep the first signature of a hash; a second one, or an unknown one, is only noted."""
    if stored is None and vote.signature is not None:
        set_signature(connection, history, vote.number, vote.signature)
    elif stored is not None and (vote.signature is None or vote.signature.raw != stored):
        share(connection, history, vote.number)


def _forget_untold(connection: apsw.Connection, history: int, low: int, told: Iterable[int]) -> None:
    kept = {int(number) for number in told}
    rows = connection.execute(
        "SELECT number FROM votes WHERE history = ? AND number <= ?", (history, int(low))
    ).fetchall()
    connection.executemany(
        "DELETE FROM votes WHERE history = ? AND number = ?",
        [(history, number) for (number,) in rows if number not in kept],
    )
