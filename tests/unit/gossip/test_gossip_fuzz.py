"""Any bytes, at every layer of a live connection: it goes on or ends in a PeerError, and keeps no more than its bounds.

The bytes are random, or a good conversation cut off, reordered or mutated. trio runs inside each example.
"""

from itertools import pairwise

import trio
import trio.testing
from attestrio.errors import PeerError
from attestrio.gossip.connection import Connection
from attestrio.gossip.fetch import FetchQueue
from attestrio.gossip.io import Identity, Session, accept, dial
from attestrio.gossip.mux.handshake import encode_hello
from attestrio.gossip.mux.parking import MAX_PARKED_BYTES, MAX_PARKED_FRAMES
from attestrio.gossip.noise import NoiseReceiver, NoiseSender
from attestrio.gossip.peers import Direction
from attestrio.gossip.preface import ENCRYPTION_NOISE_NN, ENDPOINT_GOSSIP
from attestrio.gossip.rpc import get_batch, ping
from attestrio.gossip.rpc.push_batch_store_state import BatchStoreState, encode_request
from attestrio.gossip.rules import GossipRules
from attestrio.gossip.scores import Scores
from attestrio.gossip.shared import Shared
from attestrio.gossip.talk import Talk
from attestrio.gossip.votes_wire import VoteCodec
from attestrio.gossip.wire import Wire
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import BatchNumber
from attestrio.store.memory import MemoryBatchStore
from hypothesis import given, settings
from hypothesis import strategies as st
from net_world import LIFTED, attester, batch_of, genesis_of, node_key, sync_batch
from noise_kit import channel
from raw_peer import ACCEPTOR, DIALLER, SPECS, RawPeer
from suite import examples

MEMBERS = [attester(index) for index in range(1, 5)]
GENESIS = genesis_of(MEMBERS)
ME, PEER = node_key(1), node_key(9)
FULL = {spec.capability: spec.inflight for spec in SPECS.values()}


def frames(bits, body=b""):
    """One call (sent as its client) or answer (sent as its server) on one stream."""
    framed = len(body).to_bytes(4, "little") + body
    data = (0x4000 | bits).to_bytes(2, "little") + len(framed).to_bytes(2, "little") + framed
    return [bits.to_bytes(2, "little"), data, (0x8000 | bits).to_bytes(2, "little")]


def good_words():
    """What a peer may say after its handshake, in pieces that can be put in another order."""
    vote = VoteCodec().encode(
        [MEMBERS[0].sign_batch(batch_of(GENESIS, 5)), MEMBERS[1].sign_batch(batch_of(GENESIS, 5))]
    )
    calls = [
        frames(1, ping.encode_request(bytes(32))),
        frames(8, vote),
        frames(9, get_batch.encode_request(0)),
        frames(14, encode_request(BatchStoreState(BatchNumber(0), BatchNumber(50)))),
        frames(2, b"\x08\x00"),
        frames(3, b"\x08\x07"),
        frames(0, b""),
    ]
    opens = [(0x2000 | stream).to_bytes(2, "little") for stream in range(15)]
    answers = [frames(0x2000 | stream) for stream in (2, 8, 14)]  # a ping cannot be answered ahead
    answers += [frames(0x2000 | 9, get_batch.encode_response(sync_batch(1)))]
    return opens + [piece for call in calls + answers for piece in call]


WORDS = good_words()
HELLO = encode_hello(FULL, FULL)


