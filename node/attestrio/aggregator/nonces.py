"""The nonces of the account that sends answers: none is left out, none is used for two batches at once. Pure.

Ethereum takes the transactions of an account in the order of their nonces, so one that never comes stops all that
follow. A nonce is held firmly by a batch whose transaction is on its way or in a block. A batch that is put off holds
its nonce loosely: its transaction may still be in somebody's pool, so the batch gets no other nonce before this one is
used up; but whoever is next takes it over, at a price that replaces what is there. If nobody is next, a transaction to
ourselves fills it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from attestrio.aggregator.rows import Attempt

FILLERS: Final = "fillers"
"""A table of the journal: nonce, 8 bytes big-endian → Filler. Written by the sender."""
MAX_GAPS: Final = 64
"""That are filled; all that are in flight together are usually 16."""


class Filler(msgspec.Struct, frozen=True, array_like=True):
    """Transactions to ourselves with one nonce, the last one replaces those before."""

    attempts: tuple[Attempt, ...]


@dataclass(slots=True)
class _Held:
    owner: bytes
    firm: bool
    price: int


class Nonces:
    """Who holds which nonce. Owners are named by identifier hash, fillers by `filler_key`."""

    def __init__(self, used: int = 0) -> None:
        self.used = used
        """How many are used up on the chain, by the last look; goes back with a reorg."""
        self._held: dict[int, _Held] = {}

    def hold(self, nonce: int, owner: bytes, price: int, *, firm: bool) -> None:
        """As the journal has it. Where two rows name one nonce the firm one has it: the other was taken over."""
        held = self._held.get(nonce)
        if held is None:
            self._held[nonce] = _Held(owner, firm, price)
            return
        held.price = max(held.price, price)
        if held.owner == owner or (firm and not held.firm):
            held.owner, held.firm = owner, firm

    def lowest(self) -> int:
        """The nonce that is next: the lowest that nobody holds firmly. O(nonces in flight)."""
        nonce = self.used
        while self._is_firm(nonce):
            nonce += 1
        return nonce

    def price(self, nonce: int) -> int:
        """The highest one offered with this nonce so far, by whomever; 0: none."""
        held = self._held.get(nonce)
        return 0 if held is None else held.price

    def take(self, nonce: int, owner: bytes, price: int) -> None:
        """It is the owner's from now on, who is about to offer that price. Nobody else may hold it firmly."""
        held = self._held.setdefault(nonce, _Held(owner, True, 0))
        if held.firm and held.owner != owner:
            raise ValueError(f"nonce {nonce} is another one's")
        held.owner, held.firm, held.price = owner, True, max(held.price, price)

    def loosen(self, nonce: int, owner: bytes) -> None:
        """The owner does not need it now; whoever does may take it."""
        held = self._held.get(nonce)
        if held is not None and held.owner == owner:
            held.firm = False

    def free(self, nonce: int, owner: bytes) -> None:
        """It is used up, or was never offered."""
        held = self._held.get(nonce)
        if held is not None and held.owner == owner:
            del self._held[nonce]

    def owns(self, nonce: int, owner: bytes) -> bool:
        held = self._held.get(nonce)
        return held is not None and held.owner == owner

    def is_over(self, nonce: int) -> bool:
        """Whether the chain has used it."""
        return nonce < self.used

    def gaps(self) -> list[int]:
        """Nonces that nobody fills although others wait behind them, the lowest first; none for those too `far`."""
        most = self._most()
        last = max((nonce for nonce, held in self._held.items() if held.firm and nonce <= most), default=self.used)
        return [nonce for nonce in range(self.used, last) if not self._is_firm(nonce)]

    def far(self) -> list[int]:
        """Nonces that somebody holds so far ahead that filling up to them would only cost gas."""
        return [nonce for nonce in self._held if self.is_far(nonce)]

    def is_far(self, nonce: int) -> bool:
        return nonce > self._most()

    def _most(self) -> int:
        """The highest that may be held, if all nodes were right about what is used up."""
        return self.used + MAX_GAPS + len(self._held)

    def _is_firm(self, nonce: int) -> bool:
        held = self._held.get(nonce)
        return held is not None and held.firm


def filler_key(nonce: int) -> bytes:
    """8 bytes: never an identifier hash. The key of its row, too."""
    return nonce.to_bytes(8, "big")
