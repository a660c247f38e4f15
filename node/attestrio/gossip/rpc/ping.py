"""ping: is there still somebody? Serving it is a must, the network drops a peer that does not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attestrio.gossip.limiter import Rate
from attestrio.gossip.rpc.errors import WrongPong
from attestrio.gossip.rpc.parse import parse_untrusted
from attestrio.gossip.rpc.spec import KB, RpcSpec
from attestrio.roles.errors import WrongLength
from attestrio.schema import rpc_pb2
from attestrio.schema.canonical import canonical

PING: Final = RpcSpec(
    "ping", capability=2, inflight=1, rate=Rate(burst=2, refresh_s=1.0), max_req=KB, max_resp=KB, timeout_s=10.0
)
SIZE: Final = 32  # bytes that go there and back


def encode_request(data: bytes) -> bytes:
    return canonical(rpc_pb2.PingReq(data=data))


def request_untrusted(body: bytes) -> bytes:
    """The 32 bytes. Raises DecodeFailed."""
    return _data(parse_untrusted(rpc_pb2.PingReq, body, "data").data)


def encode_response(data: bytes) -> bytes:
    return canonical(rpc_pb2.PingResp(data=data))


def response_untrusted(body: bytes) -> bytes:
    """The 32 bytes. Raises DecodeFailed."""
    return _data(parse_untrusted(rpc_pb2.PingResp, body, "data").data)


def answer_untrusted(body: bytes) -> bytes:
    """The response to a request: its own bytes. Raises DecodeFailed, which is answered by no response."""
    return encode_response(request_untrusted(body))


class Pinger:
    """When to ping, and whether the answer is right. The wait for an answer is bounded by the call's own timeout.

    The first ping is due at once, each next one `period_s` after the answer to the last.
    """

    __slots__ = ("_due", "_period_s", "_random", "_sent")

    def __init__(self, period_s: float, random: Callable[[int], bytes], now: float) -> None:
        self._period_s, self._random = period_s, random
        self._due = now
        self._sent: bytes | None = None

    def deadline(self) -> float | None:
        """When `due` has something; None: an answer is awaited."""
        return self._due if self._sent is None else None

    def due(self, now: float) -> bytes | None:
        """The request to send now, with fresh bytes; None: not yet."""
        if self._sent is not None or now < self._due:
            return None
        self._sent = self._random(SIZE)
        return encode_request(self._sent)

    def check_untrusted(self, body: bytes, now: float) -> None:
        """Take the answer. Raises WrongPong, DecodeFailed: the peer is not what it seems, drop it."""
        if response_untrusted(body) != self._sent:
            raise WrongPong
        self._sent, self._due = None, now + self._period_s


def _data(data: bytes) -> bytes:
    if len(data) != SIZE:
        raise WrongLength("ping data", len(data), SIZE)
    return data
