"""Why batches cannot be rebuilt, or not as they were asked to be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from attestrio.errors import SafetyError, SetupError, StorageUnusable

if TYPE_CHECKING:
    from attestrio.resequence.report import Report


class RebuildRefused(SetupError):
    """What the stream has more than the database cannot be rebuilt at all; nothing was changed."""

    code: ClassVar[str] = "rebuild_refused"


class StreamDamaged(StorageUnusable):
    """What is to be rebuilt does not stand in the stream as it was written; nothing was changed. Take the backup."""

    code: ClassVar[str] = "stream_damaged"

    def __init__(self, first: int, why: str) -> None:
        super().__init__(f"the stream is damaged from batch {first} on, restore it from a backup: {why}")
        self.first, self.why = first, why


class RebuildUnfinished(SetupError):
    """A rebuild was interrupted: its blocks are in no stream until it is taken up again with --resequence."""

    code: ClassVar[str] = "rebuild_unfinished"

    def __init__(self, path: Path, kept: int, phase: str) -> None:
        super().__init__(
            f"{path}: the batches after {kept} are being rebuilt ({phase}), start with --resequence to end that"
        )
        self.kept, self.phase = kept, phase


class RebuildStopped(SetupError):
    """A rebuild has come to something it must not decide; stream and database are as before it."""

    code: ClassVar[str] = "rebuild_stopped"


class TransactionFails(RebuildStopped):
    """A transaction cannot be executed any more, and nobody has allowed to leave transactions out (--no-strict)."""

    code: ClassVar[str] = "rebuild_transaction_fails"

    def __init__(self, batch: int, block: int, position: int, hash: bytes, why: str) -> None:
        super().__init__(f"batch {batch}, block {block}: transaction {position} ({hash.hex()}) fails: {why}")
        self.batch, self.block, self.position, self.hash = batch, block, position, hash


class BatchOverflows(RebuildStopped):
    """A batch does not fit into one any more, and nobody has allowed to split batches (--no-strict)."""

    code: ClassVar[str] = "rebuild_batch_overflows"

    def __init__(self, batch: int, block: int, position: int | None, what: str) -> None:
        at = "" if position is None else f" at transaction {position}"
        super().__init__(f"batch {batch} does not fit into one batch: block {block}{at} overflows {what}")
        self.batch, self.block, self.position, self.what = batch, block, position, what


class FitsNowhere(RebuildStopped):
    """A transaction, or the start of a block, does not fit into a batch of its own: raise the limits."""

    code: ClassVar[str] = "rebuild_fits_nowhere"

    def __init__(self, batch: int, block: int, position: int | None, hash: bytes | None, what: str) -> None:
        which = "its start" if position is None or hash is None else f"transaction {position} ({hash.hex()})"
        super().__init__(f"batch {batch}, block {block}: {which} overflows {what} even in a batch of its own")
        self.batch, self.block, self.position, self.hash, self.what = batch, block, position, hash, what
        self.found: Report | None = None
        """Of a trial: what it had found before."""


class NothingInCommon(SetupError):
    """Two streams differ before the place from where on one could be a rebuild of the other."""

    code: ClassVar[str] = "streams_unrelated"

    def __init__(self, entry: int | None, batch: int | None) -> None:
        where = "they have no batch 2 in common" if batch is None else f"they do not both have all of batch {batch}"
        super().__init__(where if entry is None else f"{where}: the first difference is entry {entry}")
        self.entry, self.batch = entry, batch


class AuditFailed(SafetyError):
    """The batches that were rebuilt are not what they were rebuilt from; stream and database are as before it."""

    code: ClassVar[str] = "audit_failed"


class JournalUnusable(StorageUnusable):
    """The journal of a rebuild cannot be read or written, or is not for the stream beside it."""

    code: ClassVar[str] = "rebuild_journal_unusable"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be used: {why}")
        self.path, self.why = path, why
