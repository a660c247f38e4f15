"""The dashboard, its provisioning and the alerts: they ask for what exists, and every alert has its page."""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
GRAFANA = ROOT / "configs" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [
    rule for group in yaml.safe_load((GRAFANA / "alerts.yml").read_text("utf-8"))["groups"] for rule in group["rules"]
]
SERIES = re.compile(r"\battestrio_[a-z0-9_]+")
ROW = re.compile(r"^\| `(attestrio_[a-z0-9_]+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)
KINDS = {"timeseries", "stat", "table"}
UNITS = {"none", "percentunit", "cps", "s", "Bps"}
PARTS = {"histogram": ("_bucket", "_sum", "_count")}


def documented():
    """Every series name that docs/metrics.md promises, with its labels."""
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    return {
        name + part: set(re.findall(r"`(\w+)`", labels)) | {"instance", "job"}
        for name, kind, labels in ROW.findall(page)
        for part in PARTS.get(kind, ("",))
    }


DOCUMENTED = documented()


def strangers(expression):
    """Series of an expression that no page documents."""
    return [name for name in SERIES.findall(expression) if name not in DOCUMENTED]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_shows_what_exists(panel):
    assert panel["type"] in KINDS
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["targets"]
    for target in panel["targets"]:
        assert strangers(target["expr"]) == []
        assert "$instance" in target["expr"]
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        known = set().union(*(DOCUMENTED[name] for name in SERIES.findall(target["expr"])), {"instance"})
        assert shown <= known


def test_panels_have_ids_and_places_of_their_own():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(set(ids)) == len(ids)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


def test_the_dashboard_asks_whatever_prometheus_it_is_given():
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}

    assert names == {"datasource", "instance"}
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert "/" not in DASHBOARD["uid"]


def test_provisioning_names_the_kinds_grafana_knows():
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text("utf-8"))
    boards = yaml.safe_load((GRAFANA / "provisioning/dashboards/attestrio.yml").read_text("utf-8"))

    assert (sources["apiVersion"], boards["apiVersion"]) == (1, 1)
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    assert [provider["type"] for provider in boards["providers"]] == ["file"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_exists_and_has_its_page(rule):
    page = ROOT / rule["annotations"]["runbook"]

    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert strangers(rule["expr"]) == []
    assert page.read_text("utf-8").startswith(f"# {rule['alert']}\n")
    index = (page.parent / "README.md").read_text("utf-8")
    assert f"| [{rule['alert']}]({page.name}) | {rule['labels']['severity']} |" in index


def test_every_runbook_is_that_of_an_alert():
    pages = {rule["annotations"]["runbook"] for rule in RULES}

    assert len(pages) == len(RULES)
    assert {f"docs/runbooks/{page.name}" for page in (ROOT / "docs/runbooks").glob("*.md")} - pages == {
        "docs/runbooks/README.md"
    }
