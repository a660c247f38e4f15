"""A chain in memory: blocks that can be reorganised, and endpoints that tell about it, truthfully or not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import trio
from attestrio.errors import SourceError
from attestrio.l1.api import Address, At, BlockHash, BlockNumber, BlockRef, Header, Log, LogFilter, Step, TxHash
from attestrio.l1.errors import LogHashDiffers, RangeRefused
from attestrio.l1.logs import Event, filter_for

ADDRESS = Address(b"\xaa" * 20)
NOTED = Event.parse("Noted(uint256 indexed number, bytes note)")
WANTED = filter_for(ADDRESS, NOTED)
CHAIN_ID = 31337


@dataclass(slots=True)
class StubBlock:
    header: Header
    logs: list[Log]


class StubChain:
    """A `Chain`. `mine(n)` adds a block with n logs; `reorg(depth, ...)` replaces the last blocks by others."""

    chain_id = CHAIN_ID

    def __init__(self) -> None:
        self.blocks: list[StubBlock] = []
        self._salt = 0
        self.asked: list[str] = []
        self.most_blocks = 10**9
        self.refusal: Callable[[int], SourceError] = lambda _: RangeRefused("stub", -32005, "range too large")
        self.safe_lag = 0
        self.before: Callable[[str], None] = lambda what: None
        """Called before each answer: to change the chain in between, or to raise."""
        self.mine(0)

    @property
    def head(self) -> int:
        return len(self.blocks) - 1

    def mine(self, *counts: int) -> None:
        for count in counts:
            self._salt += 1
            number = BlockNumber(len(self.blocks))
            parent = self.blocks[-1].header.hash if self.blocks else BlockHash(bytes(32))
            ref = BlockRef(number, BlockHash(hashlib.sha256(b"%d %d" % (number, self._salt)).digest()))
            logs = [self.log(ref, 2 * index + 1) for index in range(count)]  # others' logs lie between
            self.blocks.append(StubBlock(Header(ref, parent, 1_000 + 12 * number), logs))

    def reorg(self, depth: int, *counts: int) -> None:
        del self.blocks[len(self.blocks) - depth :]
        self.mine(*counts)

    def log(self, ref: BlockRef, index: int) -> Log:
        topics, data = NOTED.emitted(number=1_000 * ref.number + index, note=ref.hash[:4])
        return Log(ADDRESS, topics, data, ref, index, TxHash(hashlib.sha256(ref.hash + bytes([index % 256])).digest()))

    def all_logs(self, first: int = 0, last: int | None = None) -> list[Log]:
        end = len(self.blocks) if last is None else last + 1
        return [log for block in self.blocks[first:end] for log in block.logs]

    async def block(self, at: At) -> Header | None:
        await self._asked(f"block {at.hex()[:8] if isinstance(at, bytes) else at}")
        if isinstance(at, bytes):
            return next((block.header for block in self.blocks if block.header.hash == at), None)
        number = at if isinstance(at, int) else self.head - (0 if at == "latest" else self.safe_lag)
        return self.blocks[number].header if 0 <= number <= self.head else None

    async def logs(self, wanted: LogFilter, first: BlockNumber, last: BlockNumber) -> Sequence[Log]:
        await self._asked(f"logs {first} {last}")
        if last - first + 1 > self.most_blocks:
            raise self.refusal(last - first + 1)
        return self.all_logs(first, last)

    async def logs_of(self, wanted: LogFilter, block: BlockRef) -> Sequence[Log]:
        await self._asked(f"logs of {block.number}")
        if block.number > self.head or self.blocks[block.number].header.ref != block:
            raise LogHashDiffers("stub", "unknown block")
        return list(self.blocks[block.number].logs)

    async def call(self, to: Address, data: bytes, at: At) -> bytes:
        await self._asked("call")
        return data

    async def _asked(self, what: str) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(what)
        self.before(what)


class MemorySink:
    """Keeps what was recorded, cursor and logs together, as a transaction does. `told` is every step."""

    def __init__(self) -> None:
        self.saved: bytes | None = None
        self.logs: list[Log] = []
        self.told: list[Step] = []
        self.fail: Callable[[bool], None] = lambda written: None
        """Called before and after the write; raising is a crash there."""

    async def cursor(self) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self.saved

    async def record(self, step: Step) -> None:
        await trio.lowlevel.checkpoint()
        self.fail(False)
        if step.void_above is not None:
            self.logs = [log for log in self.logs if log.block.number <= step.void_above]
        self.logs += step.logs
        self.saved = step.cursor
        self.told.append(step)
        self.fail(True)


# --- as JSON-RPC


def log_json(log: Log) -> dict[str, object]:
    return {
        "address": "0x" + log.address.hex(),
        "topics": ["0x" + topic.hex() for topic in log.topics],
        "data": "0x" + log.data.hex(),
        "blockNumber": hex(log.block.number),
        "blockHash": "0x" + log.block.hash.hex(),
        "logIndex": hex(log.index),
        "transactionHash": "0x" + log.transaction.hex(),
        "transactionIndex": "0x0",
        "removed": False,
    }


def header_json(header: Header) -> dict[str, object]:
    return {
        "number": hex(header.number),
        "hash": "0x" + header.hash.hex(),
        "parentHash": "0x" + header.parent.hex(),
        "timestamp": hex(header.timestamp),
        "transactions": [],
    }


@dataclass(slots=True)
class Refusal:
    """An answer that is no result."""

    code: int
    message: str
    data: object = None


@dataclass(slots=True)
class Status:
    """An HTTP status instead of an answer."""

    status: int
    retry_after: str | None = None


class StubNode:
    """An ASGI application: one endpoint over a `StubChain`. `twist(method, result)` may change or replace results."""

    def __init__(self, chain: StubChain, chain_id: int = CHAIN_ID) -> None:
        self.chain, self.chain_id = chain, chain_id
        self.twist: Callable[[str, object], object] = lambda method, result: result
        self.asked: list[tuple[float, str]] = []
        self.delay_s = 0.0
        self.lag = 0
        """Blocks that this endpoint does not know yet."""

    def calls(self, method: str) -> list[float]:
        return [at for at, asked in self.asked if asked == method]

    async def __call__(self, scope, receive, send) -> None:
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        request = msgspec.json.decode(body)
        self.asked.append((trio.current_time(), request["method"]))
        await trio.sleep(self.delay_s)
        result = self.twist(request["method"], self._result(request["method"], request["params"]))
        status, headers, answer = 200, [], {"jsonrpc": "2.0", "id": request["id"]}
        if isinstance(result, Status):
            status = result.status
            headers = [(b"retry-after", result.retry_after.encode())] if result.retry_after else []
        elif isinstance(result, Refusal):
            answer["error"] = {"code": result.code, "message": result.message}
            if result.data is not None:
                answer["error"]["data"] = result.data
        else:
            answer["result"] = result
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": msgspec.json.encode(answer)})

    def _result(self, method: str, params: list) -> object:
        head = self.chain.head - self.lag
        match method:
            case "eth_chainId":
                return hex(self.chain_id)
            case "eth_getBlockByNumber":
                number = {"latest": head, "safe": head, "finalized": head}.get(params[0])
                number = int(params[0], 16) if number is None else number
                return header_json(self.chain.blocks[number].header) if 0 <= number <= head else None
            case "eth_getBlockByHash":
                found = [b.header for b in self.chain.blocks[: head + 1] if "0x" + b.header.hash.hex() == params[0]]
                return header_json(found[0]) if found else None
            case "eth_getLogs" if "blockHash" in params[0]:
                found = [
                    b for b in self.chain.blocks[: head + 1] if "0x" + b.header.hash.hex() == params[0]["blockHash"]
                ]
                return [log_json(log) for log in found[0].logs] if found else Refusal(-32000, "unknown block")
            case "eth_getLogs":
                first, last = int(params[0]["fromBlock"], 16), min(int(params[0]["toBlock"], 16), head)
                return [log_json(log) for log in self.chain.all_logs(first, last)]
            case "eth_call":
                return params[0]["data"]
        return Refusal(-32601, "Method not found")


def moved(log: Log, **changes: object) -> Log:
    return replace(log, **changes)
