"""What is fixed about a method of the network: numbers, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attestrio.gossip.limiter import Rate
from attestrio.gossip.mux.stream import Half

KB: Final = 1024
MB: Final = 1024 * KB


@dataclass(frozen=True, slots=True)
class RpcSpec:
    """One method. The defaults are the network's; `dataclasses.replace` puts the configured numbers in."""

    name: str
    capability: int
    inflight: int  # calls at the same time, each way
    rate: Rate  # of calls, kept by both ends, each way
    max_req: int  # bytes of the message, refused by the server beyond
    max_resp: int  # bytes of the message; beyond, the call has failed
    timeout_s: float | None = None  # of the client, from `call` to the whole response; None: as long as the link lives

    @property
    def half(self) -> Half:
        """The streams it needs at either end."""
        return Half(self.inflight, self.rate)
