"""The pages for people: they are read in half an hour, all of them are found, and what they say of the code is so."""

import re
from pathlib import Path

import pytest
from attestrio.app.aggregator import JOURNAL as AGGREGATOR
from attestrio.app.operator import JOURNAL as OPERATOR
from attestrio.app.sequencer_parts import CHAIN, L1, POOL
from attestrio.cli.root import app
from attestrio.duty import rows as duty
from attestrio.duty.book import BOOK
from attestrio.journal import rows as journal
from attestrio.protection import schema as protection
from attestrio.protection.history import HISTORY
from attestrio.sequencer import l1_store, pool_store, reader
from attestrio.store import rows as store

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
RUNBOOKS = DOCS / "runbooks"
PAGES = sorted(DOCS.rglob("*.md"))
INDEX = (DOCS / "README.md").read_text("utf-8")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
READ = re.findall(r"^\d+\. \[[^]]*\]\(([^)]*)\)", INDEX, re.MULTILINE)
WORDS_A_MINUTE, MINUTES = 250, 30
COMMAND = re.compile(r"attestrio ((?:[a-z0-9-]+(?: |$))+)", re.MULTILINE)
VERSIONS = {
    HISTORY: protection.SCHEMA, "store.db": store.SCHEMA, BOOK: duty.SCHEMA, OPERATOR: journal.SCHEMA,
    AGGREGATOR: journal.SCHEMA, CHAIN: reader.SCHEMA, L1: l1_store.SCHEMA, POOL: pool_store.SCHEMA,
}  # fmt: skip


def prose(path):
    return re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_what_is_to_be_read_is_read_in_half_an_hour():
    words = {name: len(prose(DOCS / name).split()) for name in ["README.md", *READ]}

    assert len(READ) >= 8
    assert sum(words.values()) <= WORDS_A_MINUTE * MINUTES, words


def test_every_page_is_found_from_the_first_one():
    linked = set(LINK.findall(INDEX))

    assert {path.name for path in DOCS.glob("*.md")} - linked == {"README.md"}
    assert "docs/README.md" in (ROOT / "README.md").read_text("utf-8")


def test_every_runbook_is_found_from_the_first_one():
    linked = set(LINK.findall((RUNBOOKS / "README.md").read_text("utf-8")))

    assert {path.name for path in RUNBOOKS.glob("*.md")} - linked == {"README.md"}


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.name)
def test_links_of_a_runbook_lead_somewhere(page):
    assert [to for to in LINK.findall(page.read_text("utf-8")) if not (page.parent / to).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_a_page_names_exist(page):
    """The words after `attestrio` in code, as far as they name groups and commands."""
    code = re.findall(r"`([^`\n]+)`", page.read_text("utf-8")) + re.findall(
        r"^(?:[#$] )?(attestrio .*)$", page.read_text("utf-8"), re.MULTILINE
    )
    named = [match.split() for text in code for match in COMMAND.findall(text)]

    assert [words for words in named if not exists(words)] == []


def exists(words):
    """Whether the words begin with a command."""
    here = app
    for word in words:
        if not len(list(here)) or word not in set(here):
            return here is not app and here.default_command is not None
        here = here[word]
    return True


def test_the_table_of_stored_formats_is_that_of_the_code():
    rows = re.findall(r"^\| (`[a-z0-9_.`, ]+db`) \| (\d+) \| (\d+) \|", prose(DOCS / "upgrade.md"), re.MULTILINE)
    told = {name.strip("`"): int(now) for names, now, _ in rows for name in names.split(", ")}

    assert told == {name: len(schema) for name, schema in VERSIONS.items()}


def test_every_exit_code_that_is_no_success_has_a_line_in_the_runbooks():
    codes = re.findall(r"^\| (\d+) \|", prose(DOCS / "errors.md"), re.MULTILINE)
    runbook = re.findall(r"^\| (\d+) \|", prose(RUNBOOKS / "README.md"), re.MULTILINE)

    assert set(runbook) == set(codes) - {"0"}
