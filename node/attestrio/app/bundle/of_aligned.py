"""How far an operator or an aggregator is, by its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from attestrio.aggregator.report import report_of as report_of_aggregator
from attestrio.app.aggregator import standing_journal
from attestrio.app.aggregator_config import AggregatorConfig
from attestrio.app.operator import JOURNAL
from attestrio.app.operator_config import OperatorConfig
from attestrio.configuring import Section
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import in_thread
from attestrio.operator.report import report_of as report_of_operator


async def journal(made: Section) -> dict[str, Any] | None:
    """What `status` of the role prints; None where it never ran. Raises what opening the journal raises."""
    if isinstance(made, AggregatorConfig):
        async with standing_journal(made) as standing:
            return (await report_of_aggregator(standing)).document()
    assert isinstance(made, OperatorConfig)
    path = Path(made.operator.data_dir) / JOURNAL
    if not path.exists():
        return None
    rows = SqliteJournal(path, in_thread)
    async with trio.open_nursery() as nursery:
        await nursery.start(rows.run)
        told = (await report_of_operator(rows)).document()
        await rows.close()
        nursery.cancel_scope.cancel()
    return told
