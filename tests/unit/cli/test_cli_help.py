"""The way in: help that shows an example, and usage errors that end like every other error."""

import json
import re

import pytest
from attestrio.cli.root import PLACES, app

COMMANDS = [
    ("node", "run"),
    ("main-node", "run"),
    ("devnet",),
    ("peers",),
    ("keys", "generate"),
    ("keys", "public"),
    ("genesis", "new"),
    ("genesis", "show"),
    ("genesis", "hash"),
    ("cert", "show"),
    ("cert", "verify"),
    ("operator", "run"),
    ("operator", "check"),
    ("operator", "status"),
    ("operator", "retry"),
    ("operator", "drop"),
    ("operator", "keystore", "new"),
    ("operator", "keystore", "show"),
    ("config", "check"),
    ("config", "show"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_shows_an_example_and_every_option_with_its_meaning(attestrio, command):
    ended = attestrio(*command, "--help")

    text = " ".join(ended.out.split())
    assert ended.code == 0
    assert f"Usage: attestrio {' '.join(command)}" in text
    assert f"Example: attestrio {' '.join(command)}" in text
    assert "--json" in text
    assert max(map(len, ended.out.splitlines())) <= 80
    rows = [re.split(r"\s{2,}", line.strip("│* ")) for line in ended.out.splitlines() if line.startswith("│")]
    assert [row for row in rows if re.match("--|FILE", row[0]) and len(row) < 2] == []


@pytest.mark.parametrize("group", ["node", "main-node", "keys", "genesis", "cert", "operator", "config"])
def test_help_of_a_group_lists_its_commands(attestrio, group):
    ended = attestrio(group, "--help")

    assert ended.code == 0
    assert f"Example: attestrio {group} " in ended.out
    for name in (command[1] for command in COMMANDS if command[0] == group):
        assert f"│ {name} " in ended.out


def test_the_root_names_every_command_and_where_to_start(attestrio):
    ended = attestrio("--help")

    assert ended.code == 0
    for name in {first for first, *_ in COMMANDS}:
        assert f"│ {name} " in ended.out
    assert "attestrio devnet --batches 5" in ended.out


def test_the_version_is_one_line(attestrio):
    ended = attestrio("--version")

    assert ended.code == 0
    assert ended.out.strip().replace(".", "").isdecimal()


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["nonsense"], 'Unknown command "nonsense".'),
        (["keys", "nonsense"], 'Unknown command "nonsense".'),
        (["--nonsense"], 'Unknown command "--nonsense".'),
        (["keys", "generate"], 'Command "keys generate" parameter FILE requires an argument.'),
        (["keys", "generate", "x", "--kind", "other"], 'Invalid value "other" for --kind.'),
        (["config", "show", "--nonsense", "1"], "Unknown option: --nonsense."),
        (["cert", "show", "x", "--batch", "-1"], 'Invalid value "-1" for --batch.'),
        (["cert", "show", "x", "--batch", "x"], "Invalid value for --batch"),
        (["cert", "verify", "x"], 'Command "cert verify" parameter --genesis requires an argument.'),
        (["genesis", "new", "x"], 'Command "genesis new" parameter --chain-id requires an argument.'),
        (["devnet", "--batches", "0"], 'Invalid value "0" for --batches. Must be >= 1.'),
        (["devnet", "--attesters", "0"], 'Invalid value "0" for --attesters. Must be >= 1.'),
        (["devnet", "--every", "-1"], 'Invalid value "-1.0" for --every. Must be > 0.'),
        (["devnet", "--every", "nan"], 'Invalid value "nan" for --every.'),
        (["devnet", "--every", "inf"], 'Invalid value "inf" for --every.'),
    ],
    ids=" ".join,
)
def test_a_command_line_that_cannot_be_understood_is_exit_2(attestrio, tokens, said):
    ended = attestrio(*tokens)
    as_json = attestrio(*tokens, "--json")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"attestrio: {said}")
    assert "Try `attestrio" in ended.err
    assert ended.err.endswith("--help`. [usage]\n")
    assert len(ended.err.splitlines()) == 1
    assert (as_json.code, as_json.out) == (2, "")
    assert as_json.error["code"] == "usage"
    assert json.dumps(said)[1:-1] in as_json.err


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["--processes", "--chain"], "--chain has no meaning beside --processes"),
        (["--aligned", "--processes"], "--processes has no meaning beside --aligned"),
    ],
    ids=" ".join,
)
def test_kinds_of_devnet_that_exclude_each_other_are_exit_2(attestrio, tokens, said):
    ended = attestrio("devnet", *tokens)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"attestrio: {said}")


@pytest.mark.parametrize("group", ["", *(name for name in PLACES if app[name].default_command is None)])
def test_a_list_of_commands_says_what_each_is_for(attestrio, group):
    lines = attestrio(*group.split(), "--help").out.splitlines()

    listed = [re.split(r"\s{2,}", line.strip("│ ")) for line in lines if re.match(r"│ [a-z]", line)]
    assert listed
    assert [name for name, *meaning in listed if not meaning] == []


def test_the_list_of_commands_begins_with_what_shows_it_at_work_and_ends_with_options(attestrio):
    titles = re.findall(r"^╭─ (.*?) ─", attestrio("--help").out, re.MULTILINE)

    assert titles[0] == "To see it work"
    assert titles[-1] == "Options"
