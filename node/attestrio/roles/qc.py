"""Quorum certificates: one batch, and enough weight that signed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from attestrio.roles.batch import Batch
from attestrio.roles.committee import Committee
from attestrio.roles.errors import (
    AlreadySigned,
    AttestersNotInGenesis,
    BadSignersSet,
    GenesisMismatch,
    InconsistentMessages,
    NotEnoughSigners,
    SignerNotInCommittee,
)
from attestrio.roles.genesis import Genesis
from attestrio.roles.hashes import GenesisHash
from attestrio.roles.keys import AttesterPublicKey, Signature
from attestrio.roles.recover import Recoverer
from attestrio.roles.votes import SignedBatch
from attestrio.roles.wire import JsonWire


@dataclass(frozen=True, slots=True, eq=False)
class BatchQC(JsonWire):
    """The certificate of `batch`. That it exists says nothing; `verify` does.

    A `dict` of signatures is copied, in key order, into a read-only one. Any other mapping is kept as it is, so that
    a register can hand over 10,000 signatures at the cost of a pointer: such a mapping must never change.
    """

    batch: Batch
    signatures: Mapping[AttesterPublicKey, Signature] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.signatures, dict):
            object.__setattr__(self, "signatures", MappingProxyType(dict(self.entries())))

    def entries(self) -> list[tuple[AttesterPublicKey, Signature]]:
        """Who signed, in key order. O(n log n)."""
        return sorted(self.signatures.items(), key=lambda entry: entry[0].xy)

    def verify(self, genesis: Genesis) -> None:
        """Raise unless this certifies a batch of exactly this chain; see `verify_with`."""
        self.verify_with(genesis.hash(), genesis.attesters)

    def verify_with(self, genesis: GenesisHash, committee: Committee | None) -> None:
        """Raise GenesisMismatch, AttestersNotInGenesis, BadSignersSet, NotEnoughSigners or BadSignature, in this order.

        No signature is looked at before the weight is known to reach the threshold. One recover for each signature.

        Source: era-consensus d1d3b51e, attester/messages/batch.rs; there the genesis is not compared, so that a
        certificate of another fork with the same keys verifies. Later versions compare it first, as here.
        """
        if self.batch.genesis != genesis:
            raise GenesisMismatch(self.batch.genesis, genesis)
        if committee is None:
            raise AttestersNotInGenesis
        got = 0
        for key in self.signatures:
            weight = committee.weight(key)
            if weight is None:
                raise BadSignersSet(key)
            got += weight
        if got < committee.threshold:
            raise NotEnoughSigners(got, committee.threshold)
        message, recoverer = self.batch.message_hash(), Recoverer()
        for key, signature in self.signatures.items():
            recoverer.check(signature, message, key)

    def add(self, vote: SignedBatch, genesis: Genesis) -> BatchQC:
        """This certificate with one signature more. The signature is taken on trust: verify the vote before.

        Raises AttestersNotInGenesis, InconsistentMessages, AlreadySigned, SignerNotInCommittee, in this order.
        """
        if genesis.attesters is None:
            raise AttestersNotInGenesis
        if vote.batch != self.batch:
            raise InconsistentMessages
        if vote.key in self.signatures:
            raise AlreadySigned(vote.key)
        if vote.key not in genesis.attesters:
            raise SignerNotInCommittee(vote.key)
        return BatchQC(self.batch, {**self.signatures, vote.key: vote.signature})

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, BatchQC) and self.batch == other.batch and dict(self.signatures) == dict(other.signatures)
        )

    def __hash__(self) -> int:
        return hash((self.batch, len(self.signatures)))

    def __reduce__(self) -> tuple[Callable[[bytes], BatchQC], tuple[bytes]]:
        return BatchQC.decode, (self.encode(),)
