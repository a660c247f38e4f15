"""What all nodes of a chain agree on, and the hash that names the chain."""

from __future__ import annotations

from dataclasses import dataclass, field

from attestrio.roles.committee import Committee
from attestrio.roles.errors import LeaderNotValidator
from attestrio.roles.hashes import GenesisHash
from attestrio.roles.keccak import keccak256
from attestrio.roles.numbers import U32_MAX, U64_MAX, check_range
from attestrio.roles.validators import LeaderSelection, Rota, Sticky, WeightedValidator, order_validators
from attestrio.roles.wire import JsonWire


@dataclass(frozen=True, slots=True, eq=False)
class Genesis(JsonWire):
    """A chain: its ids, where it starts, and both committees. Equal when the hashes are equal.

    The attesters are inside, so another committee is another genesis, with a fork number one higher. Validators are
    put in key order; the order they are given in does not matter. Raises NumberOutOfRange and the committee errors.
    """

    chain_id: int
    fork_number: int
    first_block: int  # L2 block
    protocol_version: int
    validators: tuple[WeightedValidator, ...]  # at least one
    leader_selection: LeaderSelection
    attesters: Committee | None = None  # None: nobody attests on this chain
    _hash: GenesisHash | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, limit in (
            ("chain_id", U64_MAX),
            ("fork_number", U64_MAX),
            ("first_block", U64_MAX),
            ("protocol_version", U32_MAX),
        ):
            check_range(name, getattr(self, name), limit)
        object.__setattr__(self, "validators", order_validators(self.validators))

    def hash(self) -> GenesisHash:
        """keccak256 of the canonical encoding. Computed once."""
        known = self._hash
        if known is None:
            known = GenesisHash(keccak256(self.encode()))
            object.__setattr__(self, "_hash", known)
        return known

    def verify(self) -> None:
        """Raise LeaderNotValidator unless whoever may lead is a validator. `decode` and `from_json` have done it."""
        keys = {validator.key for validator in self.validators}
        match self.leader_selection:
            case Sticky(key) if key not in keys:
                raise LeaderNotValidator(f"{key.to_text()} is no validator")
            case Rota(()):
                raise LeaderNotValidator("a rota names at least one validator")
            case Rota(rota):
                for key in rota:
                    if key not in keys:
                        raise LeaderNotValidator(f"{key.to_text()} is no validator")

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Genesis) and self.hash() == other.hash())

    def __hash__(self) -> int:
        return hash(self.hash())
