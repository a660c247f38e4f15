"""The client against a main node that answers from a script, or lies; in memory, in virtual time."""

import base64
import json

import httpx
import pytest
import trio
from attestrio.errors import SourceError
from attestrio.kit.http import AnswerTooLarge, AnswerTooLate, BadHttpStatus, BadUrl, Unreachable
from attestrio.kit.jsonrpc import MalformedAnswer, MethodMissing, RpcFailed
from attestrio.kit.metrics import Metrics
from attestrio.mainnode.client import ERROR_CODES, MainNodeClient
from attestrio.mainnode.types import METHODS, GlobalConfig, SeedPeer
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    BatchQC,
    Committee,
    Genesis,
    NodeSecretKey,
    RoundRobin,
    ValidatorPublicKey,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.status import AttestationStatus

URL = "http://user:hunter2@main-node/rpc?key=hunter3"


def genesis(fork=0):
    key = AttesterSecretKey.from_bytes(b"\x01" * 32).public()
    return Genesis(
        chain_id=1,
        fork_number=fork,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(ValidatorPublicKey.from_bytes(bytes(96)), 1),),
        leader_selection=RoundRobin(),
        attesters=Committee([WeightedAttester(key, 1)]),
    )


GENESIS = genesis()
HASH = {"keccak256": base64.b64encode(GENESIS.hash().to_bytes()).decode()}
STATUS = {"genesis": HASH, "nextBatchToAttest": "7"}


class ScriptedMainNode(httpx.AsyncBaseTransport):
    """Answers each call with the next of its results: JSON, bytes as they are, a response, or an exception."""

    def __init__(self, *results):
        self.results = list(results)
        self.calls = []
        self.at = []

    async def handle_async_request(self, request):
        await trio.lowlevel.checkpoint()
        call = json.loads(await request.aread())
        self.calls.append((call["method"], call["params"]))
        self.at.append(trio.current_time())
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        if isinstance(result, httpx.Response):
            return result
        if not isinstance(result, bytes):
            result = json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}).encode()
        return httpx.Response(200, stream=httpx.ByteStream(result))


def client(*results, **more):
    node = ScriptedMainNode(*results)
    return node, MainNodeClient(URL, transport=node, **more)


def error(code, message):
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}).encode()


async def test_the_second_shape_is_one_call():
    node, asked = client(STATUS)

    assert await asked.attestation_status() == AttestationStatus(GENESIS.hash(), BatchNumber(7))
    assert node.calls == [("en_attestationStatus", [])]


async def test_the_first_shape_is_paired_with_the_genesis_of_the_same_poll():
    node, asked = client({"next_batch_to_attest": 7}, GENESIS.to_json())

    assert await asked.attestation_status() == AttestationStatus(GENESIS.hash(), BatchNumber(7))
    assert node.calls == [("en_attestationStatus", []), ("en_consensusGenesis", [])]


async def test_the_first_shape_without_a_genesis_is_not_known_yet():
    _, asked = client({"next_batch_to_attest": 7}, None)

    assert await asked.attestation_status() is None


async def test_a_genesis_that_changes_between_two_polls_of_the_first_shape_is_seen():
    first, second = genesis(0), genesis(1)
    _, asked = client({"next_batch_to_attest": 7}, first.to_json(), {"next_batch_to_attest": 8}, second.to_json())

    told = [await asked.attestation_status(), await asked.attestation_status()]

    assert [status.genesis for status in told] == [first.hash(), second.hash()]


async def test_the_first_shape_fails_when_the_genesis_cannot_be_asked():
    _, asked = client({"next_batch_to_attest": 7}, error(-32601, "Method not found"))

    with pytest.raises(MethodMissing, match="en_consensusGenesis"):
        await asked.attestation_status()


async def test_null_means_not_known_yet():
    _, asked = client(None, None, None, None)

    assert await asked.attestation_status() is None
    assert await asked.consensus_genesis() is None
    assert await asked.consensus_global_config() is None
    assert await asked.batch_to_attest(BatchNumber(7)) is None


async def test_a_genesis_is_read_and_has_its_hash():
    _, asked = client(GENESIS.to_json())

    told = await asked.consensus_genesis()

    assert told == GENESIS
    assert told.hash() == GENESIS.hash()


