"""push_block_store_state: which L2 blocks somebody has. This node has none and says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attestrio.gossip.limiter import Rate
from attestrio.gossip.rpc.blocks import CommitQC, certificate_untrusted
from attestrio.gossip.rpc.errors import WrongRange
from attestrio.gossip.rpc.parse import parse_untrusted
from attestrio.gossip.rpc.spec import KB, RpcSpec
from attestrio.roles import Genesis
from attestrio.schema import rpc_pb2
from attestrio.schema.canonical import canonical

PUSH_BLOCK_STORE_STATE: Final = RpcSpec(
    "push_block_store_state",
    capability=3,
    inflight=1,
    rate=Rate(burst=2, refresh_s=0.3),
    max_req=10 * KB,
    max_resp=KB,
)


@dataclass(frozen=True, slots=True)
class BlockStoreState:
    """Blocks from `first` to the one that `last` certifies; `last` None: none, and `first` is the first one wanted."""

    first: int
    last: CommitQC | None


def encode_empty(first: int) -> bytes:
    """The request of a node without blocks."""
    return canonical(rpc_pb2.PushBlockStoreState(first=first))


def request_untrusted(body: bytes, genesis: Genesis) -> BlockStoreState:
    """Raises DecodeFailed, WrongRange, GenesisMismatch, NotEnoughSigners; see `CommitQC.check` for what is left out."""
    message = parse_untrusted(rpc_pb2.PushBlockStoreState, body, "first")
    if message.first < genesis.first_block:
        raise WrongRange("first block", message.first, genesis.first_block)
    if not message.HasField("last"):
        return BlockStoreState(message.first, None)
    last = certificate_untrusted(message.last)
    if message.first > last.number:
        raise WrongRange("first block", message.first, last.number)
    last.check(genesis)
    return BlockStoreState(message.first, last)
