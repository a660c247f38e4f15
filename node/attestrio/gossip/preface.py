"""The first words of a connection: how it is encrypted, and which network it is for.

    client -> server  in the clear        frame(Encryption)   02 00 00 00  0a 00      Noise NN, the only one
    both              in the clear        the Noise handshake, see noise.py
    client -> server  inside the channel  frame(Endpoint)     02 00 00 00  12 00      gossip (0a 00: consensus)

The server says nothing of its own here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from google.protobuf.message import DecodeError

from attestrio.gossip.errors import BadPreface
from attestrio.gossip.frame import encode_frame
from attestrio.schema import preface_pb2
from attestrio.schema.canonical import canonical

MAX_PREFACE: Final = 10 * 1024  # bytes of one body

ENCRYPTION_NOISE_NN: Final = encode_frame(
    canonical(preface_pb2.Encryption(noise_nn=preface_pb2.Encryption.NoiseNN())),
)


class Endpoint(StrEnum):
    """What a connection is for. The values are the names of the message's fields."""

    CONSENSUS = "consensus_net"
    GOSSIP = "gossip_net"


ENDPOINT_GOSSIP: Final = encode_frame(
    canonical(preface_pb2.Endpoint(gossip_net=preface_pb2.Endpoint.GossipNet())),
)


def encryption_untrusted(body: bytes) -> None:
    """Check the body of the first frame. Raises BadPreface unless it asks for Noise NN, whatever the peer sent."""
    try:
        asked = preface_pb2.Encryption.FromString(body).WhichOneof("t")
    except DecodeError:
        raise BadPreface("encryption: not protobuf") from None
    if asked is None:
        raise BadPreface("encryption: none that is known")


def endpoint_untrusted(body: bytes) -> Endpoint:
    """Which network the body of the second frame asks for. Raises BadPreface, whatever the peer sent.

    Several members: the last one counts. The consensus network is not served here; who asks for it is no offender.
    """
    try:
        asked = preface_pb2.Endpoint.FromString(body).WhichOneof("t")
    except DecodeError:
        raise BadPreface("endpoint: not protobuf") from None
    if asked is None:
        raise BadPreface("endpoint: none that is known")
    return Endpoint(asked)
