"""What a connection in conversation does not take: rows N, M, R, V and A of the network's must-reject tables, live.

Each test is named after its row. Whole nodes over memory streams in virtual time; whoever dialled makes no difference.
"""

import pytest
import trio
from attestrio.gossip.errors import PeerClosed
from attestrio.gossip.frame import encode_frame
from attestrio.gossip.rpc import get_batch, ping, push_batch_store_state
from attestrio.gossip.rpc.push_batch_store_state import BatchStoreState
from attestrio.gossip.votes_wire import VoteCodec
from attestrio.roles import AttesterSecretKey, BatchNumber, SignedBatch
from attestrio.roles.keys import Signature
from memory_world import GENESIS, MEMBERS, both_roles, in_memory
from net_world import attester, batch_of, genesis_of, sync_batch
from noise_kit import UNDECODABLE
from raw_peer import ACCEPTOR, DIALLER, HOLD, SPECS
from test_rpc_methods import addresses, announcement, block_push, certificate
from test_votes_wire import UNDECODABLE as NO_VOTES
from test_votes_wire import wrapped

PING = ping.encode_request(bytes(range(32)))
STRANGER = attester(99)
FOREIGN = genesis_of(MEMBERS, chain_id=271)


def vote(secret=MEMBERS[0], number=5, genesis=GENESIS):
    return secret.sign_batch(batch_of(genesis, number))


def push(*votes):
    return VoteCodec().encode(votes)


def respelled(one, change):
    """The vote with other bytes (r, s, v) for a signature."""
    return SignedBatch(one.batch, one.key, Signature(change(one.signature.raw)))


def announced(first, last):
    return push_batch_store_state.encode_request(BatchStoreState(BatchNumber(first), last))


async def assert_goes_on(peer):
    """The connection is as good as before."""
    assert await peer.call("ping", PING) == PING


async def assert_dropped(world, peer, index=9):
    await peer.wait_closed(5.0)
    assert all(info.key != peer.secret.public() for info in world.node.peers)


# --- Noise


def sealed(peer, plaintext=b"\0\0"):
    return peer._sender.seal(plaintext)


def changed(peer):
    raw = sealed(peer)
    raw[-1] ^= 1
    return raw


BROKEN_NOISE = {
    "n1": lambda peer: b"\x0f\x00" + bytes(15),
    "n2 changed": changed,
    "n2 lost": lambda peer: (sealed(peer), sealed(peer))[1],
    "n2 replayed": lambda peer: sealed(peer, b"\0\xa0") * 2,
}


@pytest.mark.parametrize("make", BROKEN_NOISE.values(), ids=BROKEN_NOISE)
@both_roles
async def test_n1_n2_a_broken_channel_ends_the_conversation_and_lowers_the_score(autojump_clock, role, make):
    async with in_memory() as world, world.talk(role) as peer:
        await peer.call("ping", PING)

        await peer.send_raw(make(peer))

        await assert_dropped(world, peer)
        assert world.score() == pytest.approx(75, abs=0.1)


@both_roles
async def test_n3_n4_a_peer_that_ends_is_gone_and_not_blamed(autojump_clock, role):
    async def end_frame(peer):
        raw = peer._sender._cipher.encrypt(b"")
        await peer.send_raw(len(raw).to_bytes(2, "little") + raw)

    async def in_a_frame(peer):
        await peer.send_raw(sealed(peer)[:7])
        await peer.stream.send_stream.aclose()

    for end in (end_frame, in_a_frame):
        async with in_memory() as world, world.talk(role) as peer:
            await peer.call("ping", PING)

            await end(peer)

            await assert_dropped(world, peer)
            assert world.score() == 100


# --- mux


async def say_instead_of_mux(world, role, raw):
    """A peer that has proved its key and then says `raw`."""
    peer = await world.meet(role)
    await peer.greet()
    await peer.send(raw)
    return peer


BAD_HELLOS = {
    "m1 accept": ("2a0408021001" * 2, 75),
    "m1 connect": ("320408021001" * 2, 75),
    "m2 no id": ("2a021001", 75),
    "m2 no max_streams": ("32020802", 75),
    "n5 undecodable": ("ffff", 75),
}


