"""What can go wrong between an HTTP client and a server, one name each; import them from `kit.http`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from attestrio.errors import SetupError, SourceError


class BadUrl(SetupError):
    """Not an http or https URL with a host."""

    code: ClassVar[str] = "bad_url"

    def __init__(self, url: str) -> None:
        super().__init__(f"not an http:// or https:// URL: {url}")
        self.url = url


class BadAddress(SetupError):
    """A bind address that is not HOST:PORT, or that this machine does not have or may not use."""

    code: ClassVar[str] = "bad_address"

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"cannot listen on {address}: {why}")
        self.address, self.why = address, why


class AddressInUse(SetupError):
    """Somebody else listens on the address."""

    code: ClassVar[str] = "address_in_use"
    exit_code: ClassVar[int] = 3

    def __init__(self, address: str) -> None:
        super().__init__(f"cannot listen on {address}: the address is in use; stop who listens there or choose another")
        self.address = address


class Unreachable(SourceError):
    """No HTTP answer: refused, reset, cut off, not resolved, TLS not agreed."""

    code: ClassVar[str] = "unreachable"

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source}: not reached: {why}")
        self.source, self.why = source, why


class AddressNotPublic(SourceError):
    """A URL that a stranger wrote leads into a private network, or to this machine: it is not connected to."""

    code: ClassVar[str] = "address_not_public"

    def __init__(self, host: str, addresses: Sequence[str]) -> None:
        super().__init__(
            f"{host[:80]} is {', '.join(addresses[:4]) or 'nowhere'}: not an address of the public Internet"
        )
        self.host, self.addresses = host, tuple(addresses)


class AnswerTooLate(SourceError):
    """The whole answer was not there within the deadline of the call."""

    code: ClassVar[str] = "answer_too_late"

    def __init__(self, source: str, limit_s: float) -> None:
        super().__init__(f"{source}: no answer within {limit_s:g} s")
        self.source, self.limit_s = source, limit_s


class AnswerTooLarge(SourceError):
    """More bytes than the limit, on the wire or once decompressed. What came was thrown away."""

    code: ClassVar[str] = "answer_too_large"

    def __init__(self, source: str, size: int, limit: int) -> None:
        super().__init__(f"{source}: answer of {size} B or more, limit {limit} B")
        self.source, self.size, self.limit = source, size, limit


class AnswerGarbled(SourceError):
    """The body's encoding is not one that was asked for, or it does not decompress."""

    code: ClassVar[str] = "answer_garbled"

    def __init__(self, source: str, encoding: str) -> None:
        super().__init__(f"{source}: body in content-encoding {encoding!r} cannot be read")
        self.source, self.encoding = source, encoding


class BadHttpStatus(SourceError):
    """An HTTP status other than 200: a front end that does not pass the call on, a server in trouble."""

    code: ClassVar[str] = "http_status"

    def __init__(self, source: str, status: int) -> None:
        super().__init__(f"{source}: HTTP status {status}")
        self.source, self.status = source, status
