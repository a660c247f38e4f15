"""push_batch_store_state: which batches somebody has. Nothing proves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attestrio.gossip.limiter import Rate
from attestrio.gossip.rpc.errors import WrongRange
from attestrio.gossip.rpc.parse import parse_untrusted
from attestrio.gossip.rpc.spec import KB, RpcSpec
from attestrio.roles import BatchNumber
from attestrio.schema import rpc_pb2
from attestrio.schema.canonical import canonical

PUSH_BATCH_STORE_STATE: Final = RpcSpec(
    "push_batch_store_state",
    capability=7,
    inflight=1,
    rate=Rate(burst=2, refresh_s=0.3),
    max_req=10 * KB,
    max_resp=KB,
)


@dataclass(frozen=True, slots=True)
class BatchStoreState:
    """Batches `first` to `last`, both included; `last` None: none. `first` is then the first one wanted."""

    first: BatchNumber
    last: BatchNumber | None

    def __contains__(self, number: int) -> bool:
        return self.last is not None and self.first <= number <= self.last


def encode_request(state: BatchStoreState) -> bytes:
    return canonical(rpc_pb2.PushBatchStoreState(first=state.first, last_v2=state.last))


def request_untrusted(body: bytes) -> BatchStoreState:
    """Raises DecodeFailed, WrongRange. The retired field 2 is not looked at."""
    message = parse_untrusted(rpc_pb2.PushBatchStoreState, body, "first")
    first = BatchNumber(message.first)
    if not message.HasField("last_v2"):
        return BatchStoreState(first, None)
    if first > message.last_v2:
        raise WrongRange("first batch", first, message.last_v2)
    return BatchStoreState(first, BatchNumber(message.last_v2))
