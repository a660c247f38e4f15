"""What an operator counts."""

from __future__ import annotations

from attestrio.kit.metrics import Metrics
from attestrio.operator.rows import Ended

RESPONSES = ("acknowledged", "refused", "permanent", "lost", "late", "unreadable")


class OperatorMetrics:
    """The series of an operator; asked for twice they are the same."""

    def __init__(self, metrics: Metrics) -> None:
        counter, gauge = metrics.counter, metrics.gauge
        self.batches = counter(
            "attestrio_operator_batches_total", "Batches that ended, by how.",
            {"end": [one.value for one in Ended if one is not Ended.OPEN]},
        )  # fmt: skip
        self.proofs = counter(
            "attestrio_operator_proofs_total", "Proofs verified, by result.", {"result": ["valid", "invalid"]}
        )
        self.failures = counter(
            "attestrio_operator_failures_total", "Attempts at a batch that gave no verdict, by the code of the error.",
            {"code": []},
        )  # fmt: skip
        self.events_dropped = counter("attestrio_operator_events_dropped_total", "Logs that could not be read.")
        self.responses = counter(
            "attestrio_operator_responses_total",
            "Responses sent, by what came back. refused: reply 1 or an error text, sent again; permanent: never again.",
            {"result": RESPONSES},
        )
        self.connected = gauge("attestrio_operator_aggregator_connected", "1 while the aggregator is connected.")
        self.work = gauge("attestrio_operator_work_rows", "Batches without a verdict.")
        self.outbox = gauge("attestrio_operator_outbox_rows", "Responses not seen on the chain yet.")
        self.dead = gauge("attestrio_operator_dead_rows", "Responses that the aggregator will never take.")
        self.watermark = gauge("attestrio_operator_watermark_block", "Everything before this block is processed.")
