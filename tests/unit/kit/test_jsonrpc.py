"""JSON-RPC bytes, both directions, without a network."""

import json
import time

import msgspec
import pytest
from attestrio.errors import SafetyError, SourceError
from attestrio.kit import jsonrpc
from attestrio.kit.jsonrpc import (
    CallRefused,
    InvalidParams,
    MalformedAnswer,
    MethodMissing,
    RpcFailed,
    answer,
    too_deep,
)


def decode(raw, type=int):
    return jsonrpc.decode_response_untrusted(raw, type, id=1, source="main node")


def test_a_request_is_positional_json_rpc():
    raw = jsonrpc.encode_request("en_x", (7, True), 3)

    assert json.loads(raw) == {"jsonrpc": "2.0", "id": 3, "method": "en_x", "params": [7, True]}


def test_a_result_is_read_as_the_type_asked_for():
    assert decode(b'{"jsonrpc":"2.0","id":1,"result":7}') == 7
    assert decode(b'{"jsonrpc":"2.0","id":1,"result":null}', int | None) is None
    assert decode(b'{"jsonrpc":"2.0","id":1,"result":7,"error":null,"more":1}') == 7


BAD_ANSWERS = {
    "empty": b"",
    "not json": b"<html>",
    "cut off": b'{"jsonrpc":"2.0","id":1,"result":7',
    "trailing bytes": b'{"jsonrpc":"2.0","id":1,"result":7} 8',
    "null": b"null",
    "a list": b'[{"jsonrpc":"2.0","id":1,"result":7}]',
    "wrong id": b'{"jsonrpc":"2.0","id":2,"result":7}',
    "id as text": b'{"jsonrpc":"2.0","id":"1","result":7}',
    "id null": b'{"jsonrpc":"2.0","id":null,"result":7}',
    "no id": b'{"jsonrpc":"2.0","result":7}',
    "version 1.0": b'{"jsonrpc":"1.0","id":1,"result":7}',
    "no version": b'{"id":1,"result":7}',
    "neither result nor error": b'{"jsonrpc":"2.0","id":1}',
    "result of another type": b'{"jsonrpc":"2.0","id":1,"result":"7"}',
    "result is a float": b'{"jsonrpc":"2.0","id":1,"result":7.0}',
    "result is null": b'{"jsonrpc":"2.0","id":1,"result":null}',
    "NaN": b'{"jsonrpc":"2.0","id":1,"result":NaN}',
    "infinity": b'{"jsonrpc":"2.0","id":1,"result":1e999}',
    "error is text": b'{"jsonrpc":"2.0","id":1,"error":"no"}',
    "error without a code": b'{"jsonrpc":"2.0","id":1,"error":{"message":"no"}}',
    "utf-8 broken in the result": b'{"jsonrpc":"2.0","id":1,"result":"\xff"}',
    "utf-8 broken where nobody looks": b'{"jsonrpc":"2.0","id":1,"result":7,"more":"\xff"}',
    "utf-16": '{"jsonrpc":"2.0","id":1,"result":7}'.encode("utf-16"),
    "half a surrogate pair": b'{"jsonrpc":"2.0","id":1,"result":7,"more":1,"id":"\\ud800"}',
    "5,000 digits": b'{"jsonrpc":"2.0","id":1,"result":' + b"9" * 5000 + b"}",
    "deep list": b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep and never closed": b'{"jsonrpc":"2.0","id":1,"result":' + b'{"a":' * 100_000,
    "deep where nobody looks": b'{"jsonrpc":"2.0","id":1,"result":7,"more":' + b"[" * 40 + b"]" * 40 + b"}",
}


