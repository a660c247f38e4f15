"""What the pages of an operator and of an aggregator show of what waits and of what was given up."""

from contextlib import asynccontextmanager

import pytest
import trio
from attestrio.aggregator import rows as aggregator
from attestrio.app.aligned_pages import aggregator_sections, operator_sections
from attestrio.journal import Item, Put, SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.provider import L1Provider
from attestrio.operator import rows as operator
from attestrio.operator.progress import Watermark
from trio_util import AsyncValue

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
CHAIN = operator.OnChain(b"r" * 32, b"s" * 20, 7, 0, "http://storage/x")


@pytest.fixture
def chain():
    return L1Provider([Endpoint("http://127.0.0.1:9", 1)])


@asynccontextmanager
async def opened(path):
    journal = SqliteJournal(path, inline)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield journal
        nursery.cancel_scope.cancel()


def waiting(sections):
    return {queue.name: queue.waiting for queue in sections.queues}


async def test_an_operator_shows_each_of_its_queues_and_how_far_it_is(tmp_path, chain):
    async with opened(tmp_path / "operator.db") as journal:
        mark = Put(operator.ABOUT, operator.MARK, Watermark(7, 0).to_bytes())
        for topic, batches in (
            (operator.WORK, [ONE]),
            (operator.OUTBOX, [ONE, TWO]),
            (operator.DEAD, [ONE, TWO, THREE]),
        ):
            await journal.append(topic, [Item(operator.key_of(one, CHAIN, None)) for one in batches], put=[mark])
        sections = await operator_sections(journal, chain, "a:1", 0)

    assert waiting(sections) == {"to be verified": 1, "to be answered on the chain": 2, "never taken": 3}
    assert sections.l1.cursor == 7


async def test_an_aggregator_shows_what_it_looks_for_and_what_it_gave_up_and_why(tmp_path, chain):
    claim = aggregator.Claim(b"r" * 32, b"s" * 20, 5)
    dead = aggregator.Claim(b"r" * 32, b"s" * 20, 5, "not_found", "in 100 blocks")

    async with opened(tmp_path / "aggregator.db") as journal:
        await journal.append(aggregator.UNKNOWN, [Item(aggregator.claim_key(ONE, 0), aggregator.pack(claim))])
        await journal.append(
            aggregator.DEAD, [Item(aggregator.claim_key(one, 0), aggregator.pack(dead)) for one in (TWO, THREE)]
        )
        sections = await aggregator_sections(journal, chain, 0, AsyncValue(None))

    assert waiting(sections) == {"signatures": 0, "batches looked for": 1, "batches given up": 2}
    assert [(row.batch[2:4], row.state, row.reason, row.detail) for row in sections.tasks.rows] == [
        ("01", "unknown", "", ""), ("02", "given up", "not_found", "in 100 blocks"),
        ("03", "given up", "not_found", "in 100 blocks"),
    ]  # fmt: skip
