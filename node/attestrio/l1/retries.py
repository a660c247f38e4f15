"""When to ask again, as data: seconds before each further try (`kit.retry`)."""

from __future__ import annotations

from typing import Final

BLOCK_S: Final = 12.0  # Ethereum's own

NETWORK: Final = (1.0, 2.0, 4.0)
"""For what a network or an endpoint does: heads, logs, prices, calls."""

CHAIN_BLOCKS: Final = (1, 2, 4)
"""For what only the chain can change: a state read too early, a transaction refused. In blocks.

Source: the retry table of aligned_layer (2024-11): 12, 24, 48 s.
"""


def chain_schedule(block_s: float = BLOCK_S) -> tuple[float, ...]:
    """`CHAIN_BLOCKS` in seconds, on a chain with that block time."""
    return tuple(blocks * block_s for blocks in CHAIN_BLOCKS)
