"""A small committee and votes for it, for the tests of this folder."""

from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    SignedBatch,
    WeightedAttester,
)

GENESIS = GenesisHash(b"\x11" * 32)
OTHER_GENESIS = GenesisHash(b"\x22" * 32)
KEYS = [AttesterSecretKey.from_bytes(bytes([i]) * 32) for i in range(1, 11)]
STRANGER = AttesterSecretKey.from_bytes(b"\x63" * 32)


def committee(keys=KEYS, weight=1):
    return Committee([WeightedAttester(key.public(), weight) for key in keys])


def batch(number, fill=0xAB, genesis=GENESIS):
    return Batch(BatchNumber(number), BatchHash(bytes([fill]) * 32), genesis)


def vote(key, number, fill=0xAB, genesis=GENESIS):
    return key.sign_batch(batch(number, fill, genesis))


def forged(key, number, fill=0xAB):
    """A vote whose signature is that of another number."""
    return SignedBatch(batch(number, fill), key.public(), vote(key, number + 1_000).signature)
