"""The interpreter's recursion limit, which is one for all threads, and who may raise it for how long."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_LOCK = Lock()
_INSIDE: list[int] = []
_usual = 0


@contextmanager
def deeper_recursion(limit: int) -> Iterator[None]:
    """The interpreter's recursion limit is at least this inside. It holds for all threads, so be quick and be rare.

    Several threads may be inside at once: none lowers the limit below what another still needs, and the last one out
    leaves what the first one found.
    """
    global _usual
    with _LOCK:
        if not _INSIDE:
            _usual = sys.getrecursionlimit()
        _INSIDE.append(limit)
        sys.setrecursionlimit(max([_usual, *_INSIDE]))
    try:
        yield
    finally:
        with _LOCK:
            _INSIDE.remove(limit)
            sys.setrecursionlimit(max([_usual, *_INSIDE]))


@contextmanager
def recursion_limit_kept() -> Iterator[None]:
    """Import a library that raises the limit inside: the limit is afterwards what it was.

    py_ecc, which web3 imports, sets it to 100,000. What a stranger sends, nested deep enough, then no longer ends in a
    RecursionError of the JSON decoder but overflows the stack of the process, which dies.
    """
    with deeper_recursion(0):
        yield
