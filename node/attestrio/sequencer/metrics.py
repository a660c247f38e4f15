"""What a sequencer counts of itself."""

from __future__ import annotations

from attestrio.kit.metrics import Metrics


class SequencerMetrics:
    """The numbers of one chain."""

    def __init__(self, metrics: Metrics) -> None:
        self.batch = metrics.gauge("attestrio_sequencer_batch", "The last batch that has a block.")
        self.block = metrics.gauge("attestrio_sequencer_block", "The last block.")
        self.waiting = metrics.gauge("attestrio_sequencer_pool_transactions", "Transactions that wait for a block.")
        self.included = metrics.counter("attestrio_sequencer_transactions_total", "Transactions put into blocks.")
        self.dropped = metrics.counter(
            "attestrio_sequencer_dropped_transactions_total", "Transactions that could be put into no block."
        )
        self.halted = metrics.gauge("attestrio_sequencer_halted", "1 while nothing is built, until somebody acts.")
