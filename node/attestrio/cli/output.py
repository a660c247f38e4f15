"""What a command prints: people's lines or one JSON document, results to stdout, errors to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TextIO

from cyclopts import Parameter

from attestrio.errors import NodeError, PeerError, SafetyError, SetupError, SourceError, StorageUnusable, leaves

SECRET = re.compile(r"\b(\w+:secret:\w+:)[0-9a-fA-F]+")


class Usage(SetupError):
    """A command line that cannot be understood: an unknown command or flag, a value of the wrong kind."""

    code: ClassVar[str] = "usage"


class OutputUnwritable(SetupError):
    """The result cannot be printed: a full disk, or a closed stream. What the command did is done."""

    code: ClassVar[str] = "output_unwritable"
    exit_code = 4

    def __init__(self, problem: str) -> None:
        super().__init__(f"standard output cannot be written: {problem}")


class NotAllowed(SetupError):
    """A file or a directory that the user who gave the command has no right to: a data directory is open to its own
    user alone."""

    code: ClassVar[str] = "not_allowed"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is closed to user {os.geteuid()}: give the command as the user of the process (`sudo -u USER`)"
        )
        self.path = path


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
                say(escaped(line))

    def results(self, items: Iterable[tuple[dict[str, Any], str]]) -> None:
        """Print a list of documents with --json, else each line as soon as it is there."""
        documents = []
        for document, line in items:
            if self.json:
                documents.append(document)
            else:
                say(escaped(line))
        if self.json:
            say(json.dumps(documents, indent=2))


def say(text: str) -> None:
    """Print one text to stdout, at once. Raises OutputUnwritable; BrokenPipeError when the reader has left."""
    print(text, flush=True)


class CheckedStdout:
    """Standard output whose faults are told from those of other files, whoever prints: we, the help, a table."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Raises OutputUnwritable; BrokenPipeError when the reader has left."""
        with _stdout_faults():
            return self._stream.write(text)

    def flush(self) -> None:
        """Raises as `write`."""
        with _stdout_faults():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a stream has
        return getattr(self._stream, name)


@contextmanager
def _stdout_faults() -> Iterator[None]:
    try:
        yield
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
    text = escaped(" ".join(scrubbed(str(exc)).split()))
    if as_json:
        complain(json.dumps({"error": {"code": exc.code, "message": text}}))
    else:
        complain(f"attestrio: {text} [{exc.code}]")
    return exc.exit_code


def complain(text: str) -> None:
    """Print one text to stderr. Where that cannot be done, the exit code has to say it alone."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """What is buffered cannot be written; the interpreter would try again at its end, and change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def escaped(text: str, but: str = "\t\n") -> str:
    """`text` with escapes for what cannot be printed, except characters of `but`: names of files, and what strangers
    wrote, may hold commands to a terminal, or turn the order of what is read around."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in but else ascii(one)[1:-1] for one in text)


def scrubbed(text: str) -> str:
    """`text` without secret keys: one may have been typed where the name of a file was expected."""
    return SECRET.sub(r"\1<secret>", text)
