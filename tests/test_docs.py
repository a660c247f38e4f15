"""The pages made from code are up to date, and what they promise about codes holds."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest
from attestrio.duty import EndState, Reason, Step
from attestrio.errors import NodeError, PeerError, SafetyError, SetupError, SourceError

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
METRIC = re.compile(r'"(attestrio_[a-z_]+)"')
# shown as attestrio_build_info, like those of the process; a method of the main-node API
NO_METRICS = {"attestrio_build", "attestrio_certificate"}
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def load_generator():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()
ERRORS = generate.errors()


@pytest.mark.parametrize("name", sorted(generate.PAGES))
def test_a_generated_page_is_up_to_date(name):
    assert (DOCS / name).read_text("utf-8") == generate.PAGES[name](), "run docs/generate.py"


def test_every_metric_of_the_source_is_on_the_page():
    """The page is made by running a node, which could be one that lacks the part in question."""
    page = (DOCS / "metrics.md").read_text("utf-8")
    sources = [path.read_text("utf-8") for path in (ROOT / "node").rglob("*.py")]
    found = {name for text in sources for name in METRIC.findall(text)} - NO_METRICS

    assert len(found) > 10
    assert {name for name in found if f"`{name}`" not in page} == set()


def test_no_two_errors_share_a_code():
    assert [code for code, count in Counter(one.code for one in ERRORS).items() if count > 1] == []


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_a_branch_and_a_meaning(kind):
    assert SNAKE.fullmatch(kind.code)
    assert "code" in vars(kind), "a code is its own, not inherited"
    assert sum(issubclass(kind, one) for one in (PeerError, SourceError, SafetyError, SetupError)) == 1
    assert kind.exit_code in (1, 2, 3, 4, 5, 70, 71)
    text = generate.first_line(kind)
    assert text.endswith(".")
    assert "|" not in text, "it would end the cell of the table"


def test_nobody_raises_the_root_of_all_errors():
    raised = [path for path in (ROOT / "node").rglob("*.py") if re.search(r"\braise NodeError\b", path.read_text())]

    assert raised == []
    assert NodeError not in ERRORS


def test_codes_of_reasons_steps_and_ends_are_one_word_each():
    codes = [*Reason, *Step, *EndState]

    assert [code for code in codes if not SNAKE.fullmatch(code)] == []
    assert len({reason.meaning for reason in Reason}) == len(Reason)


@pytest.mark.parametrize("code", [*Reason, *Step, *EndState], ids=lambda code: f"{type(code).__name__}.{code.name}")
def test_every_code_is_recorded_somewhere(code):
    """A code that stands in the documentation and that no part ever records would be looked for in vain."""
    name = f"{type(code).__name__}.{code.name}"
    tables = {"duty/events.py", "duty/advice.py"}  # these name all of them, and record none
    users = [
        path
        for path in (ROOT / "node" / "attestrio").rglob("*.py")
        if "/".join(path.parts[-2:]) not in tables and re.search(rf"\b{name}\b", path.read_text("utf-8"))
    ]

    assert users != []


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))

    assert [target for target in targets if not (page.parent / target).exists()] == []
