"""What can be wrong with a chain that is being built: its database, its stream, its genesis, or what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from attestrio.errors import SafetyError, SetupError, SourceError


class LeafMissing(SourceError):
    """A block is to take over a leaf of the L1 info tree that has not been read from L1 yet."""

    code: ClassVar[str] = "leaf_missing"

    def __init__(self, index: int) -> None:
        super().__init__(f"leaf {index} of the L1 info tree is not known here")
        self.index = index


class UnwindRefused(SetupError):
    """There is no going back to the end of that batch; nothing was changed."""

    code: ClassVar[str] = "unwind_refused"

    def __init__(self, batch: int, why: str) -> None:
        super().__init__(f"batch {batch}: {why}")
        self.batch = batch


class OtherChain(SetupError):
    """The database holds another chain than the one that is configured."""

    code: ClassVar[str] = "other_chain"

    def __init__(self, got: int, want: int) -> None:
        super().__init__(f"the database is of chain {got}, configured is {want}")
        self.got, self.want = got, want


class StreamMissing(SetupError):
    """The stream is empty and the database is not: it was moved away, or is another one. Put it back."""

    code: ClassVar[str] = "stream_missing"

    def __init__(self, batch: int, block: int) -> None:
        super().__init__(f"the stream is empty, the database is at batch {batch}, block {block}: put the stream back")
        self.batch, self.block = batch, block


class ChainMissing(SetupError):
    """There is a stream, and the database of the chain it is of is gone. Put it back, or build it from the stream."""

    code: ClassVar[str] = "chain_missing"

    def __init__(self, path: Path, batch: int) -> None:
        super().__init__(
            f"{path} is missing or empty, and the stream has batches up to {batch}: put it back, or, where "
            "chain.injected gives batch 1, start with --resequence to build it from the stream"
        )
        self.path, self.batch = path, batch


class StreamDiverged(SafetyError):
    """Stream and database have different blocks of the same number: one of them is of another chain or another past."""

    code: ClassVar[str] = "stream_diverged"

    def __init__(self, block: int, got: bytes, want: bytes) -> None:
        super().__init__(f"block {block} is {got.hex()} in the stream and {want.hex()} in the database")
        self.block, self.got, self.want = block, got, want


class ChainFileUnreadable(SetupError):
    """A file that describes how the chain begins cannot be read, or lacks something."""

    code: ClassVar[str] = "chain_file_unreadable"


class GenesisRootWrong(SetupError):
    """The accounts the chain begins with do not give the state root that its configuration names."""

    code: ClassVar[str] = "genesis_root_wrong"

    def __init__(self, got: bytes, want: bytes) -> None:
        super().__init__(f"the accounts give the state root {got.hex()}, the configuration names {want.hex()}")
        self.got, self.want = got, want


class OtherGenesis(SetupError):
    """Allocation, chain specification or configuration no longer give the genesis block that the chain began with."""

    code: ClassVar[str] = "chain_genesis_differs"

    def __init__(self, got: bytes, want: bytes) -> None:
        super().__init__(
            f"the configured files give the genesis block {got.hex()}, the chain began with {want.hex()}: "
            "put those files back"
        )
        self.got, self.want = got, want


class InjectedRefused(SetupError):
    """The transaction of batch 1 cannot be executed."""

    code: ClassVar[str] = "injected_refused"
