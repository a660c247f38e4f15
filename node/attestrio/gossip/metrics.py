"""What the network counts. Every series is there from the start of the process."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter

from attestrio.gossip.peers import Direction
from attestrio.gossip.rpc.methods import METHODS
from attestrio.kit.metrics import Metrics

_METHODS = [spec.name for spec in METHODS]
_RESULTS = ("answered", "refused")


class GossipMetrics:
    """The series of one process."""

    def __init__(self, metrics: Metrics) -> None:
        self.connections = metrics.gauge(
            "attestrio_gossip_connections", "Peers that are connected now, by who dialled.", {"direction": [*Direction]}
        )
        self.handshakes = metrics.counter(
            "attestrio_gossip_handshakes_total", "Connections that were dialled or accepted, by how they began.",
            {"direction": [*Direction], "result": ("done", "failed")},
        )  # fmt: skip
        self.skipped = metrics.counter(
            "attestrio_gossip_accept_skipped_total", "Connections that were gone before, or could not be, accepted."
        )
        self.received = metrics.counter(
            "attestrio_gossip_received_bytes_total", "Bytes off the sockets of peers; counted every few seconds."
        )
        self.sent = metrics.counter(
            "attestrio_gossip_sent_bytes_total", "Bytes onto the sockets of peers; counted every few seconds."
        )
        labels = {"method": _METHODS, "result": _RESULTS}
        served = metrics.counter("attestrio_gossip_requests_total", "Calls of peers, by method.", labels)
        called = metrics.counter("attestrio_gossip_calls_total", "Calls of this node, by method.", labels)
        # looked up once: finding a series by its labels costs more than counting
        self._served, self._called = _increments(served), _increments(called)

    def served(self, method: str, answered: bool) -> None:
        self._served[method, answered]()

    def called(self, method: str, answered: bool) -> None:
        self._called[method, answered]()


def _increments(counter: Counter) -> dict[tuple[str, bool], Callable[[], None]]:
    return {
        (method, answered): counter.labels(method=method, result=result).inc
        for method in _METHODS
        for answered, result in ((True, "answered"), (False, "refused"))
    }
