"""Commands from a terminal: left in the journal for whoever leads, or carried out where nobody does."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import trio

from attestrio.aggregator import rows
from attestrio.aggregator.commands import Command, Reply, carry_out
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.runner import LEAD
from attestrio.aggregator.state import AggregatorState
from attestrio.app.aggregator import owner_of, settings_of, standing_journal
from attestrio.app.aggregator_config import AggregatorConfig
from attestrio.errors import DataDirInUse
from attestrio.journal import Fenced, Journal
from attestrio.kit.datadir import DataDir
from attestrio.kit.metrics import Metrics
from attestrio.operator.errors import NothingSuch

REPLY_S: Final = 15.0  # for whoever leads, which looks every second; and longer than a dead leader keeps the lead
LOOK_S: Final = 0.1


async def tell(command: Command, config: AggregatorConfig) -> Reply:
    """What came of a command. Raises NoAggregator, NothingSuch where nobody takes it, JournalAway."""
    key = os.urandom(16)
    async with standing_journal(config) as journal:
        await journal.put(rows.COMMANDS, key, rows.pack(command))
        with trio.move_on_after(REPLY_S + config.journal.lead_s):
            while True:
                await stand_in(journal, config)
                raw = await journal.get(rows.REPLIES, key)
                if raw is not None:
                    await journal.put(rows.REPLIES, key, None)
                    return rows.unpack(raw, Reply)
                await trio.sleep(LOOK_S)
        await journal.put(rows.COMMANDS, key, None)
    raise NothingSuch("the aggregator that leads did not answer in time")


async def stand_in(journal: Journal, config: AggregatorConfig) -> None:
    """Take the lead and carry out what is asked for, unless somebody else leads."""
    with ExitStack() as alone:
        if not config.journal.redis_url:
            try:
                alone.enter_context(DataDir.open(Path(config.aggregator.data_dir)))
            except DataDirInUse:
                return
        fence = await journal.lead(LEAD, owner_of(config), config.journal.lead_s)
        if fence is None:
            return
        try:
            metrics = AggregatorMetrics(Metrics())
            state = AggregatorState(Fenced(journal, fence), metrics, settings_of(config).collect)
            await state.load({})
            await carry_out(state)
        finally:
            with trio.CancelScope(shield=True):
                await journal.resign(fence)
