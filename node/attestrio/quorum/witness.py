"""Who looks on while votes are counted: another signer with our key, and attesters that contradict themselves.

Pure: no task, no clock. A witness changes nothing of what counts; it sees also what the register skips.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from attestrio.roles import AttesterPublicKey, Recoverer, SignedBatch

REMEMBERED: Final = 4  # votes for different numbers kept of each member; with what is counted about 300 B each
CHECKS: Final = 3  # bad signatures looked at for each vote kept: a stranger's junk buys no more of our time

OnHeard = Callable[[SignedBatch], None]
OnConflict = Callable[[SignedBatch, SignedBatch], None]


def _nobody_heard(_vote: SignedBatch) -> None:
    """For who has no key of its own."""


def _nobody_told(_first: SignedBatch, _second: SignedBatch) -> None:
    """For who keeps no proofs."""


@dataclass(slots=True)
class _Kept:
    """A vote whose signature is good, and what may still be spent on votes that contradict it."""

    vote: SignedBatch
    checks: int = CHECKS
    proved: bool = False


class Witness:
    """Tells of votes made with `own_key`, and of two valid votes of one member for one number with other hashes.

    Both hooks get votes whose signatures are good, and are called on the spot: before the vote is counted, so before
    anybody can react to it. They must not raise, since whose call it is has nothing to do with it. The genesis and
    the rules of a list have been judged before.

    `on_heard` gets every vote of the own key, also below the floor and from outside the committee: once for as long
    as it is remembered, so the guard that listens must not need to be told twice. Each costs one recover, and a list
    has one at most.

    `on_conflict(first, second)` is called once for a member and number, `first` being the one that came first. Only
    the last 4 votes of a member are remembered: who votes on for four more numbers before it contradicts the first is
    not caught here (who heard the second vote first is). Skipped votes cost a dictionary look-up; only one that
    contradicts a remembered vote is verified, and after 3 bad ones none for that number.
    """

    def __init__(
        self,
        own_key: AttesterPublicKey | None = None,
        on_heard: OnHeard = _nobody_heard,
        on_conflict: OnConflict = _nobody_told,
    ) -> None:
        self._own = own_key
        self._on_heard = on_heard
        self._on_conflict = on_conflict
        self._kept: dict[bytes, deque[_Kept]] = {}  # by the bytes of the key, which remember their hash
        self._recoverer = Recoverer()

    def verified(self, vote: SignedBatch) -> None:
        """A member's vote with a good signature, which counts next or would have a moment ago. O(1)."""
        self._look(vote, self._known(vote))

    def skipped(self, vote: SignedBatch) -> None:
        """A vote that does not count: old, below the floor, or from no member. Its signature is not checked yet."""
        known = self._known(vote)
        if self._own is not None and vote.key == self._own:
            is_echo = known is not None and known.vote == vote
            if not is_echo and self._is_good(vote):
                self._look(vote, known)
        elif known is not None and known.vote.batch != vote.batch and not known.proved and known.checks:
            if self._is_good(vote):
                self._look(vote, known)
            else:
                known.checks -= 1

    def _look(self, vote: SignedBatch, known: _Kept | None) -> None:
        """Tell of a vote with a good signature, and remember it."""
        if self._own is not None and vote.key == self._own:
            self._on_heard(vote)
        if known is None:
            kept = self._kept.get(vote.key.raw)
            if kept is None:
                kept = self._kept[vote.key.raw] = deque(maxlen=REMEMBERED)
            kept.append(_Kept(vote))
        elif known.vote.batch != vote.batch and not known.proved:
            known.proved = True
            self._on_conflict(known.vote, vote)

    def _known(self, vote: SignedBatch) -> _Kept | None:
        """What is remembered of the member for this number."""
        number = vote.batch.number
        for kept in self._kept.get(vote.key.raw, ()):
            if kept.vote.batch.number == number:
                return kept
        return None

    def _is_good(self, vote: SignedBatch) -> bool:
        return self._recoverer.recovers_to(vote.signature, vote.batch.message_hash(), vote.key)
