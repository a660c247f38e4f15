"""get_block: one L2 block by its number. This node keeps none, so it answers that it is not here."""

from __future__ import annotations

from typing import Final

from attestrio.gossip.limiter import Rate
from attestrio.gossip.rpc.blocks import FinalBlock, block_untrusted
from attestrio.gossip.rpc.errors import WrongAnswer
from attestrio.gossip.rpc.parse import parse_untrusted
from attestrio.gossip.rpc.spec import KB, MB, RpcSpec
from attestrio.roles import Genesis
from attestrio.schema import rpc_pb2
from attestrio.schema.canonical import canonical

GET_BLOCK: Final = RpcSpec(
    "get_block",
    capability=4,
    inflight=5,
    rate=Rate(burst=10, refresh_s=0.1),
    max_req=KB,
    max_resp=MB + KB,  # the largest block of the chain and 1 kB; configured
    timeout_s=10.0,
)
NOT_AVAILABLE: Final = b""


def encode_request(number: int) -> bytes:
    return canonical(rpc_pb2.GetBlockRequest(number=number))


def request_untrusted(body: bytes) -> int:
    """Raises DecodeFailed."""
    return parse_untrusted(rpc_pb2.GetBlockRequest, body, "number").number


def response_untrusted(body: bytes, number: int, genesis: Genesis) -> FinalBlock:
    """The block that was asked for. Raises PeerError: none, another one, or not a block of this chain; drop the peer.

    What is left out is told at `CommitQC.check`.
    """
    message = parse_untrusted(rpc_pb2.GetBlockResponse, body)
    if not message.HasField("block"):
        raise WrongAnswer(f"get_block: block {number} was announced and is not there")
    block = block_untrusted(message.block)
    if block.certificate.number != number:
        raise WrongAnswer(f"get_block: got block {block.certificate.number}, asked for {number}")
    block.check(genesis)
    return block
