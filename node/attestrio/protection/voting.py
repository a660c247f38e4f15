"""A round of votes in one transaction: what is on record is read for all at once, and what is new is written at once.

Everyone is answered as if the votes had been asked for one after the other: one that was made in the round stands in
the way of the next as one on disk does. Of a vote's own cost nothing is left but its signature and its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import apsw

from attestrio.protection import rows
from attestrio.protection.errors import (
    MAX_AHEAD,
    MAX_NUMBER,
    BelowWatermark,
    DoubleVote,
    EpochClosed,
    KeyNotInHistory,
    NumberNotRecordable,
    NumberTooFarAhead,
    SigningRefused,
    WrongEpochGenesis,
)
from attestrio.protection.rows import HistoryRow, NewVote, Refusal, StoredVote
from attestrio.roles import (
    AttesterPublicKey,
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    GenesisHash,
    SignedBatch,
)


class Ask(NamedTuple):
    """One vote that is asked for."""

    secret: AttesterSecretKey
    batch: Batch
    epoch: int
    receipt: bytes | None


class Answer(NamedTuple):
    """The vote, and whether it went on record just now; or why there is none."""

    vote: SignedBatch | None
    new: bool = False
    refused: SigningRefused | None = None


@dataclass(slots=True)
class _Due:
    """A vote that has to be made, for whoever asked first and for all who asked for the same."""

    ask: Ask
    history: int
    vote: SignedBatch | None = None


@dataclass(slots=True)
class _History:
    """What one key has signed under the genesis of the epoch, as far as the round asks for it."""

    id: int
    low: int | None
    newest: int | None
    before: int
    """The newest number when the round began, -1 for none: above it nothing is stored."""
    stored: dict[int, StoredVote] | None = None
    """By number; None: nobody has asked for one that may be stored."""
    due: dict[int, _Due] = field(default_factory=dict)


class Voting:
    """One round, inside one transaction: nobody opens another epoch or writes a vote meanwhile. For one `answer`.

    Args:
      at: Unix seconds, the date of what is written.
    """

    def __init__(self, connection: apsw.Connection, chain_id: int, asked: Sequence[Ask], at: float) -> None:
        self._connection = connection
        self._chain_id = chain_id
        self._asked = asked
        self._at = at
        self._open = rows.newest_epoch(connection)
        self._histories: dict[bytes, _History] = {}  # by key
        self._numbers: dict[bytes, list[int]] = {}  # what is asked for, by key
        self._due: list[_Due] = []

    def answer(self) -> list[Answer]:
        """In the order of the requests. A refusal is an answer and on record too: it undoes nobody's vote.

        Blocks: a signature (25 µs) and some 3 µs for each vote, 5 µs for each key.
        """
        given = [self._judge(ask) for ask in self._asked]
        for due in self._due:
            due.vote = due.ask.secret.sign_batch(due.ask.batch)
        rows.insert_votes(self._connection, [self._row(due) for due in self._due])
        return [
            Answer(each.vote, new=each.ask is ask) if isinstance(each, _Due) else each
            for ask, each in zip(self._asked, given, strict=True)
        ]

    def _judge(self, ask: Ask) -> Answer | _Due:
        try:
            return self._find(ask)
        except SigningRefused as refused:
            recorded = refused.recorded if isinstance(refused, DoubleVote) else None
            key, batch = ask.secret.public(), ask.batch
            rows.note_refusal(
                self._connection,
                Refusal(self._at, refused.code, ask.epoch, key, batch.genesis, batch.number, recorded, batch.hash),
            )
            return Answer(None, refused=refused.with_traceback(None))  # the frames would hold the connection

    def _find(self, ask: Ask) -> Answer | _Due:
        """The vote on record, the one another caller waits for, or a new one. Raises SigningRefused."""
        batch, key, number = ask.batch, ask.secret.public(), int(ask.batch.number)
        if number > MAX_NUMBER:
            raise NumberNotRecordable(batch.number)
        _check_epoch(self._open, ask.epoch, batch.genesis)
        history = self._histories.get(key.raw) or self._open_history(key, batch.genesis)
        due = history.due.get(number)
        if due is not None:
            _check_same(batch, due.ask.batch.hash.raw)
            return due
        if number <= history.before and (stored := self._stored(key, history).get(number)) is not None:
            return Answer(self._again(ask, history, stored))
        _check_place(history, batch.number)
        due = history.due[number] = _Due(ask, history.id)
        self._due.append(due)
        if history.newest is None or number > history.newest:
            history.newest = number
        return due

    def _open_history(self, key: AttesterPublicKey, genesis: GenesisHash) -> _History:
        """What is known of the key, begun if it has signed nothing under this genesis. Raises KeyNotInHistory."""
        found = rows.find_history(self._connection, self._chain_id, genesis, key)
        if found is None:
            if not rows.knows_attester(self._connection, key):
                raise KeyNotInHistory(key)
            found = HistoryRow(rows.history_id(self._connection, self._chain_id, genesis, key), None, None)
        before = -1 if found.newest is None else found.newest
        made = self._histories[key.raw] = _History(found.id, found.low, found.newest, before)
        return made

    def _stored(self, key: AttesterPublicKey, history: _History) -> dict[int, StoredVote]:
        """What is on record for the numbers this key is asked to sign, read for all of them with the first."""
        if history.stored is None:
            if not self._numbers:
                for ask in self._asked:
                    self._numbers.setdefault(ask.secret.public().raw, []).append(int(ask.batch.number))
            wanted = [number for number in self._numbers[key.raw] if number <= history.before]
            history.stored = {vote.number: vote for vote in rows.find_votes(self._connection, history.id, wanted)}
        return history.stored

    def _again(self, ask: Ask, history: _History, stored: StoredVote) -> SignedBatch:
        """The vote on record for the number, if it is for this batch and no other. Raises DoubleVote."""
        _check_same(ask.batch, stored.hash)
        if stored.other is not None:
            _check_same(ask.batch, stored.other)
        signature = rows.read_signature(self._connection, stored.signature)
        if signature is not None:
            return SignedBatch(ask.batch, ask.secret.public(), signature)
        vote = ask.secret.sign_batch(ask.batch)
        rows.set_signature(self._connection, history.id, stored.number, vote.signature)
        self._stored(vote.key, history)[stored.number] = stored._replace(signature=vote.signature.raw)
        return vote

    def _row(self, due: _Due) -> NewVote:
        ask, vote = due.ask, due.vote
        assert vote is not None
        return NewVote(
            due.history, int(ask.batch.number), ask.batch.hash.raw, vote.signature.raw, ask.epoch, self._at, ask.receipt
        )


def _check_same(batch: Batch, recorded: bytes) -> None:
    """Raise DoubleVote unless the hash on record is the batch's."""
    if recorded != batch.hash.raw:
        raise DoubleVote(batch.number, BatchHash(recorded), batch.hash)


def _check_epoch(open_epoch: tuple[int, bytes] | None, epoch: int, genesis: GenesisHash) -> None:
    """Raise EpochClosed, WrongEpochGenesis unless `epoch` is the open one (id, genesis) and of this genesis."""
    if open_epoch is None or open_epoch[0] != epoch:
        raise EpochClosed(epoch, None if open_epoch is None else open_epoch[0])
    if open_epoch[1] != genesis.raw:
        raise WrongEpochGenesis(epoch, genesis, GenesisHash(open_epoch[1]))


def _check_place(history: _History, number: BatchNumber) -> None:
    """Raise BelowWatermark, NumberTooFarAhead for a number without a vote where none may be made."""
    if history.low is not None and number <= history.low:
        raise BelowWatermark(number, BatchNumber(history.low))
    if history.newest is not None and number > history.newest + MAX_AHEAD:
        raise NumberTooFarAhead(number, BatchNumber(history.newest))
