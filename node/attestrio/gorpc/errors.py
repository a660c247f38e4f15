"""What can go wrong on a Go RPC connection: `PeerError` from a stranger's bytes, `SourceError` from a server we ask."""

from __future__ import annotations

from typing import ClassVar

from attestrio.errors import PeerError, SetupError, SourceError
from attestrio.kit.jsonrpc import printable


class BadGob(PeerError):
    """A gob stream that cannot be followed any further, in framing, type definition or header: close the connection."""

    code: ClassVar[str] = "bad_gob"


class GobTooLarge(PeerError):
    """A gob stream goes beyond a limit: message bytes, or number or bytes of type definitions. Close the connection."""

    code: ClassVar[str] = "gob_too_large"

    def __init__(self, what: str, got: int, limit: int) -> None:
        super().__init__(f"gob {what}: {got}, limit {limit}")
        self.what, self.got, self.limit = what, got, limit


class BadGobValue(PeerError):
    """One value of a gob stream does not fit what is expected. The stream goes on behind it."""

    code: ClassVar[str] = "bad_gob_value"


class BadConnect(PeerError):
    """The bytes before the first call are not the CONNECT of Go RPC, or not its answer."""

    code: ClassVar[str] = "bad_connect"


class PeerStalled(PeerError):
    """Half a message, and the rest did not come in time; or answers that the peer does not take."""

    code: ClassVar[str] = "peer_stalled"

    def __init__(self, what: str, limit_s: float) -> None:
        super().__init__(f"{what} not within {limit_s:g} s")
        self.what, self.limit_s = what, limit_s


class HangUp(PeerError):
    """A handler has had enough of a peer: the call is answered with this text, then the connection is closed."""

    code: ClassVar[str] = "hang_up"


class CallFailed(SourceError):
    """The server answered a call with an error text, which is `text`, unchanged. The connection goes on."""

    code: ClassVar[str] = "call_failed"

    def __init__(self, method: str, text: str) -> None:
        super().__init__(f"{method}: {printable(text)}")
        self.method, self.text = method, text


class AnswerUnreadable(SourceError):
    """The server answered a call with a value of another type. The connection goes on."""

    code: ClassVar[str] = "answer_unreadable"

    def __init__(self, method: str, why: str) -> None:
        super().__init__(f"{method}: reading body {why}")
        self.method, self.why = method, why


class CallTooLate(SourceError):
    """A call was not answered within its time. It may still have been carried out. The connection goes on."""

    code: ClassVar[str] = "call_too_late"

    def __init__(self, method: str, limit_s: float) -> None:
        super().__init__(f"{method}: no answer within {limit_s:g} s")
        self.method, self.limit_s = method, limit_s


class BadServerAddress(SetupError):
    """The address of a Go RPC server is not HOST:PORT."""

    code: ClassVar[str] = "bad_server_address"

    def __init__(self, address: str) -> None:
        super().__init__(f"not HOST:PORT: {address}")
        self.address = address


class CannotConnect(SourceError):
    """Nobody listens at the address, or who listens does not speak Go RPC, or not in time."""

    code: ClassVar[str] = "cannot_connect"

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"dial tcp {address}: {why}")
        self.address, self.why = address, why


class ConnectionLost(SourceError):
    """The connection ended, or its bytes made no sense; a call in flight may or may not have been carried out."""

    code: ClassVar[str] = "connection_lost"

    def __init__(self, address: str, why: str = "unexpected EOF") -> None:
        super().__init__(f"{address}: {why}")
        self.address, self.why = address, why


class NotConnected(SourceError):
    """A call while there is no connection. Nothing was sent."""

    code: ClassVar[str] = "not_connected"

    def __init__(self, address: str) -> None:
        super().__init__(f"{address}: connection is shut down")
        self.address = address
