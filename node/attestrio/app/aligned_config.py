"""What the configurations of Aligned's roles have in common: which chain and contract."""

from __future__ import annotations

import re
from typing import Final

from attestrio.configuring import Section, not_negative, positive

ADDRESS: Final = re.compile("0x[0-9a-fA-F]{40}")


class L1Section(Section, frozen=True):
    rpc_urls: tuple[str, ...] = ()
    """JSON-RPC addresses of Ethereum nodes; in the environment separated by commas."""
    chain_id: int = 1
    """Of Ethereum; an endpoint that serves another chain is not used."""
    agree: int = 1
    """How many of `rpc_urls` have to say the same; with 1 they stand in for each other."""
    timeout_s: float = 10.0
    manager: str | None = None
    """Address of Aligned's service manager: 0x and 40 hex digits."""
    first_block: int = 0
    """Where the first scan begins: nothing before it is seen."""
    confirmations: int = 0
    """How far below the head a scan ends. 0 is right: what a reorg takes away is undone."""
    poll_s: float = 5.0
    window: int = 1_000
    """Blocks in one query at first; it shrinks and grows by itself."""

    def __post_init__(self) -> None:
        positive(chain_id=self.chain_id, timeout_s=self.timeout_s, poll_s=self.poll_s, window=self.window)
        not_negative(first_block=self.first_block, confirmations=self.confirmations)
        if len(set(self.rpc_urls)) != len(self.rpc_urls):
            raise ValueError("rpc_urls names an endpoint twice")
        if self.agree != 1 and not len(self.rpc_urls) // 2 < self.agree <= len(self.rpc_urls):
            raise ValueError(f"agree = {self.agree} of {len(self.rpc_urls)} rpc_urls: has to be 1, or more than half")
        refuse_no_address(manager=self.manager)


def refuse_no_address(**values: str | None) -> None:
    """Raises ValueError, which names the key."""
    for name, value in values.items():
        if value is not None and not ADDRESS.fullmatch(value):
            raise ValueError(f"{name} is not an address: 0x and 40 hex digits")
