"""get_batch: one batch by its number. Nothing in the answer proves that it is the right one."""

from __future__ import annotations

from typing import Final

from attestrio.gossip.limiter import Rate
from attestrio.gossip.rpc.errors import WrongAnswer
from attestrio.gossip.rpc.parse import parse_untrusted
from attestrio.gossip.rpc.spec import KB, MB, RpcSpec
from attestrio.roles import BatchNumber, SyncBatch
from attestrio.roles.batch import varint
from attestrio.roles.conv import read
from attestrio.schema import rpc_pb2
from attestrio.schema.canonical import canonical

GET_BATCH: Final = RpcSpec(
    "get_batch",
    capability=6,
    inflight=5,
    rate=Rate(burst=10, refresh_s=0.1),
    max_req=KB,
    max_resp=10 * MB + KB,  # the largest batch of the chain and 1 kB; configured
    timeout_s=10.0,
)
BATCH_TAG: Final = b"\x0a"
NOT_AVAILABLE: Final = b""


def encode_request(number: BatchNumber) -> bytes:
    return canonical(rpc_pb2.GetBatchRequest(number=number))


def request_untrusted(body: bytes) -> BatchNumber:
    """Raises DecodeFailed."""
    return BatchNumber(parse_untrusted(rpc_pb2.GetBatchRequest, body, "number").number)


def encode_response(batch: SyncBatch | None) -> bytes:
    """The response with a batch; None: it is not here."""
    if batch is None:
        return NOT_AVAILABLE
    raw = batch.encode()
    return b"".join((BATCH_TAG, varint(len(raw)), raw))


def response_untrusted(body: bytes, number: BatchNumber) -> SyncBatch:
    """The batch that was asked for. Raises DecodeFailed, WrongAnswer: none or another one, drop the peer."""
    message = parse_untrusted(rpc_pb2.GetBatchResponse, body)
    if not message.HasField("batch"):
        raise WrongAnswer(f"get_batch: batch {number} was announced and is not there")
    batch = read(SyncBatch, message.batch)
    if batch.number != number:
        raise WrongAnswer(f"get_batch: got batch {batch.number}, asked for {number}")
    return batch
