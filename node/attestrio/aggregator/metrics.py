"""What an aggregator counts."""

from __future__ import annotations

from attestrio.aggregator.rows import Phase
from attestrio.kit.metrics import Metrics

SIGNATURES = ("accepted", "duplicate", "finished", "bad_signature", "not_in_quorum", "bad_identifier", "unreadable",
              "unknown_operator", "orphans_full", "temporary")  # fmt: skip

SEARCHES = ("known", "found", "missing", "failed", "given_up")


class AggregatorMetrics:
    """The series of an aggregator; asked for twice they are the same."""

    def __init__(self, metrics: Metrics) -> None:
        counter, gauge, histogram = metrics.counter, metrics.gauge, metrics.histogram
        self.signatures = counter(
            "attestrio_aggregator_signatures_total", "Signatures that operators sent, by what became of them.",
            {"result": SIGNATURES},
        )  # fmt: skip
        self.tasks = counter("attestrio_aggregator_tasks_total", "Batches that were taken up.")
        self.tasks_void = counter("attestrio_aggregator_tasks_void_total", "Batches that a reorg took off the chain.")
        self.verified = counter("attestrio_aggregator_verified_total", "BatchVerified events of batches taken up.")
        self.quorums = counter("attestrio_aggregator_quorums_total", "Batches that reached quorum.")
        self.quorum_s = histogram(
            "attestrio_aggregator_quorum_seconds", "From taking a batch up, in this run, to its quorum.",
            buckets=(0.5, 1, 2, 5, 10, 20, 60, 300, 1800),
        )  # fmt: skip
        self.rechecked = counter(
            "attestrio_aggregator_signatures_removed_total", "Signatures taken out again after a refused aggregate."
        )
        self.snapshots = counter(
            "attestrio_aggregator_snapshots_total", "Readings of who is in the quorum.", {"result": ["read", "failed"]}
        )
        self.rounds = counter(
            "attestrio_aggregator_recovery_rounds_total", "Times the chain was asked for all unknown batches at once."
        )
        self.searches = counter(
            "attestrio_aggregator_searches_total",
            "Unknown batches looked for. known: the scanner brought it; missing: the chain has no event, asked again;"
            " failed: the chain did not answer, asked again; given_up: the same for longer than the horizon.",
            {"result": SEARCHES},
        )
        self.collected = counter("attestrio_aggregator_tasks_forgotten_total", "Batches forgotten, answered long ago.")
        self.events_dropped = counter("attestrio_aggregator_events_dropped_total", "Logs that could not be read.")
        self.leads = gauge(
            "attestrio_aggregator_leads",
            "1 while this process leads; 0: it stands by, and its other numbers are those of its last term.",
        )
        self.open = gauge("attestrio_aggregator_open_tasks", "Batches on the chain without an answer.")
        self.orphans = gauge("attestrio_aggregator_orphan_signatures", "Signatures of batches nobody knows yet.")
        self.unknown = gauge("attestrio_aggregator_unknown_tasks", "Batches that the chain has to explain.")
        self.dead = gauge("attestrio_aggregator_dead_tasks", "Batches that the chain did not explain, given up.")
        self.operators = gauge("attestrio_aggregator_operator_keys", "Operators whose keys are known.")
        self.ready = gauge("attestrio_aggregator_ready_tasks", "Batches with a quorum and without an answer.")
        self.scanned = gauge("attestrio_aggregator_scanned_block", "The last block that is scanned whole.")
        self.answers = gauge(
            "attestrio_aggregator_answers", "Answers on their way, by phase.", {"phase": [one.value for one in Phase]}
        )
