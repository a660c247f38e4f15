"""What a response may cost: the price of the first transaction and of those that replace it. Pure.

All prices are wei per gas. Source: aligned_layer v0.14 (2025-01-28), core/utils/eth_client_utils.go; there the 110 % of
the price before compound without end while sending fails, here nothing is above `cap`.
"""

from __future__ import annotations

from attestrio.aggregator.settings import FeeSettings


def offer(rule: FeeSettings, node: int, bumps: int = 0, before: int = 0) -> int | None:
    """The price of a transaction; None: what the node wants, or what replaces the one before, is above the cap.

    Args:
      node: what the node asks for at present.
      bumps: how many transactions with this nonce were sent already.
      before: the highest price offered with this nonce, 0: none.
    """
    bump = min(rule.base_bump_percent + rule.bump_step_percent * bumps, rule.bump_limit_percent)
    price = max(min(percent(node, 100 + bump), cap(rule, node)), floor(rule, before), 1)
    return price if node <= price <= cap(rule, node) else None


def cap(rule: FeeSettings, node: int) -> int:
    """The highest price that is offered while the node asks for `node`."""
    most = max(percent(node, 100 + rule.bump_limit_percent), 1)
    return most if rule.max_price_wei is None else min(most, rule.max_price_wei)


def floor(rule: FeeSettings, before: int) -> int:
    """The least price that replaces a transaction of price `before`; 0 where there is none."""
    return percent(before, rule.replace_percent)


def to_outdo(rule: FeeSettings, node: int, before: int) -> int:
    """What a transaction of another batch has to outdo: `before`, if some pool may still have it.

    What offers as much as the node wants, and cannot be replaced under the cap, is in no pool: it would be in a block.
    """
    return 0 if before >= node and floor(rule, before) > cap(rule, node) else before


def percent(price: int, of_hundred: int) -> int:
    """Rounded up, because a node compares exactly."""
    return -(-price * of_hundred // 100)
