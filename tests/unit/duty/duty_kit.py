"""A committee of three, their votes, and a clock that moves by hand."""

from attestrio.duty import DutyLog, EpochOf
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    NodeSecretKey,
    WeightedAttester,
)

SECRETS = [AttesterSecretKey.from_bytes(bytes([index]) * 32) for index in (1, 2, 3)]
KEYS = [secret.public() for secret in SECRETS]
GENESIS = GenesisHash(b"\x11" * 32)
COMMITTEE = Committee([WeightedAttester(key, 10) for key in KEYS])
PEERS = [NodeSecretKey.from_bytes(bytes([index]) * 32).public() for index in (7, 8)]
EPOCH = EpochOf(1, GENESIS, COMMITTEE, KEYS[0])
SEVEN, EIGHT, NINE = BatchNumber(7), BatchNumber(8), BatchNumber(9)


def vote(index, number, fill=0xAB):
    return SECRETS[index].sign_batch(Batch(BatchNumber(number), BatchHash(bytes([fill]) * 32), GENESIS))


class Clock:
    def __init__(self, now=1_000.0):
        self.now = now

    def __call__(self):
        return self.now


def log_of(clock, epoch=EPOCH, **options):
    duty = DutyLog(clock, **options)
    if epoch is not None:
        duty.begin_epoch(epoch)
    return duty
