"""L2 blocks and their certificates, as far as a node that keeps none has to read them.

Everything but the validators' aggregate signature (BLS12-381) is checked. So nothing here may be kept or passed on.
"""

from __future__ import annotations

from dataclasses import dataclass

from attestrio.gossip.rpc.errors import WrongAnswer, WrongRange
from attestrio.gossip.rpc.parse import check_length
from attestrio.roles import Genesis, GenesisHash, GenesisMismatch, NotEnoughSigners, WrongLength, keccak256, threshold
from attestrio.roles.conv import read, required
from attestrio.schema import validator_pb2

HASH_SIZE = 32
SIGNATURE_SIZE = 48  # G1 of BLS12-381, compressed


@dataclass(frozen=True, slots=True)
class CommitQC:
    """The validators' claim that block `number` has the payload whose keccak256 is `payload_hash`."""

    number: int
    payload_hash: bytes
    genesis: GenesisHash
    validators: int  # how many bits there are in `signers`
    signers: bytes  # bit i, one per validator in key order, is in byte i // 8 at 0x80 >> i % 8

    def check(self, genesis: Genesis) -> None:
        """Raise PeerError unless it could be a certificate of this chain; the signature itself is not looked at.

        Raises GenesisMismatch, WrongRange, WrongLength, NotEnoughSigners, in this order.
        """
        if self.genesis != genesis.hash():
            raise GenesisMismatch(self.genesis, genesis.hash())
        if self.number < genesis.first_block:
            raise WrongRange("certified block", self.number, genesis.first_block)
        if self.validators != len(genesis.validators):
            raise WrongLength("certificate's list of signers", self.validators, len(genesis.validators))
        weights = [validator.weight for validator in genesis.validators]
        signed = sum(weight for i, weight in enumerate(weights) if self.signers[i // 8] & 0x80 >> i % 8)
        if signed < threshold(sum(weights)):
            raise NotEnoughSigners(signed, threshold(sum(weights)))


@dataclass(frozen=True, slots=True)
class FinalBlock:
    """A block with its certificate."""

    payload: bytes
    certificate: CommitQC

    def check(self, genesis: Genesis) -> None:
        """Raise PeerError unless payload and certificate fit; the signature itself is not looked at."""
        if keccak256(self.payload) != self.certificate.payload_hash:
            raise WrongAnswer(f"block {self.certificate.number}: the payload is not the certified one")
        self.certificate.check(genesis)


def certificate_untrusted(message: validator_pb2.CommitQC) -> CommitQC:
    """Raises DecodeFailed."""
    required(message, "msg", "signers", "sig")
    required(message.msg, "view", "proposal")
    required(message.msg.view, "number", "genesis")
    required(message.msg.proposal, "number", "payload")
    required(message.msg.proposal.payload, "keccak256")
    required(message.signers, "size", "bytes")
    required(message.sig, "bn254")
    check_length("validators' signature", message.sig.bn254, SIGNATURE_SIZE)
    if (short := (message.signers.size + 7) // 8) > len(message.signers.bytes):
        raise WrongLength("bits", len(message.signers.bytes), short)
    return CommitQC(
        number=message.msg.proposal.number,
        payload_hash=check_length("payload hash", message.msg.proposal.payload.keccak256, HASH_SIZE),
        genesis=read(GenesisHash, message.msg.view.genesis),
        validators=message.signers.size,
        signers=message.signers.bytes,
    )


def block_untrusted(message: validator_pb2.FinalBlock) -> FinalBlock:
    """Raises DecodeFailed."""
    required(message, "payload", "justification")
    return FinalBlock(message.payload, certificate_untrusted(message.justification))
