"""Everything that is said on one connection, as a machine: bytes and times in, bytes and jobs out.

What can be answered at once is, within `feed`. What needs the store, or takes long, becomes a job for the shell.

Source: era-consensus d1d3b51e, gossip/runner.rs. There each of these conversations is a task of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_bytes
from typing import ClassVar, Final

from attestrio.errors import PeerError
from attestrio.gossip.mux.stream import Transient
from attestrio.gossip.rpc import get_batch, get_block, ping, push_batch_store_state, push_block_store_state
from attestrio.gossip.rpc import push_validator_addrs as addrs
from attestrio.gossip.rpc.calls import CallFailed, CallId, Calls, Event, Refused, Request, Response, earliest
from attestrio.gossip.rpc.errors import CutShort
from attestrio.gossip.rpc.push_batch_store_state import BatchStoreState
from attestrio.gossip.rpc.push_batch_votes import PUSH_BATCH_VOTES
from attestrio.gossip.rpc.spec import RpcSpec
from attestrio.gossip.scores import Fault
from attestrio.gossip.shared import Shared
from attestrio.roles import BatchNumber, NodePublicKey, SignedBatch
from attestrio.store.api import StoreState

INLINE_VOTES: Final = 32  # of one push, checked on the spot: about 1.3 ms; more are a job
DONE: Final = b""  # the answer to a push

_VOTES, _PING = PUSH_BATCH_VOTES.capability, ping.PING.capability
_BLOCKS, _GET_BLOCK = push_block_store_state.PUSH_BLOCK_STORE_STATE.capability, get_block.GET_BLOCK.capability
_BATCHES, _GET_BATCH = push_batch_store_state.PUSH_BATCH_STORE_STATE.capability, get_batch.GET_BATCH.capability
_ADDRS = addrs.PUSH_VALIDATOR_ADDRS.capability


class PushRefused(PeerError):
    """The peer did not take what we told it. It is of another mind, and nothing would be sent again: begin anew."""

    code: ClassVar[str] = "push_refused"

    def __init__(self, method: str, cause: PeerError) -> None:
        super().__init__(f"{method} failed: {cause}")
        self.method, self.cause = method, cause


@dataclass(frozen=True, slots=True)
class GiveBatch:
    """Read a batch from the store, then `Talk.answer`."""

    stream: Transient
    number: BatchNumber


@dataclass(frozen=True, slots=True)
class CountVotes:
    """Check many votes without holding up the others, then `Talk.answer` or `Talk.refuse`."""

    stream: Transient
    votes: list[SignedBatch]


Job = GiveBatch | CountVotes


class Talk:
    """One connection's conversation, from the mux handshake on.

    After each method take `take_output`, and do the `jobs`; call `tick` at `deadline`. A PeerError of any method ends
    the connection. Bounds: those of `Calls`; at most one job a stream that the peer may call on.

    Args:
      key: of the peer.
      now: seconds of the clock that every other `now` comes from.
    """

    def __init__(
        self, shared: Shared, key: NodePublicKey, now: float, random: Callable[[int], bytes] = token_bytes
    ) -> None:
        self.key = key
        self.jobs: deque[Job] = deque()
        self.urgent = True
        """Whether output or deadline must not wait: `take_output` now. Only answers to pushes of votes may."""
        self._put_off: list[CountVotes] = []  # until `catch_up`; at most one a stream
        self._shared = shared
        self._outbox = shared.outbox()
        specs = {spec.capability: spec for spec in shared.rules.specs()}
        if self._outbox is None:
            del specs[_VOTES]
        self._specs = specs
        self._calls = Calls.build(specs, specs, now)
        self._pinger = ping.Pinger(shared.rules.ping_timeout_s, random, now)
        self._ping: CallId | None = None
        self._push: CallId | None = None  # of votes, under way
        self._carried: BatchNumber | None = None  # for which batch it has our own vote
        self._owes = False  # a push that could not begin when it was due
        self._saving_until: float | None = None  # while that is because its permit is kept for our own vote
        self._announced: StoreState | None = None  # what the peer was told last
        self._announcing: CallId | None = None
        self._fetching: dict[CallId, BatchNumber] = {}
        self._joined = False  # whether the peer is known to the fetch queue
        self._may_fetch = False  # whether it has announced any batch
        no_blocks = push_block_store_state.encode_empty(shared.genesis.first_block)
        self._blocks: CallId | None = self._calls.call(specs[_BLOCKS], no_blocks, now)
        self._ping_if_due(now)
        self.announce(now)
        self._owes = True

    # --- what the shell calls

    def feed(self, plaintext: bytes, now: float) -> None:
        """Take bytes of the peer. Raises PeerError: the connection is over. Linear, but for new votes (40 µs each)."""
        try:
            events = self._calls.feed(plaintext, now)
        except PeerError as exc:
            self._shared.fault(self.key, Fault.BROKEN_PROTOCOL, exc, now)
            raise
        self._handle(events, now)

    def tick(self, now: float) -> None:
        """Do what is due. Raises PeerError: a call of ours was not answered in time."""
        self._handle(self._calls.tick(now), now)
        self._ping_if_due(now)

    def deadline(self, now: float) -> float | None:
        """When `tick` has something to do."""
        return earliest(self._calls.deadline(now), earliest(self._pinger.deadline(), self._saving_until))

    @property
    def paused(self) -> bool:
        """Whether the peer must not be read from for now."""
        return self._calls.paused

    @property
    def lags(self) -> bool:
        """Whether something was put off: `catch_up` when there is nothing else to do."""
        return bool(self._put_off) or self._calls.has_output

    def take_output(self) -> bytes:
        """What has to be sent, taken out."""
        self.urgent = False
        return self._calls.take_output()

    def catch_up(self, now: float) -> None:
        """Count and answer what was put off, then send what is new. To be called after the votes have changed."""
        put_off, self._put_off = self._put_off, []
        for job in put_off:
            assert self._shared.votes is not None
            try:
                if job.votes:
                    self._shared.votes.add(job.votes, self.key)
            except PeerError as exc:
                self.refuse(job.stream, exc, now)
            else:
                self.answer(job.stream, DONE, now)
        self._push_votes(now)

    def _push_votes(self, now: float) -> None:
        """Send what is new as soon as the peer takes a push.

        The last permit of the rate is kept for a vote of this node as long as one is to come: others' votes reach the
        peer from their own nodes too, ours does not.
        """
        self._saving_until = None
        if self._outbox is None:
            return
        self._owes = True
        if self._push is not None or not self._calls.ready(self._specs[_VOTES]) or self._must_save(now):
            return
        body = self._outbox.next_push()
        if body is None:
            self._owes = False
        else:  # it still owes: what did not fit, and what comes meanwhile
            self._push, self._carried = self._calls.call(self._specs[_VOTES], body, now), self._outbox.carries
            self.urgent = True

    def announce(self, now: float) -> None:
        """Tell the peer which batches this node can give, if that is news and nothing is being told."""
        held = self._shared.held
        if self._announcing is not None or held == self._announced:
            return
        if self._announced is not None and self._announced.last is None and held.last is None:
            return  # still nothing
        self._announced = held
        body = push_batch_store_state.encode_request(BatchStoreState(held.first, held.last))
        self._announcing = self._calls.call(self._specs[_BATCHES], body, now)

    def fetch_one(self, now: float) -> bool:
        """Ask for one batch if this peer has the one that is wanted and can be asked now; whether it was."""
        fetch = self._shared.fetch
        if fetch is None or not self._may_fetch or not self._calls.ready(self._specs[_GET_BATCH]):
            return False
        number = fetch.take(self)
        if number is None:
            return False
        call = self._calls.call(self._specs[_GET_BATCH], get_batch.encode_request(number), now)
        self._fetching[call] = number
        return True

    def answer(self, stream: Transient, body: bytes, now: float) -> None:
        """The answer of a job."""
        self._shared.on_served(self._specs[stream.capability].name, True)
        self._calls.respond(stream, body, now)
        self._handle(self._calls.take_events(), now)

    def refuse(self, stream: Transient, why: PeerError | None, now: float) -> None:
        """No answer to a job, because of what the peer sent, or (None) because of ourselves. Raises PeerRefused."""
        spec = self._specs[stream.capability]
        self._calls.refuse(stream, now)
        self._was_refused(spec, why, now)
        self._handle(self._calls.take_events(), now)

    def leave(self) -> None:
        """The connection is over: what it was asked for is wanted from others."""
        if self._shared.fetch is not None and self._joined:
            self._joined = self._may_fetch = False
            self._shared.fetch.left(self)
            self._shared.on_fetchable()

    # --- events

    def _handle(self, events: list[Event], now: float) -> None:
        while events:
            for event in events:
                if isinstance(event, Request):
                    self._on_request(event, now)
                elif isinstance(event, Response):
                    self._on_response(event, now)
                elif isinstance(event, Refused):
                    self._was_refused(event.spec, event.error, now)
                else:
                    self._on_failed(event, now)
            events = self._calls.take_events()  # what the answers have let happen
        if self._owes:
            self._push_votes(now)
        fetch = self._shared.fetch
        if (
            self._may_fetch
            and fetch is not None
            and self._calls.ready(self._specs[_GET_BATCH])
            and fetch.lowest() is not None
        ):
            self._shared.on_fetchable()

    def _on_request(self, request: Request, now: float) -> None:
        try:
            body = self._answer_untrusted(request)
        except PeerError as exc:
            self.urgent = True
            self._calls.refuse(request.stream, now)
            self._was_refused(request.spec, exc, now)
        else:
            if body is not None:
                self.urgent = True
                self._shared.on_served(request.spec.name, True)
                self._calls.respond(request.stream, body, now)

    def _answer_untrusted(self, request: Request) -> bytes | None:
        """The answer, or None when it comes later. Raises PeerError: no answer."""
        capability, body = request.spec.capability, request.body
        if capability == _VOTES:
            self._votes_untrusted(request)
            return None
        if capability == _PING:
            return ping.answer_untrusted(body)
        if capability == _GET_BATCH:
            self.jobs.append(GiveBatch(request.stream, get_batch.request_untrusted(body)))
            self.urgent = True
            return None
        if capability == _BATCHES:
            self._range_untrusted(body)
            return DONE
        if capability == _BLOCKS:
            push_block_store_state.request_untrusted(body, self._shared.genesis)
            return DONE
        if capability == _GET_BLOCK:
            get_block.request_untrusted(body)
            return get_block.NOT_AVAILABLE
        assert capability == _ADDRS
        addrs.request_untrusted(body)
        return DONE

    def _votes_untrusted(self, request: Request) -> None:
        shared = self._shared
        votes = shared.codec.decode_untrusted(request.body)
        assert self._outbox is not None
        assert shared.votes is not None
        self._outbox.heard(votes)
        if len(votes) > INLINE_VOTES:
            self.jobs.append(CountVotes(request.stream, votes))
            self.urgent = True
            return
        agreed = shared.votes.agreed
        if agreed is None or any(vote.batch.number > agreed.number for vote in votes):
            shared.votes.add(votes, self.key)
            votes = []
        # The answer can wait, and so can votes beyond the quorum: the certificate that is on its way comes first.
        self._put_off.append(CountVotes(request.stream, votes))

    def _range_untrusted(self, body: bytes) -> None:
        told, fetch = push_batch_store_state.request_untrusted(body), self._shared.fetch
        if fetch is None:
            return
        if not self._joined:
            self._joined = True
            fetch.joined(self)
        fetch.announced(self, StoreState(told.first, told.last))
        self._may_fetch = told.last is not None

    def _on_response(self, response: Response, now: float) -> None:
        call, body = response.call_id, response.body
        self.urgent = self.urgent or call != self._push
        if call == self._ping:
            self._ping = None
            self._checked(lambda: self._pinger.check_untrusted(body, now), now)
            self._shared.on_called(ping.PING.name, True)
        elif (number := self._fetching.pop(call, None)) is not None:
            self._checked(lambda: self._arrived_untrusted(number, body), now)
            self._shared.on_called(get_batch.GET_BATCH.name, True)
        else:
            self._pushed(call, now)

    def _arrived_untrusted(self, number: BatchNumber, body: bytes) -> None:
        fetch = self._shared.fetch
        assert fetch is not None
        fetch.arrived(self, number, get_batch.response_untrusted(body, number))
        self._shared.on_fetchable()

    def _pushed(self, call: CallId, now: float) -> None:
        """A push was taken. What its answer says is not looked at: nothing, of any length up to the limit."""
        self._shared.on_called(self._name(call), True)
        if call == self._push:
            self._push = None
            if self._carried is not None:
                self._shared.on_delivered(self.key, self._carried)
        elif call == self._announcing:
            self._announcing = None
            self.announce(now)
        else:
            self._blocks = None

    def _on_failed(self, failed: CallFailed, now: float) -> None:
        """As on the network, each of these ends the connection."""
        call, error = failed.call_id, failed.error
        name = self._name(call)
        self._shared.on_called(name, False)
        if isinstance(error, CutShort) and call != self._ping and call not in self._fetching:
            raise PushRefused(name, error)  # it may be us who are wrong
        self._shared.fault(self.key, Fault.BAD_ANSWER, error, now)
        raise error

    def _name(self, call: CallId) -> str:
        if call == self._ping:
            return ping.PING.name
        if call in self._fetching:
            return get_batch.GET_BATCH.name
        if call == self._push:
            return PUSH_BATCH_VOTES.name
        return self._specs[_BATCHES if call == self._announcing else _BLOCKS].name

    def _checked(self, check: Callable[[], None], now: float) -> None:
        try:
            check()
        except PeerError as exc:
            self._shared.fault(self.key, Fault.BAD_ANSWER, exc, now)
            raise

    def _was_refused(self, spec: RpcSpec, why: PeerError | None, now: float) -> None:
        self._shared.on_served(spec.name, False)
        if why is not None:
            fault = Fault.REFUSED_PUSH if spec.capability == _VOTES else Fault.BAD_REQUEST
            self._shared.fault(self.key, fault, why, now)

    # --- pings and permits

    def _ping_if_due(self, now: float) -> None:
        body = self._pinger.due(now)
        if body is not None:
            self._ping = self._calls.call(self._specs[_PING], body, now)

    def _must_save(self, now: float) -> bool:
        """Whether the one permit there is has to wait for our own vote."""
        spare_at = self._calls.spare_at(self._specs[_VOTES], now)
        if spare_at is None or spare_at <= now or self._outbox is None or not self._outbox.is_own_due():
            return False
        self._saving_until = spare_at
        self.urgent = True  # the deadline is news
        return True
