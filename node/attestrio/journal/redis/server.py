"""One Redis server that comes and goes: a client while it is there, one kind of error while it is not."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, TypeVar

import trio
from coredis import Redis
from coredis.exceptions import ClusterDownError, ConnectionError, ReadOnlyError, RedisError, TryAgainError
from trio_util import AsyncValue

from attestrio.errors import SetupError
from attestrio.journal.api import JournalAway
from attestrio.journal.redis.connection import client_of, where_is
from attestrio.journal.redis.errors import RedisUnusable

T = TypeVar("T")
log = logging.getLogger(__name__)
# It tells every lost connection with a traceback; here that is a line, and an error for who asked.
logging.getLogger("coredis").setLevel(logging.CRITICAL)

AGAIN = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds before the next look for a server that is away; the last one from then on."""
LOST = (ConnectionError, ReadOnlyError, trio.TooSlowError, TimeoutError, trio.BrokenResourceError)
"""After these a connection is made anew: a server that became a replica has another in its place."""
PASSING = ("OOM", "MISCONF", "BUSY", "NOREPLICAS", "MASTERDOWN")
"""First words of other refusals that end without anybody changing this program or its settings."""


class _Here:
    """A client while it can be used, and the calls under way on it."""

    def __init__(self, client: Redis[bytes], lost: trio.Event) -> None:
        self.lost = lost
        self._client = client
        self._calls: AsyncValue[frozenset[trio.CancelScope]] = AsyncValue(frozenset())

    async def call(self, call: Callable[[Redis[bytes]], Awaitable[T]]) -> T:
        with trio.CancelScope() as scope:
            self._calls.value |= {scope}
            try:
                return await call(self._client)
            finally:
                self._calls.value -= {scope}
        raise ConnectionError("the connection was lost")

    async def end(self) -> None:
        """After that the client may be closed: whoever waits for a connection of it would hang or fail."""
        for scope in self._calls.value:
            scope.cancel()
        await self._calls.wait_value(lambda calls: not calls)


@dataclass(frozen=True, slots=True)
class _Away:
    detail: str


class RedisServer:
    """Construct, then `await nursery.start(server.run)`.

    Args:
      url: `redis://[user:password@]host[:port][/number]`, or `rediss://`.
      ready: called with each new client before it is used; raises SetupError where the server must not be used. Also
        when a connection was lost and nobody asked meanwhile: another server may stand there.
      timeout_s: of one call, from asking to the answer.
    """

    def __init__(self, url: str, ready: Callable[[Redis[bytes]], Awaitable[None]], timeout_s: float) -> None:
        self.where = where_is(url)
        self._url, self._ready, self._timeout_s = url, ready, timeout_s
        self._state: AsyncValue[_Here | _Away | None] = AsyncValue(None)  # None: being looked for

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Keep a client. Started once the server was looked for, there or not. Raises what `ready` raises."""
        tries = 0
        while True:
            refused: SetupError | None = None
            lost = trio.Event()
            async with client_of(self._url, self._timeout_s, partial(self._drop, lost)) as client:
                try:  # nothing is raised out of this block: it would come out in groups
                    with self._errors(), trio.fail_after(self._timeout_s):
                        await self._ready(client)
                except SetupError as exc:
                    refused = exc
                except JournalAway as away:
                    log.log(logging.DEBUG if tries else logging.WARNING, "%s", away)
                    self._state.value = _Away(away.detail)
                    task_status.started()
                else:
                    log.info("journal at %s: connected", self.where)
                    tries, here = 0, _Here(client, lost)
                    self._state.value = None if lost.is_set() else here
                    task_status.started()
                    await lost.wait()
                    await here.end()
                task_status = trio.TASK_STATUS_IGNORED
            if refused is not None:
                raise refused
            await trio.sleep(AGAIN[min(tries, len(AGAIN) - 1)])
            tries += 1

    async def ask(self, call: Callable[[Redis[bytes]], Awaitable[T]]) -> T:
        """What `call` gives. Raises JournalAway, at once or after `timeout_s` seconds at most, and RedisUnusable."""
        here: _Here | None = None
        try:
            with self._errors(), trio.fail_after(self._timeout_s):
                state = await self._state.wait_value(lambda state: state is not None)
                if isinstance(state, _Here):
                    here = state
                    return await state.call(call)
        except JournalAway as away:
            if here is not None and isinstance(away.__cause__, LOST):
                self._drop(here.lost)
            raise
        assert isinstance(state, _Away)
        raise JournalAway(self.where, state.detail)

    def _drop(self, lost: trio.Event) -> None:
        """The client with this event is used no more; `run` makes another."""
        lost.set()
        if isinstance(self._state.value, _Here) and self._state.value.lost is lost:
            self._state.value = None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """The client's errors become ours."""
        try:
            yield
        except (trio.TooSlowError, TimeoutError) as exc:
            raise JournalAway(self.where, f"no answer within {self._timeout_s:g} s") from exc
        except (*LOST, ClusterDownError, TryAgainError) as exc:
            raise JournalAway(self.where, str(exc) or type(exc).__name__) from exc
        except RedisError as exc:
            if str(exc).startswith(PASSING):
                raise JournalAway(self.where, str(exc)) from exc
            raise RedisUnusable(self.where, str(exc)) from exc
