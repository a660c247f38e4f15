"""What Prometheus would have stored of a story: registries rendered every 15 s of virtual time, for promtool."""

import json
import math
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import trio
import yaml
from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).parent.parent.parent / "configs" / "grafana" / "alerts.yml"
EVERY_S = 15.0
JOB = "attestrio"
SERIES = re.compile(r"attestrio_[a-z0-9_]+")
STALE = "stale"


def rules():
    """Every rule of the file, in order."""
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def asked_for():
    """The names of all series that a rule reads."""
    return {name for rule in rules() for name in SERIES.findall(rule["expr"])}


@cache
def series_of(head, instance):
    """Name and labels of a series that is written `head`, as a scrape of `instance` stores it."""
    ((sample,),) = (family.samples for family in text_string_to_metric_families(f"{head} 0\n"))
    return sample.name, tuple(sorted((sample.labels | {"instance": instance, "job": JOB}).items()))


@dataclass(frozen=True)
class Fired:
    """One alert with the labels it has beside its own name, the job and what the rule says."""

    alert: str
    labels: frozenset

    @classmethod
    def of(cls, alert, **labels):
        return cls(f"Attestrio{alert}", frozenset({"job": JOB, **labels}.items()))


@dataclass(eq=False)
class Recording:
    """`targets` are what is scraped now: by instance, the registries of the process, or None while it is down.

    `expected` says, for each time in seconds since the beginning, exactly which alerts fire then.
    """

    targets: dict = field(default_factory=dict)
    series: dict = field(default_factory=dict)
    scrapes: int = 0
    expected: list = field(default_factory=list)
    _wanted: set = field(default_factory=asked_for)

    async def run(self):
        while True:
            for instance in list(self.targets):
                self._scrape(instance)
            self.scrapes += 1
            await trio.sleep(EVERY_S)

    @contextmanager
    def target(self, instance, *registries):
        """Scraped while the body runs, and down afterwards."""
        self.targets[instance] = lambda: registries
        try:
            yield
        finally:
            self.targets[instance] = lambda: None

    async def hold(self, minutes, *fired):
        """Let time pass; at its end these alerts fire and no others."""
        await trio.sleep(60.0 * minutes + 1.0)  # behind the scrape
        self.expected.append(((self.scrapes - 1) * EVERY_S, frozenset(fired)))

    def _scrape(self, instance):
        registries = self.targets[instance]()
        found = {("up", (("instance", instance), ("job", JOB))): float(registries is not None)}
        for registry in registries or ():
            for line in registry.render().decode().splitlines():
                if SERIES.match(line) and SERIES.match(line)[0] in self._wanted:
                    head, _, value = line.rpartition(" ")
                    found[series_of(head, instance)] = float(value)
        for key, value in found.items():
            values = self.series.setdefault(key, [])
            values += ["_"] * (self.scrapes - len(values))
            values.append(value)
        for key, values in self.series.items():
            if ("instance", instance) in key[1] and len(values) == self.scrapes and values and values[-1] != "_":
                values.append(STALE if values[-1] != STALE else "_")

    # --- for promtool

    def document(self, rules_file):
        """The unit test as promtool reads it (JSON is YAML too)."""
        inputs = [
            {"series": _shown(name, labels), "values": _packed(values)}
            for (name, labels), values in self.series.items()
        ]
        return json.dumps(
            {
                "rule_files": [str(rules_file)],
                "evaluation_interval": "15s",
                "tests": [{"interval": "15s", "input_series": inputs, "alert_rule_test": list(self._cases())}],
            }
        )

    def _cases(self):
        for at, fired in self.expected:
            for rule in rules():
                yield {
                    "eval_time": f"{at:.0f}s",
                    "alertname": rule["alert"],
                    "exp_alerts": [_alert(rule, dict(one.labels)) for one in fired if one.alert == rule["alert"]],
                }

    @property
    def fired(self):
        """The names of all alerts that some moment states."""
        return {one.alert for _, fired in self.expected for one in fired}


def _alert(rule, labels):
    texts = {
        name: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels.get(found[1], ""), text)
        for name, text in rule["annotations"].items()
    }
    return {"exp_labels": labels | rule["labels"], "exp_annotations": texts}


def _shown(name, labels):
    return name + "{" + ", ".join(f"{key}={json.dumps(value)}" for key, value in labels) + "}"


def _packed(values):
    """Values in promtool's notation; a run of equal ones is written once."""
    runs = []
    for value in values:
        text = _number(value)
        if runs and runs[-1][0] == text:
            runs[-1][1] += 1
        else:
            runs.append([text, 1])
    return " ".join(_run(text, count) for text, count in runs)


def _run(text, count):
    if count == 1 or text in (STALE, "NaN"):
        return " ".join([text] * count)
    return f"_x{count}" if text == "_" else f"{text}x{count - 1}"


def _number(value):
    if isinstance(value, str):
        return value
    return "NaN" if math.isnan(value) else repr(value)
