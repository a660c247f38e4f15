"""The mux handshake: which capabilities each end offers, how many streams of each, and the ids that follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.message import DecodeError

from attestrio.gossip.errors import BadMux
from attestrio.gossip.frame import encode_frame
from attestrio.gossip.mux.header import MAX_STREAMS
from attestrio.schema import mux_pb2
from attestrio.schema.canonical import canonical

MAX_HANDSHAKE: Final = 10 * 1024  # bytes of the message; about 900 capabilities

Offer = Mapping[int, int]
"""Capability id to the number of streams one end keeps for it."""


def encode_hello(accept: Offer, connect: Offer) -> bytes:
    """The frame that says what this end calls (`accept`) and serves (`connect`), in ascending ids.

    Raises ValueError for more than 8192 streams at one end, or a number that does not fit its field.
    """
    for offer in (accept, connect):
        if (total := sum(offer.values())) > MAX_STREAMS:
            raise ValueError(f"{total} streams, limit {MAX_STREAMS}")
    message = mux_pb2.Handshake(
        accept=[mux_pb2.Capability(id=id_, max_streams=count) for id_, count in sorted(accept.items())],
        connect=[mux_pb2.Capability(id=id_, max_streams=count) for id_, count in sorted(connect.items())],
    )
    return encode_frame(canonical(message))


def hello_untrusted(body: bytes) -> tuple[dict[int, int], dict[int, int]]:
    """The peer's (accept, connect). Raises BadMux: unreadable, a capability twice, a field missing.

    Ids nobody knows and any number of streams are fine: only what both ends offer counts.
    """
    try:
        message = mux_pb2.Handshake.FromString(body)
    except DecodeError:
        raise BadMux("mux handshake: not protobuf") from None
    return _offer_untrusted(message.accept), _offer_untrusted(message.connect)


def _offer_untrusted(capabilities: Iterable[mux_pb2.Capability]) -> dict[int, int]:
    offer: dict[int, int] = {}
    for capability in capabilities:
        if not capability.HasField("id") or not capability.HasField("max_streams"):
            raise BadMux("mux handshake: a capability without id or max_streams")
        if capability.id in offer:
            raise BadMux(f"mux handshake: capability {capability.id} twice")
        offer[capability.id] = capability.max_streams
    return offer


def stream_ids(mine: Offer, theirs: Offer) -> list[int]:
    """The capability of each stream id of one space: ascending capabilities, the smaller of both counts of each.

    `mine` is what this end offers as one end of the streams, `theirs` what the peer offers as the other. As long as
    `mine` was accepted by `encode_hello`, the answer has at most 8192 entries whatever the peer claims.
    """
    return [id_ for id_ in sorted(mine) for _ in range(min(mine[id_], theirs.get(id_, 0)))]
