"""The server: what it answers from a store, and what it refuses. In memory, except where a test says loopback."""

import base64
import json
from functools import partial

import httpx
import pytest
import trio
from attestrio.errors import SourceError
from attestrio.kit.http import BadHttpStatus, ServerLimits, memory_client, post_bounded
from attestrio.kit.metrics import Metrics
from attestrio.mainnode.client import MainNodeClient
from attestrio.mainnode.server import MainNodeServer, Rules
from attestrio.mainnode.types import GlobalConfig, SeedPeer
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

KEY = AttesterSecretKey.from_bytes(b"\x01" * 32)
GENESIS = Genesis(
    chain_id=1,
    fork_number=0,
    first_block=0,
    protocol_version=1,
    validators=(WeightedValidator(ValidatorPublicKey.from_bytes(bytes(96)), 1),),
    leader_selection=RoundRobin(),
    attesters=Committee([WeightedAttester(KEY.public(), 1)]),
)
HASH = {"keccak256": base64.b64encode(GENESIS.hash().to_bytes()).decode()}


def batch(number):
    return Batch(BatchNumber(number), BatchHash(bytes([number]) * 32), GENESIS.hash())


class ScriptedStore:
    """The reads the server does; `next` None is a store with nothing to attest yet."""

    def __init__(self, next=None, batches=(), certificates=()):
        self.next = next
        self.certificates = {one.batch.number: one for one in certificates}
        self.batches = {batch.number: batch for batch in batches}
        self.reads = 0

    async def next_batch_to_attest(self):
        self.reads += 1
        await trio.lowlevel.checkpoint()
        if isinstance(self.next, Exception):
            raise self.next
        return self.next

    async def batch_to_sign(self, number):
        await trio.lowlevel.checkpoint()
        return self.batches.get(number)

    async def qc(self, number):
        await trio.lowlevel.checkpoint()
        return self.certificates.get(number)


async def asked(server, body, **headers):
    """Status and parsed body of one POST."""
    async with memory_client(server.app) as http:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = await http.post(
            "http://memory/", content=content, headers={"content-type": "application/json", **headers}
        )
        return response.status_code, json.loads(response.content) if response.content[:1] in (
            b"[",
            b"{",
        ) else response.text


def call(method, params=(), id=1):
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": id}


async def result(server, method, params=()):
    status, told = await asked(server, call(method, params))
    assert status == 200
    return told["result"]


async def test_the_status_is_the_stores_next_batch():
    server = MainNodeServer(ScriptedStore(BatchNumber(7)), GENESIS)

    assert await result(server, "en_attestationStatus") == {"genesis": HASH, "nextBatchToAttest": "7"}


async def test_the_status_is_null_while_there_is_no_number():
    assert await result(MainNodeServer(ScriptedStore(None), GENESIS), "en_attestationStatus") is None


async def test_the_first_shape_is_a_number_and_never_null():
    rules = Rules(first_shape=True)

    assert await result(
        MainNodeServer(ScriptedStore(BatchNumber(7)), GENESIS, rules=rules), "en_attestationStatus"
    ) == {"next_batch_to_attest": 7}
    assert await result(MainNodeServer(ScriptedStore(None), GENESIS, rules=rules), "en_attestationStatus") == {
        "next_batch_to_attest": 0
    }


async def test_without_a_genesis_every_method_is_null():
    server = MainNodeServer(ScriptedStore(BatchNumber(7)), None)

    assert await result(server, "en_attestationStatus") is None
    assert await result(server, "en_consensusGenesis") is None
    assert await result(server, "en_consensusGlobalConfig") is None


async def test_the_genesis_is_proto3_json():
    told = await result(MainNodeServer(ScriptedStore(), GENESIS), "en_consensusGenesis")

    assert told["chainId"] == "1"
    assert Genesis.from_json(told).hash() == GENESIS.hash()


