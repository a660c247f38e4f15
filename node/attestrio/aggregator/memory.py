"""What an aggregator holds in memory, and the rules that need nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from trio_util import AsyncValue

from attestrio.aggregator import rows
from attestrio.aggregator.change import Asked, Change, ask
from attestrio.aggregator.errors import OrphansFull
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.rows import Answer, OperatorKey, Place, Task
from attestrio.aggregator.settings import CollectSettings
from attestrio.bls import G1, G2, g1_from_bytes_untrusted
from attestrio.bls.points import known_g2


@dataclass(frozen=True, slots=True)
class Accepted:
    """A signature that has been verified against the operator's key."""

    identifier: bytes
    root: bytes
    sender: bytes
    operator_id: bytes
    point: bytes
    """x ‖ y, 64 bytes."""


class Memory:
    """The rows of the journal, as `AggregatorState` keeps them. The mappings are for reading."""

    def __init__(self, metrics: AggregatorMetrics, settings: CollectSettings) -> None:
        self.metrics, self._settings = metrics, settings
        self.tasks: dict[bytes, Task] = {}
        self.keys: dict[bytes, OperatorKey] = {}
        self.signed: dict[bytes, dict[bytes, bytes]] = {}
        """Identifier → operator id → x ‖ y: of batches that are unknown, or not finished."""
        self.signed_at: dict[bytes, float] = {}
        """When the newest of them came, Unix seconds."""
        self.answers: dict[bytes, Answer] = {}
        self.orphans: Counter[bytes] = Counter()
        """Operator id → its signatures of batches that are not on the chain as far as is known."""
        self.claims: dict[bytes, Asked] = {}
        """What the recovery has to find out, by identifier."""
        self.dead: dict[bytes, Asked] = {}
        """What it has given up."""
        self.busy: set[bytes] = set()
        """What the sender works on at this moment: commands keep off it."""
        self.ahead: set[bytes] = set()
        """Tasks the recovery found in blocks that the scanner has yet to come to."""
        self.end = Place(0)
        """The place before which everything is scanned."""
        self.first: int | None = None
        """The block from which on the scanner takes tasks up; None: not decided yet."""
        self.head: AsyncValue[int] = AsyncValue(-1)
        """The last block that is scanned; of it perhaps only a part."""
        self.changed: AsyncValue[int] = AsyncValue(0)
        """Grows with every `take_touched` that would give something."""
        self._touched: set[bytes] = set()
        self._forgotten = -1  # the highest turn of a claim that nothing here tells of any more
        self._points: dict[bytes, tuple[G1, G2]] = {}

    # --- reading

    def g1(self, operator_id: bytes) -> G1:
        """An operator's key in G1. Raises KeyError."""
        return self._key(operator_id)[0]

    def g2(self, operator_id: bytes) -> G2:
        """An operator's key in G2. Raises KeyError."""
        return self._key(operator_id)[1]

    def is_live(self, identifier: bytes) -> bool:
        """Whether the batch is on the chain, answered or not."""
        task = self.tasks.get(identifier)
        return task is not None and not task.void

    def is_finished(self, identifier: bytes) -> bool:
        """Whether the chain has an answer that is as deep as is asked for."""
        task = self.tasks.get(identifier)
        return (
            task is not None
            and not task.void
            and task.verified is not None
            and task.verified + self._settings.confirmations <= self.head.value
        )

    def take_touched(self) -> set[bytes]:
        """Identifiers whose task or signatures have changed since the last call. For one caller: the collector."""
        touched, self._touched = self._touched, set()
        return touched

    def touch(self, identifiers: Iterable[bytes]) -> None:
        """Have the collector look at them."""
        self._touched.update(identifiers)
        self.changed.value += 1

    def room_for(self, one: Accepted) -> OrphansFull | None:
        """Why the signature would not be accepted now: ask before it is verified, which costs more."""
        got, limit = self.orphans[one.operator_id], self._settings.max_orphans
        if self.is_live(one.identifier) or got < limit:
            return None
        return OrphansFull(one.operator_id, got, limit)

    def count(self) -> None:
        """Bring the gauges up to date. O(all tasks)."""
        metrics = self.metrics
        metrics.open.set(sum(task.is_open for task in self.tasks.values()))
        metrics.orphans.set(self.orphans.total())
        metrics.unknown.set(len(self.claims))
        metrics.dead.set(len(self.dead))
        metrics.operators.set(len(self.keys))
        metrics.scanned.set(self.head.value)
        phases = Counter(answer.phase for answer in self.answers.values())
        for phase in rows.Phase:
            metrics.answers.labels(phase.value).set(phases[phase])

    # --- for AggregatorState: what is in the journal by now

    def _settle(self, change: Change, keys: Sequence[bytes]) -> tuple[dict[bytes, Asked], set[bytes]]:
        """(claims that begin, batches whose claims end): what is void is asked for, what is there is explained."""
        claims: dict[bytes, Asked] = {}
        explained: set[bytes] = set()
        for identifier, task in list(change.tasks.items()):
            asked = [one for one in (self.claims.get(identifier), self.dead.get(identifier)) if one is not None]
            turns = [one.turn for one in asked] + [rows.turn_of(key) for key in keys if key.startswith(identifier)]
            turn = max([task.turn, *(one + 1 for one in turns)])
            if not task.void:
                explained.add(identifier)
            elif not asked:
                claims[identifier] = self._ask(identifier, task.root, task.sender, after=turn - 1)
            if turn != task.turn:
                change.tasks[identifier] = replace(task, turn=turn)
        return claims, explained

    def _apply(self, change: Change) -> None:
        for operator_id, key in change.keys.items():
            self._points.pop(operator_id, None)
            if key is None:
                self.keys.pop(operator_id, None)
            else:
                self.keys[operator_id] = key
        if change.keys:  # whose aggregate waited for a key
            self._touched.update(self.signed)
        for identifier, task in change.tasks.items():
            was, known = self.is_live(identifier), self.tasks.get(identifier)
            self.tasks[identifier] = task
            if was != self.is_live(identifier):
                for operator_id in self.signed.get(identifier, ()):
                    self.orphans[operator_id] += 1 if was else -1
            self.metrics.tasks.inc(known is None)
            self.metrics.tasks_void.inc(was and task.void)
            self.metrics.verified.inc(task.verified is not None and (known is None or known.verified is None))
            if task.void or task.place < self.end:
                self.ahead.discard(identifier)
            else:
                self.ahead.add(identifier)
        if change.tasks or change.keys:
            self.touch(change.tasks)

    def _key(self, operator_id: bytes) -> tuple[G1, G2]:
        points = self._points.get(operator_id)
        if points is None:
            key = self.keys[operator_id]
            x0, x1, y0, y1 = (int.from_bytes(key.g2[at : at + 32], "big") for at in range(0, 128, 32))
            points = g1_from_bytes_untrusted(key.g1), known_g2((x0, x1), (y0, y1))  # checked when it was scanned
            self._points[operator_id] = points
        return points

    def _have(self, identifier: bytes, operator_id: bytes, point: bytes, at: float) -> None:
        """A signature that is in the journal."""
        signed = self.signed.setdefault(identifier, {})
        if operator_id not in signed:
            signed[operator_id] = point
            self.signed_at[identifier] = max(at, self.signed_at.get(identifier, at))
            if not self.is_live(identifier):
                self.orphans[operator_id] += 1

    def _ask(self, identifier: bytes, root: bytes, sender: bytes, *, after: int = -1, blocks: int = 0) -> Asked:
        """A claim with a key that the journal has not had."""
        return ask(identifier, root, sender, self.head.value, max(after, self._forgotten), blocks)

    def _last_turn(self, identifier: bytes) -> int:
        """The highest turn of all claims for the batch; -1: there was none."""
        task, asked = self.tasks.get(identifier), (self.claims.get(identifier), self.dead.get(identifier))
        return max([-1 if task is None else task.turn - 1, *(one.turn for one in asked if one is not None)])

    def _have_claims(self, claims: Mapping[bytes, Asked]) -> None:
        """Claims that are in the journal; of two for one batch the later counts, the other ends by `explain`."""
        for identifier, asked in claims.items():
            known = self.claims.get(identifier)
            if known is None or known.turn < asked.turn:
                self.claims[identifier] = asked

    def _forget_signature(self, identifier: bytes, operator_id: bytes) -> None:
        signed = self.signed.get(identifier, {})
        if signed.pop(operator_id, None) is not None and not self.is_live(identifier):
            self.orphans[operator_id] -= 1
        if not signed:
            self.signed.pop(identifier, None)
            self.signed_at.pop(identifier, None)
