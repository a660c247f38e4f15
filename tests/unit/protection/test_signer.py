"""The signer an attester is given: guarded, recorded, and stopped at once."""

import pytest
import trio
from attestrio.errors import SafetyError
from attestrio.protection.record import DoubleVote, EpochClosed
from attestrio.protection.signer import ProtectedSigner
from attestrio.roles import BatchNumber
from protection_kit import GENESIS, KEY, batch_of, opened

CLONE = SafetyError("a vote of ours that is not on record")
OTHER = SafetyError("later")


def allow() -> None:
    """A guard with nothing to say."""


@pytest.fixture
async def record(tmp_path):
    async with opened(tmp_path / "protection.db") as record:
        await record.open_epoch(GENESIS, 0, "start")
        yield record


async def test_a_vote_goes_through_the_record(record):
    signer = ProtectedSigner(record, KEY, allow, epoch=1)

    vote = await signer.sign(batch_of(7))

    vote.verify()
    assert record.knows(batch_of(7), KEY.public())
    with pytest.raises(DoubleVote):
        await signer.sign(batch_of(7, content=2))


async def test_what_the_guard_refuses_is_not_even_recorded(record):
    def refuse() -> None:
        raise CLONE

    with pytest.raises(SafetyError) as refused:
        await ProtectedSigner(record, KEY, refuse, epoch=1).sign(batch_of(7))

    assert refused.value is CLONE
    assert record.recorded(GENESIS, KEY.public(), BatchNumber(7)) is None


async def test_a_stopped_signer_signs_nothing_more_and_says_the_first_reason(record):
    signer = ProtectedSigner(record, KEY, allow, epoch=1)
    await signer.sign(batch_of(7))

    signer.stop(CLONE)
    signer.stop(OTHER)

    for number in (7, 8):
        with pytest.raises(SafetyError) as refused:
            await signer.sign(batch_of(number))
        assert refused.value is CLONE
    assert record.recorded(GENESIS, KEY.public(), BatchNumber(8)) is None


async def test_a_vote_that_is_being_recorded_when_signing_stops_does_not_leave(record):
    signer, outcomes = ProtectedSigner(record, KEY, allow, epoch=1), []

    async def ask():
        try:
            outcomes.append(await signer.sign(batch_of(7)))
        except SafetyError as exc:
            outcomes.append(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        while record.recorded(GENESIS, KEY.public(), BatchNumber(7)) is None:
            await trio.lowlevel.checkpoint()
        signer.stop(CLONE)

    assert outcomes == [CLONE]


async def test_a_signer_of_an_ended_epoch_signs_nothing(record):
    signer = ProtectedSigner(record, KEY, allow, epoch=1)
    await record.open_epoch(GENESIS, 0, "command")

    with pytest.raises(EpochClosed):
        await signer.sign(batch_of(7))
