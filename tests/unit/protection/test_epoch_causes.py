"""What ends an epoch so that another follows, and what nothing may follow."""

import pytest
from attestrio.protection.epochs import EpochCause, EpochEnded, Resequenced, cause_of
from attestrio.roles import BatchHash, BatchNumber, GenesisHash
from attestrio.status import GenesisChanged, MovedBackwards
from attestrio.store.api import BatchConflict, OtherGenesis, QCConflict

SEVEN, EIGHT = BatchNumber(7), BatchNumber(8)
ONE, OTHER = BatchHash(b"\x01" * 32), BatchHash(b"\x02" * 32)
GENESIS, FORK = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)


@pytest.mark.parametrize(
    ("ended", "cause"),
    [
        (GenesisChanged(GENESIS, FORK), EpochCause.GENESIS_CHANGED),
        (MovedBackwards(EIGHT, SEVEN), EpochCause.MOVED_BACKWARDS),
        (Resequenced(7, "the sequencer said so"), EpochCause.RESEQUENCED),
        (BatchConflict(SEVEN, ONE, OTHER), EpochCause.RESEQUENCED),
        (QCConflict(SEVEN, ONE, OTHER), EpochCause.RESEQUENCED),
        (EpochEnded("by hand"), EpochCause.COMMAND),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_an_epoch_that_ends_for_a_named_cause_is_followed_by_another(ended, cause):
    assert cause_of(ended) is cause


def test_nothing_follows_what_has_no_name():
    assert cause_of(OtherGenesis(SEVEN, FORK, GENESIS)) is None
