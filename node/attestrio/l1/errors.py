"""What can be wrong with a chain or with who tells about it; each says what follows from it.

A SourceError costs the answer, never the place: the scanner stays where it is and asks again, elsewhere if it can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attestrio.errors import PeerError, SetupError, SourceError
from attestrio.kit.jsonrpc import RpcFailed, printable

if TYPE_CHECKING:
    from attestrio.l1.api import BlockRef


class WrongChain(SetupError):
    """At the start an endpoint serves another chain than configured: change the URL or the chain id."""

    code: ClassVar[str] = "wrong_l1_chain"

    def __init__(self, source: str, got: int, want: int) -> None:
        super().__init__(f"{source} serves chain {got}, configured is {want}")
        self.source, self.got, self.want = source, got, want


class ChainChanged(SourceError):
    """An endpoint that is in use, or came back, serves another chain: it is not asked until it serves the right one."""

    code: ClassVar[str] = "chain_changed"

    def __init__(self, source: str, got: int, want: int) -> None:
        super().__init__(f"{source} serves chain {got} now, configured is {want}")
        self.source, self.got, self.want = source, got, want


class RateLimited(SourceError):
    """The endpoint wants fewer calls: it is left alone for `wait_s`, others are asked meanwhile."""

    code: ClassVar[str] = "rate_limited"

    def __init__(self, source: str, wait_s: float) -> None:
        super().__init__(f"{source}: asked too often, not before {wait_s:g} s")
        self.source, self.wait_s = source, wait_s


class RangeRefused(RpcFailed):
    """Too many blocks or logs at once for this endpoint: the scanner asks for fewer. `most` blocks, if it said so."""

    code: ClassVar[str] = "range_refused"

    def __init__(self, source: str, rpc_code: int, message: str, most: int | None = None) -> None:
        super().__init__(source, rpc_code, message)
        self.most = most


class CallReverted(RpcFailed):
    """The contract refused: an answer like any other, not asked again. `data` is what it reverted with."""

    code: ClassVar[str] = "call_reverted"

    def __init__(self, source: str, rpc_code: int, message: str, data: bytes) -> None:
        super().__init__(source, rpc_code, message)
        self.data = data


class EndpointsDisagree(SourceError):
    """Too few endpoints gave the same answer: nothing is believed, all are asked again."""

    code: ClassVar[str] = "endpoints_disagree"

    def __init__(self, what: str, most: int, wanted: int) -> None:
        super().__init__(f"{what}: {most} endpoints agree, {wanted} have to")
        self.what, self.most, self.wanted = what, most, wanted


class LogsImpossible(SourceError):
    """Logs that no honest endpoint gives. The whole answer is thrown away, another endpoint is asked."""

    code: ClassVar[str] = "logs_impossible"

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source}: {printable(why)}")
        self.source, self.why = source, why


class LogOutsideFilter(LogsImpossible):
    """A log of another contract, another event or another block than asked for: the answer is thrown away."""

    code: ClassVar[str] = "log_outside_filter"


class LogsUnsorted(LogsImpossible):
    """Logs not in the order of the chain, or one of them twice: the answer is thrown away."""

    code: ClassVar[str] = "logs_unsorted"


class LogRemoved(LogsImpossible):
    """A log marked as removed by a reorg, in an answer about the present chain: the answer is thrown away."""

    code: ClassVar[str] = "log_removed"


class LogHashDiffers(LogsImpossible):
    """The logs' block hash is not the block's: a reorg between two answers, or a lie; both are asked for again."""

    code: ClassVar[str] = "log_hash_differs"


class BlockMissing(SourceError):
    """A block below the head that the endpoint does not have: it lags or has a gap; asked again, nothing is skipped."""

    code: ClassVar[str] = "block_missing"

    def __init__(self, number: int, head: int) -> None:
        super().__init__(f"block {number} is missing, the head is {head}")
        self.number, self.head = number, head


class BlockImpossible(SourceError):
    """A header with another number than asked for, or that is not the child of the block before it: asked again."""

    code: ClassVar[str] = "block_impossible"

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"block {number}: {why}")
        self.number, self.why = number, why


class HeadWentBack(SourceError):
    """The head is below what is scanned. Asked again: an endpoint lags; what stays so for long counts as a reorg."""

    code: ClassVar[str] = "head_went_back"

    def __init__(self, got: int, seen: int) -> None:
        super().__init__(f"the head is {got}, scanned is up to {seen}")
        self.got, self.seen = got, seen


class ReorgTooDeep(SourceError):
    """No remembered block is on the chain any more. Nothing is scanned until one is, or the cursor is reset."""

    code: ClassVar[str] = "reorg_too_deep"

    def __init__(self, oldest: BlockRef) -> None:
        super().__init__(f"block {oldest}, the oldest remembered, is not on the chain any more")
        self.oldest = oldest


class UnreadableEvent(PeerError):
    """The topics or data of a log are not what the ABI says: whoever emitted it is to blame; this one is dropped."""

    code: ClassVar[str] = "unreadable_event"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {printable(why)}")
        self.what, self.why = what, why
