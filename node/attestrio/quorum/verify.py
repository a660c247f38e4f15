"""Signatures of many votes, checked in worker threads, taken over in the order of the list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import trio

from attestrio.kit.blocking import RunBlocking, in_thread, inline
from attestrio.roles import MsgHash, Recoverer, SignedBatch


class Claim(NamedTuple):
    """A vote and the hash that its key must have signed."""

    vote: SignedBatch
    message: MsgHash


# A trip to a thread costs about two recovers, so a chunk has to be worth many; 64 recovers are 2.5 ms, the longest
# the event loop is held when they are done inline. Smaller sets are done before threads have warmed up.
CHUNK = 64
THREADS_FROM = 512


def check(claims: Sequence[Claim]) -> list[bool]:
    """Which of the claims hold. About 40 µs each, nearly all of it without the interpreter lock."""
    recoverer = Recoverer()  # its buffers are its own, so threads do not share any
    return [recoverer.recovers_to(vote.signature, message, vote.key) for vote, message in claims]


class Verifier:
    """Checks lists of claims chunk by chunk, `workers` chunks at a time whoever asks.

    Args:
      run_blocking: where large sets are checked: `in_thread`, or `inline` in stories with virtual time.
      workers: threads at a time. libsecp256k1 works without the interpreter lock, so two cores do nearly twice one.
      chunk: votes checked at a time, and counted without a checkpoint between.
      threads_from: lists shorter than this are checked inline, with a checkpoint before each chunk.
    """

    def __init__(
        self,
        run_blocking: RunBlocking = in_thread,
        *,
        workers: int = 2,
        chunk: int = CHUNK,
        threads_from: int = THREADS_FROM,
    ) -> None:
        if workers < 1 or chunk < 1:
            raise ValueError(f"workers={workers} and chunk={chunk} must be at least 1")
        self._threads_from = threads_from
        self._run_blocking = run_blocking
        self._workers = workers
        self._chunk = chunk
        self._limiter = trio.CapacityLimiter(workers)

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
        run_blocking, workers = (self._run_blocking, self._workers) if large else (inline, 1)
        chunks = enumerate(votes[start : start + self._chunk] for start in range(0, len(votes), self._chunk))
        checked: dict[int, tuple[list[Claim], list[bool]]] = {}
        turn = 0

        async def work() -> None:
            nonlocal turn
            for index, chunk in chunks:  # shared by the workers: each chunk goes to one of them
                async with self._limiter:
                    wanted = claims(chunk)
                    checked[index] = wanted, await run_blocking(partial(check, wanted)) if wanted else []
                while turn in checked:
                    if not take(*checked.pop(turn)):
                        nursery.cancel_scope.cancel()
                        return
                    turn += 1

        async with trio.open_nursery() as nursery:
            for _ in range(workers):
                nursery.start_soon(work)
