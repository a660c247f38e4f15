"""What a follower does with entries that a server sends, held against those it has. Nothing here waits.

Numbers alone tell nothing: a server may send what was committed around the end of a sync twice, sends one entry that
does not exist after a truncation, and may have written other entries under numbers that were sent before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from attestrio.stream.entries import Entry


class Verdict(Enum):
    """What to do with the entries from `Merge.news` on."""

    NOTHING = auto()  # there are none: all of them were here already
    APPEND = auto()
    REPLACE = auto()  # ours from that number on are not the server's any more: remove them, then append
    GAP = auto()  # entries between ours and these are missing
    REWRITTEN = auto()  # older ones differ: look for the place where the two streams part


@dataclass(frozen=True, slots=True)
class Merge:
    """`news`: how many of the entries are here already, byte for byte."""

    verdict: Verdict
    news: int


def merge(run: Sequence[Entry], held: Sequence[Entry], total: int, cut_from: int) -> Merge:
    """Compare entries with consecutive numbers with ours.

    Args:
      run: at least one, as received.
      held: ours from the number of the first of `run` on, as many of them as there are; none beyond the end.
      total: how many we have; the next number.
      cut_from: ours below this number are known to be the server's, so that the first difference from there on is
        where the two part. The last one of ours always counts as in doubt: a server may have sent what lay behind its
        end.
    """
    news = next(
        (index for index, (got, ours) in enumerate(zip(run, held, strict=False)) if got != ours),
        min(len(run), len(held)),
    )
    if news == len(run):
        return Merge(Verdict.NOTHING, news)
    number = run[news].number
    if number == total:
        return Merge(Verdict.APPEND, news)
    if number > total:
        return Merge(Verdict.GAP, news)
    if number >= min(cut_from, total - 1):
        return Merge(Verdict.REPLACE, news)
    return Merge(Verdict.REWRITTEN, news)


def runs(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut where the next number is not the one that follows."""
    start = 0
    for index in range(1, len(entries) + 1):
        if index == len(entries) or entries[index].number != entries[index - 1].number + 1:
            yield entries[start:index]
            start = index
