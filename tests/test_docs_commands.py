"""Every `attestrio ...` line that a page quotes is one the command line takes; a page for an alert has all it needs."""

import re
import shlex
from pathlib import Path

import pytest
from attestrio.cli.root import app
from cyclopts.exceptions import CycloptsError, MissingArgumentError

DOCS = Path(__file__).parent.parent / "docs"
RUNBOOKS = DOCS / "runbooks"
ALERTS = sorted(set(RUNBOOKS.glob("*.md")) - {RUNBOOKS / "README.md"})
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^(?:[#$] )?(?:sudo (?:-u \S+ )?)?(?:[A-Z_]+=\S+ )*attestrio (.*)$", re.MULTILINE)
COMMENT, OPTIONAL = re.compile(r"\s{2,}.*|\s#.*"), re.compile(r"[\[\]]")
STANDS_FOR = {"N": "7", "0xHASH": f"0x{'ab' * 32}", "HASH": f"0x{'ab' * 32}"}


def quoted(page):
    """What stands after `attestrio` in code, as the words of a command line."""
    text = page.read_text("utf-8")
    blocks = "\n".join(FENCED.findall(text)).replace("\\\n", " ")
    lines = re.findall(r"`(?:[A-Z_]+=\S+ )*attestrio ([^`\n]+)`", FENCED.sub("", text)) + PROMPT.findall(blocks)
    for line in lines:
        bare = OPTIONAL.sub("", COMMENT.sub("", re.split(r" [|>] ", line)[0]))
        yield [STANDS_FOR.get(word, word) for word in shlex.split(bare)]


def refused(words):
    """What the command line says to these words; None: it would run."""
    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as exc:
        return exc
    return None


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_commands_run_with_the_options_that_a_page_gives_them(page):
    """A page that explains may name a command without what it needs; at night nobody has to look that up."""
    allowed = () if page.is_relative_to(RUNBOOKS) else MissingArgumentError

    told = [(words, exc) for words in quoted(page) if (exc := refused(words)) is not None]

    assert [(words, str(exc)) for words, exc in told if not isinstance(exc, allowed)] == []


@pytest.mark.parametrize("words", [["batch", "explian", "7"], ["doctor", "--fast"], ["batch", "explain"]], ids=" ".join)
def test_a_command_that_is_none_is_seen(words):
    assert refused(words) is not None


@pytest.mark.parametrize("page", ALERTS, ids=lambda page: page.name)
def test_a_page_for_an_alert_says_what_it_means_where_to_look_what_to_do_and_whom_to_wake(page):
    title, meaning, look, do, wake, ends = page.read_text("utf-8").strip().split("\n\n")

    assert title.startswith("# Attestrio")
    assert not meaning.startswith("**")
    assert look.startswith("**Look first.** ")
    assert "`attestrio " in look or "`curl " in look
    assert do.startswith("**Do.** ")
    assert wake.startswith("**Wake** ")
    assert ends.startswith("**It ends** ")


def test_the_first_thing_for_a_missed_duty_is_to_have_its_batch_explained():
    index = (RUNBOOKS / "README.md").read_text("utf-8")

    assert re.search(r"^A duty was missed[^\n]*:\n\n1\. `attestrio batch explain N ", index, re.MULTILINE)
