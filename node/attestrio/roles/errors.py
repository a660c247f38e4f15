"""What can be wrong with a key, a vote, a committee or a certificate, one name per rule.

No text here ever repeats what was read: it may have been a secret, pasted where a public key was expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attestrio.errors import PeerError

if TYPE_CHECKING:
    from attestrio.roles.hashes import GenesisHash
    from attestrio.roles.keys import AttesterPublicKey
    from attestrio.roles.node_keys import NodePublicKey


class DecodeFailed(PeerError):
    """Bytes, text or JSON that are not what they should be. Raise one of the classes below."""

    code: ClassVar[str] = "decode_failed"


class Malformed(DecodeFailed):
    """Not protobuf, not JSON, or not of the message's shape."""

    code: ClassVar[str] = "malformed"

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what = what


class MissingField(DecodeFailed):
    """A required field is absent."""

    code: ClassVar[str] = "missing_field"

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: missing field")
        self.field = field


class WrongLength(DecodeFailed):
    """A key, hash or signature of another length."""

    code: ClassVar[str] = "wrong_length"

    def __init__(self, what: str, got: int, want: int) -> None:
        super().__init__(f"{what} of {got} B, it has {want} B")
        self.what, self.got, self.want = what, got, want


class WrongPrefix(DecodeFailed):
    """A text form that starts with something else."""

    code: ClassVar[str] = "wrong_prefix"

    def __init__(self, expected: str) -> None:
        super().__init__(f"the text does not start with {expected}")
        self.expected = expected


class NotHex(DecodeFailed):
    """A text form whose rest is not an even number of hex digits and nothing else."""

    code: ClassVar[str] = "not_hex"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: what follows the prefix is not hex")
        self.what = what


class BadKey(DecodeFailed):
    """Bytes of the right kind that are no key: not on the curve, zero, or an encoding nobody should use."""

    code: ClassVar[str] = "bad_key"

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what = what


class ScalarOutOfRange(DecodeFailed):
    """r or s of a signature is zero, or not below the order of the curve."""

    code: ClassVar[str] = "scalar_out_of_range"

    def __init__(self, name: str) -> None:
        super().__init__(f"signature: {name} is zero or not below the order of the curve")
        self.name = name


class NumberOutOfRange(DecodeFailed):
    """A number that does not fit its field."""

    code: ClassVar[str] = "number_out_of_range"

    def __init__(self, what: str, got: int, limit: int) -> None:
        super().__init__(f"{what} is {got}, limits are 0 and {limit}")
        self.what, self.got, self.limit = what, got, limit


class BadCommittee(DecodeFailed):
    """A list of members that is no committee. Raise one of the classes below."""

    code: ClassVar[str] = "bad_committee"


class DuplicateAttester(BadCommittee):
    """The same key stands twice among the attesters."""

    code: ClassVar[str] = "duplicate_attester"

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is in the committee twice")
        self.key = key


class DuplicateValidator(BadCommittee):
    """The same key stands twice among the validators."""

    code: ClassVar[str] = "duplicate_validator"

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is in the committee twice")
        self.key = key


class ZeroWeight(BadCommittee):
    """A member without weight."""

    code: ClassVar[str] = "zero_weight"

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} has weight 0, a weight is above zero")
        self.key = key


class WeightOverflow(BadCommittee):
    """The weights add up to more than 64 bits."""

    code: ClassVar[str] = "weight_overflow"

    def __init__(self, got: int, limit: int) -> None:
        super().__init__(f"weights add up to {got}, limit {limit}")
        self.got, self.limit = got, limit


class EmptyCommittee(BadCommittee):
    """Nobody is in it."""

    code: ClassVar[str] = "empty_committee"

    def __init__(self, what: str) -> None:
        super().__init__(f"a committee of {what} has at least one member")


class LeaderNotValidator(DecodeFailed):
    """The leader selection of a genesis names a key that is none of its validators, or nobody at all."""

    code: ClassVar[str] = "leader_not_validator"

    def __init__(self, problem: str) -> None:
        super().__init__(f"leader selection: {problem}")


class BadSignature(PeerError):
    """The signature is not this key's signature of this message. `key` is whose it should have been."""

    code: ClassVar[str] = "bad_signature"

    def __init__(self, key: AttesterPublicKey, cause: str) -> None:
        super().__init__(f"bad signature: {cause}; expected {key.to_text()}")
        self.key, self.cause = key, cause


class BadNodeSignature(PeerError):
    """The node does not hold the key it names."""

    code: ClassVar[str] = "bad_node_signature"

    def __init__(self, key: NodePublicKey) -> None:
        super().__init__(f"bad signature: not made by {key.to_text()}")
        self.key = key


class QCError(PeerError):
    """A certificate, or a vote for it, that breaks a rule. Raise one of the classes below."""

    code: ClassVar[str] = "bad_certificate"


class GenesisMismatch(QCError):
    """The certificate is for another chain or fork."""

    code: ClassVar[str] = "genesis_mismatch"

    def __init__(self, got: GenesisHash, want: GenesisHash) -> None:
        super().__init__(f"certificate of {got.to_text()}, this chain is {want.to_text()}")
        self.got, self.want = got, want


class AttestersNotInGenesis(QCError):
    """The genesis has no attesters, so nobody can certify anything."""

    code: ClassVar[str] = "attesters_not_in_genesis"

    def __init__(self) -> None:
        super().__init__("no attester committee in genesis")


class BadSignersSet(QCError):
    """Somebody signed who is not in the committee."""

    code: ClassVar[str] = "bad_signers_set"

    def __init__(self, stranger: AttesterPublicKey) -> None:
        super().__init__(f"signers are not of this committee: {stranger.to_text()}")
        self.stranger = stranger


class NotEnoughSigners(QCError):
    """The signers weigh less than the threshold. Both numbers are weights."""

    code: ClassVar[str] = "not_enough_signers"

    def __init__(self, got: int, want: int) -> None:
        super().__init__(f"not enough signers: got {got}, want {want}")
        self.got, self.want = got, want


class InconsistentMessages(QCError):
    """A vote for another batch was about to be added to a certificate."""

    code: ClassVar[str] = "inconsistent_messages"

    def __init__(self) -> None:
        super().__init__("the vote is for another batch than the certificate")


class AlreadySigned(QCError):
    """The key is in the certificate already."""

    code: ClassVar[str] = "already_signed"

    def __init__(self, key: AttesterPublicKey) -> None:
        super().__init__(f"{key.to_text()} is in the certificate already")
        self.key = key


class SignerNotInCommittee(QCError):
    """A vote of a stranger was about to be added to a certificate."""

    code: ClassVar[str] = "signer_not_in_committee"

    def __init__(self, key: AttesterPublicKey) -> None:
        super().__init__(f"{key.to_text()} is not in the committee")
        self.key = key
