"""One connection while it lives: bytes between the wire and its `Talk`, on one synchronous path for each piece read."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from time import thread_time
from typing import Final

import trio

from attestrio.errors import PeerError, SourceError
from attestrio.gossip.errors import PeerClosed
from attestrio.gossip.fairness import Account
from attestrio.gossip.io import Session
from attestrio.gossip.noise import NoiseReceiver
from attestrio.gossip.peers import Direction, PeerInfo
from attestrio.gossip.rpc import get_batch
from attestrio.gossip.scores import Fault
from attestrio.gossip.shared import Shared
from attestrio.gossip.talk import DONE, CountVotes, GiveBatch, Talk
from attestrio.gossip.wire import Wire
from attestrio.quorum.watch import VotesWatch
from attestrio.store.api import BatchStore

SLACK: Final = 1 << 20  # bytes that may wait to be sent beside the largest answer; then the peer is not read from
UNSENT: Final = 64 << 20  # bytes on all connections together; beyond, batches are given when others have taken theirs
UNSENT_S: Final = 0.1
LOW: Final = 1 << 16  # bytes below which the next answer out of the store is put behind them


class Connection:
    """A session and everything that is said on it.

    Whatever the peer says, is answered in the task that read it, before the next read: decrypt, mux, handler, reply,
    encrypt, one write. Another task comes in only for what the system did not take at once, for what is due, and for
    what has to be read from the store. Only the answer to a push of votes waits until the loop has nothing else to do
    (`Later`). Other tasks call `catch_up`, `announce` and `fetch_one`, which neither wait nor raise.

    Bounds: what waits to be sent is at most the largest answer and `SLACK` and the answers to one read.
    """

    def __init__(
        self,
        session: Session,
        shared: Shared,
        store: BatchStore,
        votes: VotesWatch | None,
        direction: Direction,
        since: float,
        account: Account | None = None,
        on_bytes: Callable[[int, int], None] = lambda _received, _sent: None,
    ) -> None:
        """`since` is the Unix time in seconds, to be shown; `account` what a stranger may make us compute.

        `on_bytes` is told now and then how many more were received and sent.
        """
        self.key = session.key
        self.direction = direction
        self._since = since
        self._shared, self._store, self._votes = shared, store, votes
        self._wire: Wire = session.wire
        self._sender = session.sender
        self._receiver: NoiseReceiver = session.receiver
        self._rest = session.rest
        self._talk = Talk(shared, session.key, trio.current_time())
        self._limit = shared.rules.max_batch_bytes + SLACK
        self._pending: deque[memoryview] = deque()  # ciphertext in order
        self._pending_bytes = 0
        self._changed = trio.lowlevel.ParkingLot()  # something to send or to do, or less of it
        self._timer = trio.CancelScope()
        self._due = math.inf
        self._scope = trio.CancelScope()
        self._error: PeerError | None = None
        self._account = account
        self._on_bytes = on_bytes
        self._told = (0, 0)  # bytes received and sent that `on_bytes` knows
        self._is_held = False  # whether the peer is not read from until something changes

    def info(self) -> PeerInfo:
        """Values of this moment."""
        wire, score = self._wire, self._shared.scores.score(self.key, trio.current_time())
        return PeerInfo(self.key, self.direction, wire.address, self._since, wire.received, wire.sent, score)

    async def run(self) -> None:
        """Talk until the connection ends; returns never, unless cancelled. Raises PeerError, alone.

        The wire is closed by whoever opened it.
        """
        with self._scope:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_time)
                    nursery.start_soon(self._send_rest)
                    nursery.start_soon(self._work)
                    await self._read()
            finally:
                self._talk.leave()
                self._tell_bytes()
                self._shared.unsent_bytes -= self._pending_bytes
                self._pending_bytes, self._pending = 0, deque()
                if self._account is not None:
                    self._account.close()
        if self._error is not None:
            raise self._error

    def catch_up(self) -> None:
        """Send the votes that are new, and what was put off."""
        self._turn(self._talk.catch_up)

    def announce(self) -> None:
        """What the store can give has changed."""
        self._turn(self._talk.announce)

    def fetch_one(self) -> bool:
        """Ask for one batch, if this peer can be asked; whether it was."""
        asked = self._talk.fetch_one(trio.current_time())
        if asked:
            self._flush()
        return asked

    def end(self, error: PeerError) -> None:
        """The connection is over; the first reason counts."""
        if self._error is None:
            self._error = error
        self._scope.cancel()

    # --- the synchronous path

    def _turn(self, act: Callable[[float], None]) -> None:
        if self._error is not None:
            return
        try:
            act(trio.current_time())
        except PeerError as exc:
            self.end(exc)
        self._flush()

    def _take(self, plaintext: bytes) -> None:
        """What the peer said. What is said in return goes out now if it is urgent."""
        if self._error is not None:
            return
        talk = self._talk
        try:
            talk.feed(plaintext, trio.current_time())
        except PeerError as exc:
            self.end(exc)
        if talk.urgent or self._error is not None:
            self._flush()
        if talk.lags:
            self._shared.on_later(self)

    def _flush(self) -> None:
        """Send what there is, or put it behind what waits; set the timer."""
        if out := self._talk.take_output():
            sealed = self._sender.seal(out)
            taken = 0
            if not self._pending:
                try:
                    taken = self._wire.send_nowait(sealed)
                except PeerClosed as exc:
                    self.end(exc)
                    return
            if taken < len(sealed):
                self._pending.append(memoryview(sealed)[taken:])
                self._pending_bytes += len(sealed) - taken
                self._shared.unsent_bytes += len(sealed) - taken
                self._changed.unpark_all()
        if self._talk.jobs or self._is_held:
            self._changed.unpark_all()
        due = self._talk.deadline(trio.current_time())
        due = math.inf if due is None else due
        if due != self._due:
            self._due = self._timer.deadline = due

    # --- the tasks

    async def _read(self) -> None:
        if self._rest:
            self._take(self._rest)
        self._flush()  # our mux handshake
        try:
            self._take_all()  # what came behind the handshake in whole frames
            while True:
                while self._talk.paused or self._pending_bytes > self._limit:
                    self._is_held = True
                    await self._changed.park()
                self._is_held = False
                data = await self._wire.receive()
                if self._account is None:
                    self._receiver.feed(data)
                    self._take_all()
                else:
                    await self._take_for(self._account, data)
        except PeerError as exc:
            if not isinstance(exc, PeerClosed):
                self._fault(exc)
            self.end(exc)
            await trio.lowlevel.checkpoint_if_cancelled()

    def _take_all(self) -> None:
        """What is decrypted, all of it. Raises PeerError: what the receiver ended with."""
        while plaintext := self._receiver.read():
            self._take(plaintext)

    async def _take_for(self, account: Account, data: bytes) -> None:
        """As above, for a stranger, who pays for what it makes us compute. Raises PeerError."""
        began = thread_time()
        self._receiver.feed(data)
        self._take_all()
        pause_s = account.spend(thread_time() - began, trio.current_time())
        while pause_s:
            await trio.sleep(pause_s)
            pause_s = account.spend(0.0, trio.current_time())

    def _tell_bytes(self) -> None:
        received, sent = self._wire.received, self._wire.sent
        self._on_bytes(received - self._told[0], sent - self._told[1])
        self._told = received, sent

    def _fault(self, error: PeerError) -> None:
        try:
            self._shared.fault(self.key, Fault.BROKEN_PROTOCOL, error, trio.current_time())
        except PeerError:
            return  # the connection ends anyway

    async def _keep_time(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._due) as self._timer:
                await trio.sleep_forever()
            self._due = math.inf  # so that the same moment, if it is named again, is set again
            self._turn(self._talk.tick)
            self._tell_bytes()
            self._changed.unpark_all()  # a pause may be over

    async def _send_rest(self) -> None:
        while True:
            while not self._pending:
                await self._changed.park()
            piece = self._pending[0]
            try:
                await self._wire.send(piece)
            except PeerClosed as exc:
                self.end(exc)
                await trio.lowlevel.checkpoint_if_cancelled()
                return
            self._pending.popleft()
            self._pending_bytes -= len(piece)
            self._shared.unsent_bytes -= len(piece)
            self._changed.unpark_all()

    async def _work(self) -> None:
        jobs = self._talk.jobs
        while True:
            while not jobs or self._pending_bytes > LOW:
                await self._changed.park()
            job = jobs.popleft()
            if isinstance(job, GiveBatch):
                while self._shared.unsent_bytes > UNSENT:  # noqa: ASYNC110 - all connections change it, few wait
                    await trio.sleep(UNSENT_S)
                await self._give(job)
            else:
                await self._count(job)
            self._changed.unpark_all()

    async def _give(self, job: GiveBatch) -> None:
        try:
            batch = await self._store.batch(job.number)
        except SourceError:  # the store closes, or its disk has failed: no answer, as the network has it
            self._turn(lambda now: self._talk.refuse(job.stream, None, now))
            return
        body = get_batch.encode_response(batch)
        self._turn(lambda now: self._talk.answer(job.stream, body, now))

    async def _count(self, job: CountVotes) -> None:
        assert self._votes is not None
        try:
            await self._votes.add_many(job.votes, self.key)
        except PeerError as exc:
            refused = exc
            self._turn(lambda now: self._talk.refuse(job.stream, refused, now))
        else:
            self._turn(lambda now: self._talk.answer(job.stream, DONE, now))
