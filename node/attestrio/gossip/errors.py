"""Why a peer is dropped, one class per rule. No text repeats what was read.

What cannot be decoded at all ends in `attestrio.roles.errors.DecodeFailed`, a PeerError as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attestrio.errors import PeerError

if TYPE_CHECKING:
    from attestrio.roles import GenesisHash, NodePublicKey


class FrameTooLarge(PeerError):
    """A frame that announces more bytes than its place allows; its body was not read."""

    code: ClassVar[str] = "frame_too_large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"frame of {size} B, limit {limit} B")
        self.size, self.limit = size, limit


class PeerClosed(PeerError):
    """The stream ended, cleanly or in the middle of something: the wire does not tell the two apart."""

    code: ClassVar[str] = "peer_closed"


class BadPreface(PeerError):
    """The first words of a connection were not those of this network."""

    code: ClassVar[str] = "bad_preface"


class BadNoise(PeerError):
    """A Noise message that cannot be authenticated, or has an impossible length."""

    code: ClassVar[str] = "bad_noise"


class SessionIdMismatch(PeerError):
    """The peer signed another session: somebody sits in between, or replays."""

    code: ClassVar[str] = "session_id_mismatch"

    def __init__(self) -> None:
        super().__init__("the peer signed another session")


class GenesisMismatch(PeerError):
    """The peer follows another genesis."""

    code: ClassVar[str] = "peer_genesis_mismatch"

    def __init__(self, got: GenesisHash, want: GenesisHash) -> None:
        super().__init__(f"the peer follows {got}, this node {want}")
        self.got, self.want = got, want


class PeerMismatch(PeerError):
    """Somebody else answers where a known peer was dialled."""

    code: ClassVar[str] = "peer_mismatch"

    def __init__(self, got: NodePublicKey, want: NodePublicKey) -> None:
        super().__init__(f"{got} answered, {want} was dialled")
        self.got, self.want = got, want


class BadHandshakeSignature(PeerError):
    """The session id was not signed by the key that stands beside it, or by one that signs anything."""

    code: ClassVar[str] = "bad_handshake_signature"

    def __init__(self, key: NodePublicKey) -> None:
        super().__init__(f"{key} did not sign this session")
        self.key = key


class HandshakeTimeout(PeerError):
    """The peer did not get through a phase of the connection in time."""

    code: ClassVar[str] = "handshake_timeout"

    def __init__(self, phase: str, limit_s: float) -> None:
        super().__init__(f"{phase} not finished in {limit_s:g} s")
        self.phase, self.limit_s = phase, limit_s


class BadMux(PeerError):
    """A mux handshake or frame against the rules."""

    code: ClassVar[str] = "bad_mux"
