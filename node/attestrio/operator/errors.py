"""What can be wrong with a batch, with who keeps its data, or with a verifier; each says what follows from it.

A SourceError is tried again until the batch is answered on the chain or past the horizon, and holds the watermark. A
PeerError about data that has the root of the chain is final: never signed, and the watermark goes on.
"""

from __future__ import annotations

from typing import ClassVar

from attestrio.errors import PeerError, SetupError, SourceError
from attestrio.kit.jsonrpc import printable


class BatchUnreadable(SourceError):
    """Downloaded data that is no batch, neither in CBOR nor in JSON: the next URL is asked, later all of them again."""

    code: ClassVar[str] = "batch_unreadable"

    def __init__(self, problem: str, at: int | None = None) -> None:
        super().__init__(f"no batch: {printable(problem)}" + ("" if at is None else f" at byte {at}"))
        self.problem, self.at = problem, at


class BatchTooLarge(BatchUnreadable):
    """More bytes, entries, keys or levels than a batch may have. It is dropped before it takes memory."""

    code: ClassVar[str] = "batch_too_large"

    def __init__(self, what: str, got: int, limit: int) -> None:
        super().__init__(f"{what}: {got}, limit {limit}")
        self.what, self.got, self.limit = what, got, limit


class UnknownProvingSystem(BatchUnreadable):
    """An entry of a proving system that this release does not know. The batch is not signed, and looked at again."""

    code: ClassVar[str] = "unknown_proving_system"

    def __init__(self, name: str) -> None:
        super().__init__(f"proving system {name!r} is not known")
        self.name = name


class RootDiffers(SourceError):
    """The data has another Merkle root than the chain: the next URL is asked, later all of them again."""

    code: ClassVar[str] = "root_differs"

    def __init__(self, got: bytes, want: bytes) -> None:
        super().__init__(f"data has root 0x{got.hex()}, the chain has 0x{want.hex()}")
        self.got, self.want = got, want


class LengthMissing(SourceError):
    """An answer without Content-Length, which every operator refuses: the next URL is asked, later all again."""

    code: ClassVar[str] = "length_missing"

    def __init__(self, source: str) -> None:
        super().__init__(f"{source}: no Content-Length")
        self.source = source


class BadPointer(PeerError):
    """No part of the batch's data pointer is a URL that can be asked: the batch is missed, the watermark goes on."""

    code: ClassVar[str] = "bad_pointer"

    def __init__(self, pointer: str) -> None:
        super().__init__(f"no http:// or https:// URL in the data pointer {printable(pointer)!r}")
        self.pointer = pointer


class TaskDiffers(SourceError):
    """The contract has no task under the identifier hash of a log, or one of another block: asked again later.

    A reorg, an endpoint that lags, or a lie; nothing is downloaded for it.
    """

    code: ClassVar[str] = "task_differs"

    def __init__(self, identifier: bytes, got: int, want: int) -> None:
        super().__init__(f"batch 0x{identifier.hex()}: created in block {got} (0: never), the log says {want}")
        self.identifier, self.got, self.want = identifier, got, want


class VerifierFailed(SourceError):
    """A verifier gave no verdict: it is missing, was too slow, said too much, or broke. No verdict is ever guessed."""

    code: ClassVar[str] = "verifier_failed"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"verifier of {name}: {printable(problem)}")
        self.name, self.problem = name, problem


class AggregatorRefused(SourceError):
    """The aggregator did not take a response: reply 1, or an error text. It is sent again."""

    code: ClassVar[str] = "aggregator_refused"

    def __init__(self, text: str) -> None:
        super().__init__(f"the aggregator said: {printable(text)}")
        self.text = text


class OldPositionUnreadable(SourceError):
    """The position file of an earlier operator cannot be read: the scan begins at the configured block instead."""

    code: ClassVar[str] = "old_position_unreadable"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {printable(problem)}")


class JournalOfAnotherKey(SetupError):
    """The data directory belongs to another chain, contract or BLS key: use one directory for each."""

    code: ClassVar[str] = "journal_of_another_key"

    def __init__(self, what: str, got: str, want: str) -> None:
        super().__init__(f"the data directory was used with {what} {got}, configured is {want}: use another directory")
        self.what, self.got, self.want = what, got, want


class NothingSuch(SetupError):
    """A command names a batch that is not in the state the command is for."""

    code: ClassVar[str] = "no_such_batch"

    def __init__(self, what: str) -> None:
        super().__init__(what)
