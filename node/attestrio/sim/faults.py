"""What a main node can do wrong, as values: each wraps an honest answer, or another fault.

A fault is called with the call and with the way to the honest answer; it may wait, change the answer, or give its own.
`Slow(3.0, then=Lagging())` is slow and lags. None of them keeps state: what changes from call to call follows from
`call.index`, so that one value can be used in two tests.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from attestrio.kit.jsonrpc import INTERNAL_ERROR, METHOD_NOT_FOUND, TEXTS
from attestrio.mainnode.types import BATCH_TO_ATTEST, GENESIS, GLOBAL_CONFIG, STATUS, hash_json
from attestrio.roles import Genesis


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request. `index` counts from 0 the calls of this method since the fault was set."""

    method: str
    index: int
    id: object
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


Answer = Callable[[Call], Awaitable[Reply]]


class Fault(Protocol):
    """Answers a call, with the help of `honest` or without."""

    async def __call__(self, call: Call, honest: Answer) -> Reply: ...


# --- no fault, and combinations


@dataclass(frozen=True, slots=True)
class Healthy:
    """The honest answer."""

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        return await honest(call)


HEALTHY = Healthy()


@dataclass(frozen=True, slots=True)
class Only:
    """`fault` for one method; the others are answered honestly."""

    method: str
    fault: Fault

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        return await (self.fault(call, honest) if call.method == self.method else honest(call))


@dataclass(frozen=True, slots=True)
class Script:
    """The n-th call of each method meets the n-th fault; after the last of them, `then`."""

    steps: tuple[Fault, ...]
    then: Fault = HEALTHY

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        fault = self.steps[call.index] if call.index < len(self.steps) else self.then
        return await fault(call, honest)


@dataclass(frozen=True, slots=True)
class Slow:
    """Every answer takes `seconds` longer."""

    seconds: float
    then: Fault = HEALTHY

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        await trio.sleep(self.seconds)
        return await self.then(call, honest)


@dataclass(frozen=True, slots=True)
class Hangs:
    """The connection stays open, and nothing comes."""

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        await trio.sleep_forever()


# --- no answer worth the name


@dataclass(frozen=True, slots=True)
class HttpStatus:
    """403 is what the network's front end answers for a method it does not pass on; 500 is a server in trouble."""

    status: int

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        return Reply(self.status, b"refused", {"content-type": "text/plain"})


@dataclass(frozen=True, slots=True)
class RpcError:
    """An error object; by default the one that hides a failure of the database."""

    code: int = INTERNAL_ERROR
    message: str = TEXTS[INTERNAL_ERROR]

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        return _json({"jsonrpc": "2.0", "id": call.id, "error": {"code": self.code, "message": self.message}})


@dataclass(frozen=True, slots=True)
class MethodMissing:
    """An older or a newer main node."""

    method: str = STATUS

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        missing = RpcError(METHOD_NOT_FOUND, TEXTS[METHOD_NOT_FOUND])
        return await Only(self.method, missing)(call, honest)


@dataclass(frozen=True, slots=True)
class Result:
    """The same result for every method: null, or something of the wrong type."""

    value: object = None

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        return _json({"jsonrpc": "2.0", "id": call.id, "result": self.value})


NULL = Result(None)
WRONG_TYPES = Result({"genesis": [7], "nextBatchToAttest": {"a": None}, "number": True, "hash": 1.5})


@dataclass(frozen=True, slots=True)
class WrongId:
    """The honest answer to another call."""

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        return _edited(await honest(call), lambda told: {**told, "id": 10**9})


@dataclass(frozen=True, slots=True)
class Raw:
    """These bytes, with status 200."""

    body: bytes

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        return Reply(200, self.body)


@dataclass(frozen=True, slots=True)
class Huge:
    """Valid JSON of a given size; `packed` sends it as gzip, which makes it a bomb."""

    size: int = 10_000_000
    packed: bool = False

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        body = b'{"jsonrpc":"2.0","id":1,"result":"' + b"0" * self.size + b'"}'
        return Reply(200, gzip.compress(body), {"content-encoding": "gzip"}) if self.packed else Reply(200, body)


@dataclass(frozen=True, slots=True)
class Deep:
    """Brackets within brackets."""

    depth: int = 100_000

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        return Reply(200, b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * self.depth + b"]" * self.depth + b"}")


# --- lies about the status


@dataclass(frozen=True, slots=True)
class Says:
    """The status names this number, whatever the store holds; other methods are honest. A first number out of
    nothing needs a genesis, which `genesis` gives: without it a null stays null."""

    number: int
    genesis: Genesis | None = None

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        reply = await honest(call)
        if call.method != STATUS:
            return reply
        if self.genesis is not None:
            status = {"genesis": hash_json(self.genesis.hash()), "nextBatchToAttest": str(self.number)}
            return _edited(reply, lambda told: {**told, "result": status})
        return _edited(reply, lambda told: {**told, "result": _renumbered(told.get("result"), lambda _: self.number)})


@dataclass(frozen=True, slots=True)
class Shifted:
    """The status is `by` higher than the truth (a jump), or lower (a move backwards), but never below 0."""

    by: int

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        reply = await honest(call)
        if call.method != STATUS:
            return reply
        return _edited(
            reply, lambda told: {**told, "result": _renumbered(told.get("result"), lambda n: max(0, n + self.by))}
        )


@dataclass(frozen=True, slots=True)
class Lagging:
    """Two replicas behind one address, one of them `by` batches late: true and late answers in turn."""

    by: int = 1

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        return await Shifted(-self.by if call.index % 2 else 0)(call, honest)


@dataclass(frozen=True, slots=True)
class OtherGenesis:
    """Every method speaks of `genesis`: what a node sees after the main node was set up anew."""

    genesis: Genesis

    async def __call__(self, call: Call, honest: Answer) -> Reply:
        return _edited(await honest(call), lambda told: {**told, "result": self._moved(call, told.get("result"))})

    def _moved(self, call: Call, result: Any) -> Any:  # noqa: ANN401  JSON
        if call.method == GENESIS:
            return self.genesis.to_json()
        if not isinstance(result, dict):
            return result
        if call.method == GLOBAL_CONFIG:
            return {**result, "genesis": self.genesis.to_json()}
        if call.method in (STATUS, BATCH_TO_ATTEST) and "genesis" in result:
            return {**result, "genesis": hash_json(self.genesis.hash())}
        return result


def _json(told: object) -> Reply:
    return Reply(200, json.dumps(told).encode())


def _edited(reply: Reply, edit: Callable[[dict[str, Any]], object]) -> Reply:
    """`reply` with its JSON object changed; what is no answer of ours stays as it is."""
    if reply.status != 200 or not reply.body.startswith(b"{"):
        return reply
    return _json(edit(json.loads(reply.body)))


def _renumbered(result: Any, change: Callable[[int], int]) -> Any:  # noqa: ANN401  JSON
    """A status of either shape with another number; null stays null."""
    if not isinstance(result, dict):
        return result
    if "next_batch_to_attest" in result:
        return {**result, "next_batch_to_attest": change(result["next_batch_to_attest"])}
    return {**result, "nextBatchToAttest": str(change(int(result["nextBatchToAttest"])))}
