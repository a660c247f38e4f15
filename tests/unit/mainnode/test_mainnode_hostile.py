"""The client against a main node that speaks HTTP or JSON-RPC as nobody should; real sockets on loopback."""

import gzip
import json
import zlib
from functools import partial

import pytest
import trio
from attestrio.errors import SourceError
from attestrio.kit.http import AnswerGarbled, AnswerTooLarge, AnswerTooLate, BadHttpStatus, Unreachable
from attestrio.kit.jsonrpc import MalformedAnswer
from attestrio.mainnode.client import MainNodeClient
from attestrio.roles import BatchNumber
from test_mainnode_client import GENESIS, HASH, STATUS

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
MAX_BYTES = 100_000


def response(result, id=b"1"):
    """A JSON-RPC response; `result` as a value, or as JSON text where a value could not say it."""
    text = result if isinstance(result, bytes) else json.dumps(result).encode()
    return b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (id, text)


def http(body, *headers):
    lines = b"".join(header + b"\r\n" for header in headers)
    return OK + lines + b"content-length: %d\r\n\r\n" % len(body) + body


class HostileMainNode:
    """Answers each connection with the same bytes, whatever is asked, and counts the connections."""

    def __init__(self, answer):
        self.answer, self.connections = answer, 0

    async def handle(self, stream):
        self.connections += 1
        async with stream:
            await stream.receive_some(65536)
            with trio.move_on_after(5):
                try:
                    await stream.send_all(self.answer)
                    await stream.receive_some(65536)  # the client hangs up first
                except trio.BrokenResourceError:
                    pass


async def serving(nursery, answer):
    node = HostileMainNode(answer)
    listeners = await nursery.start(partial(trio.serve_tcp, node.handle, 0, host="127.0.0.1"))
    return node, f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"


async def asked(answer, ask=MainNodeClient.attestation_status, timeout_s=5.0):
    """What one call comes to."""
    async with trio.open_nursery() as nursery:
        _, url = await serving(nursery, answer)
        async with MainNodeClient(url, timeout_s=timeout_s, max_answer_bytes=MAX_BYTES) as client:
            try:
                return await ask(client)
            except SourceError as exc:
                return exc
            finally:
                nursery.cancel_scope.cancel()


async def test_what_these_tests_bend_is_otherwise_understood():
    assert (await asked(http(response(STATUS)))).next_batch == 7


# HTTP


@pytest.mark.parametrize(("compress", "name"), [(gzip.compress, b"gzip"), (zlib.compress, b"deflate")])
async def test_a_bomb_is_not_unpacked(compress, name):
    bomb = compress(b'{"jsonrpc":"2.0","id":1,"result":"' + b"0" * 50_000_000 + b'"}')

    answer = await asked(http(bomb, b"content-encoding: " + name))

    assert len(bomb) < MAX_BYTES
    assert isinstance(answer, AnswerTooLarge)
    assert MAX_BYTES < answer.size < 2 * MAX_BYTES


@pytest.mark.parametrize(
    "encoding",
    [b"br", b"zstd", b"gzip, gzip", b"gzip, identity", b"GZIP;q=1", b"identity, identity", b"\x80", b"x" * 5_000],
    ids=lambda raw: raw.decode("latin1")[:20],
)
async def test_an_encoding_nobody_asked_for_is_garbled(encoding):
    answer = await asked(http(gzip.compress(response(STATUS)), b"content-encoding: " + encoding))

    assert isinstance(answer, AnswerGarbled)
    assert len(str(answer)) < 300
    assert str(answer).isprintable()


async def test_an_encoding_that_is_given_twice_is_garbled():
    twice = gzip.compress(gzip.compress(response(STATUS)))

    answer = await asked(http(twice, b"content-encoding: gzip", b"content-encoding: gzip"))

    assert isinstance(answer, AnswerGarbled)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(nursery, status):
    elsewhere, url = await serving(nursery, http(response(STATUS)))
    moved = b"HTTP/1.1 %d Moved\r\nlocation: %s/\r\ncontent-length: 0\r\n\r\n" % (status, url.encode())

    answer = await asked(moved)

    nursery.cancel_scope.cancel()
    assert isinstance(answer, BadHttpStatus)
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n" + response(STATUS),
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + http(response(STATUS)),
    ],
    ids=["h2c", "websocket", "then HTTP again"],
)
async def test_another_protocol_is_not_switched_to(answer):
    assert isinstance(await asked(answer), BadHttpStatus | Unreachable)


