"""The document of a node with a large committee: no piece of it holds the loop for long."""

import trio
from app_kit import KEY, genesis_of
from attestrio.app.parts import RunningNode
from attestrio.app.seen import Seen
from attestrio.app.web import NodePage
from attestrio.config import NodeConfig
from attestrio.duty import DutyLog, EpochOf, Step
from attestrio.duty.book import BOOK
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from attestrio.roles import Batch, BatchHash, BatchNumber
from trio_util import AsyncValue

BATCHES = 8


async def test_others_run_between_the_pieces_of_the_first_document(tmp_path):
    genesis = genesis_of()
    duty = DutyLog(lambda: 100.0)
    duty.begin_epoch(EpochOf(1, genesis.hash(), genesis.attesters))
    seen = Seen(duty, lambda: 100.0)
    for number in range(BATCHES):
        duty.record(BatchNumber(number), Step.TOLD)
        duty.heard([KEY.sign_batch(Batch(BatchNumber(number), BatchHash(b"\x0a" * 32), genesis.hash()))])
        seen.attendance.told(BatchNumber(number))
    node = RunningNode(NodeConfig(), Metrics(), duty, AsyncValue(None), AsyncValue(None))
    page = NodePage(node, seen, KEY.public(), tmp_path / BOOK, inline)
    turns = 0

    async def votes():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(votes)
        await trio.lowlevel.checkpoint()
        began = turns
        view = await page.document()
        first = turns - began
        nursery.cancel_scope.cancel()

    assert len(view.batches) == BATCHES
    assert first >= BATCHES  # at most one batch at a time
