"""Votes that come when their batch is over: they never count, but who sent one is not silent. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attestrio.roles import Committee, SignedBatch

BAD: Final = 64  # signatures of late votes that may be bad until the floor rises: a stranger's junk buys 2.5 ms a batch

WantsLate = Callable[[SignedBatch], bool]
"""Whether a vote that does not count any more would be news. Asked of each one that is skipped: O(1), never raises."""


def nobody_wants(_vote: SignedBatch) -> bool:
    """For who does not ask for late votes."""
    return False


class Latecomers:
    """Which of the votes that do not count are worth a look at their signature.

    A bad signature of such a vote is no fault of the peer: before, nobody would have looked. After `BAD` of them none
    is looked at until the floor rises, and who was late meanwhile passes for silent.
    """

    def __init__(self, committee: Committee, wants: WantsLate = nobody_wants) -> None:
        self._committee = committee
        self._wants = wants
        self._left = BAD

    def wants(self, vote: SignedBatch) -> bool:
        """Whether its signature is to be checked. O(1)."""
        return self._left > 0 and self._wants(vote) and self._committee.weight(vote.key) is not None

    def found_bad(self) -> None:
        """One of them was badly signed."""
        self._left -= 1

    def floor_rose(self) -> None:
        self._left = BAD