@pytest.mark.parametrize(("body", "score"), BAD_HELLOS.values(), ids=BAD_HELLOS)
@both_roles
async def test_m1_m2_a_mux_handshake_against_the_rules_ends_the_connection(autojump_clock, role, body, score):
    async with in_memory() as world:
        peer = await say_instead_of_mux(world, role, encode_frame(bytes.fromhex(body)))

        await peer.wait_end()

        assert trio.current_time() < 1
        assert world.score() == pytest.approx(score, abs=0.1)


@both_roles
async def test_m3_a_mux_handshake_over_10_kb_ends_the_connection_before_its_body(autojump_clock, role):
    async with in_memory() as world:
        peer = await say_instead_of_mux(world, role, (10241).to_bytes(4, "little"))

        await peer.wait_end()

        assert trio.current_time() < 1
        assert world.score() == pytest.approx(75, abs=0.1)


@pytest.mark.parametrize("frame", ["0f00", "0f20", "ff1f", "ff3f", "0f400100", "0f80"], ids=lambda frame: f"m4 {frame}")
@both_roles
async def test_m4_a_frame_of_a_stream_that_does_not_exist_ends_the_connection(autojump_clock, role, frame):
    async with in_memory() as world, world.talk(role) as peer:
        await peer.call("ping", PING)

        await peer.send(bytes.fromhex(frame))

        await assert_dropped(world, peer)
        assert world.score() == pytest.approx(75, abs=0.1)


@pytest.mark.parametrize("frame", ["00c0", "00e0", "0ec0", "0ee0"])
@both_roles
async def test_m5_a_frame_of_kind_3_ends_that_connection_and_no_other(autojump_clock, role, frame):
    async with in_memory() as world, world.talk(index=11) as friend, world.talk(role) as peer:
        await peer.call("ping", PING)

        await peer.send(bytes.fromhex(frame))

        await assert_dropped(world, peer)
        await assert_goes_on(friend)


# The raw peer is a client on streams 0 to 14 of its ACCEPT end (bit 13 clear), a server on those of its CONNECT end.
TOLERATED = {
    "CLOSE before OPEN": "0080" + "00a0",
    "CLOSE twice": "008000800080" + "00a000a0",
    "DATA on a stream that is not open": "0040010041",
    "empty DATA": "01400000" + "01600000",
    "OPEN inside a stream": "0000" * 3 + "0120" * 3,
}


@pytest.mark.parametrize("wire", TOLERATED.values(), ids=TOLERATED)
@both_roles
async def test_m_tolerated_what_is_strange_and_harmless_does_no_harm(autojump_clock, role, wire):
    async with in_memory() as world, world.talk(role) as peer:
        await peer.call("ping", PING)

        await peer.send(bytes.fromhex(wire))
        await trio.sleep(35)  # three pings

        assert not peer.closed.is_set()
        assert world.score() == 100


@both_roles
async def test_m_tolerated_a_data_frame_of_65535_bytes_is_read(autojump_clock, role):
    """As a push of votes, most of them of strangers."""
    strangers = [AttesterSecretKey.from_bytes(index.to_bytes(32, "big")) for index in range(1, 360)]
    body = push(vote(), *[vote(secret) for secret in strangers])
    async with in_memory() as world, world.talk(role) as peer:
        await peer.call("ping", PING)
        raw = len(body).to_bytes(4, "little") + body
        assert len(raw) > 65535
        stream = 8  # push_batch_votes, the first after 1, 2, 3, 4 x 5

        await peer.send(
            stream.to_bytes(2, "little")
            + (0x4000 | stream).to_bytes(2, "little") + b"\xff\xff" + raw[:65535]
            + (0x4000 | stream).to_bytes(2, "little") + (len(raw) - 65535).to_bytes(2, "little") + raw[65535:]
            + (0x8000 | stream).to_bytes(2, "little")
        )  # fmt: skip
        await world.wait_votes(1)

        assert not peer.closed.is_set()


