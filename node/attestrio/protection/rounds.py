"""Requests that come while one transaction commits share the next: one job for the writer instead of one each.

`GroupCommit` gives every job a savepoint, a place in a channel and an event, which is right for jobs that may fail on
their own. Votes are many, small and alike, and a refusal is an answer; without the ceremony a vote costs half.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NoReturn, TypeVar

import trio

from attestrio.errors import NodeError
from attestrio.protection.errors import RecordClosed

Q = TypeVar("Q")
A = TypeVar("A")

MAX_ROUND = 1_000
"""Requests in one transaction: 50 ms of signing, for which whoever comes next has to wait."""


@dataclass(eq=False, slots=True)
class _Round(Generic[Q, A]):
    """Requests that are answered together."""

    asked: list[Q | None] = field(default_factory=list)  # None: its caller has left
    done: trio.Event = field(default_factory=trio.Event)
    answers: Sequence[A | None] = ()
    error: NodeError | None = None
    taken: bool = False

    def fail(self, error: NodeError) -> None:
        if not self.done.is_set():
            self.error = error
            self.done.set()


class Rounds(Generic[Q, A]):
    """Hands requests to `answer` in rounds, one round at a time; what is asked meanwhile is the next round.

    Args:
      answer: the answers in the order of the requests. What it raises (NodeError) everyone in the round is told.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        self._answer = answer
        self._rounds: deque[_Round[Q, A]] = deque()
        self._wanted = trio.Event()
        self._idle = trio.Event()
        self._closed = False

    async def run(self) -> NoReturn:
        """Answer rounds for ever. When cancelled, whoever still waits gets RecordClosed."""
        try:
            while True:
                if not self._rounds:
                    self._idle.set()
                    await self._wanted.wait()
                await self._serve(self._rounds[0])
                self._rounds.popleft()
                if not self._rounds:
                    self._wanted = trio.Event()
        finally:
            self._closed = True
            self._idle.set()
            for left in self._rounds:
                left.fail(RecordClosed())

    async def ask(self, request: Q) -> A:
        """The answer to one request. Cancelled before its round begins: it is never served; later: without its caller.

        Raises what `answer` raised, RecordClosed.
        """
        if self._closed:
            raise RecordClosed
        joined = self._join()
        place = len(joined.asked)
        joined.asked.append(request)
        try:
            await joined.done.wait()
        except trio.Cancelled:
            if not joined.taken:
                joined.asked[place] = None
            raise
        if joined.error is not None:
            raise joined.error
        answer = joined.answers[place]
        assert answer is not None
        return answer

    async def close(self) -> None:
        """Take no more requests; returns when those asked so far are answered. `run` has to have been started."""
        self._closed = True
        await self._idle.wait()

    def _join(self) -> _Round[Q, A]:
        """The round that gathers now: the last, unless it is being served or is full."""
        if not self._rounds or self._rounds[-1].taken or len(self._rounds[-1].asked) >= MAX_ROUND:
            self._rounds.append(_Round())
            self._wanted.set()
            self._idle = trio.Event()
        return self._rounds[-1]

    async def _serve(self, served: _Round[Q, A]) -> None:
        served.taken = True
        wanted = [request for request in served.asked if request is not None]
        if not wanted:
            return
        try:
            answers = iter(await self._answer(wanted))
        except NodeError as exc:
            served.fail(exc)
            return
        served.answers = [None if request is None else next(answers) for request in served.asked]
        served.done.set()