@pytest.mark.parametrize("raw", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_answer_is_one_named_error(raw):
    with pytest.raises(MalformedAnswer, match=r"^main node: answer not understood: .") as caught:
        decode(raw)

    assert isinstance(caught.value, SourceError)
    assert len(str(caught.value)) < 300


def test_an_error_object_is_told_with_its_code():
    with pytest.raises(RpcFailed, match="main node: error -32603: Internal error") as caught:
        decode(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Internal error"}}')

    assert (caught.value.rpc_code, caught.value.code) == (-32603, "rpc_error")


def test_a_missing_method_is_told_apart():
    with pytest.raises(MethodMissing) as caught:
        decode(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}')

    assert caught.value.code == "method_missing"


def test_an_error_that_could_not_name_the_id_still_counts():
    with pytest.raises(RpcFailed, match="-32700"):
        decode(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}')


def test_a_strangers_text_cannot_forge_a_log_line():
    body = {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x\n2026 INFO all is well\x1b[2J" + "y" * 9999}}

    with pytest.raises(RpcFailed) as caught:
        decode(json.dumps(body).encode())

    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_brackets_in_strings_are_not_depth():
    assert not too_deep(json.dumps(["[" * 100, '\\"[{', {"a": "}" * 50}]).encode())


def test_depth_is_counted_at_the_limit():
    assert not too_deep(b"[" * 32 + b"]" * 32, limit=32)
    assert too_deep(b"[" * 33 + b"]" * 33, limit=32)
    assert not too_deep(b"[]" * 1000, limit=32)


def test_looking_for_depth_takes_linear_time():
    """Escaped quotes after an open string made a naive pattern start again at each of them."""
    raw = b"[" * 40 + b'"' + b'\\"' * 500_000

    began = time.perf_counter()
    too_deep(raw)

    assert time.perf_counter() - began < 5.0


class Broken(SourceError):
    """The store did not answer."""


class Unsafe(SafetyError):
    """A fault that must end the epoch."""


async def double(params):
    try:
        (raw,) = params
        return 2 * msgspec.json.decode(raw, type=int)
    except (ValueError, msgspec.DecodeError) as exc:
        raise InvalidParams from exc


async def nothing(params):
    return None


async def broken(params):
    raise Broken("secret path of a database")


async def unsafe(params):
    raise Unsafe("conflict")


METHODS = {"double": double, "nothing": nothing, "broken": broken, "unsafe": unsafe}


def call(method, params=(), id=1):
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": id}


def failed(code, message, id=1):
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": id}


async def ask(body):
    raw = await answer(body if isinstance(body, bytes) else json.dumps(body).encode(), METHODS)
    return None if raw is None else json.loads(raw)


async def test_a_call_is_answered_with_its_id():
    assert await ask(call("double", [4], id="a")) == {"jsonrpc": "2.0", "result": 8, "id": "a"}
    assert await ask(call("nothing", id=None)) == {"jsonrpc": "2.0", "result": None, "id": None}


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b"{", failed(-32700, "Parse error", None)),
        (b"", failed(-32700, "Parse error", None)),
        (b'{"jsonrpc":"2.0","method":"\xff","id":1}', failed(-32700, "Parse error", None)),
        (b"[" * 100_000, failed(-32700, "Parse error", None)),
        (b"[1,", failed(-32700, "Parse error", None)),
        (b"[]", failed(-32600, "Invalid request", None)),
        (b"7", failed(-32600, "Invalid request", None)),
        (b"null", failed(-32600, "Invalid request", None)),
        ({"method": "double", "id": 1}, failed(-32600, "Invalid request", None)),
        ({"jsonrpc": "1.0", "method": "double", "id": 1}, failed(-32600, "Invalid request", None)),
        ({"jsonrpc": "2.0", "method": 5, "id": 1}, failed(-32600, "Invalid request", None)),
        ({"jsonrpc": "2.0", "method": "double", "id": []}, failed(-32600, "Invalid request", None)),
        (b'{"jsonrpc":"2.0","method":"nothing","id":"\\udc00"}', failed(-32700, "Parse error", None)),
        (call("absent"), failed(-32601, "Method not found")),
        (call("double"), failed(-32602, "Invalid params")),
        (call("double", [1, 2]), failed(-32602, "Invalid params")),
        (call("double", ["1"]), failed(-32602, "Invalid params")),
        (call("double", {"n": 1}), failed(-32602, "Invalid params")),
        (call("double", 7), failed(-32602, "Invalid params")),
        (call("broken"), failed(-32603, "Internal error")),
        ([call("double", [1])] * 21, failed(-32010, "The batch request was too large", None)),
    ],
)
async def test_a_bad_call_gets_the_error_of_the_standard(body, reply):
    assert await ask(body) == reply


async def test_details_of_a_failure_stay_in_our_log(caplog):
    reply = await ask(call("broken"))

    assert "database" not in str(reply)
    assert "secret path of a database" in caplog.text


async def test_absent_and_empty_parameters_are_none():
    without = {"jsonrpc": "2.0", "method": "nothing", "id": 1}

    for body in (without, call("nothing", []), call("nothing", {}), call("nothing", None)):
        assert (await ask(body))["result"] is None


async def test_a_batch_is_answered_in_order_without_its_notifications():
    quiet = {"jsonrpc": "2.0", "method": "double", "params": [5]}

    replies = await ask([call("double", [1], id=1), quiet, 7, call("absent", id=2)])

    assert replies == [
        {"jsonrpc": "2.0", "result": 2, "id": 1},
        failed(-32600, "Invalid request", None),
        failed(-32601, "Method not found", 2),
    ]


@pytest.mark.parametrize("data", [None, "0x08c379a0"])
async def test_a_refusal_reaches_the_caller_with_its_code_and_text(data):
    async def refuse(params):
        raise CallRefused(-32000, "nonce too low", data)

    raw = await answer(b'{"jsonrpc":"2.0","method":"send","id":5}', {"send": refuse})

    error = {"code": -32000, "message": "nonce too low"} | ({} if data is None else {"data": data})
    assert json.loads(raw) == {"jsonrpc": "2.0", "id": 5, "error": error}


async def test_notifications_alone_get_no_answer():
    quiet = {"jsonrpc": "2.0", "method": "absent"}

    assert await ask(quiet) is None
    assert await ask([quiet, quiet]) is None


async def test_a_safety_fault_is_not_hidden_in_an_answer():
    with pytest.raises(Unsafe):
        await ask(call("unsafe"))
