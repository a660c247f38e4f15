"""Ethereum's JSON and our values, both ways. Pure.

Whatever an endpoint sent ends in a value or in a SourceError that names it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from attestrio.errors import SourceError
from attestrio.kit.jsonrpc import METHOD_NOT_FOUND, Id, MalformedAnswer, MethodMissing, RpcFailed
from attestrio.l1.api import Address, At, BlockHash, BlockNumber, BlockRef, Header, Log, LogFilter, Topic, TxHash
from attestrio.l1.errors import (
    BlockImpossible,
    CallReverted,
    LogHashDiffers,
    LogOutsideFilter,
    LogRemoved,
    LogsUnsorted,
    RangeRefused,
    RateLimited,
)

MAX_NUMBER = (1 << 63) - 1  # of blocks, indices, times: what SQLite and 8 bytes hold
MAX_TOPICS = 4

REVERT_CODE, LIMIT_CODE = 3, -32005
RANGE_TEXTS = re.compile(
    r"(?i)range|too many (results|logs|blocks)|more than \d+|query (timeout|returned)|response size|limited to"
    r"|exceed\w* max\w* (results|blocks|logs|limit)|result (set|size)|too large|log response"
)
"""How endpoints refuse a span of blocks; seen at geth, erigon, Nethermind, Infura, Alchemy, QuickNode and Ankr."""
RATE_TEXTS = re.compile(r"(?i)rate.?limit|too many requests|request count|throttl|capacity|per second|quota")
SUGGESTED = re.compile(r"\[\s*(0x[0-9a-fA-F]{1,16})\s*,\s*(0x[0-9a-fA-F]{1,16})\s*\]")
"""Infura and Alchemy say which range they would take: `[0x1, 0xff]`."""


# --- asking -------------------------------------------------------------------------------------------------------


def hex_number(number: int) -> str:
    return hex(number)


def hex_bytes(raw: bytes) -> str:
    return "0x" + raw.hex()


def at_json(at: At) -> object:
    """A block for eth_call: a number, a tag, or a hash that has to be canonical (EIP-1898)."""
    match at:
        case bytes():
            return {"blockHash": hex_bytes(at), "requireCanonical": True}
        case int():
            return hex_number(at)
    return at


def filter_json(wanted: LogFilter, where: dict[str, str]) -> dict[str, object]:
    """The filter of eth_getLogs. `where`: fromBlock and toBlock, or blockHash."""
    topics = [[hex_bytes(topic) for topic in any_of] or None for any_of in wanted.topics]
    return {"address": [hex_bytes(address) for address in wanted.addresses], "topics": topics, **where}


# --- reading ------------------------------------------------------------------------------------------------------


class _ErrorWithData(Struct):
    code: int
    message: str
    data: Raw | UnsetType = UNSET


class _Response(Struct):
    jsonrpc: Literal["2.0"]
    id: Id
    result: Raw | UnsetType = UNSET
    error: _ErrorWithData | UnsetType | None = UNSET


class _HeaderJson(Struct):
    number: str
    hash: str
    parentHash: str
    timestamp: str


class _LogJson(Struct):
    address: str
    topics: list[str]
    data: str
    blockNumber: str
    blockHash: str
    logIndex: str
    transactionHash: str
    removed: bool = False


_read_response = msgspec.json.Decoder(_Response).decode
_read_logs = msgspec.json.Decoder(list[_LogJson]).decode
_read_header = msgspec.json.Decoder(_HeaderJson).decode
_read_text = msgspec.json.Decoder(str).decode


def answer_untrusted(raw: bytes, id: int, source: str, *, of_logs: bool = False) -> Raw:
    """The result of call `id`. Raises MalformedAnswer, RpcFailed and its kinds, RateLimited.

    Only of logs a range can be refused: "out of range" to a call means that the endpoint lacks its block.

    Not `kit.jsonrpc`'s reader, for two reasons: the data of an error is wanted here, and looking through 10 MiB of logs
    for brackets before parsing takes as long as parsing. Too deep a nesting ends msgspec by a RecursionError as well.
    """
    try:
        response = _read_response(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise MalformedAnswer(source, str(exc)) from exc
    if response.error:
        raise _classified(response.error, source, of_logs)
    if response.id != id or response.result is UNSET:
        raise MalformedAnswer(source, f"id {response.id!r}, asked with {id}, or no result")
    return response.result


def _classified(error: _ErrorWithData, source: str, of_logs: bool) -> SourceError:
    """What an error means. Codes are used loosely, -32005 for both limits, so that the text decides."""
    code, text = error.code, error.message
    if code == METHOD_NOT_FOUND:
        return MethodMissing(source, code, text)
    if code == REVERT_CODE or "revert" in text.lower():
        return CallReverted(source, code, text, _revert_data(error.data))
    if code == 429 or RATE_TEXTS.search(text):
        return RateLimited(source, 0.0)
    if of_logs and RANGE_TEXTS.search(text):
        return RangeRefused(source, code, text, _suggested(text))
    if code == LIMIT_CODE:
        return RateLimited(source, 0.0)
    return RpcFailed(source, code, text)


def _suggested(text: str) -> int | None:
    """How many blocks the endpoint says it would take."""
    found = SUGGESTED.search(text)
    blocks = int(found[2], 16) - int(found[1], 16) + 1 if found else 0
    return blocks if blocks > 0 else None


def _revert_data(data: Raw | UnsetType) -> bytes:
    """The data of an error object: hex, bare or in an object as some endpoints wrap it; else empty."""
    try:
        value: Any = None if data is UNSET else msgspec.json.decode(data)
        value = value.get("data") if isinstance(value, dict) else value
        return bytes_untrusted(value) if isinstance(value, str) else b""
    except (msgspec.DecodeError, ValueError, RecursionError):
        return b""


def number_untrusted(text: str) -> int:
    """`0x1f`. Raises ValueError."""
    if text[:2] != "0x" or not 3 <= len(text) <= 18 or not text[2:].isalnum():
        raise ValueError(f"no number: {text[:40]!r}")
    value = int(text, 16)
    if value > MAX_NUMBER:
        raise ValueError(f"number {value}, limit {MAX_NUMBER}")
    return value


def bytes_untrusted(text: str, size: int | None = None) -> bytes:
    """`0x` and pairs of hex digits, `size` bytes if given. Raises ValueError."""
    if text[:2] != "0x" or (size is not None and len(text) != 2 + 2 * size):
        raise ValueError(f"no {size or ''} bytes in hex: {text[:80]!r}")
    raw = bytes.fromhex(text[2:])
    if 2 * len(raw) != len(text) - 2:  # fromhex skips white space
        raise ValueError(f"no bytes in hex: {text[:80]!r}")
    return raw


def integer_untrusted(result: Raw, source: str) -> int:
    """An unsigned number. Raises MalformedAnswer."""
    try:
        return number_untrusted(_read_text(result))
    except (msgspec.DecodeError, ValueError) as exc:
        raise MalformedAnswer(source, str(exc)) from exc


def data_untrusted(result: Raw, source: str) -> bytes:
    """Bytes of any length. Raises MalformedAnswer."""
    try:
        return bytes_untrusted(_read_text(result))
    except (msgspec.DecodeError, ValueError) as exc:
        raise MalformedAnswer(source, str(exc)) from exc


def header_untrusted(result: Raw, asked: At, source: str) -> Header | None:
    """The header of the block asked for; None for null. Raises MalformedAnswer, BlockImpossible."""
    if bytes(result) == b"null":
        return None
    try:
        told = _read_header(result)
        ref = BlockRef(BlockNumber(number_untrusted(told.number)), BlockHash(bytes_untrusted(told.hash, 32)))
        header = Header(ref, BlockHash(bytes_untrusted(told.parentHash, 32)), number_untrusted(told.timestamp))
    except (msgspec.DecodeError, ValueError) as exc:
        raise MalformedAnswer(source, str(exc)) from exc
    if isinstance(asked, int) and ref.number != asked:
        raise BlockImpossible(asked, f"{source} gave {ref.number}")
    if isinstance(asked, bytes) and ref.hash != asked:
        raise BlockImpossible(ref.number, f"{source} gave {ref.hash.hex()}, asked for {asked.hex()}")
    return header


def logs_untrusted(
    result: Raw, wanted: LogFilter, first: BlockNumber, last: BlockNumber, source: str, *, of: BlockRef | None = None
) -> Sequence[Log]:
    """Logs that can be an answer: see `Chain.logs`. About 6 µs each.

    Raises MalformedAnswer, LogOutsideFilter, LogsUnsorted, LogRemoved, LogHashDiffers.
    """
    blocks: dict[tuple[str, str], BlockRef] = {}
    known: dict[str, bytes] = {}  # addresses and first topics repeat
    logs: list[Log] = []
    before = (-1, -1)
    try:
        for told in _read_logs(result):
            if told.removed:
                raise LogRemoved(source, f"log {told.logIndex} of block {told.blockNumber} is marked as removed")
            where = told.blockNumber, told.blockHash
            if (block := blocks.get(where)) is None:
                block = blocks[where] = _block_of(told)
                if of is not None and block != of:
                    raise LogHashDiffers(source, f"a log of block {block}, asked for block {of}")
            log = _log(told, block, known)
            if log.place <= before:
                raise LogsUnsorted(source, f"log {log.place} after log {before}")
            if not first <= block.number <= last or not wanted.matches(log):
                raise LogOutsideFilter(source, f"log {log.index} of block {block} was not asked for")
            before = log.place
            logs.append(log)
    except (msgspec.DecodeError, ValueError) as exc:
        raise MalformedAnswer(source, str(exc)) from exc
    found = blocks.values()
    if not len({block.number for block in found}) == len({block.hash for block in found}) == len(set(found)):
        raise LogHashDiffers(source, "one block with two hashes, or one hash for two blocks")
    return logs


def _block_of(told: _LogJson) -> BlockRef:
    return BlockRef(BlockNumber(number_untrusted(told.blockNumber)), BlockHash(bytes_untrusted(told.blockHash, 32)))


def _log(told: _LogJson, block: BlockRef, known: dict[str, bytes]) -> Log:
    if len(told.topics) > MAX_TOPICS:
        raise ValueError(f"{len(told.topics)} topics, limit {MAX_TOPICS}")
    if (address := known.get(told.address)) is None:
        address = known[told.address] = bytes_untrusted(told.address, 20)
    topics = tuple([Topic(bytes_untrusted(topic, 32)) for topic in told.topics])
    return Log(
        Address(address),
        topics,
        bytes_untrusted(told.data),
        block,
        number_untrusted(told.logIndex),
        TxHash(bytes_untrusted(told.transactionHash, 32)),
    )
