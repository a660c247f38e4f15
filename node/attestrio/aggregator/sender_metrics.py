"""What the sender counts."""

from __future__ import annotations

from attestrio.aggregator.answer import Why
from attestrio.kit.metrics import Metrics

RESULTS = ("sent", "replaced", "resent", "filler", "refused")


class SenderMetrics:
    """The series of a sender; asked for twice they are the same."""

    def __init__(self, metrics: Metrics) -> None:
        counter, gauge, histogram = metrics.counter, metrics.gauge, metrics.histogram
        self.transactions = counter(
            "attestrio_aggregator_transactions_total", "Transactions handed to the network, and those it refused.",
            {"result": RESULTS},
        )  # fmt: skip
        self.settled = counter(
            "attestrio_aggregator_settled_total", "Batches whose answer is deep enough in the chain, by whose it is.",
            {"by": ("us", "others")},
        )  # fmt: skip
        self.put_off = counter(
            "attestrio_aggregator_answers_put_off_total", "Answers that were not sent, or refused, by the reason.",
            {"reason": [one.value for one in Why]},
        )  # fmt: skip
        self.reorgs = counter(
            "attestrio_aggregator_answers_reorged_total", "Answers that were in a block and are not any more."
        )
        self.far = counter(
            "attestrio_aggregator_far_nonces_total",
            "Nonces in use that were found far above what the chain has used: a node was wrong. Gaps up to them are not"
            " filled.",
        )
        self.given_up = counter(
            "attestrio_aggregator_nonces_given_up_total",
            "Nonces far above what the chain has used that were given up for others.",
        )
        self.parked = gauge("attestrio_aggregator_parked_answers", "Answers that wait for a person or a price.")
        self.held = gauge(
            "attestrio_aggregator_sending_held", "1 while nothing is sent: not the aggregator, or no money for gas."
        )
        self.price = gauge("attestrio_aggregator_gas_price_wei", "What was offered last, per gas.")
        self.bumps = counter(
            "attestrio_aggregator_gas_price_bumps_total", "Transactions that were replaced by one at a higher price."
        )
        self.gas_paid = counter(
            "attestrio_aggregator_gas_paid_wei_total",
            "Wei paid for gas by transactions that are deep enough in the chain, or were mined and refused.",
        )
        self.gas_above_limit = counter(
            "attestrio_aggregator_gas_paid_above_limit_wei_total",
            "Wei of that by which answers cost more than their batchers pay at most.",
        )
        self.answers_above_limit = counter(
            "attestrio_aggregator_answers_above_limit_total", "Answers that cost more than their batchers pay at most."
        )
        self.balance = gauge(
            "attestrio_aggregator_balance_wei", "What the account that pays for gas has; NaN until it was read."
        )
        self.balance.set(float("nan"))
        self.latency_s = histogram(
            "attestrio_aggregator_answer_seconds", "From the first transaction of an answer to its block.",
            buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 1800),
        )  # fmt: skip
