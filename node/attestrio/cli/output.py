"""What a command prints: people's lines or one JSON document, results to stdout, errors to stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from cyclopts import Parameter

from attestrio.errors import NodeError, PeerError, SafetyError, SetupError, SourceError, StorageUnusable, leaves

SECRET = re.compile(r"\b(\w+:secret:\w+:)[0-9a-fA-F]+")


class Usage(SetupError):
    """A command line that cannot be understood: an unknown command or flag, a value of the wrong kind."""

    code: ClassVar[str] = "usage"


class OutputUnwritable(SetupError):
    """The result cannot be printed: a full disk, mostly. What the command did is done."""

    code: ClassVar[str] = "output_unwritable"
    exit_code = 4

    def __init__(self, problem: str) -> None:
        super().__init__(f"standard output cannot be written: {problem}")


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """How a command answers."""

    json: Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON, errors too.")] = False

    def result(self, document: Any, lines: Iterable[str]) -> None:  # noqa: ANN401 - any JSON value
        """Print `document` with --json, else `lines`."""
        if self.json:
            say(json.dumps(document, indent=2))
        else:
            for line in lines:
                say(line)

    def results(self, items: Iterable[tuple[dict[str, Any], str]]) -> None:
        """Print a list of documents with --json, else each line as soon as it is there."""
        documents = []
        for document, line in items:
            if self.json:
                documents.append(document)
            else:
                say(line)
        if self.json:
            say(json.dumps(documents, indent=2))


def say(text: str) -> None:
    """Print one text to stdout, at once. Raises OutputUnwritable; BrokenPipeError when the reader has left."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise OutputUnwritable(exc.strerror or str(exc)) from None


def worst(exc: BaseException) -> BaseException:
    """The one exception to report out of nested groups: a bug before anything on purpose, then what is most serious.

    A disk that fails also makes those raise who wait for it, so the first is not always the cause.
    """
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    return min(leaves(exc), key=_seriousness)


def _seriousness(exc: BaseException) -> int:
    order = (SafetyError, StorageUnusable, SetupError, SourceError, PeerError)
    if not isinstance(exc, NodeError):
        return -1
    return next(index for index, branch in enumerate(order) if isinstance(exc, branch))


def report(exc: NodeError, *, as_json: bool) -> int:
    """Print one sentence (or one JSON document) to stderr; returns the exit code."""
    text = " ".join(scrubbed(str(exc)).split())
    if as_json:
        print(json.dumps({"error": {"code": exc.code, "message": text}}), file=sys.stderr)
    else:
        print(f"attestrio: {text} [{exc.code}]", file=sys.stderr)
    return exc.exit_code


def scrubbed(text: str) -> str:
    """`text` without secret keys: one may have been typed where the name of a file was expected."""
    return SECRET.sub(r"\1<secret>", text)
