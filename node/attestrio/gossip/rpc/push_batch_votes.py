"""push_batch_votes: what attesters signed, answered by nothing.

Its body is read and written by `attestrio.gossip.votes_wire`, which is the one that has to be fast.
"""

from __future__ import annotations

from typing import Final

from attestrio.gossip.limiter import Rate
from attestrio.gossip.rpc.spec import KB, RpcSpec

PUSH_BATCH_VOTES: Final = RpcSpec(
    "push_batch_votes",
    capability=5,
    inflight=1,
    rate=Rate(burst=2, refresh_s=0.5),
    max_req=100 * KB,  # about 540 votes
    max_resp=KB,
)