@st.composite
def spoiled(draw, pieces):
    """The pieces in any order and number, some bytes changed, cut off anywhere; or anything at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=2000))
    chosen = draw(st.lists(st.sampled_from(pieces), max_size=60))
    raw = bytearray(b"".join(chosen if draw(st.booleans()) else pieces + chosen))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4)):
        if raw:
            raw[at % len(raw)] = value
    return bytes(raw[: len(raw) - draw(st.integers(0, 5))])


def cut(raw, marks):
    edges = sorted({0, len(raw), *(mark % (len(raw) + 1) for mark in marks)})
    return [raw[start:end] for start, end in pairwise(edges)]


cuts = st.lists(st.integers(0, 1 << 16), max_size=6)


def shared_of(votes, store):
    return Shared(
        genesis=GENESIS,
        rules=GossipRules(rates=LIFTED, max_batch_bytes=1 << 20),
        scores=Scores(),
        votes=votes,
        own_key=MEMBERS[3].public(),
        fetch=FetchQueue(store.queued, store.persisted),
        held=store.held,
    )


def fresh():
    store = MemoryBatchStore(GENESIS.hash())
    votes = VotesWatch(GENESIS.attesters, GENESIS.hash())
    return shared_of(votes, store), store, votes


@settings(max_examples=examples(150))
@given(words=spoiled(WORDS), marks=cuts)
def test_a_talk_ends_in_a_peer_error_or_goes_on_whatever_it_is_fed(words, marks):
    shared, _, _ = fresh()
    talk = Talk(shared, PEER.public(), 0.0)
    talk.feed(HELLO, 0.0)
    now = 0.0
    try:
        for piece in cut(words, marks):
            talk.feed(piece, now)
            now += 0.1
            talk.tick(now)
            talk.announce(now)
            talk.fetch_one(now)
            talk.take_output()
    except PeerError:
        pass

    talk.leave()
    assert len(talk.jobs) <= 1 + FULL[6]
    assert len(shared.scores) <= 1
    parking = talk._calls._mux._parking
    assert parking._frames <= MAX_PARKED_FRAMES + len(words)
    assert parking._bytes <= MAX_PARKED_BYTES + len(words)
    assert shared.fetch.statistics().asked == 0


@settings(max_examples=examples(60))
@given(words=spoiled(WORDS), marks=cuts, hello=st.sampled_from([HELLO, b"", HELLO[:40], HELLO[4:]]))
def test_a_connection_ends_in_a_peer_error_or_goes_on_whatever_it_is_told(words, marks, hello):
    ended = trio.run(_connection, [hello, *cut(words, marks)], clock=trio.testing.MockClock(autojump_threshold=0))

    assert isinstance(ended, PeerError)  # the peer's end at the latest


async def _connection(pieces):
    """How a connection ends whose peer says `pieces` inside the channel and leaves; no task may be left."""
    shared, store, votes = fresh()
    (our_send, our_receive), (their_send, _), _ = channel()
    ours, theirs = trio.testing.memory_stream_pair()
    sender = NoiseSender(their_send)
    session = Session(Wire(ours, "peer"), PEER.public(), NoiseSender(our_send), NoiseReceiver(our_receive), b"")
    connection = Connection(session, shared, store, votes, Direction.INBOUND, 0.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        before = trio.lowlevel.current_statistics().tasks_living

        async def say():
            for piece in pieces:
                if piece:
                    await theirs.send_all(sender.seal(piece))
                    await trio.testing.wait_all_tasks_blocked()
            await theirs.aclose()
            said.set()

        said = trio.Event()
        nursery.start_soon(say)
        try:
            with trio.fail_after(60):
                await connection.run()
        except PeerError as exc:
            ended = exc
        await said.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living <= before
        assert connection._pending_bytes < 1 << 20
        nursery.cancel_scope.cancel()
    return ended


@settings(max_examples=examples(60))
@given(words=spoiled(WORDS), marks=cuts, role=st.sampled_from([DIALLER, ACCEPTOR]), at=st.integers(0, 4))
def test_a_beginning_is_a_session_or_ends_in_a_peer_error_whatever_comes_at_any_step(words, marks, role, at):
    ended = trio.run(_beginning, role, at, cut(words, marks), clock=trio.testing.MockClock(autojump_threshold=0))

    assert isinstance(ended, PeerError | Session)


async def _beginning(role, at, pieces):
    """How our end ends against a peer that begins properly and says `pieces` at step `at`."""
    ours, theirs = trio.testing.memory_stream_pair()
    peer = RawPeer(theirs, role, PEER, GENESIS.hash())
    me = Identity(ME, GENESIS.hash())
    greet = accept(Wire(ours, "peer"), me) if role is DIALLER else dial(Wire(ours, "peer"), me, PEER.public())

    async def say():
        if at == 0:
            for piece in pieces:
                await peer.send_raw(piece)
        elif at == 1:
            for piece in [ENCRYPTION_NOISE_NN, *pieces]:
                await peer.send_raw(piece)
        else:
            try:
                await peer.open_channel()
            except PeerError:
                return
            start = {2: b"", 3: ENDPOINT_GOSSIP, 4: ENDPOINT_GOSSIP + peer.hello()}[at]
            for piece in [start, *pieces]:
                if piece:
                    await peer.send(piece)
        if len(pieces) % 2:
            await theirs.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say)
        try:
            return await greet
        except PeerError as exc:
            return exc
        finally:
            nursery.cancel_scope.cancel()


@settings(max_examples=examples(40))
@given(flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 7)), min_size=1, max_size=3), order=st.randoms())
def test_a_channel_that_is_changed_or_reordered_ends_in_a_peer_error(flips, order):
    async def run():
        shared, store, votes = fresh()
        (our_send, our_receive), (their_send, _), _ = channel()
        ours, theirs = trio.testing.memory_stream_pair()
        sender = NoiseSender(their_send)
        session = Session(Wire(ours, "peer"), PEER.public(), NoiseSender(our_send), NoiseReceiver(our_receive), b"")
        connection = Connection(session, shared, store, votes, Direction.INBOUND, 0.0)
        sealed = [sender.seal(piece) for piece in [HELLO, *WORDS]]
        order.shuffle(sealed)
        raw = bytearray(b"".join(sealed))
        for at, bit in flips:
            raw[at % len(raw)] ^= 1 << bit
        await theirs.send_all(raw)
        await theirs.aclose()
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            try:
                with trio.fail_after(60):
                    await connection.run()
            except PeerError:
                nursery.cancel_scope.cancel()
                return True
        return False

    assert trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
