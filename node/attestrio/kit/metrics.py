"""The registry every part counts in: one per node, never the process-wide one.

Two nodes in one process (a devnet, a story) keep apart, and asking for a metric twice gives the same one, so that a
part built again for a new epoch goes on counting where its predecessor stopped.
"""

from __future__ import annotations

import itertools
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.exposition import generate_latest as generate_plain
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

NAME = re.compile(r"attestrio_[a-z0-9_]*[a-z0-9]")
CONTENT_TYPE: str = CONTENT_TYPE_LATEST
PLAIN_CONTENT_TYPE: str = CONTENT_TYPE_PLAIN_0_0_4

# From a tenth of a millisecond (one signature) to a minute (a certificate that waits for people).
SECONDS: tuple[float, ...] = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

MetricT = TypeVar("MetricT", bound=MetricWrapperBase)
Labels = Mapping[str, Iterable[str]]


@dataclass(frozen=True, slots=True)
class MetricDoc:
    """One line of `docs/metrics.md`. `labels` are the label names, in order."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]


class Metrics:
    """Counters, gauges and histograms of one node; `render()` is what `/metrics` answers.

    `labels` maps a label's name to the values known beforehand. Where every label has some, all combinations start
    at 0, because a missing series and a zero mean different things to an alert. A label with no known values (a
    member's key) starts empty; whoever uses it bounds it. The objects returned are prometheus_client's own:
    `metric.inc()`, or `metric.labels(result="ok").inc()`.
    """

    def __init__(self, version: str | None = None) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._metrics: dict[str, tuple[MetricWrapperBase, MetricDoc]] = {}
        ProcessCollector(namespace="attestrio", registry=self._registry)
        build = Info("attestrio_build", "What runs here.", registry=self._registry)
        self.version = version or _installed_version()
        """Of this package."""
        build.info({"version": self.version, "python": platform.python_version()})

    def counter(self, name: str, help: str, labels: Labels | None = None) -> Counter:
        """A number that only grows. The series ends in `_total`, whether or not `name` does."""
        return self._get(Counter, name.removesuffix("_total"), help, labels or {})

    def gauge(self, name: str, help: str, labels: Labels | None = None) -> Gauge:
        """A number that goes up and down."""
        return self._get(Gauge, name, help, labels or {})

    def histogram(
        self, name: str, help: str, labels: Labels | None = None, buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        """Observations sorted into buckets; the default ones are for seconds."""
        return self._get(Histogram, name, help, labels or {}, buckets=buckets)

    def render(self) -> bytes:
        """All series in OpenMetrics text, ending in `# EOF`. O(series); serve it with `CONTENT_TYPE`."""
        text: bytes = generate_latest(_WithoutCreated(self._registry))  # type: ignore[no-untyped-call]
        return text

    def render_plain(self) -> bytes:
        """The same in Prometheus's older text, for those who read no other; serve it with `PLAIN_CONTENT_TYPE`."""
        text: bytes = generate_plain(_WithoutCreated(self._registry))
        return text

    def value(self, name: str, **labels: str) -> float:
        """The present value of one series, for tests. Raises KeyError where there is no such series.

        A counter is found with or without `_total`; of a histogram ask for `name_count` or `name_sum`.
        """
        for candidate in (name, f"{name}_total"):
            found = self._registry.get_sample_value(candidate, labels)
            if found is not None:
                return found
        raise KeyError(f"no series {name} with labels {labels}")

    def describe(self) -> tuple[MetricDoc, ...]:
        """What has been asked for so far, by name; the process and build series are not in it."""
        return tuple(doc for _, (_, doc) in sorted(self._metrics.items()))

    def _get(self, kind: type[MetricT], name: str, help: str, labels: Labels, **more: object) -> MetricT:
        """The metric of that name, made if it is new. Raises ValueError where it exists as something else."""
        if not NAME.fullmatch(name):
            raise ValueError(f"a metric is called attestrio_..., lower case: {name!r}")
        series = f"{name}_total" if kind is Counter else name
        doc = MetricDoc(series, kind.__name__.lower(), help, tuple(labels))
        if name in self._metrics:
            metric, known = self._metrics[name]
            if not isinstance(metric, kind) or known.labels != doc.labels:
                raise ValueError(f"{series} exists as a {known.kind} with labels {known.labels}")
        else:
            metric = kind(name, help, labelnames=doc.labels, registry=self._registry, **more)  # type: ignore[arg-type]
            self._metrics[name] = metric, doc
        if labels:
            for values in itertools.product(*labels.values()):
                metric.labels(*values)
        return metric


class _WithoutCreated:
    """A registry's view without `_created` samples, which double the text and which nobody here reads."""

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            kept = [sample for sample in family.samples if not sample.name.endswith("_created")]
            family.samples = kept
            yield family


def _installed_version() -> str:
    try:
        return metadata.version("attestrio")
    except metadata.PackageNotFoundError:
        return "unknown"
