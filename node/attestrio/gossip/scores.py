"""How well each peer has behaved lately. Pure; time is an argument, in seconds of any clock that does not go back.

The network has no scores and no bans: there, misbehaviour costs the connection at most and often nothing. Keys of nodes
are free, so a score does not stop who means harm; it stops a broken peer from costing a signature check a push for
ever, and tells an operator which of the configured ones is broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from attestrio.errors import PeerError
from attestrio.roles import NodePublicKey

BEST: Final = 100.0


class Fault(StrEnum):
    """What lowers a score; `POINTS` says by how much."""

    BAD_REQUEST = "bad_request"  # a call that cannot be read or answered
    REFUSED_PUSH = "refused_push"  # votes of which one is undecodable, twice there, foreign or badly signed
    BAD_ANSWER = "bad_answer"  # a wrong, empty, late or oversized answer to a call of ours
    BROKEN_PROTOCOL = "broken_protocol"  # bytes that ended the connection


POINTS: Final = {
    Fault.BAD_REQUEST: 10.0,
    Fault.REFUSED_PUSH: 20.0,
    Fault.BAD_ANSWER: 20.0,
    Fault.BROKEN_PROTOCOL: 25.0,
}


@dataclass(frozen=True, slots=True)
class ScoreRules:
    """When a dynamic inbound peer is not let in. At 0.1 points a second five refused pushes are forgotten in 17 min."""

    floor: float = 20.0  # points; below it a peer is refused
    recover_per_s: float = 0.1  # points a second
    refuse_s: float = 600.0  # for how long, counted from the last fault below the floor
    remembered: int = 4_096  # peers; about 200 B each

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= BEST or self.recover_per_s < 0 or self.refuse_s < 0 or self.remembered < 1:
            raise ValueError(f"{self}: floor is 0 to {BEST:g}, times are not negative, remembered is at least 1")


class PeerRefused(PeerError):
    """A peer that misbehaved a moment ago wants in again."""

    code: ClassVar[str] = "peer_refused"

    def __init__(self, key: NodePublicKey, score: float, floor: float, for_s: float) -> None:
        super().__init__(f"{key} had a score below {floor:g}, now {score:.1f}: refused for {for_s:.0f} s more")
        self.key, self.score, self.floor, self.for_s = key, score, floor, for_s


@dataclass(frozen=True, slots=True)
class _Standing:
    score: float
    at: float  # when it was this score
    refused_until: float | None = None


class Scores:
    """The score of each peer that had a fault, by key, over all its connections.

    Memory: `rules.remembered` peers, the ones whose last fault was latest; whom it forgets is as good as new.

    Args:
      static: keys the operator configured: they have a score, which is shown, and are never refused.
    """

    def __init__(self, static: Iterable[NodePublicKey] = (), rules: ScoreRules = ScoreRules()) -> None:
        self.rules = rules
        self._static = frozenset(static)
        self._standings: dict[NodePublicKey, _Standing] = {}  # by the time of the last fault, oldest first

    def __len__(self) -> int:
        return len(self._standings)

    def score(self, key: NodePublicKey, now: float) -> float:
        """0 (worst) to 100 (nothing known against it)."""
        standing = self._standings.get(key)
        return BEST if standing is None else self._recovered(standing, now)

    def lower(self, key: NodePublicKey, fault: Fault, now: float) -> bool:
        """Note a fault, O(1). True when the score fell below the floor with it: say so, and drop a dynamic peer."""
        before = self.score(key, now)
        score = max(0.0, before - POINTS[fault])
        former = self._standings.pop(key, None)
        if former is None and len(self._standings) >= self.rules.remembered:
            del self._standings[next(iter(self._standings))]
        refused_until = former.refused_until if former is not None else None
        if score < self.rules.floor:
            refused_until = now + self.rules.refuse_s
        self._standings[key] = _Standing(score, now, refused_until)
        return score < self.rules.floor <= before

    def check(self, key: NodePublicKey, now: float) -> None:
        """Raise PeerRefused if a peer with `key` that dialled in is not wanted now. Static peers always are."""
        standing = self._standings.get(key)
        if standing is None or standing.refused_until is None or key in self._static:
            return
        if now < standing.refused_until:
            score = self._recovered(standing, now)
            raise PeerRefused(key, score, self.rules.floor, standing.refused_until - now)

    def _recovered(self, standing: _Standing, now: float) -> float:
        return min(BEST, standing.score + self.rules.recover_per_s * max(0.0, now - standing.at))