@pytest.mark.parametrize(
    "hello",
    [
        pytest.param(encode_frame(b""), id="empty"),
        pytest.param(encode_frame(bytes.fromhex("2a0808021080ffffff0f" + "320808021080ffffff0f")), id="huge"),
    ],
)
@both_roles
async def test_m_tolerated_an_odd_mux_handshake_ends_nothing_by_itself(autojump_clock, role, hello):
    async with in_memory() as world:
        peer = await say_instead_of_mux(world, role, hello)

        await world.wait_connected(1)
        await trio.sleep(9)  # a ping is given 10 s, whatever else happens

        assert world.node.connected.value == 1
        assert world.score() == 100
        await peer.wait_end()
        assert 10 <= trio.current_time() < 11


# --- calls of the peer: no answer, and the connection stays


async def assert_refused(role, name, body, *, points):
    """The call gets no answer, costs `points`, and nothing else happens."""
    async with in_memory() as world, world.talk(role) as peer:
        assert await peer.call(name, body) is None

        assert world.score() == pytest.approx(100 - points, abs=0.1)
        assert world.votes.votes() == []
        await assert_goes_on(peer)
        assert not peer.closed.is_set()


@pytest.mark.parametrize("name", SPECS)
@both_roles
async def test_r1_a_request_over_the_limit_gets_no_answer(autojump_clock, role, name):
    await assert_refused(role, name, bytes(SPECS[name].max_req + 1), points=20 if name == "push_batch_votes" else 10)


@pytest.mark.parametrize("size", [0, 31, 33])
@both_roles
async def test_r3_a_ping_of_another_size_gets_no_answer(autojump_clock, role, size):
    await assert_refused(role, "ping", ping.encode_request(bytes(size)), points=10)


@pytest.mark.parametrize("name", ["get_block", "get_batch"])
@both_roles
async def test_r5_a_request_without_a_number_gets_no_answer(autojump_clock, role, name):
    await assert_refused(role, name, b"", points=10)


BLOCKY = genesis_of(MEMBERS, first_block=3)
"""A chain with one validator, whose certificates are those of `certified`."""


def certified(number=4, signers=(0,), bits=1, genesis=None):
    return certificate(number, signers, bits, genesis or BLOCKY.hash().raw)


BLOCKS = {
    "before the first block": lambda: block_push(2),
    "first after last": lambda: block_push(5, certified(4)),
    "of another chain": lambda: block_push(3, certified(genesis=bytes(32))),
    "certified before the first block": lambda: block_push(3, certified(2)),
    "too few signers": lambda: block_push(3, certified(signers=())),
    "too many validators": lambda: block_push(3, certified(bits=2)),
}


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
@both_roles
async def test_r8_blocks_that_cannot_be_get_no_answer(autojump_clock, role, make):
    async with in_memory(BLOCKY) as world, world.talk(role) as peer:
        assert await peer.call("push_block_store_state", block_push(4, certified(4))) == b""

        assert await peer.call("push_block_store_state", make()) is None

        assert world.score() == pytest.approx(90, abs=0.1)
        await assert_goes_on(peer)


@both_roles
async def test_r9_batches_that_end_before_they_begin_get_no_answer(autojump_clock, role):
    await assert_refused(role, "push_batch_store_state", bytes.fromhex("08051804"), points=10)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("raw", ["ffff", "0a05", "0000"])
@both_roles
async def test_n5_an_undecodable_request_gets_no_answer(autojump_clock, role, name, raw):
    assert raw in UNDECODABLE.values()
    await assert_refused(role, name, bytes.fromhex(raw), points=20 if name == "push_batch_votes" else 10)


ADDRESSES = {
    "one key twice": lambda: addresses(announcement(1), announcement(1)),
    "ip of 5 bytes": lambda: addresses(announcement(ip=bytes(5))),
    "port 65536": lambda: addresses(announcement(port=65536)),
}


@pytest.mark.parametrize("make", ADDRESSES.values(), ids=ADDRESSES)
@both_roles
async def test_a1_addresses_that_cannot_be_get_no_answer(autojump_clock, role, make):
    await assert_refused(role, "push_validator_addrs", make(), points=10)


async def test_addresses_and_blocks_that_can_be_are_answered_and_forgotten(autojump_clock):
    async with in_memory() as world, world.talk() as peer:
        assert await peer.call("push_validator_addrs", addresses(announcement())) == b""
        assert await peer.call("push_block_store_state", block_push(0)) == b""
        assert await peer.call("get_block", b"\x08\x05") == b""
        assert world.score() == 100


# --- calls of ours


