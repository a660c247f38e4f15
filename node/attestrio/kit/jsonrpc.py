"""JSON-RPC 2.0 as bytes in and values out; nothing here waits for a network.

A client encodes with `encode_request` and reads with `decode_response_untrusted`. A server hands a body to `answer`.
Both check nesting before parsing, because a parser meets depth with recursion.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from attestrio.errors import NodeError, SafetyError, SourceError

log = logging.getLogger("attestrio.kit")

T = TypeVar("T")
Id = int | str | None

MAX_DEPTH = 32  # a genesis nests 5 deep inside an answer; msgspec itself would follow about 1,000
MAX_TEXT = 200  # characters of a stranger's text that get into a message of ours

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
BATCH_TOO_LARGE = -32010  # jsonrpsee's number, the server library of the network's main node
TEXTS: Mapping[int, str] = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
    BATCH_TOO_LARGE: "The batch request was too large",
}


class MalformedAnswer(SourceError):
    """The answer is not JSON-RPC, or its result is not what the method gives."""

    code: ClassVar[str] = "malformed_answer"

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source}: answer not understood: {printable(why)}")
        self.source, self.why = source, why


class RpcFailed(SourceError):
    """The server understood and answered with an error object."""

    code: ClassVar[str] = "rpc_error"

    def __init__(self, source: str, rpc_code: int, message: str) -> None:
        super().__init__(f"{source}: error {rpc_code}: {printable(message)}")
        self.source, self.rpc_code, self.message = source, rpc_code, message


class MethodMissing(RpcFailed):
    """The server does not know the method: an older or a newer main node."""

    code: ClassVar[str] = "method_missing"


class InvalidParams(Exception):
    """Raised by a method of a server whose caller gave arguments it cannot use."""


class CallRefused(Exception):
    """Raised by a method of a server: its caller gets an error object with this code and text, and `data` if any."""

    def __init__(self, rpc_code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.rpc_code, self.message, self.data = rpc_code, message, data

    def body(self, id: Id) -> dict[str, object]:
        """The answer to call `id`."""
        error: dict[str, object] = {"code": self.rpc_code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return {"jsonrpc": "2.0", "error": error, "id": id}


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """`text` on one line, without control characters, cut at `limit`: safe in a log."""
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    return "".join(char if char.isprintable() else " " for char in cut)


# --- nesting ------------------------------------------------------------------------------------------------------

# A whole string literal, or one that the text ends in: so that no start is tried twice and the scan stays linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def too_deep(raw: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether brackets outside strings nest deeper than `limit`. O(n); nothing is parsed."""
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        if depth > limit:
            return True
    return False


# --- client -------------------------------------------------------------------------------------------------------


class _Error(Struct):
    code: int
    message: str


class _Response(Struct):
    jsonrpc: Literal["2.0"]
    id: Id
    result: Raw | UnsetType = UNSET
    error: _Error | UnsetType | None = UNSET


def encode_request(method: str, params: tuple[object, ...], id: int) -> bytes:
    """One call with positional parameters."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def decode_response_untrusted(raw: bytes, type: type[T], *, id: int, source: str = "server") -> T:
    """The `result` of a response to call `id`, as `type`. Fields that `type` does not name are ignored.

    Raises only MalformedAnswer, RpcFailed, MethodMissing. Ask for `Raw` to parse the result elsewhere, and for
    `X | None` where null is an answer. `source` is who answered, as the errors shall name it.
    """
    if too_deep(raw):
        raise MalformedAnswer(source, f"nested deeper than {MAX_DEPTH}")
    try:
        raw.decode()  # msgspec skips over what it does not need without looking at its encoding
        response = msgspec.json.decode(raw, type=_Response)
        if response.error:
            _raise(source, response.error)
        if response.id != id:
            raise MalformedAnswer(source, f"id {response.id!r}, asked with {id}")
        if response.result is UNSET:
            raise MalformedAnswer(source, "neither result nor error")
        return msgspec.json.decode(response.result, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise MalformedAnswer(source, str(exc)) from exc


def _raise(source: str, error: _Error) -> None:
    """An error counts whatever its id: a server that could not read the request answers with id null."""
    kind = MethodMissing if error.code == METHOD_NOT_FOUND else RpcFailed
    raise kind(source, error.code, error.message)


# --- server -------------------------------------------------------------------------------------------------------


class Request(Struct):
    """One call as it came in; no `id` means that the caller wants no answer."""

    jsonrpc: Literal["2.0"]
    method: str
    params: Raw | UnsetType = UNSET
    id: Id | UnsetType = UNSET


Method = Callable[[tuple[Raw, ...]], Awaitable[object]]
"""A server's method: positional parameters, still JSON, in; a value msgspec can encode out.

