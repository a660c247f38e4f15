"""Validators, as far as a genesis needs them: opaque keys, weights, and who leads. Their votes are never seen here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attestrio.roles.errors import DuplicateValidator, EmptyCommittee, WeightOverflow, ZeroWeight
from attestrio.roles.hashes import FixedBytes
from attestrio.roles.numbers import U64_MAX, check_range
from attestrio.roles.wire import Wire


class ValidatorPublicKey(FixedBytes):
    """A BLS12-381 public key, 96 bytes that are not looked into. Ordered by its bytes."""

    __slots__ = ()
    WHAT, PREFIX, SIZE = "validator public key", "validator:public:bls12_381:", 96


@dataclass(frozen=True, slots=True)
class WeightedValidator(Wire):
    """A validator and its weight, a 64-bit number above zero where it counts. Raises NumberOutOfRange."""

    key: ValidatorPublicKey
    weight: int

    def __post_init__(self) -> None:
        check_range("weight", self.weight, U64_MAX)


def order_validators(validators: Iterable[WeightedValidator]) -> tuple[WeightedValidator, ...]:
    """The validators in key order. Raises DuplicateValidator, ZeroWeight, WeightOverflow, EmptyCommittee."""
    seen: dict[ValidatorPublicKey, WeightedValidator] = {}
    total = 0
    for validator in validators:
        if validator.key in seen:
            raise DuplicateValidator(validator.key.to_text())
        if validator.weight == 0:
            raise ZeroWeight(validator.key.to_text())
        total += validator.weight
        if total > U64_MAX:
            raise WeightOverflow(total, U64_MAX)
        seen[validator.key] = validator
    if not seen:
        raise EmptyCommittee("validators")
    return tuple(seen[key] for key in sorted(seen))


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """Validators lead in turn."""


@dataclass(frozen=True, slots=True)
class Weighted:
    """Validators lead as often as they weigh."""


@dataclass(frozen=True, slots=True)
class Sticky:
    """One validator always leads."""

    key: ValidatorPublicKey


@dataclass(frozen=True, slots=True)
class Rota:
    """The listed validators lead in turn."""

    keys: tuple[ValidatorPublicKey, ...]


LeaderSelection = RoundRobin | Sticky | Weighted | Rota
