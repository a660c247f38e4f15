"""Who may attest, with how much weight, and how much weight is enough."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from attestrio.roles.errors import DuplicateAttester, EmptyCommittee, WeightOverflow, ZeroWeight
from attestrio.roles.keys import AttesterPublicKey
from attestrio.roles.numbers import U64_MAX, check_range
from attestrio.roles.wire import Wire


def max_faulty_weight(total: int) -> int:
    """How much weight may misbehave: the f of n = 5f + 1. `total` is at least 1, in the unit of the weights."""
    if total < 1:
        raise ValueError(f"total weight is {total}, a committee has at least 1")
    return (total - 1) // 5


def threshold(total: int) -> int:
    """How much weight certifies a batch, of `total` >= 1."""
    return total - max_faulty_weight(total)


@dataclass(frozen=True, slots=True)
class WeightedAttester(Wire):
    """A key and its weight, a 64-bit number. That it is above zero is the committee's rule. Raises NumberOutOfRange."""

    key: AttesterPublicKey
    weight: int

    def __post_init__(self) -> None:
        check_range("weight", self.weight, U64_MAX)


class Committee:
    """The attesters of a chain: distinct keys, weights above zero, at least one member. Immutable.

    Iterates `WeightedAttester` in key order (by X, then Y), whatever order they were given in; an index is a position
    in that order. `weight` and `in` are O(1).
    """

    __slots__ = ("_hash", "_index", "_members", "threshold", "total_weight")

    threshold: int
    total_weight: int
    _members: tuple[WeightedAttester, ...]
    _index: dict[AttesterPublicKey, int]
    _hash: int

    def __init__(self, members: Iterable[WeightedAttester]) -> None:
        """Raises DuplicateAttester, ZeroWeight, WeightOverflow for the first bad member; EmptyCommittee for none."""
        seen: dict[AttesterPublicKey, WeightedAttester] = {}
        total = 0
        for member in members:
            if member.key in seen:
                raise DuplicateAttester(member.key.to_text())
            if member.weight == 0:
                raise ZeroWeight(member.key.to_text())
            total += member.weight
            if total > U64_MAX:
                raise WeightOverflow(total, U64_MAX)
            seen[member.key] = member
        if not seen:
            raise EmptyCommittee("attesters")
        ordered = tuple(seen[key] for key in sorted(seen, key=lambda key: key.xy))
        for name, value in (
            ("_members", ordered),
            ("_index", {member.key: at for at, member in enumerate(ordered)}),
            ("_hash", hash(ordered)),
            ("total_weight", total),
            ("threshold", threshold(total)),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a committee does not change: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a committee does not change: {name}")

    @property
    def members(self) -> tuple[WeightedAttester, ...]:
        return self._members

    def __iter__(self) -> Iterator[WeightedAttester]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, at: int) -> WeightedAttester:
        return self._members[at]

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def index(self, key: AttesterPublicKey) -> int | None:
        """The position of `key`, or None: not a member."""
        return self._index.get(key)

    def weight(self, key: AttesterPublicKey) -> int | None:
        """The weight of `key`, or None: not a member."""
        at = self._index.get(key)
        return None if at is None else self._members[at].weight

    def weight_of_keys(self, keys: Iterable[AttesterPublicKey]) -> int:
        """The weight of those of `keys` who are members; a key given twice counts twice."""
        return sum(self.weight(key) or 0 for key in keys)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Committee) and self._members == other._members)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Committee({', '.join(f'{member.key!r}={member.weight}' for member in self._members)})"

    def __reduce__(self) -> tuple[type[Committee], tuple[tuple[WeightedAttester, ...]]]:
        return Committee, (self._members,)
