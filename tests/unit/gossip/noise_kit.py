"""Encrypted channels between two machines, and bytes that no protobuf reader takes."""

from itertools import pairwise

from attestrio.gossip.noise import NNHandshake, NoiseReceiver, NoiseSender

INITIATOR_SECRET = bytes(range(32))
RESPONDER_SECRET = bytes(range(32, 64))

UNDECODABLE = {
    "field cut off": "0a05",
    "length cut off": "0a",
    "varint cut off": "1080",
    "field number 0": "0000",
    "varint of 11 bytes": "10" + "80" * 10 + "01",
    "group that ends as another": "7b8401",
    "end of no group": "7c",
    "wire type 6": "16",
    "101 groups deep": "7b" * 101 + "7c" * 101,
    "trailing garbage": "ffff",
}


def channel(initiator=None, responder=None):
    """Both ends after the handshake: (send, receive) of the initiator, of the responder, and both session ids."""
    ours = initiator or NNHandshake(True, INITIATOR_SECRET)
    theirs = responder or NNHandshake(False, RESPONDER_SECRET)
    theirs.read_e(ours.write_e())
    second, (their_send, their_receive) = theirs.write_e_ee()
    our_send, our_receive = ours.read_e_ee(second)
    return (our_send, our_receive), (their_send, their_receive), (ours.h, theirs.h)


def ends(sender):
    """A sender and the receiver it talks to; `sender` is "initiator" or "responder"."""
    (our_send, our_receive), (their_send, their_receive), _ = channel()
    if sender == "initiator":
        return NoiseSender(our_send), NoiseReceiver(their_receive)
    return NoiseSender(their_send), NoiseReceiver(our_receive)


def pieces(raw, cuts):
    """`raw` cut at the positions `cuts`."""
    marks = [0, *sorted(cuts), len(raw)]
    return [raw[start:end] for start, end in pairwise(marks)]
