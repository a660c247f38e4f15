"""Node keys (ed25519): who a node is on the network, and the proof that a session is with it."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from attestrio.roles.errors import BadKey, BadNodeSignature, WrongLength
from attestrio.roles.hashes import FixedBytes
from attestrio.roles.keccak import keccak256
from attestrio.roles.secret import SecretKey
from attestrio.roles.wire import Wire
from attestrio.schema import node_pb2
from attestrio.schema.canonical import canonical

FIELD = 2**255 - 19
D = -121665 * pow(121666, -1, FIELD) % FIELD  # the curve is -x² + y² = 1 + D x² y²


class NodeSignature(FixedBytes):
    """An ed25519 signature, 64 bytes."""

    __slots__ = ()
    WHAT, PREFIX, SIZE = "node signature", "node:signature:ed25519:", 64


class NodePublicKey(FixedBytes):
    """Who a node is. Raises WrongLength, BadKey when the bytes are no point of the curve."""

    __slots__ = ()
    WHAT, PREFIX, SIZE = "node public key", "node:public:ed25519:", 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not on_curve(self.raw):
            raise BadKey(self.WHAT, "not a point of the curve")

    def verify(self, message: bytes, signature: NodeSignature) -> None:
        """Raise BadNodeSignature unless this key made `signature` of `message`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature.raw, message)
        except InvalidSignature:
            raise BadNodeSignature(self) from None


def on_curve(raw: bytes) -> bool:
    """Whether 32 bytes are an ed25519 point: x² = (y² - 1) / (D y² + 1) has a root. About 100 microseconds."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    top, bottom = (y * y - 1) % FIELD, (D * y * y + 1) % FIELD
    return top == 0 or pow(top * bottom % FIELD, (FIELD - 1) // 2, FIELD) == 1  # bottom is never zero


class NodeSecretKey(SecretKey):
    """The key a node proves itself with."""

    __slots__ = ("_key", "_public")

    WHAT, PREFIX = "node secret key", "node:secret:ed25519:"

    def __init__(self, raw: bytes) -> None:
        """From a 32-byte seed. Raises WrongLength."""
        if len(raw) != self.SIZE:
            raise WrongLength(self.WHAT, len(raw), self.SIZE)
        self._key = Ed25519PrivateKey.from_private_bytes(bytes(raw))
        self._public = NodePublicKey(self._key.public_key().public_bytes_raw())

    def public(self) -> NodePublicKey:
        return self._public

    def sign(self, message: bytes) -> NodeSignature:
        return NodeSignature(self._key.sign(message))

    def sign_session(self, session_id: bytes) -> SignedSessionId:
        """The proof that this node is at the end of the session."""
        return SignedSessionId(session_id, self._public, self.sign(session_hash(session_id)))

    def to_bytes(self) -> bytes:
        """The secret itself, 32 bytes."""
        return self._key.private_bytes_raw()


@dataclass(frozen=True, slots=True)
class SignedSessionId(Wire):
    """A session and the node that claims to be at its other end. `verify` before believing it."""

    session_id: bytes  # the handshake hash of the encrypted channel
    key: NodePublicKey
    signature: NodeSignature

    def verify(self) -> None:
        """Raise BadNodeSignature unless `key` signed `session_id`."""
        self.key.verify(session_hash(self.session_id), self.signature)


def encode_session_message(session_id: bytes) -> bytes:
    """The canonical message that stands for a session: 0a <length> <session id>."""
    return canonical(node_pb2.Msg(session_id=session_id))


def session_hash(session_id: bytes) -> bytes:
    """keccak256 of that message: the 32 bytes that are signed."""
    return keccak256(encode_session_message(session_id))