async def test_a_batch_is_found_by_number_in_either_form():
    server = MainNodeServer(ScriptedStore(batches=[batch(7)]), GENESIS)

    told = await result(server, "attestrio_batchToAttest", [7])

    assert told == {"number": "7", "hash": {"keccak256": base64.b64encode(b"\7" * 32).decode()}, "genesis": HASH}
    assert await result(server, "attestrio_batchToAttest", ["7"]) == told
    assert await result(server, "attestrio_batchToAttest", [8]) is None


async def test_a_certificate_is_found_by_number_and_verifies():
    signed = KEY.sign_batch(batch(7))
    kept = BatchQC(signed.batch, {signed.key: signed.signature})
    server = MainNodeServer(ScriptedStore(certificates=[kept]), GENESIS)

    told = await result(server, "attestrio_certificate", ["7"])
    read = BatchQC.from_json(told)

    read.verify(GENESIS)
    assert read == kept
    assert await result(server, "attestrio_certificate", [8]) is None
    assert await result(MainNodeServer(None, None), "attestrio_certificate", [7]) is None


@pytest.mark.parametrize("method", ["attestrio_batchToAttest", "attestrio_certificate"])
@pytest.mark.parametrize("params", [[], [1, 2], [-1], [2**64], [1.0], [None], [True], ["x"], [[1]], {"number": 1}, 1])
async def test_a_bad_batch_number_is_invalid_params(method, params):
    _, told = await asked(MainNodeServer(ScriptedStore(), GENESIS), call(method, params))

    assert told["error"] == {"code": -32602, "message": "Invalid params"}


async def test_an_unknown_method_is_an_error_in_a_200():
    status, told = await asked(MainNodeServer(ScriptedStore(), GENESIS), call("en_syncL2Block", [1, True]))

    assert status == 200
    assert told == {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": 1}


async def test_a_broken_store_is_an_internal_error_without_details(caplog):
    server = MainNodeServer(ScriptedStore(SourceError("disk at /secret/path")), GENESIS)

    status, told = await asked(server, call("en_attestationStatus"))

    assert status == 200
    assert told == {"jsonrpc": "2.0", "error": {"code": -32603, "message": "Internal error"}, "id": 1}
    assert "/secret/path" in caplog.text


async def test_a_batch_of_calls_is_answered_in_order_and_bounded():
    server = MainNodeServer(ScriptedStore(BatchNumber(7)), GENESIS)

    _, told = await asked(server, [call("en_attestationStatus", id=1), call("en_consensusGenesis", id="b")])
    _, refused = await asked(server, [call("en_attestationStatus")] * 21)

    assert [reply["id"] for reply in told] == [1, "b"]
    assert refused["error"]["code"] == -32010


async def test_a_notification_gets_an_empty_204():
    status, body = await asked(MainNodeServer(ScriptedStore(), GENESIS), {"jsonrpc": "2.0", "method": "en_x"})

    assert (status, body) == (204, "")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 60_000])
