"""The gossip handshake: both nodes prove their key for this very channel, and that they follow one genesis.

    outbound -> inbound   frame(Handshake)    inbound checks before it answers, so only a peer that
    inbound -> outbound   frame(Handshake)    has proved a key and follows the genesis learns who it is

Source: era-consensus d1d3b51e, network `gossip/handshake`; the order of the checks is the one there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from attestrio.gossip.errors import BadHandshakeSignature, GenesisMismatch, PeerMismatch, SessionIdMismatch
from attestrio.gossip.frame import encode_frame
from attestrio.roles import GenesisHash, NodePublicKey, NodeSecretKey, SignedSessionId
from attestrio.roles.conv import read, required
from attestrio.roles.errors import BadNodeSignature, Malformed
from attestrio.roles.node_keys import FIELD
from attestrio.schema import gossip_pb2
from attestrio.schema.canonical import canonical

MAX_HANDSHAKE: Final = 10 * 1024  # bytes of one body

# The y of the eight ed25519 points whose order divides 8; for the last two, D y⁴ + 2 y² = 1.
_Y8 = int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")
SMALL_ORDER_Y: Final = frozenset({0, 1, FIELD - 1, _Y8, FIELD - _Y8})


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a node says of itself. Nothing in it is true before it is checked."""

    session: SignedSessionId
    genesis: GenesisHash
    is_static: bool  # the receiver is one of the sender's static peers; nobody acts on it

    def encode(self) -> bytes:
        """The canonical encoding, 181 bytes."""
        message = gossip_pb2.Handshake(is_static=self.is_static)
        message.session_id.MergeFromString(self.session.encode())
        message.genesis.keccak256 = self.genesis.raw
        return canonical(message)


def hello(secret: NodeSecretKey, session_id: bytes, genesis: GenesisHash, is_static: bool) -> bytes:
    """The frame with this node's handshake, for the channel whose hash is `session_id`."""
    return encode_frame(Handshake(secret.sign_session(session_id), genesis, is_static).encode())


def handshake_untrusted(body: bytes) -> Handshake:
    """Read the body of a frame. Raises DecodeFailed, whatever the peer sent; checks nothing of what it says."""
    try:
        message = gossip_pb2.Handshake.FromString(body)
    except DecodeError:
        raise Malformed("Handshake", "not protobuf") from None
    required(message, "session_id", "is_static", "genesis")
    return Handshake(
        read(SignedSessionId, message.session_id), read(GenesisHash, message.genesis), bool(message.is_static)
    )


def inbound_untrusted(body: bytes, session_id: bytes, genesis: GenesisHash) -> NodePublicKey:
    """The acceptor's check of the dialler's handshake: who it is.

    Raises DecodeFailed, SessionIdMismatch, GenesisMismatch, BadHandshakeSignature, in this order.
    """
    told = handshake_untrusted(body)
    _check_session(told, session_id)
    _check_genesis(told, genesis)
    _check_signature(told.session)
    return told.session.key


def outbound_untrusted(body: bytes, session_id: bytes, genesis: GenesisHash, expected: NodePublicKey) -> None:
    """The dialler's check of the answer: it comes from the node that was dialled.

    Raises DecodeFailed, GenesisMismatch, SessionIdMismatch, PeerMismatch, BadHandshakeSignature, in this order.
    """
    told = handshake_untrusted(body)
    _check_genesis(told, genesis)
    _check_session(told, session_id)
    if told.session.key != expected:
        raise PeerMismatch(told.session.key, expected)
    _check_signature(told.session)


def is_small_order(point: bytes) -> bool:
    """Whether 32 bytes encode an ed25519 point whose order divides 8, in any of its spellings."""
    return (int.from_bytes(point, "little") & (2**255 - 1)) % FIELD in SMALL_ORDER_Y


def _check_session(told: Handshake, session_id: bytes) -> None:
    if told.session.session_id != session_id:
        raise SessionIdMismatch


def _check_genesis(told: Handshake, genesis: GenesisHash) -> None:
    if told.genesis != genesis:
        raise GenesisMismatch(told.genesis, genesis)


def _check_signature(session: SignedSessionId) -> None:
    """Strict ed25519, as the network has it.

    OpenSSL refuses S >= l and compares the bytes of R, but lets small-order points pass: such a key signs anything.
    """
    if is_small_order(session.key.raw) or is_small_order(session.signature.raw[:32]):
        raise BadHandshakeSignature(session.key)
    try:
        session.verify()
    except BadNodeSignature:
        raise BadHandshakeSignature(session.key) from None
