"""Signatures of many votes, checked in worker threads, taken over in the order of the list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import trio

from attestrio.kit.blocking import RunBlocking, in_thread, inline
from attestrio.roles import MsgHash, Recoverer, SignedBatch

# A vote and the hash that its key must have signed.
Claim = tuple[SignedBatch, MsgHash]


INLINE_CHUNK = 64  # 2.5 ms, the longest the event loop is held by verifying
THREAD_CHUNK = 512  # a trip to a thread costs a few recovers; counting 512 votes afterwards holds the loop 1 ms
THREADS_FROM = 1_024  # shorter lists would not fill two threads


def check(claims: Sequence[Claim]) -> list[bool]:
    """Which of the claims hold. About 40 µs each, nearly all of it without the interpreter lock."""
    recoverer = Recoverer()  # its buffers are its own, so threads do not share any
    return [recoverer.recovers_to(vote.signature, message, vote.key) for vote, message in claims]


class Verifier:
    """Checks lists of claims chunk by chunk; one object shares its threads among all who ask.

    Args:
      run_blocking: where large lists are checked: `in_thread`, or `inline` in stories with virtual time.
      workers: cores to keep busy. libsecp256k1 works without the interpreter lock, so two do nearly twice one.
      threads_from: lists shorter than this are checked inline, with a checkpoint before each chunk.
      inline_chunk, thread_chunk: votes checked at a time, and counted without a checkpoint between.
    """

    def __init__(
        self,
        run_blocking: RunBlocking = in_thread,
        *,
        workers: int = 2,
        threads_from: int = THREADS_FROM,
        inline_chunk: int = INLINE_CHUNK,
        thread_chunk: int = THREAD_CHUNK,
    ) -> None:
        if min(workers, inline_chunk, thread_chunk) < 1:
            raise ValueError(f"workers={workers} and the chunks {inline_chunk}, {thread_chunk} must be at least 1")
        self._run_blocking = run_blocking
        self._threads_from = threads_from
        self._inline_chunk = inline_chunk
        self._thread_chunk = thread_chunk
        # One chunk more than there are cores: it is at hand while the event loop counts the one that came back.
        self._limiter = trio.CapacityLimiter(workers + 1)

    async def in_order(
        self,
        votes: Sequence[SignedBatch],
        claims: Callable[[Sequence[SignedBatch]], list[Claim]],
        take: Callable[[list[Claim], list[bool]], bool],
    ) -> None:
        """Check all votes; hand over each chunk's verdicts, first chunk first, until `take` returns False.

        Args:
          claims: what of a chunk has to be checked at all; asked on the trio thread just before the chunk is.
          take: gets the claims and their verdicts on the trio thread; no checkpoint lies between two of its calls
            that are due.
        """
        large = len(votes) >= self._threads_from
        size = self._thread_chunk if large else self._inline_chunk
        chunks = enumerate(votes[start : start + size] for start in range(0, len(votes), size))
        checked: dict[int, tuple[list[Claim], list[bool]]] = {}
        turn = 0

        async def work() -> None:
            nonlocal turn
            for index, chunk in chunks:  # shared by the workers: each chunk goes to one of them
                if large:
                    async with self._limiter:
                        wanted = claims(chunk)
                        checked[index] = wanted, await self._run_blocking(partial(check, wanted))
                else:  # waits for no thread, so that a few votes do not queue behind a peer's thousands
                    wanted = claims(chunk)
                    checked[index] = wanted, await inline(partial(check, wanted))
                while turn in checked:
                    if not take(*checked.pop(turn)):
                        nursery.cancel_scope.cancel()
                        return
                    turn += 1

        async with trio.open_nursery() as nursery:
            for _ in range(int(self._limiter.total_tokens) if large else 1):
                nursery.start_soon(work)
