"""What the pages of an operator and of an aggregator show: their journals, as `status` tells them."""

from __future__ import annotations

from functools import partial
from typing import Any

from trio_util import AsyncValue

from attestrio.aggregator import report as aggregator_report
from attestrio.aggregator.desk import Absent
from attestrio.aggregator.runner import Serving
from attestrio.app.page import RolePage, Sections, l1_answers, l1_view
from attestrio.duty import Reason
from attestrio.gorpc.client import GoRpcClient
from attestrio.journal import Journal
from attestrio.kit.metrics import Metrics
from attestrio.l1.provider import L1Provider
from attestrio.operator import report as operator_report
from attestrio.web.api import FactView, QueueView, TasksView, TaskView
from attestrio.web.health import Finding


def operator_page(
    metrics: Metrics,
    journal: Journal,
    chain: L1Provider,
    aggregator: GoRpcClient,
    *,
    key: str,
    behind: int = 0,
    name: str = "",
) -> RolePage:
    """What the journal says, whether Ethereum answers and the aggregator is connected.

    `behind`: how many blocks below the newest a scan ends.
    """

    def connected() -> Finding:
        if aggregator.connected:
            return Finding(True, f"the aggregator at {aggregator.address} is connected")
        return Finding(False, f"the aggregator at {aggregator.address} is not connected: responses wait")

    read = partial(operator_sections, journal, chain, aggregator.address, behind)
    page = RolePage("operator", metrics, read, name=name, key=key)
    page.health.add("l1", l1_answers(chain))
    page.health.add("aggregator", connected)
    return page


def aggregator_page(
    metrics: Metrics,
    journal: Journal,
    chain: L1Provider,
    serving: AsyncValue[Serving | None],
    *,
    key: str,
    behind: int = 0,
) -> RolePage:
    """What the journal says, whether Ethereum answers, and whether this process leads, or can as soon as it has to."""

    def listening() -> str | None:
        return None if serving.value is None else serving.value.address

    read = partial(aggregator_sections, journal, chain, behind, serving)
    page = RolePage("aggregator", metrics, read, key=key, listening=listening)
    page.health.add("l1", l1_answers(chain))
    page.health.add("leads", lambda: leads(serving.value))
    return page


def leads(serving: Serving | None) -> Finding:
    """Whether this process leads or stands by: both are well. One that could not take the lead over is not."""
    if serving is None:
        return Finding(False, "starts")
    if serving.core.value is not None:
        return Finding(True, "leads")
    absent = serving.absent()
    if absent is Absent.NOT_THE_LEADER:
        return Finding(True, "standby: another process leads, and this one takes over when it has to")
    if absent is Absent.STARTING:
        return Finding(False, "the journal is being read")
    return Finding(False, f"nothing can be recorded: {absent.value}")


async def operator_sections(journal: Journal, chain: L1Provider, aggregator: str, behind: int) -> Sections:
    """Reads the whole journal."""
    report = await operator_report.report_of(journal)
    rows = [_waiting(one) for one in report.waiting]
    rows += [_ended(one) for one in reversed(report.unanswered)]
    rows += [_ended(one) for one in report.newest]
    return Sections(
        facts=[
            FactView(name="aggregator", value=aggregator),
            FactView(name="known before", value=_block(report.known_before)),
        ],
        l1=l1_view(chain, report.done_before, _finality(behind)),
        queues=[
            QueueView(name="to be verified", waiting=report.work),
            QueueView(name="to be answered on the chain", waiting=report.outbox),
            QueueView(name="never taken", waiting=report.dead),
        ],
        tasks=TasksView(counts=dict(report.ended), rows=rows),
    )


async def aggregator_sections(
    journal: Journal, chain: L1Provider, behind: int, serving: AsyncValue[Serving | None]
) -> Sections:
    """Reads the whole journal."""
    report, queue = await aggregator_report.report_of(journal), await aggregator_report.queue_of(journal)
    leader = "nobody" if report.leader is None or report.left_s <= 0 else report.leader
    if serving.value is not None and serving.value.core.value is not None:
        leader = "this process"
    rows = [
        *(_task(one, one["phase"], one["block"]) for one in queue.open),
        *(_task(one, "unknown", None) for one in queue.unknown),
        *(_task(one, "given up", None) for one in queue.dead),
        *(_task(one, one["phase"], one["block"]) for one in queue.newest),
    ]
    return Sections(
        facts=[
            FactView(name="leads", value=leader),
            FactView(name="operators known", value=str(report.operators)),
            *(FactView(name=f"parked: {reason}", value=str(count)) for reason, count in report.parked.items()),
        ],
        l1=l1_view(chain, report.scanned_before, _finality(behind)),
        queues=[
            QueueView(
                name="signatures",
                waiting=report.signatures,
                detail=f"({report.orphans} of batches not on the chain)" if report.orphans else "",
            ),
            QueueView(name="batches looked for", waiting=report.unknown),
            QueueView(name="batches given up", waiting=report.dead),
        ],
        tasks=TasksView(counts={**report.tasks, **report.answers}, rows=rows, left_out=queue.left_out),
    )


def _waiting(one: dict[str, Any]) -> TaskView:
    if one["leased"]:
        return TaskView(batch=one["batch"], state=f"at {one['for']} now", attempt=one["attempt"])
    return TaskView(
        batch=one["batch"], state=f"waits for {one['for']}", attempt=one["attempt"], due_in_s=round(one["due_in_s"])
    )


def _ended(one: dict[str, Any]) -> TaskView:
    reason = "" if one["reason"] == Reason.OK else one["reason"]
    return TaskView(batch=one["batch"], state=one["ended"], reason=reason, detail=one["detail"], at=one["at"] or None)


def _task(one: dict[str, Any], state: str, block: int | None) -> TaskView:
    due = one.get("due_in_s")
    return TaskView(
        batch=one["batch"], state=state, reason=one["reason"], detail=one["detail"], block=block, signed=one["signed"],
        attempt=one.get("attempt"), due_in_s=None if due is None else round(max(due, 0.0)),
    )  # fmt: skip


def _finality(behind: int) -> str:
    return f"{behind} blocks below the newest" if behind else "newest block"


def _block(number: int | None) -> str:
    return "nothing is scanned yet" if number is None else f"block {number}"
