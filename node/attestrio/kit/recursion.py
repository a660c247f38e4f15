"""Libraries that raise the interpreter's recursion limit when they are imported, and why they must not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def recursion_limit_kept() -> Iterator[None]:
    """Import such a library inside: the limit is afterwards what it was.

    py_ecc, which web3 imports, sets it to 100,000. What a stranger sends, nested deep enough, then no longer ends in a
    RecursionError of the JSON decoder but overflows the stack of the process, which dies.
    """
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
