"""Batches asked from a main node: believed only if they are what was asked for."""

import pytest
import trio
from attestrio.batches import MainNodeBatches, OtherBatchAnswered, OtherGenesisAnswered
from attestrio.errors import SourceError
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash

GENESIS, FORK = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)
SEVEN = BatchNumber(7)


def batch(number, genesis=GENESIS):
    return Batch(BatchNumber(number), BatchHash(b"\x07" * 32), genesis)


class Client:
    def __init__(self, answer):
        self.answer = answer

    async def batch_to_attest(self, number):
        await trio.lowlevel.checkpoint()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [batch(7), None], ids=["known", "not-known"])
async def test_what_the_main_node_answers_is_passed_on(answer):
    assert await MainNodeBatches(Client(answer), GENESIS).batch_to_sign(SEVEN) == answer


async def test_another_batch_than_asked_for_is_refused():
    with pytest.raises(OtherBatchAnswered, match="asked for batch 7, answered with batch 8") as caught:
        await MainNodeBatches(Client(batch(8)), GENESIS).batch_to_sign(SEVEN)

    assert (caught.value.got, caught.value.want) == (8, 7)
    assert isinstance(caught.value, SourceError)


async def test_a_batch_of_another_genesis_is_refused():
    with pytest.raises(OtherGenesisAnswered) as caught:
        await MainNodeBatches(Client(batch(7, FORK)), GENESIS).batch_to_sign(SEVEN)

    assert (caught.value.got, caught.value.want) == (FORK, GENESIS)
    assert isinstance(caught.value, SourceError)


async def test_an_error_of_the_client_goes_through():
    with pytest.raises(SourceError, match="away"):
        await MainNodeBatches(Client(SourceError("away")), GENESIS).batch_to_sign(SEVEN)
