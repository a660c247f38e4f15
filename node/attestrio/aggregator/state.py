"""What an aggregator knows: the rows of its journal in memory, written first and then changed.

One object belongs to one term of a leader: it is loaded from the journal, and every write goes through it under the
leader's fence. A write whose outcome nobody knows ends the term (`run` raises), because memory and journal may differ.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, NoReturn, TypeVar

import trio
from trio_util import AsyncValue

from attestrio.aggregator import rows
from attestrio.aggregator.change import Asked, Change
from attestrio.aggregator.errors import JournalOfAnotherContract, OrphansFull
from attestrio.aggregator.memory import Accepted, Memory
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.rows import Answer, Claim, OperatorKey, Place, Signed, Task
from attestrio.aggregator.settings import USUAL, CollectSettings
from attestrio.errors import SourceError
from attestrio.journal import Cursor, Item, Journal, Put, TopicFull, Work

__all__ = ["Accepted", "AggregatorState"]

PAGE: Final = 2_000
MAX_PUTS: Final = 5_000  # in one transaction that can be cut anywhere

T = TypeVar("T")


class AggregatorState(Memory):
    """Rows by name. Construct one, `load`, then `run` beside whatever uses it.

    The mappings are for reading; who writes is each method's to say. All writes raise what the journal raises. They
    cannot be cancelled half-way: a journal answers within a time of its own.
    """

    def __init__(
        self,
        journal: Journal,
        metrics: AggregatorMetrics,
        settings: CollectSettings = USUAL.collect,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(metrics, settings)
        self.journal, self.clock = journal, clock
        self._turn = trio.Lock()  # changes of tasks are made from memory, so one after the other
        self._lost: AsyncValue[SourceError | None] = AsyncValue(None)

    # --- writing: the server

    async def accept(self, signatures: Sequence[Accepted]) -> list[OrphansFull | None]:
        """Record verified signatures in one transaction, with claims for batches nobody knows.

        Returns once they are durable and in memory: None for each that is in (a duplicate, too), the reason for one
        that was not written. Raises what the journal raises; then none is known to be in.
        """
        verdicts: list[OrphansFull | None] = []
        new: dict[tuple[bytes, bytes], Accepted] = {}
        reserved: list[tuple[bytes, bytes]] = []
        for one in signatures:
            pair = one.identifier, one.operator_id
            known = pair in new or one.operator_id in self.signed.get(one.identifier, ())
            verdicts.append(None if known else self.room_for(one))
            if known or verdicts[-1] is not None:
                continue
            new[pair] = one
            if not self.is_live(one.identifier):
                self.orphans[one.operator_id] += 1  # at once: others ask while this is being written
                reserved.append(pair)
        try:
            await self._record(list(new.values()))
        finally:
            for _, operator_id in reserved:
                self.orphans[operator_id] -= 1
        now = self.clock()
        for pair, one in new.items():
            self._have(*pair, one.point, now)
        # A reorg may have come while this was written: whoever is not on the chain any more has a claim then.
        await self._claim(new.values())
        if new:
            self.touch({identifier for identifier, _ in new})
        return verdicts

    async def _record(self, new: Sequence[Accepted]) -> None:
        if not new:
            return
        claims = self._unclaimed(new)
        now = self.clock()
        puts = [
            Put(rows.SIGNATURES, rows.signature_key(one.identifier, one.operator_id), rows.pack(Signed(one.point, now)))
            for one in new
        ]
        await self._write(lambda: self.journal.append(rows.UNKNOWN, _items(claims.values()), put=puts))
        self._have_claims(claims)

    async def _claim(self, signatures: Iterable[Accepted]) -> None:
        claims = self._unclaimed(signatures)
        if claims:
            await self._write(lambda: self.journal.append(rows.UNKNOWN, _items(claims.values())))
            self._have_claims(claims)

    def _unclaimed(self, signatures: Iterable[Accepted]) -> dict[bytes, Asked]:
        """Claims to be made for those among them that are not on the chain."""
        return {
            one.identifier: self._ask(one.identifier, one.root, one.sender)
            for one in signatures
            if not (self.is_live(one.identifier) or one.identifier in self.claims or one.identifier in self.dead)
        }

    # --- writing: the scanner's sink and the recovery

    async def commit(
        self,
        make: Callable[[Change], None],
        *,
        cursor: bytes | None = None,
        end: Place | None = None,
        scanned: int | None = None,
        keys: Sequence[bytes] = (),
    ) -> None:
        """Work a change in, in one transaction: rows, claims that end, claims that begin, the scanner's place.

        Args:
          make: fills the change; it must not wait.
          keys: of claims that end as well if their batches are on the chain.
        """
        async with self._turn:
            change = Change(self.tasks, self.keys)
            make(change)
            claims, explained = self._settle(change, keys)
            puts = [Put(rows.TASKS, identifier, rows.pack(task)) for identifier, task in change.tasks.items()]
            puts += [Put(rows.KEYS, id, None if key is None else rows.pack(key)) for id, key in change.keys.items()]
            if end is not None:
                puts.append(Put(rows.ABOUT, rows.END, end.to_bytes()))
            place: Cursor | None = None if cursor is None else (rows.SCAN, cursor)
            work = [Work(rows.UNKNOWN, _items(claims.values()))] if claims else []
            ended = [self.claims[one].key for one in explained if one in self.claims]
            ended += [key for key in keys if rows.identifier_of(key) in explained]
            given_up = [self.dead[one].key for one in explained if one in self.dead]
            await self._write(lambda: self.journal.ack(rows.UNKNOWN, ended, append=work, cursor=place, put=puts))
            self._apply(change)
            self.claims |= claims
            for identifier in explained:
                self.claims.pop(identifier, None)
                self.dead.pop(identifier, None)
            if end is not None:
                self.end = end
                self.ahead = {one for one in self.ahead if self.tasks[one].place >= end}
            if scanned is not None:
                self.head.value = scanned
            if given_up:  # a topic of its own; should it not happen any more, the next start does it
                await self._write(lambda: self.journal.ack(rows.DEAD, given_up))

    async def add_tasks(self, tasks: Sequence[Task]) -> None:
        """What the recovery found; the claims for them end in the same transaction."""

        def make(change: Change) -> None:
            for task in tasks:
                change.found(task)

        await self.commit(make)

    async def void(self, identifiers: Iterable[bytes]) -> None:
        """The contract does not know these batches (any more): the recovery asks for them again."""
        known = [identifier for identifier in identifiers if self.is_live(identifier)]

        def make(change: Change) -> None:
            for identifier in known:
                change.void(identifier)

        await self.commit(make)

    async def explain(self, keys: Sequence[bytes]) -> None:
        """End those of these claims whose batches are on the chain as far as is known."""

        def make(change: Change) -> None:
            for identifier in map(rows.identifier_of, keys):
                if self.is_live(identifier):
                    change.tasks[identifier] = self.tasks[identifier]

        await self.commit(make, keys=keys)

    async def begin_at(self, block: int) -> None:
        """From which block on the scanner takes tasks up; only the first call counts, for ever."""
        if self.first is None:
            await self._put([Put(rows.ABOUT, rows.FIRST, Place(block).to_bytes())])
            self.first = block

    async def give_up(self, key: bytes, claim: Claim) -> bool:
        """End a claim that nobody could explain; its reason says why, the signatures stay. False: it is explained."""
        identifier, asked = rows.identifier_of(key), Asked(key, claim)
        async with self._turn:
            if self.is_live(identifier):
                return False
            work = [Work(rows.DEAD, _items([asked]))]
            await self._write(lambda: self.journal.ack(rows.UNKNOWN, [key], append=work))
            if identifier in self.claims and self.claims[identifier].key == key:
                del self.claims[identifier]
            self.dead[identifier] = asked
            return True

    async def reclaim(self, identifier: bytes, blocks: int = 0) -> bool:
        """Ask anew, at once, for a batch whose claim waits or was given up; False: there is none.

        Args:
          blocks: how far below the head to look; 0: as configured.
        """
        async with self._turn:
            waiting, dead = self.claims.get(identifier), self.dead.get(identifier)
            before = [one for one in (waiting, dead) if one is not None]
            if not before:
                return False
            last = max(before, key=lambda one: one.turn)
            again = self._ask(identifier, last.claim.root, last.claim.sender, after=last.turn, blocks=blocks)
            work, ended = [Work(rows.UNKNOWN, _items([again]))], [waiting.key] if waiting is not None else []
            await self._write(lambda: self.journal.ack(rows.UNKNOWN, ended, append=work))
            self.claims[identifier] = again
            if dead is not None:
                await self._write(lambda: self.journal.ack(rows.DEAD, [dead.key]))
                del self.dead[identifier]
            return True

    # --- writing: the sender, the collector and the garbage

    async def set_answer(self, identifier: bytes, answer: Answer | None, *, put: Sequence[Put] = ()) -> None:
        """Record how far an answer is (None: forget it), with whatever else belongs to it."""
        puts = [Put(rows.ANSWERS, identifier, None if answer is None else rows.pack(answer)), *put]
        await self._put(puts)
        if answer is None:
            self.answers.pop(identifier, None)
        else:
            self.answers[identifier] = answer

    async def remove_signatures(self, identifier: bytes, operator_ids: Sequence[bytes]) -> None:
        """Take signatures out that turned out to be none."""
        await self._put([Put(rows.SIGNATURES, rows.signature_key(identifier, one), None) for one in operator_ids])
        for one in operator_ids:
            self._forget_signature(identifier, one)
        self.touch([identifier])

    async def finish(self, identifiers: Iterable[bytes]) -> None:
        """Drop the signatures of finished tasks. The task stays: a late copy of one is answered by it."""
        done = [one for one in identifiers if one in self.signed and self.is_finished(one)]
        await self._drop_signatures(done)

    async def forget(self, identifiers: Iterable[bytes], still: Callable[[bytes], bool] = lambda _: True) -> int:
        """Drop everything about these batches: tasks, signatures, answers, claims. How many they were.

        Args:
          still: whether a batch is (still) to be forgotten; asked when no other change of tasks is under way, since a
            reorg may come while this waits for its turn.
        """
        async with self._turn:
            gone = [one for one in dict.fromkeys(identifiers) if still(one)]
            await self._drop_signatures(gone)
            for start in range(0, len(gone), MAX_PUTS):
                await self._forget_part(gone[start : start + MAX_PUTS])
        self.touch(gone)
        return len(gone)

    async def _forget_part(self, part: Sequence[bytes]) -> None:
        puts = [Put(table, one, None) for one in part for table in (rows.TASKS, rows.ANSWERS)]
        forgotten = max([self._forgotten, *map(self._last_turn, part)])  # a new claim for one of them needs a new key
        puts.append(Put(rows.ABOUT, rows.FORGOTTEN, rows.TURN.pack(forgotten + 1)))
        waiting = [self.claims[one].key for one in part if one in self.claims]
        dead = [self.dead[one].key for one in part if one in self.dead]
        await self._write(lambda: self.journal.ack(rows.UNKNOWN, waiting, put=puts))
        self._forgotten = forgotten
        for one in part:
            self.tasks.pop(one, None)
            self.answers.pop(one, None)
            self.claims.pop(one, None)
            self.ahead.discard(one)
        await self._write(lambda: self.journal.ack(rows.DEAD, dead))
        for one in part:
            self.dead.pop(one, None)

    # --- the term

    async def load(self, about: Mapping[str, str]) -> None:
        """What was left by the last run; its leases end. Raises JournalOfAnotherContract."""
        journal = self.journal
        for name, value in about.items():
            found = await journal.get(rows.ABOUT, name.encode())
            if found is None:
                await journal.put(rows.ABOUT, name.encode(), value.encode())
            elif found != value.encode():
                raise JournalOfAnotherContract(name, found.decode("utf-8", "replace"), value)
        await journal.abandon(rows.OWNER)
        if (raw := await journal.get(rows.ABOUT, rows.END)) is not None:
            self.end = Place.from_bytes(raw)
        if (raw := await journal.get(rows.ABOUT, rows.FIRST)) is not None:
            self.first = Place.from_bytes(raw).block
        if (raw := await journal.get(rows.ABOUT, rows.FORGOTTEN)) is not None:
            self._forgotten = rows.TURN.unpack(raw)[0] - 1
        self.head.value = self.end.block - 1
        self.keys = {key: rows.unpack(raw, OperatorKey) for key, raw in await self._table(rows.KEYS)}
        self.tasks = {key: rows.unpack(raw, Task) for key, raw in await self._table(rows.TASKS)}
        self.answers = {key: rows.unpack(raw, Answer) for key, raw in await self._table(rows.ANSWERS)}
        self.ahead = {key for key, task in self.tasks.items() if not task.void and task.place >= self.end}
        self.claims = await self._claims(rows.UNKNOWN)
        self.dead = await self._claims(rows.DEAD)
        for key, raw in await self._table(rows.SIGNATURES):
            signed = rows.unpack(raw, Signed)
            self._have(rows.identifier_of(key), rows.operator_of(key), signed.point, signed.at)
        await self._tidy()
        self.count()
        self.touch(self.signed)

    async def run(self) -> NoReturn:
        """Raises the error of the first write whose outcome is not known: nothing may be written after it."""
        lost = await self._lost.wait_value(lambda lost: lost is not None)
        assert lost is not None
        raise lost

    # --- the rest

    async def _drop_signatures(self, identifiers: Sequence[bytes]) -> None:
        pairs = [(one, operator_id) for one in identifiers for operator_id in self.signed.get(one, ())]
        await self._put([Put(rows.SIGNATURES, rows.signature_key(*pair), None) for pair in pairs])
        for pair in pairs:
            self._forget_signature(*pair)

    async def _tidy(self) -> None:
        """What the last term had no time for: signatures of finished tasks, given-up claims of known ones."""
        await self.finish(list(self.signed))
        known = [one for one in self.dead if self.is_live(one) or one in self.claims]
        if known:
            await self._write(lambda: self.journal.ack(rows.DEAD, [self.dead[one].key for one in known]))
        for identifier in known:
            del self.dead[identifier]

    async def _table(self, name: str) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        while page := await self.journal.scan(name, PAGE, found[-1][0] if found else None):
            found += page
        return found

    async def _claims(self, topic: str) -> dict[bytes, Asked]:
        found: dict[bytes, Asked] = {}
        after = -1
        while page := await self.journal.listed(topic, PAGE, after):
            for one in page:
                asked = Asked(one.key, rows.unpack(one.body, Claim))
                known = found.get(rows.identifier_of(one.key))
                if known is None or known.turn < asked.turn:
                    found[rows.identifier_of(one.key)] = asked
            after = page[-1].position
        return found

    async def _put(self, puts: Sequence[Put]) -> None:
        for start in range(0, len(puts), MAX_PUTS):
            part = puts[start : start + MAX_PUTS]
            await self._write(lambda part=part: self.journal.append(rows.UNKNOWN, (), put=part))  # type: ignore[misc]

    async def _write(self, write: Callable[[], Awaitable[T]]) -> T:
        """Shielded, so that memory follows the journal. Raises what ended the term before, if something did."""
        if self._lost.value is not None:
            raise self._lost.value
        with trio.CancelScope(shield=True):
            try:
                answer = await write()
            except TopicFull:  # nothing was written
                raise
            except SourceError as exc:
                self._lost.value = exc
                raise
        return answer


def _items(asked: Iterable[Asked]) -> list[Item]:
    return [Item(one.key, rows.pack(one.claim)) for one in asked]
