"""What became of one batch, told out of a journal: what a reorg took away, what was looked for and given up."""

from contextlib import asynccontextmanager

import pytest
import trio
from attestrio.aggregator import rows as aggregator
from attestrio.aggregator.explain import explain as explain_aggregator
from attestrio.journal import Item, Put, SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.operator import rows as operator
from attestrio.operator.explain import explain as explain_operator
from msgspec import structs

ONE = b"\x01" * 32
TASK = aggregator.Task(b"r" * 32, b"s" * 20, 7, b"h" * 32, 0, 1, "http://storage/x")


@asynccontextmanager
async def opened(path):
    journal = SqliteJournal(path, inline)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield journal
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("void", [False, True])
async def test_an_operator_says_that_a_reorg_took_a_batch_off_the_chain(tmp_path, void):
    row = operator.OnChain(b"r" * 32, b"s" * 20, 7, 0, "http://storage/x", void=void)

    async with opened(tmp_path / "operator.db") as journal:
        await journal.append(operator.WORK, [], put=[Put(operator.CHAIN, ONE, operator.pack(row))])
        told = await explain_operator(journal, ONE)
        stranger = await explain_operator(journal, b"\x02" * 32)

    assert stranger is None
    assert any("a reorg took it off the chain" in one.text for one in told.moments) is void
    assert told.document["void"] is void


@pytest.mark.parametrize(
    ("task", "state", "why"),
    [
        (TASK, "waiting", "it waits for signatures, its turn, a price, or a block"),
        (structs.replace(TASK, void=True), "void", "a reorg took the batch off the chain, and it has not come back"),
    ],
)
async def test_an_aggregator_says_what_a_batch_of_the_chain_waits_for(tmp_path, task, state, why):
    async with opened(tmp_path / "aggregator.db") as journal:
        await journal.append(aggregator.DEAD, [], put=[Put(aggregator.TASKS, ONE, aggregator.pack(task))])
        told = await explain_aggregator(journal, ONE)

    assert (told.state, told.why) == (state, why)


@pytest.mark.parametrize(
    ("topic", "reason", "state", "why"),
    [
        (aggregator.UNKNOWN, "", "looked for", "operators signed it, and it is looked for on the chain"),
        (aggregator.DEAD, "not_found", "given up", "not_found: in 100 blocks"),
    ],
)
async def test_an_aggregator_says_of_a_batch_that_the_chain_lacks_whether_it_still_looks(
    tmp_path, topic, reason, state, why
):
    claim = aggregator.Claim(b"r" * 32, b"s" * 20, 5, reason, "in 100 blocks" if reason else "")

    async with opened(tmp_path / "aggregator.db") as journal:
        await journal.append(topic, [Item(aggregator.claim_key(ONE, 0), aggregator.pack(claim))])
        told = await explain_aggregator(journal, ONE)

    assert (told.state, told.why) == (state, why)