async def test_an_unknown_field_in_a_genesis_is_refused():
    told = {**GENESIS.to_json(), "validatorsSchedule": {}}
    _, asked = client(told, {"genesis": told})

    with pytest.raises(MalformedAnswer, match="validatorsSchedule"):
        await asked.consensus_genesis()
    with pytest.raises(MalformedAnswer, match="validatorsSchedule"):
        await asked.consensus_global_config()


async def test_a_field_given_under_both_its_names_in_a_genesis_is_refused():
    _, asked = client({**GENESIS.to_json(), "chain_id": "2"})

    with pytest.raises(MalformedAnswer, match="en_consensusGenesis"):
        await asked.consensus_genesis()


@pytest.mark.parametrize(
    "result", [7, "x", [], {}, True, {"chainId": "1"}, {**GENESIS.to_json(), "chainId": [1]}, {"validatorsV1": 1}]
)
async def test_what_is_no_genesis_is_malformed(result):
    _, asked = client(result)

    with pytest.raises(MalformedAnswer):
        await asked.consensus_genesis()


async def test_a_global_config_is_read_with_what_goes_with_it_and_more():
    key = NodeSecretKey.generate().public()
    peer = {"key": {"ed25519": base64.b64encode(key.to_bytes()).decode(), "x": 1}, "addr": "a:1"}
    registry = base64.b64encode(b"\x07" * 20).decode()
    _, asked = client(
        {"genesis": GENESIS.to_json(), "registryAddress": registry, "seedPeers": [peer], "invented": {}},
        {"genesis": GENESIS.to_json()},
        {"genesis": GENESIS.to_json(), "registryAddress": None, "seed_peers": None},
    )

    assert await asked.consensus_global_config() == GlobalConfig(GENESIS, b"\x07" * 20, (SeedPeer(key, "a:1"),))
    assert await asked.consensus_global_config() == GlobalConfig(GENESIS)
    assert await asked.consensus_global_config() == GlobalConfig(GENESIS)


@pytest.mark.parametrize(
    "more",
    [
        {"registryAddress": "AA=="},
        {"registryAddress": 7},
        {"seedPeers": [{"addr": "a:1"}]},
        {"seedPeers": [{"key": {"ed25519": "AA=="}, "addr": "a:1"}]},
        {"seedPeers": {}},
        {"seedPeers": [{"key": {"ed25519": base64.b64encode(bytes(32)).decode()}, "addr": "a:1"}] * 1001},
    ],
)
async def test_what_is_no_global_config_is_malformed(more):
    _, asked = client({"genesis": GENESIS.to_json(), **more})

    with pytest.raises(MalformedAnswer):
        await asked.consensus_global_config()


async def test_a_batch_is_asked_for_by_number():
    batch = Batch(BatchNumber(7), BatchHash(b"\x07" * 32), GENESIS.hash())
    told = {"number": "7", "hash": {"keccak256": base64.b64encode(b"\x07" * 32).decode()}, "genesis": HASH}
    node, asked = client(told)

    assert await asked.batch_to_attest(BatchNumber(7)) == batch
    assert node.calls == [("attestrio_batchToAttest", [7])]


@pytest.mark.parametrize(
    "result",
    [7, "7", [], {}, {"number": "7"}, {"number": "7", "hash": HASH}, {"number": "x", "hash": HASH, "genesis": HASH},
     {"number": None, "hash": HASH, "genesis": HASH}, {"number": "7", "hash": HASH, "genesis": {"keccak256": None}}],
)  # fmt: skip
async def test_what_is_no_batch_is_malformed(result):
    _, asked = client(result)

    with pytest.raises(MalformedAnswer, match="attestrio_batchToAttest"):
        await asked.batch_to_attest(BatchNumber(7))


async def test_a_certificate_is_asked_for_by_number_and_a_newer_field_in_it_is_no_obstacle():
    vote = AttesterSecretKey.from_bytes(b"\x01" * 32).sign_batch(
        Batch(BatchNumber(7), BatchHash(b"\x07" * 32), GENESIS.hash())
    )
    certificate = BatchQC(vote.batch, {vote.key: vote.signature})
    node, asked = client({**certificate.to_json(), "view": "9"})

    assert await asked.certificate(BatchNumber(7)) == certificate
    assert node.calls == [("attestrio_certificate", [7])]


async def test_a_batch_without_a_certificate_has_none():
    _, asked = client(None)

    assert await asked.certificate(BatchNumber(7)) is None