@pytest.mark.parametrize("name", ["ping", "push_block_store_state", "push_batch_store_state", "push_batch_votes"])
@both_roles
async def test_r2_an_answer_over_1_kb_ends_the_connection(autojump_clock, role, name):
    async with in_memory() as world:
        world.vote(MEMBERS[0], 5)
        peer = await world.meet(role)
        peer.answers[name] = lambda _body: bytes(1025)
        await peer.greet()

        async with peer.talking():
            await assert_dropped(world, peer)

        assert world.score() == pytest.approx(80, abs=0.1)


PONGS = {
    "different": lambda _body: ping.encode_response(bytes(32)),
    "of another size": lambda _body: ping.encode_response(bytes(31)),
    "unreadable": lambda _body: b"\xff",
    "none": lambda _body: None,
}


@pytest.mark.parametrize("pong", PONGS.values(), ids=PONGS)
@both_roles
async def test_r4_a_wrong_answer_to_a_ping_ends_the_connection(autojump_clock, role, pong):
    async with in_memory() as world:
        peer = await world.meet(role)
        peer.answers["ping"] = pong
        await peer.greet()

        async with peer.talking():
            await assert_dropped(world, peer)

        assert trio.current_time() < 1
        assert world.score() == pytest.approx(80, abs=0.1)


@pytest.mark.parametrize("how", ["late", "not served"])
@both_roles
async def test_r4_an_answer_to_a_ping_that_does_not_come_in_time_ends_the_connection(autojump_clock, role, how):
    async with in_memory(ping_timeout_s=10.0) as world:
        serves = [name for name in SPECS if name != "ping" or how == "late"]
        peer = await world.meet(role, serves=serves)
        peer.answers["ping"] = lambda _body: HOLD
        await peer.greet()

        async with peer.talking():
            await peer.wait_closed()

        assert trio.current_time() == pytest.approx(10.0, abs=0.1)


@both_roles
async def test_ping_loop_three_pings_are_answered_and_the_fourth_is_not(autojump_clock, role):
    """Three answered, each a period apart, and the fourth given up: four timeouts after the beginning."""
    async with in_memory(ping_timeout_s=7.0) as world:
        peer = await world.meet(role)
        peer.answers["ping"] = lambda body: body if len(peer.of("ping")) <= 3 else HOLD
        await peer.greet()

        async with peer.talking():
            await peer.wait_closed()

        assert len(peer.of("ping")) == 4
        assert len({request.body for request in peer.of("ping")}) == 4  # never the same bytes
        assert trio.current_time() == pytest.approx(4 * 7.0, abs=0.1)


GIVEN = {
    "none": lambda _body: b"",
    "another one": lambda _body: get_batch.encode_response(sync_batch(1)),
    "unreadable": lambda _body: b"\x0a\x02\xff\xff",
    "without a proof": lambda _body: b"\x0a\x02\x08\x00",
    "closed": lambda _body: None,
}


@pytest.mark.parametrize("give", GIVEN.values(), ids=GIVEN)
@both_roles
async def test_r6_a_wrong_batch_ends_the_connection_and_another_peer_is_asked(autojump_clock, role, give):
    async with in_memory() as world, world.talk(index=11) as good, world.talk(role) as bad:
        good.answers["get_batch"] = lambda _body: get_batch.encode_response(sync_batch(0))
        bad.answers["get_batch"] = give
        await bad.call("push_batch_store_state", announced(0, 0))
        await good.call("push_batch_store_state", announced(0, 0))

        await world.wait_queued(0)

        await assert_dropped(world, bad)
        assert world.score() == pytest.approx(80, abs=0.1)
        assert len(bad.of("get_batch")) == len(good.of("get_batch")) == 1
        assert world.score(11) == 100


@both_roles
async def test_r6_a_batch_that_does_not_come_in_10_s_ends_the_connection_and_another_peer_is_asked(
    autojump_clock, role
):
    async with in_memory() as world, world.talk(index=11) as good, world.talk(role) as bad:
        good.answers["get_batch"] = lambda _body: get_batch.encode_response(sync_batch(0))
        bad.answers["get_batch"] = lambda _body: HOLD
        await bad.call("push_batch_store_state", announced(0, 0))
        await bad.wait_requests("get_batch")
        began = trio.current_time()
        await good.call("push_batch_store_state", announced(0, 0))

        await bad.wait_closed()
        await world.wait_queued(0)

        assert trio.current_time() - began == pytest.approx(10.0, abs=0.1)


