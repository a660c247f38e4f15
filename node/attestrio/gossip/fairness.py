"""How much of the processor strangers may use together. Pure: times are arguments, in seconds.

Bytes that mean nothing cost as much to read as others, and on this network no rule is broken by sending them without
end. So what dynamic peers make this node compute comes out of one allowance; whoever uses it up is read from later.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = 0.5  # of one core, for all dynamic peers together
BURST_S: Final = 0.05  # of one peer at once: some thousand calls
EVEN_S: Final = 1e-6
LONGEST_PAUSE_S: Final = 1.0  # then ask again: others may have left


class Allowance:
    """What the peers that nobody configured may use. Each of those that use much has an equal part."""

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._busy: set[Account] = set()

    def account(self, now: float) -> Account:
        """For one connection; `close` it with the connection."""
        return Account(self, now)

    def rate(self) -> float:
        """Seconds of work a second that each busy peer may cause."""
        return self._share / max(1, len(self._busy))

    def note(self, account: Account, is_busy: bool) -> None:
        (self._busy.add if is_busy else self._busy.discard)(account)


class Account:
    """The part of one peer: full at first, refilled at the allowance's rate."""

    __slots__ = ("_allowance", "_at", "_left_s")

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._allowance = allowance
        self._left_s = BURST_S
        self._at = now

    def spend(self, seconds: float, now: float) -> float:
        """Note work of `seconds`; for how long nothing more may be read from this peer, 0 for most. O(1).

        After a pause of at most LONGEST_PAUSE_S ask again, with 0: the account has to be even before more is read.
        """
        rate = self._allowance.rate()
        self._left_s = min(BURST_S, self._left_s + (now - self._at) * rate) - seconds
        self._at = now
        self._allowance.note(self, self._left_s < BURST_S / 2)
        return min(LONGEST_PAUSE_S, -self._left_s / self._allowance.rate()) if self._left_s < -EVEN_S else 0.0

    def close(self) -> None:
        self._allowance.note(self, False)