async def test_answers_that_announce_others_without_end_are_given_up():
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n"

    assert (await asked(early * 3 + http(response(STATUS)))).next_batch == 7
    assert isinstance(await asked(early * 100_000, timeout_s=0.1), AnswerTooLate)


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length: %d\r\ncontent-length: 1\r\n",
        b"content-length: 1\r\ncontent-length: %d\r\n",
        b"content-length: %d, 1\r\n",
        b"content-length: +%d\r\n",
        b"content-length: -%d\r\n",
        b"content-length: 0x%x\r\n",
        b"content-length: %d.0\r\n",
        b"content-length: 99999999999999999999999999%d\r\n",
        b"content-length: %d\r\ntransfer-encoding: gzip\r\n",
        b"transfer-encoding: chunked, chunked\r\nx-length: %d\r\n",
    ],
)
async def test_two_lengths_or_none_are_no_answer(headers):
    body = response(STATUS)

    assert isinstance(await asked(OK + headers % len(body) + b"\r\n" + body), Unreachable)


async def test_the_same_length_twice_is_one_length():
    body = response(STATUS)
    length = b"content-length: %d\r\n" % len(body)

    assert (await asked(OK + length + length + b"\r\n" + body)).next_batch == 7


# JSON-RPC


IDS = [
    b"2", b"0", b"-1", b"1.0", b"1.5", b"1e0", b'"1"', b"null", b"true", b"[1]", b"{}", b"18446744073709551617",
    b"9" * 5_000, b"1" + b"0" * 20_000, b'"' + b"x" * 50_000 + b'"', b"1e400",
]  # fmt: skip


@pytest.mark.parametrize("id", IDS, ids=lambda raw: raw[:24].decode())
async def test_an_answer_to_another_call_is_malformed(id):
    answer = await asked(http(response(STATUS, id)))

    assert isinstance(answer, MalformedAnswer)
    assert len(str(answer)) < 400


NUMBERS = [
    b"-1", b'"-1"', b"7.0", b"7.5", b'"7.0"', b"7e0", b'"7e0"', b"1e400", b"-0.0", b'"+7"', b'" 7"', b'"7_0"', b'""',
    b'"\xd9\xa7"', b"18446744073709551616", b'"18446744073709551616"', b"9" * 5_000, b'"' + b"9" * 5_000 + b'"',
    b"true", b"null", b"[7]",
]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS, ids=lambda raw: raw[:24].decode())
async def test_what_is_no_batch_number_is_malformed(number):
    told = b'{"genesis":%s,"nextBatchToAttest":%s}' % (json.dumps(HASH).encode(), number)
    first_shape = b'{"next_batch_to_attest":%s}' % number
    batch = b'{"number":%s,"hash":%s,"genesis":%s}' % (number, json.dumps(HASH).encode(), json.dumps(HASH).encode())

    answers = [
        await asked(http(response(told))),
        await asked(http(response(first_shape))),
        await asked(http(response(batch)), lambda client: client.batch_to_attest(BatchNumber(7))),
    ]

    assert [type(answer) for answer in answers] == [MalformedAnswer] * 3
    assert max(len(str(answer)) for answer in answers) < 400


def twice(genesis, field, value):
    """The JSON of a genesis with one field said twice, first another way."""
    text = json.dumps(genesis.to_json())
    assert f'"{field}"' in text
    return text.replace(f'"{field}"', f'"{field}": {json.dumps(value)}, "{field}"', 1)


@pytest.mark.parametrize(
    ("field", "value"), [("chainId", "2"), ("forkNumber", "9"), ("weight", "5"), ("attesters", [])]
)
async def test_a_genesis_that_says_a_field_twice_is_malformed(field, value):
    text = twice(GENESIS, field, value).encode()

    alone = await asked(http(response(text)), MainNodeClient.consensus_genesis)
    inside = await asked(http(response(b'{"genesis":%s}' % text)), MainNodeClient.consensus_global_config)

    assert [type(answer) for answer in (alone, inside)] == [MalformedAnswer] * 2
    assert f"{field} twice" in str(alone)


async def test_a_field_said_twice_by_way_of_an_escape_is_found():
    text = twice(GENESIS, "chainId", "2").replace('"chainId"', '"chain\\u0049d"', 1).encode()

    assert isinstance(await asked(http(response(text)), MainNodeClient.consensus_genesis), MalformedAnswer)


async def test_the_same_name_in_two_members_is_not_twice():
    assert await asked(http(response(GENESIS.to_json())), MainNodeClient.consensus_genesis) == GENESIS
