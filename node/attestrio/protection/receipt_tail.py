"""Where a receipt log goes on: what the end of the file says after a clean stop, a kill or a power cut. Pure.

Receipts are written in groups: one write, one sync. What was synced before a group is named in each of its lines
(`synced`), so of a file that a crash has torn it is known which lines were promised to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

from attestrio.errors import PeerError
from attestrio.protection.receipt_audit import Fault
from attestrio.protection.receipt_lines import FIRST_PREV, MAX_LINE, ReceiptLine, hash_of, holds, line_untrusted

MAX_GROUP_BYTES = 1 << 20
"""Of one write; a single receipt that is longer than what is left of it begins the next."""

WINDOWS = (16 << 10, 256 << 10, MAX_GROUP_BYTES + 3 * MAX_LINE)
"""How much of the end is read, until it holds the whole last group: of a node that signs one vote at a time (1 ms), of
a hundred callers (15 ms), and every group there can be with the line before it and what the window begins with."""


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The newest receipt and how many bytes the log has up to and with it; seq 0 before the first."""

    seq: int = 0
    head: bytes = FIRST_PREV
    size: int = 0


class DamagedEnd(Exception):
    """Between `find_end` and the log only: what is broken had been synced."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.problem)
        self.fault = fault


class WindowTooSmall(Exception):
    """Between `find_end` and the log only: the last group may begin before the window."""


def find_end(window: bytes, start: int, before: LogEnd | None) -> LogEnd:
    """The newest receipt that everything up to it holds; what stands behind it is torn and can go.

    Args:
      window: the file from byte `start` on, to its end.
      before: the receipt the file begins after; None: not known, and any may be the first.

    Raises DamagedEnd, WindowTooSmall. What comes before the last group is not looked at: `verify_receipts` does that.
    """
    at = 0 if start == 0 else window.find(b"\n") + 1
    if start and not at:
        raise WindowTooSmall
    hangs = start == 0 and before is not None  # else the first line hangs on nothing that can be seen
    end, first = before if before is not None and start == 0 else LogEnd(size=start + at), None
    newest: ReceiptLine | None = None
    while (stop := window.find(b"\n", at)) >= 0:
        line = window[at:stop]
        made = _whole(line)
        if made is None or not ((newest is None and not hangs) or (made.seq == end.seq + 1 and made.prev == end.head)):
            break
        newest, first = made, first or made
        at = stop + 1
        end = LogEnd(made.seq, hash_of(line), start + at)
    rest = window[at:]
    if start and (newest is None or first is None or newest.synced < first.seq - 1):
        raise WindowTooSmall
    promised = max((made.synced for made in _whole_lines(rest)), default=0)
    if promised > end.seq:
        problem = f"it had been synced (a later receipt says so, up to {promised}) and does not hold any more"
        raise DamagedEnd(Fault(end.seq + 1, end.size, end.size + max(1, rest.find(b"\n")), problem))
    return end


def _whole(line: bytes) -> ReceiptLine | None:
    try:
        return line_untrusted(line) if holds(line) else None
    except PeerError:
        return None


def _whole_lines(raw: bytes) -> list[ReceiptLine]:
    return [made for line in raw.split(b"\n") if (made := _whole(line)) is not None]