Raises InvalidParams, CallRefused.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one HTTP body may ask for."""

    max_batch: int = 20
    max_depth: int = MAX_DEPTH


DEFAULT_LIMITS = Limits()


def error_body(code: int, id: Id = None) -> dict[str, object]:
    """An error object with the exact text of its code."""
    return {"jsonrpc": "2.0", "error": {"code": code, "message": TEXTS[code]}, "id": id}


async def answer(raw: bytes, methods: Mapping[str, Method], limits: Limits = DEFAULT_LIMITS) -> bytes | None:
    """The body that answers body `raw`, or None where only notifications came.

    Calls of one batch run one after the other, in order. Whatever the caller sent ends in an error object; a
    `NodeError` of a method is logged and shown as `Internal error`. SafetyError goes through.
    """
    if too_deep(raw, limits.max_depth):
        return msgspec.json.encode(error_body(PARSE_ERROR))
    try:
        raw.decode()
        whole = msgspec.json.decode(raw, type=Raw)
        calls = msgspec.json.decode(whole, type=list[Raw]) if raw.lstrip()[:1] == b"[" else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.encode(error_body(PARSE_ERROR))

    if calls is None:
        reply = await _call(whole, methods)
        return None if reply is None else msgspec.json.encode(reply)
    if not calls:
        return msgspec.json.encode(error_body(INVALID_REQUEST))
    if len(calls) > limits.max_batch:
        return msgspec.json.encode(error_body(BATCH_TOO_LARGE))
    replies = [reply for call in calls if (reply := await _call(call, methods)) is not None]
    return msgspec.json.encode(replies) if replies else None


async def _call(raw: Raw, methods: Mapping[str, Method]) -> dict[str, object] | None:
    try:
        request = msgspec.json.decode(raw, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return error_body(INVALID_REQUEST)
    id = None if request.id is UNSET else request.id
    reply = await _reply(request, id, methods)
    return None if request.id is UNSET else reply


async def _reply(request: Request, id: Id, methods: Mapping[str, Method]) -> dict[str, object]:
    method = methods.get(request.method)
    try:
        params = _positional(request.params)
        if method is None:
            return error_body(METHOD_NOT_FOUND, id)
        return {"jsonrpc": "2.0", "result": await method(params), "id": id}
    except InvalidParams:
        return error_body(INVALID_PARAMS, id)
    except CallRefused as exc:
        return exc.body(id)
    except SafetyError:
        raise
    except NodeError as exc:
        log.warning("%s not answered: %s (%s)", request.method, exc, exc.code)
        return error_body(INTERNAL_ERROR, id)


def _positional(params: Raw | UnsetType) -> tuple[Raw, ...]:
    """Parameters by position. An absent list and an empty object are no parameters; names are not offered."""
    if params is UNSET or bytes(params) == b"null":
        return ()
    try:
        given = msgspec.json.decode(params, type=tuple[Raw, ...] | dict[str, Raw])
    except msgspec.DecodeError as exc:
        raise InvalidParams from exc
    if isinstance(given, dict):
        if given:
            raise InvalidParams
        return ()
    return given
