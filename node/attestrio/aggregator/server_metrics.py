"""What the Go RPC server of an aggregator counts, beside what becomes of signatures (`metrics`)."""

from __future__ import annotations

from attestrio.kit.metrics import Metrics


class ServerMetrics:
    """The series of the server; asked for twice they are the same."""

    def __init__(self, metrics: Metrics) -> None:
        counter, gauge, histogram = metrics.counter, metrics.gauge, metrics.histogram
        self.call_s = histogram(
            "attestrio_aggregator_call_seconds", "From a request that is decoded to its answer that is written."
        )
        self.groups = counter(
            "attestrio_aggregator_groups_total", "Groups of signatures of one batch that were verified together."
        )
        self.verified = counter(
            "attestrio_aggregator_verified_signatures_total", "Signatures in those groups.", {"result": ["good", "bad"]}
        )
        self.joined = counter(
            "attestrio_aggregator_joined_calls_total", "Calls that waited for the verification another one had begun."
        )
        self.records = counter("attestrio_aggregator_records_total", "Transactions that recorded signatures.")
        self.hung_up = counter(
            "attestrio_aggregator_hung_up_total", "Connections closed for too many responses that are refused for good."
        )
        self.evidence = counter(
            "attestrio_aggregator_evidence_total", "Second signatures under one operator id for one batch, kept."
        )
        self.waiting = gauge("attestrio_aggregator_waiting_signatures", "Signatures that wait to be verified.")
