"""Prometheus itself understands what every panel of the shipped dashboard asks for, and what is served to it."""

import json
import subprocess
from pathlib import Path

import pytest
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.kit.metrics import Metrics
from suite import needs, patient

pytestmark = [pytest.mark.real, needs("promtool")]

DASHBOARD = Path(__file__).parents[2] / "configs" / "grafana" / "dashboard.json"


def checked(expressions, folder):
    """What promtool says to rules made of `expressions`; JSON is YAML too."""
    rules = [{"record": f"panel:{index}", "expr": one} for index, one in enumerate(expressions)]
    (folder / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    return subprocess.run(
        ["promtool", "check", "rules", str(folder / "panels.yml")], capture_output=True, text=True, timeout=patient(60)
    )


def test_every_panel_asks_what_prometheus_understands(tmp_path):
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]

    done = checked(asked, tmp_path)

    assert len(asked) > 30
    assert done.returncode == 0, done.stdout + done.stderr
    assert checked(["rate(attestrio_votes_total"], tmp_path).returncode != 0, "it looks at them"


def test_promtool_finds_nothing_wrong_with_what_is_served():
    metrics = Metrics()
    AggregatorMetrics(metrics)
    metrics.histogram("attestrio_sign_seconds", "Signing.", {"result": ("ok", "failed")})

    done = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.render_plain(), capture_output=True, timeout=patient(60)
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