async def test_a_peer_that_gives_nothing_of_all_it_claims_to_have_keeps_no_batch_from_us(autojump_clock):
    async with in_memory() as world, world.talk(index=11) as good, world.talk(index=12) as liar:
        liar.answers["get_batch"] = lambda _body: HOLD
        good.answers["get_batch"] = lambda body: get_batch.encode_response(
            sync_batch(get_batch.request_untrusted(body))
        )
        await liar.call("push_batch_store_state", announced(0, 99))
        await liar.wait_requests("get_batch", 5)

        await good.call("push_batch_store_state", announced(0, 29))
        await liar.wait_closed()

        with trio.fail_after(10):
            await world.store.wait_until_queued(BatchNumber(29))
        assert len(good.of("get_batch")) == 30


@both_roles
async def test_a_push_that_is_refused_ends_the_connection_without_blame(autojump_clock, role):
    """It may be we who are wrong, and what was refused would never be sent again."""
    async with in_memory() as world:
        world.vote(MEMBERS[0], 5)
        peer = await world.meet(role)
        peer.answers["push_batch_votes"] = lambda _body: None
        await peer.greet()

        async with peer.talking():
            await assert_dropped(world, peer)

        assert world.score() == 100


# --- votes


def high_s(raw):
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    return raw[:32] + (order - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big") + bytes([55 - raw[64]])


BAD_VOTES = {
    "v1 twice the same": lambda: [vote(MEMBERS[1]), vote(MEMBERS[1])],
    "v1 two of one key": lambda: [vote(MEMBERS[1]), vote(MEMBERS[1], 6)],
    "v1 a stranger twice": lambda: [vote(STRANGER), vote(STRANGER)],
    "v2 foreign": lambda: [vote(MEMBERS[1], genesis=FOREIGN)],
    "v2 foreign stranger": lambda: [vote(STRANGER, genesis=FOREIGN)],
    "v3 another message": lambda: [SignedBatch(vote().batch, MEMBERS[1].public(), vote(MEMBERS[1], 6).signature)],
    "v3 another key": lambda: [SignedBatch(vote().batch, MEMBERS[1].public(), vote(MEMBERS[2]).signature)],
    "v3 high s": lambda: [respelled(vote(MEMBERS[1]), high_s)],
    "v3 v of the other point": lambda: [respelled(vote(MEMBERS[1]), lambda raw: raw[:64] + bytes([55 - raw[64]]))],
}


@pytest.mark.parametrize("make", BAD_VOTES.values(), ids=BAD_VOTES)
@both_roles
async def test_v1_v2_v3_a_list_with_a_bad_vote_gets_no_answer_and_those_before_it_stay(autojump_clock, role, make):
    async with in_memory() as world, world.talk(role) as peer:
        bad = make()
        body = push(vote(MEMBERS[0]), *bad, vote(MEMBERS[3]))

        assert await peer.call("push_batch_votes", body) is None

        counted = {one.key for one in world.votes.votes()}
        assert MEMBERS[0].public() in counted
        assert MEMBERS[3].public() not in counted
        assert counted <= {MEMBERS[0].public()} | {one.key for one in bad[:-1]}  # those before the bad one
        assert world.score() == pytest.approx(80, abs=0.1)
        await assert_goes_on(peer)


@pytest.mark.parametrize("make", BAD_VOTES.values(), ids=BAD_VOTES)
@both_roles
async def test_v1_v2_v3_a_long_list_is_treated_like_a_short_one(autojump_clock, role, make):
    """More votes than are checked on the spot go another way; with strangers between, none of which is checked."""
    async with in_memory() as world, world.talk(role) as peer:
        strangers = [vote(attester(index)) for index in range(100, 140)]
        body = push(vote(MEMBERS[0]), *strangers, *make(), vote(MEMBERS[3]))

        assert await peer.call("push_batch_votes", body) is None

        counted = {one.key for one in world.votes.votes()}
        assert MEMBERS[0].public() in counted
        assert MEMBERS[3].public() not in counted
        assert world.score() == pytest.approx(80, abs=0.1)
        await assert_goes_on(peer)


@pytest.mark.parametrize("raw", NO_VOTES.values(), ids=NO_VOTES)
@both_roles
async def test_v4_a_vote_that_cannot_be_read_loses_the_whole_list(autojump_clock, role, raw):
    await assert_refused(role, "push_batch_votes", push(vote()) + wrapped(raw), points=20)


SKIPPED = {
    "nothing": lambda: [],
    "below the floor": lambda: [vote(MEMBERS[1], 2)],
    "a stranger": lambda: [vote(STRANGER)],
    "a stranger with a bad signature": lambda: [SignedBatch(vote().batch, STRANGER.public(), vote().signature)],
    "not newer": lambda: [vote(MEMBERS[0], 4)],
    "not newer, with a bad signature": lambda: [
        SignedBatch(vote().batch, MEMBERS[0].public(), vote(number=9).signature)
    ],
}


@pytest.mark.parametrize("make", SKIPPED.values(), ids=SKIPPED)
@both_roles
async def test_v_tolerated_votes_that_do_not_count_are_answered(autojump_clock, role, make):
    async with in_memory() as world, world.talk(role) as peer:
        world.votes.raise_floor(BatchNumber(3))
        world.vote(MEMBERS[0], 5)

        assert await peer.call("push_batch_votes", push(*make(), vote(MEMBERS[3]))) == b""

        assert world.score() == 100
        assert {one.key for one in world.votes.votes()} == {MEMBERS[0].public(), MEMBERS[3].public()}
        assert [one.batch.number for one in world.votes.votes()] == [5, 5]


@pytest.mark.parametrize("role", [DIALLER, ACCEPTOR], ids=["dynamic", "static"])
async def test_a_peer_that_pushes_bad_votes_again_and_again_is_dropped_if_it_is_not_ours(autojump_clock, role):
    """Five of them in a row; the operator's own peers are only reported."""
    async with in_memory() as world, world.talk(role, index=9 if role is ACCEPTOR else 12) as peer:
        answers = []
        try:
            for _ in range(6):
                answers.append(await peer.call("push_batch_votes", push(vote(genesis=FOREIGN))))
        except PeerClosed:
            answers.append("dropped")

        assert answers == ([None] * 6 if role is ACCEPTOR else [None] * 4 + ["dropped"])

        if role is DIALLER:
            again = await world.meet(index=12)
            await again.greet()
            assert await again.wait_end() == b""  # for ten minutes


# --- batches for others


async def test_a_batch_that_is_here_is_given_and_one_that_is_not_is_said_to_be_missing(autojump_clock):
    async with in_memory() as world, world.talk() as peer:
        await world.store.queue_batch(sync_batch(0))

        assert await peer.call("get_batch", get_batch.encode_request(0)) == get_batch.encode_response(sync_batch(0))
        for number in (1, 2**63 - 1, 2**64 - 1):
            assert await peer.call("get_batch", get_batch.encode_request(number)) == get_batch.NOT_AVAILABLE
        assert world.score() == 100


async def test_a_peer_that_claims_to_have_everything_is_asked_for_20_and_no_more(autojump_clock):
    async with in_memory() as world, world.talk() as peer:
        peer.answers["get_batch"] = lambda _body: HOLD

        await peer.call("push_batch_store_state", announced(0, 2**64 - 1))
        await trio.sleep(5)

        assert len(peer.of("get_batch")) == 5  # calls at a time
        assert not peer.closed.is_set()


# --- votes for others


@both_roles
async def test_a_vote_is_told_to_everybody_but_whom_it_came_from(autojump_clock, role):
    async with in_memory() as world, world.talk(index=11) as friend, world.talk(role) as peer:
        await peer.call("push_batch_votes", push(vote(MEMBERS[0])))
        world.vote(MEMBERS[1], 5)
        await trio.sleep(5)

        def told(to):
            return sorted(
                one.key.raw
                for request in to.of("push_batch_votes")
                for one in VoteCodec().decode_untrusted(request.body)
            )

        assert told(peer) == [MEMBERS[1].public().raw]
        assert told(friend) == sorted(secret.public().raw for secret in MEMBERS[:2])
