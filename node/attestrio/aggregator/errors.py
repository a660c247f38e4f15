"""What can keep an aggregator from a signature, a snapshot or an aggregate; each says what follows from it."""

from __future__ import annotations

from typing import ClassVar

from attestrio.errors import SetupError, SourceError


class OrphansFull(SourceError):
    """One operator has signed too many batches that the chain has not explained yet: it is to send this one later."""

    code: ClassVar[str] = "orphans_full"

    def __init__(self, operator_id: bytes, got: int, limit: int) -> None:
        super().__init__(f"operator 0x{operator_id.hex()[:16]}: {got} signatures of unknown batches, limit {limit}")
        self.operator_id, self.got, self.limit = operator_id, got, limit


class SnapshotUnreadable(SourceError):
    """Who was in the quorum could not be read as it has to be for a task's block: it is read again."""

    code: ClassVar[str] = "snapshot_unreadable"

    def __init__(self, block: int, why: str) -> None:
        super().__init__(f"the operators of block {block}: {why}")
        self.block, self.why = block, why


class KeysMissing(SourceError):
    """An operator of the quorum whose key has not been scanned yet: the aggregate waits for the scan."""

    code: ClassVar[str] = "keys_missing"

    def __init__(self, identifier: bytes, operator_id: bytes) -> None:
        super().__init__(f"batch 0x{identifier.hex()[:16]}: the key of operator 0x{operator_id.hex()[:16]} is unknown")
        self.identifier, self.operator_id = identifier, operator_id


class NotReady(SourceError):
    """There is no quorum for the batch, any more or yet: its aggregate is made when there is one."""

    code: ClassVar[str] = "no_quorum"

    def __init__(self, identifier: bytes, signed: int, total: int) -> None:
        super().__init__(f"batch 0x{identifier.hex()[:16]}: stake {signed} of {total} has signed")
        self.identifier, self.signed, self.total = identifier, signed, total


class JournalOfAnotherContract(SetupError):
    """The journal belongs to another chain or contract: use one data directory, or one namespace, for each."""

    code: ClassVar[str] = "journal_of_another_contract"

    def __init__(self, what: str, got: str, want: str) -> None:
        super().__init__(f"the journal was used with {what} {got}, configured is {want}: use another one")
        self.what, self.got, self.want = what, got, want