@pytest.mark.parametrize("result", [7, "7", [], {}, {"msg": {}}, {"msg": None, "signatures": []}])
async def test_what_is_no_certificate_is_malformed(result):
    _, asked = client(result)

    with pytest.raises(MalformedAnswer, match="attestrio_certificate"):
        await asked.certificate(BatchNumber(7))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"1.0","id":1,"result":null}',
        b'{"jsonrpc":"2.0","id":99,"result":null}',
        b'{"jsonrpc":"2.0","id":1,"result":NaN}',
        b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"jsonrpc":"2.0","id":1,"result":{"genesis":7,"nextBatchToAttest":[]}}',
        b'{"jsonrpc":"2.0","id":1,"result":[7]}',
        b'{"jsonrpc":"2.0","id":1,"result":true}',
    ],
)
async def test_a_malformed_status_is_asked_again_and_shows_no_password(body):
    _, asked = client(body, STATUS)

    with pytest.raises(MalformedAnswer) as caught:
        await asked.attestation_status()
    again = await asked.attestation_status()

    assert str(caught.value).startswith("http://main-node/rpc?redacted en_attestationStatus: ")
    assert again == AttestationStatus(GENESIS.hash(), BatchNumber(7))


FAILURES = {
    "refused": (httpx.ConnectError("refused"), Unreachable, "unreachable"),
    "cut off": (httpx.RemoteProtocolError("peer closed"), Unreachable, "unreachable"),
    "no text": (httpx.ReadTimeout(""), Unreachable, "unreachable"),
    "forbidden": (httpx.Response(403), BadHttpStatus, "http_status"),
    "in trouble": (httpx.Response(500), BadHttpStatus, "http_status"),
    "moved": (httpx.Response(302, headers={"location": "http://elsewhere/"}), BadHttpStatus, "http_status"),
    "too large": (b" " * (1 << 20) + b" ", AnswerTooLarge, "answer_too_large"),
    "internal": (error(-32603, "Internal error"), RpcFailed, "rpc_error"),
    "busy": (error(-32009, "Server is busy"), RpcFailed, "rpc_error"),
    "method missing": (error(-32601, "Method not found"), MethodMissing, "method_missing"),
}


@pytest.mark.parametrize(("result", "kind", "code"), FAILURES.values(), ids=FAILURES)
async def test_every_failure_is_a_named_source_error(result, kind, code):
    metrics = Metrics()
    _, asked = client(result, metrics=metrics)

    with pytest.raises(SourceError) as caught:
        await asked.attestation_status()

    assert type(caught.value) is kind
    assert caught.value.code == code
    assert str(caught.value).startswith("http://main-node/rpc?redacted en_attestationStatus: ")
    assert "hunter" not in str(caught.value)
    assert metrics.value("attestrio_main_node_errors_total", method="en_attestationStatus", code=code) == 1
    assert metrics.value("attestrio_main_node_request_seconds_count", method="en_attestationStatus") == 1


async def test_errors_that_never_happened_are_zero():
    metrics = Metrics()
    client(metrics=metrics)

    values = {metrics.value("attestrio_main_node_errors_total", method=m, code=c) for m in METHODS for c in ERROR_CODES}

    assert values == {0}


async def test_a_silent_main_node_is_given_up_at_the_deadline(autojump_clock):
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            await trio.sleep_forever()

    asked = MainNodeClient(URL, timeout_s=2.5, transport=Silent())

    with pytest.raises(AnswerTooLate, match=r"no answer within 2\.5 s"):
        await asked.attestation_status()
    assert trio.current_time() == 2.5


async def test_a_cancelled_call_is_not_an_error():
    metrics = Metrics()
    _, asked = client(STATUS, STATUS, metrics=metrics)

    with trio.CancelScope() as scope:
        scope.cancel()
        await asked.attestation_status()
    after = await asked.attestation_status()

    assert scope.cancelled_caught
    assert after.next_batch == 7
    assert metrics.value("attestrio_main_node_errors_total", method="en_attestationStatus", code="unreachable") == 0


async def test_it_closes_what_it_opened():
    _, asked = client(STATUS)

    async with asked:
        await asked.attestation_status()

    with pytest.raises(RuntimeError, match="closed"):
        await asked.attestation_status()


@pytest.mark.parametrize("url", ["", "main-node", "file:///etc/passwd", "http://u:hunter2@/"])
def test_a_bad_url_is_told_before_anything_starts(url):
    with pytest.raises(BadUrl) as caught:
        MainNodeClient(url)

    assert "hunter2" not in str(caught.value)
