"""What the pages of an operator and of an aggregator show: their journals, as `status` tells them."""

from __future__ import annotations

from functools import partial
from typing import Any

from trio_util import AsyncValue

from attestrio.aggregator import report as aggregator_report
from attestrio.aggregator.runner import Serving
from attestrio.app.page import RolePage, Sections, l1_answers, l1_view
from attestrio.gorpc.client import GoRpcClient
from attestrio.journal import Journal
from attestrio.kit.metrics import Metrics
from attestrio.l1.provider import L1Provider
from attestrio.operator import report as operator_report
from attestrio.web.api import FactView, QueueView, TasksView, TaskView
from attestrio.web.health import Finding


def operator_page(metrics: Metrics, journal: Journal, chain: L1Provider, aggregator: GoRpcClient) -> RolePage:
    """What the journal says, whether Ethereum answers and the aggregator is connected."""

    def connected() -> Finding:
        if aggregator.connected:
            return Finding(True, f"the aggregator at {aggregator.address} is connected")
        return Finding(False, f"the aggregator at {aggregator.address} is not connected: responses wait")

    page = RolePage("operator", metrics, partial(operator_sections, journal, chain, aggregator.address))
    page.health.add("l1", l1_answers(chain))
    page.health.add("aggregator", connected)
    return page


def aggregator_page(
    metrics: Metrics, journal: Journal, chain: L1Provider, serving: AsyncValue[Serving | None]
) -> RolePage:
    """What the journal says, whether Ethereum answers, and whether this process leads."""

    def leads() -> Finding:
        if serving.value is None or serving.value.core.value is None:
            return Finding(False, "stands by: another process leads, or the journal is still being read")
        return Finding(True, "leads")

    def listening() -> str | None:
        return None if serving.value is None else serving.value.address

    page = RolePage("aggregator", metrics, partial(aggregator_sections, journal, chain), listening=listening)
    page.health.add("l1", l1_answers(chain))
    page.health.add("leads", leads)
    return page


async def operator_sections(journal: Journal, chain: L1Provider, aggregator: str) -> Sections:
    """Reads the whole journal."""
    report = await operator_report.report_of(journal)
    rows = [
        TaskView(
            batch=one["batch"], state=f"waits for {one['for']}", attempt=one["attempt"], due_in_s=round(one["due_in_s"])
        )
        for one in report.waiting
    ]
    rows += [
        TaskView(batch=one["batch"], state=one["ended"], reason=one["reason"], detail=one["detail"])
        for one in reversed(report.unanswered)
    ]
    return Sections(
        facts=[
            FactView(name="aggregator", value=aggregator),
            FactView(name="known before", value=_block(report.known_before)),
        ],
        l1=l1_view(chain, report.done_before, "confirmations"),
        queues=[
            QueueView(name="to be verified", waiting=report.work),
            QueueView(name="to be answered on the chain", waiting=report.outbox),
            QueueView(name="never taken", waiting=report.dead),
        ],
        tasks=TasksView(counts=dict(report.ended), rows=rows),
    )


async def aggregator_sections(journal: Journal, chain: L1Provider) -> Sections:
    """Reads the whole journal."""
    report, queue = await aggregator_report.report_of(journal), await aggregator_report.queue_of(journal)
    leader = "nobody" if report.leader is None or report.left_s <= 0 else report.leader
    rows = [
        *(_task(one, one["phase"], one["block"]) for one in queue.open),
        *(_task(one, "unknown", None) for one in queue.unknown),
        *(_task(one, "given up", None) for one in queue.dead),
    ]
    return Sections(
        facts=[
            FactView(name="leads", value=leader),
            FactView(name="operators known", value=str(report.operators)),
            *(FactView(name=f"parked: {reason}", value=str(count)) for reason, count in report.parked.items()),
        ],
        l1=l1_view(chain, report.scanned_before, "confirmations"),
        queues=[
            QueueView(
                name="signatures", waiting=report.signatures, detail=f"{report.orphans} of batches not on the chain"
            ),
            QueueView(name="batches looked for", waiting=report.unknown),
            QueueView(name="batches given up", waiting=report.dead),
        ],
        tasks=TasksView(counts={**report.tasks, **report.answers}, rows=rows, left_out=queue.left_out),
    )


def _task(one: dict[str, Any], state: str, block: int | None) -> TaskView:
    due = one.get("due_in_s")
    return TaskView(
        batch=one["batch"], state=state, reason=one["reason"], detail=one["detail"], block=block, signed=one["signed"],
        attempt=one.get("attempt"), due_in_s=None if due is None else round(max(due, 0.0)),
    )  # fmt: skip


def _block(number: int | None) -> str:
    return "nothing is scanned yet" if number is None else f"block {number}"