async def test_what_is_no_json_is_a_parse_error(body):
    _, told = await asked(MainNodeServer(ScriptedStore(), GENESIS), body)

    assert told == {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": None}


class Pieces(httpx.AsyncByteStream):
    """A body in 1 KiB pieces, one every `every_s` seconds, whose length nobody states."""

    def __init__(self, count, every_s=0.0):
        self.count, self.every_s = count, every_s

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.count:
            raise StopAsyncIteration
        self.count -= 1
        await trio.sleep(self.every_s)
        return b" " * 1024


async def status_of(server, pieces):
    async with memory_client(server.app) as http:
        headers = {"content-type": "application/json", "transfer-encoding": "chunked"}
        request = http.build_request("POST", "http://memory/", headers=headers)
        request.stream = pieces
        return (await http.send(request)).status_code


async def test_a_body_above_the_limit_is_413_whether_its_length_is_stated_or_not():
    server = MainNodeServer(ScriptedStore(BatchNumber(7)), GENESIS)
    endless = Pieces(10_000)

    stated, _ = await asked(server, b" " * (64 * 1024 + 1))
    unstated = await status_of(server, endless)
    below, _ = await asked(server, json.dumps(call("en_attestationStatus")).encode().ljust(64 * 1024))

    assert (stated, unstated, below) == (413, 413, 200)
    assert endless.count > 9_900


async def test_a_body_that_trickles_is_408(autojump_clock):
    assert await status_of(MainNodeServer(ScriptedStore(), GENESIS), Pieces(10_000, every_s=1.0)) == 408
    assert trio.current_time() == 10.0


async def test_other_paths_methods_and_types_are_refused():
    server = MainNodeServer(ScriptedStore(), GENESIS)

    async with memory_client(server.app) as http:
        statuses = [
            (await http.get("http://memory/")).status_code,
            (await http.post("http://memory/x")).status_code,
            (await http.post("http://memory/", content=b"{}")).status_code,
            (await http.post("http://memory/", data={"a": "b"})).status_code,
        ]
        health = await http.get("http://memory/health")

    assert statuses == [405, 404, 415, 415]
    assert (health.status_code, health.json()) == (200, {"status": "ok"})


async def test_more_requests_at_once_than_granted_get_503(autojump_clock):
    class SlowStore(ScriptedStore):
        async def next_batch_to_attest(self):
            await trio.sleep(10)
            return BatchNumber(7)

    server, statuses = MainNodeServer(SlowStore(), GENESIS, rules=Rules(max_requests=2)), []

    async def ask():
        statuses.append((await asked(server, call("en_attestationStatus")))[0])

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    await ask()

    assert sorted(statuses[:3]) == [200, 200, 503]
    assert statuses[3] == 200


async def test_calls_are_counted():
    metrics = Metrics()
    server = MainNodeServer(ScriptedStore(), GENESIS, metrics=metrics)

    await asked(server, call("en_attestationStatus"))
    await asked(server, call("en_other"))

    assert metrics.value("attestrio_api_calls_total", method="en_attestationStatus") == 1
    assert metrics.value("attestrio_api_calls_total", method="attestrio_batchToAttest") == 0


@pytest.mark.parametrize("first_shape", [False, True])
async def test_client_and_server_understand_each_other_over_loopback(first_shape):
    key = NodeSecretKey.generate().public()
    rules = Rules(first_shape=first_shape, registry_address=b"\x07" * 20, seed_peers=(SeedPeer(key, "a:1"),))
    server = MainNodeServer(ScriptedStore(BatchNumber(7), [batch(7)]), GENESIS, rules=rules)

    async with trio.open_nursery() as nursery:
        url = await nursery.start(server.run)
        async with MainNodeClient(url) as client:
            status = await client.attestation_status()
            genesis = await client.consensus_genesis()
            config = await client.consensus_global_config()
            batches = [await client.batch_to_attest(BatchNumber(n)) for n in (6, 7)]
        nursery.cancel_scope.cancel()

    assert status == AttestationStatus(GENESIS.hash(), BatchNumber(7))
    assert genesis == GENESIS
    assert config == GlobalConfig(GENESIS, b"\x07" * 20, (SeedPeer(key, "a:1"),))
    assert batches == [None, batch(7)]


async def test_a_large_body_over_loopback_is_refused_and_the_next_call_served():
    server = MainNodeServer(ScriptedStore(BatchNumber(7)), GENESIS, rules=Rules(http=ServerLimits(grace_s=0.1)))

    async with trio.open_nursery() as nursery:
        url = await nursery.start(server.run)
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            with pytest.raises((BadHttpStatus, SourceError)):  # 413, or a reset that overtook it
                await post_bounded(http, url, b" " * 5_000_000)
            again = await post_bounded(http, url, json.dumps(call("en_attestationStatus")).encode())
        nursery.cancel_scope.cancel()

    assert json.loads(again)["result"]["nextBatchToAttest"] == "7"


async def test_it_listens_on_loopback_unless_told_otherwise():
    server = MainNodeServer(ScriptedStore(), GENESIS)

    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(server.run))
        nursery.cancel_scope.cancel()

    assert url.startswith("http://127.0.0.1:")
