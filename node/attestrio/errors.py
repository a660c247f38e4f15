"""Errors, sorted by what has to happen next.

Every exception raised on purpose derives from `NodeError` through one of four branches. `code` is stable: it
appears in logs, metrics, JSON output and `docs/errors.md`, which a test compares with these classes. `exit_code`
is what the process ends with when the error ends it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import ClassVar


class NodeError(Exception):
    """Anything raised on purpose. Raise one of the branches, never this."""

    code: ClassVar[str] = "node_error"
    exit_code: ClassVar[int] = 1


class PeerError(NodeError):
    """They broke the protocol, or sent what cannot be read: drop the connection or the message, go on."""

    code = "peer_error"


class SourceError(NodeError):
    """Main node, L1 or disk did not answer: ask again later. At boot, where nobody can ask again, exit 3."""

    code = "source_error"
    exit_code = 3


class SafetyError(NodeError):
    """Something wrong could be signed or stored: end the epoch (with a `HALT` file: the process)."""

    code = "safety_error"
    exit_code = 70


class SetupError(NodeError):
    """The operator has to change something (a file, a flag, a key) before starting again."""

    code = "setup_error"
    exit_code = 2


class StorageUnusable(SetupError):
    """A database or directory is corrupt, foreign or cannot be written. Nothing was changed."""

    code = "storage_unusable"
    exit_code = 4


class DataDirInUse(SetupError):
    """Another process holds the data directory."""

    code = "data_dir_in_use"
    exit_code = 5


class OutOfDescriptors(SetupError):
    """The process, or the whole system, has as many files and sockets open as it may: raise the limit (`ulimit -n`)."""

    code = "out_of_descriptors"
    exit_code = 3

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: raise the limit on open files (`ulimit -n`, LimitNOFILE=), 1024 is enough")


class MissingExtra(SetupError):
    """A part is configured whose libraries were not installed with this program: install the extra it names."""

    code: ClassVar[str] = "missing_extra"

    def __init__(self, extra: str, what: str, library: str) -> None:
        super().__init__(f"{what} need {library}: install the extra with `pip install 'attestrio[{extra}]'`")
        self.extra, self.library = extra, library


def for_want_of_descriptors(exc: BaseException | None) -> OSError | None:
    """The system's refusal to open one more file, if that is among the causes of `exc`."""
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE):
            return exc
        exc = exc.__cause__ or exc.__context__
    return None


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The exceptions inside nested groups, in order."""
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from leaves(exc)
        else:
            yield exc
