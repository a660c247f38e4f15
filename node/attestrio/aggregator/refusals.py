"""What an operator hears when its signature is not taken. The texts are the wire; nothing of ours is in them.

`permanent:` is what our own operators do not send again; a Go operator tries any error again, ten times. Whatever could
be cured by waiting is an Unavailable: never a reply, which a Go operator would take for success.
"""

from __future__ import annotations

from typing import ClassVar

from attestrio.errors import PeerError, SourceError


class ResponseRefused(PeerError):
    """A response that will never be taken. Raise one of the classes below; the connection goes on."""

    code: ClassVar[str] = "response_refused"
    text: ClassVar[str] = "permanent: refused"
    result: ClassVar[str] = "unreadable"
    """What it is counted as."""

    def __init__(self) -> None:
        super().__init__(self.text)


class NilSignature(ResponseRefused):
    """Go's nil pointer where the signature should be; told in the words of Aligned's aggregator."""

    code: ClassVar[str] = "nil_signature"
    text: ClassVar[str] = "invalid response: nil signature"


class UnusablePoint(ResponseRefused):
    """A signature that is no point of the curve, is the point at infinity, or has limbs that Go would reduce."""

    code: ClassVar[str] = "unusable_point"
    text: ClassVar[str] = "permanent: bad signature"


class WrongSignature(ResponseRefused):
    """A point that is not this operator's signature of this batch. There is only one that is."""

    code: ClassVar[str] = "wrong_signature"
    text: ClassVar[str] = "permanent: bad signature"
    result: ClassVar[str] = "bad_signature"


class WrongIdentifier(ResponseRefused):
    """The identifier hash of a response is not that of its root and sender."""

    code: ClassVar[str] = "wrong_identifier"
    text: ClassVar[str] = "permanent: bad batch identifier"
    result: ClassVar[str] = "bad_identifier"


class NotInQuorum(ResponseRefused):
    """Nobody registered under this operator id, and the quorum of the batch, which is known, has no such member."""

    code: ClassVar[str] = "not_in_quorum"
    text: ClassVar[str] = "permanent: not in quorum"
    result: ClassVar[str] = "not_in_quorum"


class Unavailable(SourceError):
    """A response that cannot be taken now and perhaps later: nothing is recorded, the operator is to send it again."""

    code: ClassVar[str] = "unavailable"

    def __init__(self, why: str, result: str = "temporary") -> None:
        super().__init__(f"temporary: {why}")
        self.why, self.result = why, result
