"""The bytes of respondToTaskV2. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attestrio.aggregator.ethereum import Indices
from attestrio.aggregator.surface import RESPOND_TO_TASK
from attestrio.bls import G1, g2_words

if TYPE_CHECKING:
    from attestrio.aggregator.collect import Aggregate


def response_call(aggregate: Aggregate, indices: Indices) -> bytes:
    """What the contract is called with."""
    task = aggregate.task
    params = (
        indices.bitmaps, [_words(one) for one in aggregate.non_signer_keys], [_words(aggregate.quorum_apk)],
        g2_words(aggregate.apk_g2), _words(aggregate.sigma), indices.quorum_keys, indices.totals, indices.stakes,
    )  # fmt: skip
    return RESPOND_TO_TASK.encode(task.root, task.sender, params)


def _words(point: G1) -> tuple[int, int]:
    return point.x, point.y
