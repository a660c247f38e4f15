"""Transactions leave in the order of their nonces, as far as they are at hand.

A node keeps one whose predecessor it has not seen in a queue apart, which is short, is not handed on, and is the first
to be evicted; some refuse it. So each waits until those before it have been handed over, but not for long: behind an
endpoint that hangs, a gap is better than nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio


@dataclass(slots=True)
class NonceOrder:
    """Who is about to hand over which nonce for the first time. Owners as those of `nonces.Nonces`."""

    most_s: float
    """The longest that one which hangs is waited for."""
    _coming: dict[bytes, int] = field(default_factory=dict)
    _gone: trio.Event = field(default_factory=trio.Event)

    def coming(self, owner: bytes, nonce: int) -> None:
        """It is going to be handed over, unless `gone` comes before that."""
        self._coming[owner] = nonce

    def gone(self, owner: bytes) -> None:
        """It was handed over, or will not be; nothing happens if it was not coming."""
        if self._coming.pop(owner, None) is not None:
            self._gone.set()
            self._gone = trio.Event()

    async def wait_turn(self, nonce: int) -> None:
        """Until nothing that is coming has a lower nonce; one that hangs is not waited for any more.

        O(coming) for each that goes.
        """
        await trio.lowlevel.checkpoint()
        while any(other < nonce for other in self._coming.values()):
            gone = self._gone
            with trio.move_on_after(self.most_s) as waiting:
                await gone.wait()
            if waiting.cancelled_caught and self._gone is gone:  # else another one has seen to it just now
                self.gone(min(self._coming, key=self._coming.__getitem__))
