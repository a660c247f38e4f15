"""What a command prints: people's lines or one JSON document, results to stdout, errors to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from attestrio.errors import NodeError, leaves


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """How a command answers."""

    json: Annotated[bool, Parameter(negative="", help="Print one JSON document.")] = False

    def result(self, document: Any, lines: Iterable[str]) -> None:  # noqa: ANN401 - any JSON value
        """Print `document` with --json, else `lines`."""
        if self.json:
            print(json.dumps(document, indent=2))
        else:
            for line in lines:
                print(line)


def worst(exc: BaseException) -> BaseException:
    """The one exception to report out of nested groups: a bug before anything on purpose, else the first."""
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    inside = list(leaves(exc))
    return next((one for one in inside if not isinstance(one, NodeError)), inside[0])


def report(exc: NodeError, *, as_json: bool) -> int:
    """Print one sentence (or one JSON document) to stderr; returns the exit code."""
    if as_json:
        print(json.dumps({"error": {"code": exc.code, "message": str(exc)}}), file=sys.stderr)
    else:
        print(f"attestrio: {exc} [{exc.code}]", file=sys.stderr)
    return exc.exit_code
