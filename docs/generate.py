"""Writes errors.md and reasons.md, which are made from the code: run it after adding an error or a reason.

`tests/test_docs.py` compares. Both are tables, so that a code found in a log or a metric leads to its line.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import attestrio
from attestrio.duty import Reason
from attestrio.errors import NodeError, PeerError, SafetyError, SetupError, SourceError

DOCS = Path(__file__).parent
BRANCHES = (SetupError, SafetyError, SourceError, PeerError)
EXIT_CODES = """\
| exit code | means |
|---|---|
| 0 | the work is done |
| 1 | a bug; the lines above the last one say where |
| 2 | wrong usage, configuration, key or genesis: change it, start again |
| 3 | something this node needs at its start is not there, or its address is taken |
| 4 | a database or directory is corrupt, foreign, full or cannot be written |
| 5 | the data directory is in use by another process |
| 70 | safety halt: going on could sign or store something wrong |
| 130, 143 | ended by SIGINT, SIGTERM, in order |
"""


def errors() -> list[type[NodeError]]:
    """Every class that is raised on purpose, by branch and code. Imports the whole package."""
    for module in pkgutil.walk_packages(attestrio.__path__, "attestrio."):
        importlib.import_module(module.name)
    found = {one for one in _below(NodeError) if one.__module__.startswith("attestrio.")}
    return sorted(found, key=lambda one: (BRANCHES.index(branch(one)), one.code))


def _below(kind: type[NodeError]) -> Iterator[type[NodeError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def branch(kind: type[NodeError]) -> type[NodeError]:
    """Which of the four it belongs to: what has to happen next."""
    return next(one for one in BRANCHES if issubclass(kind, one))


def first_line(kind: type) -> str:
    """The first sentence or two of a docstring, on one line."""
    return " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())


def errors_page() -> str:
    """docs/errors.md."""
    lines = [
        "# Errors",
        "",
        "Made by `docs/generate.py` from the classes. A code is stable: it stands in brackets at the end of an error",
        "line, in JSON output, in logs and in metrics. The exit code counts when the error ends the process; otherwise",
        "a PeerError ends a connection, and a SourceError is a question that is asked again.",
        "",
        *EXIT_CODES.splitlines(),
    ]
    everything = errors()
    for kind in BRANCHES:
        lines += ["", f"## {kind.__name__}", "", first_line(kind), "", "| code | exit code | means |", "|---|---|---|"]
        lines += [
            f"| `{one.code}` | {one.exit_code} | {first_line(one)} |" for one in everything if branch(one) is kind
        ]
    return "\n".join(lines) + "\n"


def reasons_page() -> str:
    """docs/reasons.md."""
    lines = [
        "# Reasons",
        "",
        "Made by `docs/generate.py` from `attestrio.duty.Reason`. A reason says how one step of one batch went on this",
        "node; the code is stable.",
        "",
        "| code | means |",
        "|---|---|",
        *(f"| `{reason.value}` | {reason.meaning} |" for reason in Reason),
    ]
    return "\n".join(lines) + "\n"


PAGES = {"errors.md": errors_page, "reasons.md": reasons_page}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), "utf-8")
        print(f"{name} written", file=sys.stderr)


if __name__ == "__main__":
    main()
