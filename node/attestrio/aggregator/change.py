"""What the chain says, worked into what is known: tasks, keys, and which batches have to be asked for. Pure.

A batch is known by its identifier hash, so V2 and V3 events of one batch, one that a reorg moved, and one that the
recovery found before the scanner are one task. A claim is the question what a batch is: it is made for signatures of a
batch nobody knows, and for a batch that went off the chain; it ends when the chain has the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from attestrio.aggregator import rows
from attestrio.aggregator.rows import Claim, OperatorKey, Place, Task
from attestrio.operator.surface import identifier_hash


@dataclass(frozen=True, slots=True)
class Asked:
    """A claim with the key it has in the journal."""

    key: bytes
    claim: Claim

    @property
    def turn(self) -> int:
        return rows.turn_of(self.key)


def ask(identifier: bytes, root: bytes, sender: bytes, head: int, after: int = -1, blocks: int = 0) -> Asked:
    """A new claim. `after`: the last turn there was; without one the block number makes it a new key."""
    return Asked(rows.claim_key(identifier, max(head, after + 1, 0)), Claim(root, sender, head, blocks=blocks))


class Change:
    """One transaction in the making. The mappings are not changed; `tasks` and `keys` are what is to be written."""

    def __init__(self, tasks: Mapping[bytes, Task], keys: Mapping[bytes, OperatorKey]) -> None:
        self._tasks, self._keys = tasks, keys
        self.tasks: dict[bytes, Task] = {}
        self.keys: dict[bytes, OperatorKey | None] = {}
        """None: the registration has not happened."""
        self.seen: set[bytes] = set()
        """Tasks that the scanner has delivered with this change."""

    def task(self, identifier: bytes) -> Task | None:
        return self.tasks.get(identifier) or self._tasks.get(identifier)

    def undo_above(self, block: int) -> None:
        """Nothing of the blocks above has happened. O(all tasks)."""
        for identifier, task in self._tasks.items():
            if task.created > block and not task.void:
                self.void(identifier)
            if task.verified is not None and task.verified > block:
                self._now(identifier, verified=None)
        for operator_id, key in self._keys.items():
            if key.block > block:
                self.keys[operator_id] = None

    def posted(self, task: Task) -> None:
        """The scanner has seen it in this place: nothing else counts about where it is."""
        identifier = identifier_hash(task.root, task.sender)
        known = self.task(identifier)
        if known is not None:
            fee_limit = task.fee_limit or known.fee_limit  # V2 and V3 of one batch: only one of them says it
            task = replace(task, fee_limit=fee_limit, verified=known.verified, turn=known.turn)
        self.tasks[identifier] = task
        self.seen.add(identifier)

    def found(self, task: Task) -> None:
        """The recovery has found it; where the scanner knows it already, only the answer to it can be news."""
        identifier = identifier_hash(task.root, task.sender)
        known = self.task(identifier)
        if known is None or known.void:
            self.tasks[identifier] = replace(task, turn=0 if known is None else known.turn)
        elif known.verified is None and task.verified is not None:
            self._now(identifier, verified=task.verified)

    def verified(self, identifier: bytes, block: int) -> bool:
        """The chain has an answer; False: the batch is none that was taken up."""
        if self.task(identifier) is None:
            return False
        self._now(identifier, verified=block)
        return True

    def registered(self, operator_id: bytes, key: OperatorKey) -> None:
        self.keys[operator_id] = key

    def void(self, identifier: bytes) -> None:
        """The batch is not on the chain. Raises KeyError for an unknown one."""
        self._now(identifier, void=True)

    def passed(self, ahead: Iterable[bytes], end: Place) -> None:
        """The scanner has gone to `end`: what the recovery had found before that place and is not there, is void."""
        for identifier in ahead:
            task = self.task(identifier)
            if identifier not in self.seen and task is not None and not task.void and task.place < end:
                self.void(identifier)

    def _now(self, identifier: bytes, **changes: object) -> None:
        self.tasks[identifier] = replace(self.tasks.get(identifier) or self._tasks[identifier], **changes)
