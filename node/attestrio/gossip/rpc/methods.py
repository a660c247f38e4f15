"""Every method a node of this network calls and serves."""

from __future__ import annotations

from typing import Final

from attestrio.gossip.rpc.get_batch import GET_BATCH
from attestrio.gossip.rpc.get_block import GET_BLOCK
from attestrio.gossip.rpc.ping import PING
from attestrio.gossip.rpc.push_batch_store_state import PUSH_BATCH_STORE_STATE
from attestrio.gossip.rpc.push_batch_votes import PUSH_BATCH_VOTES
from attestrio.gossip.rpc.push_block_store_state import PUSH_BLOCK_STORE_STATE
from attestrio.gossip.rpc.push_validator_addrs import PUSH_VALIDATOR_ADDRS
from attestrio.gossip.rpc.spec import RpcSpec

METHODS: Final[tuple[RpcSpec, ...]] = (
    PUSH_VALIDATOR_ADDRS,
    PING,
    PUSH_BLOCK_STORE_STATE,
    GET_BLOCK,
    PUSH_BATCH_VOTES,
    GET_BATCH,
    PUSH_BATCH_STORE_STATE,
)
