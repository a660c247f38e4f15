from __future__ import annotations

import contextlib
from ipaddress import ip_address

import pytest
from attestrio.errors import PeerError
from attestrio.gossip.limiter import Rate
from attestrio.gossip.rpc import (
    get_batch,
    get_block,
    ping,
    push_batch_store_state,
    push_block_store_state,
    push_validator_addrs,
)
from attestrio.gossip.rpc.errors import DuplicateAnnouncement, WrongAnswer, WrongPong, WrongRange
from attestrio.gossip.rpc.methods import METHODS
from attestrio.gossip.rpc.parse import VOID, void_untrusted
from attestrio.gossip.rpc.push_batch_store_state import BatchStoreState
from attestrio.roles import (
    BatchNumber,
    Genesis,
    GenesisMismatch,
    Malformed,
    MissingField,
    NotEnoughSigners,
    NumberOutOfRange,
    RoundRobin,
    SyncBatch,
    ValidatorPublicKey,
    WeightedValidator,
    WrongLength,
    keccak256,
)
from attestrio.schema import rpc_pb2, std_pb2, validator_keys_pb2, validator_pb2
from hypothesis import given
from hypothesis import strategies as st

KB = 1024
BATCH = SyncBatch(BatchNumber(5), (b"block", b""), b"proof")
GENESIS = Genesis(
    chain_id=1,
    fork_number=0,
    first_block=3,
    protocol_version=1,
    validators=tuple(WeightedValidator(ValidatorPublicKey(bytes([n]) * 96), 1) for n in range(1, 11)),
    leader_selection=RoundRobin(),
)
PAYLOAD = b"transactions"


# the table of section 4.1


def test_no_two_methods_share_a_capability_or_a_name():
    assert len({spec.capability for spec in METHODS}) == len({spec.name for spec in METHODS}) == len(METHODS)


def test_the_numbers_are_those_of_the_network():
    table = {
        1: ("push_validator_addrs", 1, Rate(1, 5.0), 100 * KB, KB, None),
        2: ("ping", 1, Rate(2, 1.0), KB, KB, 10.0),
        3: ("push_block_store_state", 1, Rate(2, 0.3), 10 * KB, KB, None),
        5: ("push_batch_votes", 1, Rate(2, 0.5), 100 * KB, KB, None),
        7: ("push_batch_store_state", 1, Rate(2, 0.3), 10 * KB, KB, None),
    }
    sized = {4: ("get_block", 5, Rate(10, 0.1), KB, 10.0), 6: ("get_batch", 5, Rate(10, 0.1), KB, 10.0)}
    fixed = {spec.capability: spec for spec in METHODS}

    for capability, row in table.items():
        spec = fixed.pop(capability)
        assert (spec.name, spec.inflight, spec.rate, spec.max_req, spec.max_resp, spec.timeout_s) == row
    for capability, row in sized.items():
        spec = fixed.pop(capability)
        assert (spec.name, spec.inflight, spec.rate, spec.max_req, spec.timeout_s) == row
    assert fixed == {}


def test_a_method_keeps_as_many_streams_as_calls():
    assert [(spec.half.max_streams, spec.half.rate) for spec in METHODS] == [
        (spec.inflight, spec.rate) for spec in METHODS
    ]


# ping


def test_a_ping_is_answered_by_its_own_bytes():
    data = bytes(range(32))

    answer = ping.answer_untrusted(ping.encode_request(data))

    assert answer == b"\x0a\x20" + data
    assert ping.response_untrusted(answer) == data


@pytest.mark.parametrize(
    "body", [b"", b"\x0a\x00", b"\x0a\x1f" + bytes(31), b"\x0a\x21" + bytes(33), b"\x08\x01", b"\x0a"]
)
def test_a_ping_of_another_size_is_refused(body):  # R3
    with pytest.raises(PeerError):
        ping.answer_untrusted(body)


def test_pings_are_a_period_apart_from_answer_to_ping():
    fresh = iter(bytes([n]) * 32 for n in range(9))
    pinger = ping.Pinger(10.0, lambda size: next(fresh)[:size], 100.0)

    first = pinger.due(100.0)
    awaiting = pinger.due(105.0), pinger.deadline()
    pinger.check_untrusted(ping.answer_untrusted(first), 103.0)
    early = pinger.due(112.9), pinger.deadline()
    second = pinger.due(113.0)

    assert awaiting == (None, None)
    assert early == (None, 113.0)
    assert second != first


@pytest.mark.parametrize("answer", [ping.encode_response(b"x" * 32), b"", b"\x0a\x00"], ids=["other", "none", "short"])
def test_a_wrong_answer_to_a_ping_drops_the_peer(answer):  # R4
    pinger = ping.Pinger(10.0, bytes, 0.0)
    pinger.due(0.0)

    with pytest.raises(PeerError) as dropped:
        pinger.check_untrusted(answer, 1.0)

    assert isinstance(dropped.value, WrongPong) == (len(answer) > 30)


def test_an_answer_nobody_asked_for_is_wrong():
    pinger = ping.Pinger(10.0, bytes, 0.0)

    with pytest.raises(WrongPong):
        pinger.check_untrusted(ping.encode_response(bytes(32)), 0.0)


# batches


@pytest.mark.parametrize("number", [0, 1, 2**64 - 1])
@pytest.mark.parametrize("method", [get_batch, get_block])
def test_a_number_is_asked_for_and_read(method, number):
    assert method.request_untrusted(method.encode_request(BatchNumber(number))) == number


@pytest.mark.parametrize("method", [get_batch, get_block])
def test_number_0_is_written(method):
    assert method.encode_request(BatchNumber(0)).hex() == "0800"


@pytest.mark.parametrize("method", [get_batch, get_block])
@pytest.mark.parametrize("body", [b"", b"\x12\x00", b"\x10\x05"])
def test_a_request_without_a_number_is_refused(method, body):  # R5
    with pytest.raises(MissingField):
        method.request_untrusted(body)


@pytest.mark.parametrize("method", [get_batch, get_block])
@pytest.mark.parametrize("body", [b"\x08", b"\x08\x05\x00", b"\x0a\x01\x05", b"\x08" + b"\xff" * 10 + b"\x01", b"\x0c"])
def test_a_request_that_cannot_be_read_is_refused(method, body):  # N5
    with pytest.raises(Malformed):
        method.request_untrusted(body)


@pytest.mark.parametrize("batch", [BATCH, SyncBatch(BatchNumber(5), (), b""), SyncBatch(BatchNumber(5), (bytes(300),))])
def test_a_batch_comes_back(batch):
    assert get_batch.response_untrusted(get_batch.encode_response(batch), BatchNumber(5)) == batch


def test_a_response_is_what_the_schema_says():
    body = get_batch.encode_response(BATCH)

    assert rpc_pb2.GetBatchResponse.FromString(body).SerializeToString(deterministic=True) == body
    assert get_batch.encode_response(None) == get_batch.NOT_AVAILABLE == b""


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b"", WrongAnswer, id="none"),
        pytest.param(get_batch.encode_response(SyncBatch(BatchNumber(6), ())), WrongAnswer, id="another"),
        pytest.param(b"\x0a\x02\x08\x05", MissingField, id="no proof"),
        pytest.param(b"\x0a\x02\x1a\x00", MissingField, id="no number"),
        pytest.param(b"\x0a\x05\x08", Malformed, id="cut off"),
        pytest.param(b"\x08\x05", Malformed, id="another wire type"),
    ],
)
def test_anything_but_the_announced_batch_drops_the_peer(body, why):  # R6
    with pytest.raises(why):
        get_batch.response_untrusted(body, BatchNumber(5))


@pytest.mark.parametrize(
    ("first", "last", "raw"), [(0, None, "0800"), (0, 0, "08001800"), (7, 7, "08071807"), (1, 300, "080118ac02")]
)
def test_what_batches_are_here_is_told_and_read(first, last, raw):
    state = BatchStoreState(BatchNumber(first), None if last is None else BatchNumber(last))

    body = push_batch_store_state.encode_request(state)

    assert body.hex() == raw
    assert push_batch_store_state.request_untrusted(body) == state


def test_a_range_knows_what_is_in_it():
    state = BatchStoreState(BatchNumber(3), BatchNumber(5))

    assert [number in state for number in (2, 3, 5, 6)] == [False, True, True, False]
    assert 3 not in BatchStoreState(BatchNumber(3), None)


def test_batches_that_end_before_they_begin_are_refused():  # R9
    with pytest.raises(WrongRange) as refused:
        push_batch_store_state.request_untrusted(bytes.fromhex("08021801"))

    assert (refused.value.got, refused.value.limit) == (2, 1)


def test_the_retired_last_batch_is_not_looked_at():
    assert push_batch_store_state.request_untrusted(bytes.fromhex("0802 1201ff")) == BatchStoreState(
        BatchNumber(2), None
    )


@pytest.mark.parametrize("body", ["", "1801", "0802 1a0101"], ids=["empty", "no first", "last of another wire type"])
def test_batches_without_a_first_or_a_readable_last_are_refused(body):
    with pytest.raises(PeerError):
        push_batch_store_state.request_untrusted(bytes.fromhex(body))


# blocks


def certificate(number=4, signers=range(10), bits=10, genesis=None, payload=PAYLOAD):
    packed = bytearray((bits + 7) // 8)
    for i in signers:
        packed[i // 8] |= 0x80 >> i % 8
    return validator_pb2.CommitQC(
        msg=validator_pb2.ReplicaCommit(
            view=validator_pb2.View(
                number=1, genesis=validator_keys_pb2.GenesisHash(keccak256=genesis or GENESIS.hash().raw)
            ),
            proposal=validator_pb2.BlockHeader(
                number=number, payload=validator_pb2.PayloadHash(keccak256=keccak256(payload))
            ),
        ),
        signers=std_pb2.BitVector(size=bits, bytes=bytes(packed)),
        sig=validator_keys_pb2.AggregateSignature(bn254=bytes(48)),
    )


def block_push(first=3, last=None):
    return rpc_pb2.PushBlockStoreState(first=first, last=last).SerializeToString()


def block_answer(**changed):
    qc = certificate(**changed)
    return rpc_pb2.GetBlockResponse(
        block=validator_pb2.FinalBlock(payload=PAYLOAD, justification=qc)
    ).SerializeToString()


def test_a_node_without_blocks_says_so():
    body = push_block_store_state.encode_empty(3)

    state = push_block_store_state.request_untrusted(body, GENESIS)

    assert body.hex() == "0803"
    assert (state.first, state.last) == (3, None)


def test_what_blocks_a_peer_has_is_read():
    state = push_block_store_state.request_untrusted(block_push(4, certificate(4, signers=range(9))), GENESIS)

    assert (state.first, state.last.number) == (4, 4)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(block_push(2), WrongRange, id="before the first block of the chain"),
        pytest.param(block_push(5, certificate(4)), WrongRange, id="first after last"),
        pytest.param(block_push(3, certificate(genesis=bytes(32))), GenesisMismatch, id="another chain"),
        pytest.param(block_push(3, certificate(bits=11)), WrongLength, id="too many signers"),
        pytest.param(block_push(3, certificate(bits=9, signers=range(9))), WrongLength, id="too few bits"),
        pytest.param(block_push(3, certificate(signers=range(8))), NotEnoughSigners, id="too little weight"),
        pytest.param(b"", MissingField, id="no first"),
        pytest.param(b"\x08\x03\x12\x00", MissingField, id="an empty certificate"),
        pytest.param(b"\x08\x03\x10\x00", Malformed, id="a certificate of another wire type"),
    ],
)
def test_blocks_that_cannot_be_are_refused(body, why):  # R8
    with pytest.raises(why):
        push_block_store_state.request_untrusted(body, GENESIS)


def spoiled(path, value=None):
    """A push whose certificate has one field cleared, or set to `value`."""
    qc = certificate()
    *outer, last = path.split(".")
    message = qc
    for name in outer:
        message = getattr(message, name)
    if value is None:
        message.ClearField(last)
    else:
        setattr(message, last, value)
    return block_push(3, qc)


@pytest.mark.parametrize(
    "path",
    [
        "msg", "msg.view", "msg.view.number", "msg.view.genesis", "msg.view.genesis.keccak256", "msg.proposal",
        "msg.proposal.number", "msg.proposal.payload", "msg.proposal.payload.keccak256", "signers", "signers.size",
        "signers.bytes", "sig", "sig.bn254",
    ],
)  # fmt: skip
def test_a_certificate_lacks_nothing(path):
    with pytest.raises(MissingField):
        push_block_store_state.request_untrusted(spoiled(path), GENESIS)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("msg.view.genesis.keccak256", bytes(31)),
        ("msg.proposal.payload.keccak256", bytes(33)),
        ("sig.bn254", bytes(47)),
        ("signers.bytes", b"\xff"),
        ("signers.size", 2**64 - 1),
    ],
)
def test_a_certificate_has_the_right_sizes(path, value):
    with pytest.raises(WrongLength):
        push_block_store_state.request_untrusted(spoiled(path, value), GENESIS)


def test_more_bytes_than_bits_are_tolerated():
    state = push_block_store_state.request_untrusted(spoiled("signers.bytes", b"\xff" * 5), GENESIS)

    assert state.last.validators == 10


def test_the_announced_block_is_read():
    assert get_block.response_untrusted(block_answer(number=4), 4, GENESIS).payload == PAYLOAD


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b"", WrongAnswer, id="R6 none"),
        pytest.param(block_answer(number=5), WrongAnswer, id="R6 another"),
        pytest.param(b"\x0a\x00", MissingField, id="R6 empty"),
        pytest.param(block_answer(payload=b"else"), WrongAnswer, id="R7 another payload"),
        pytest.param(block_answer(genesis=bytes(32)), GenesisMismatch, id="R7 another chain"),
        pytest.param(block_answer(bits=80), WrongLength, id="R7 signers"),
        pytest.param(block_answer(signers=range(8)), NotEnoughSigners, id="R7 weight"),
    ],
)
def test_anything_but_the_announced_block_drops_the_peer(body, why):
    with pytest.raises(why):
        get_block.response_untrusted(body, 4, GENESIS)


def test_a_block_before_the_chain_drops_the_peer():  # R7
    with pytest.raises(WrongRange):
        get_block.response_untrusted(block_answer(number=2), 2, GENESIS)


# addresses


def announcement(number=1, ip=bytes([127, 0, 0, 1]), port=3054, nanos=0, seconds=-1, **spoil):
    signed = validator_pb2.Signed(
        msg=validator_pb2.Msg(
            net_address=validator_pb2.NetAddress(
                addr=std_pb2.SocketAddr(ip=ip, port=port),
                version=7,
                timestamp=std_pb2.Timestamp(seconds=seconds, nanos=nanos),
            )
        ),
        key=validator_keys_pb2.PublicKey(bn254=bytes([number]) * 96),
        sig=validator_keys_pb2.Signature(bn254=bytes(48)),
    )
    for path, value in spoil.items():
        *outer, last = path.split("__")
        message = signed
        for name in outer:
            message = getattr(message, name)
        if value is None:
            message.ClearField(last)
        else:
            setattr(message, last, value)
    return signed


def addresses(*announced):
    return rpc_pb2.PushValidatorAddrs(net_addresses=announced).SerializeToString()


@pytest.mark.parametrize("ip", [bytes([127, 0, 0, 1]), bytes(15) + b"\x01"], ids=["4", "16"])
@pytest.mark.parametrize("port", [0, 65535])
def test_an_address_is_read(ip, port):
    (one,) = push_validator_addrs.request_untrusted(addresses(announcement(ip=ip, port=port)))

    assert (one.ip, one.port, one.version, one.seconds, one.nanos) == (ip_address(ip), port, 7, -1, 0)


def test_no_addresses_are_fine():
    assert push_validator_addrs.request_untrusted(b"") == ()


@pytest.mark.parametrize(
    ("announced", "why"),
    [
        pytest.param([announcement(1), announcement(2), announcement(1)], DuplicateAnnouncement, id="one key twice"),
        pytest.param([announcement(ip=bytes(5))], WrongLength, id="ip of 5 bytes"),
        pytest.param([announcement(ip=b"")], WrongLength, id="ip of none"),
        pytest.param([announcement(port=65536)], NumberOutOfRange, id="port"),
        pytest.param([announcement(nanos=10**9)], NumberOutOfRange, id="nanos"),
        pytest.param([announcement(nanos=-1)], NumberOutOfRange, id="negative nanos"),
        pytest.param([announcement(key__bn254=bytes(95))], WrongLength, id="key"),
        pytest.param([announcement(sig__bn254=bytes(96))], WrongLength, id="signature"),
        pytest.param([announcement(msg__session_id=b"x")], MissingField, id="another message"),
        *(
            pytest.param([announcement(**{path: None})], MissingField, id=f"no {path}")
            for path in (
                "msg", "key", "sig", "key__bn254", "sig__bn254", "msg__net_address", "msg__net_address__addr",
                "msg__net_address__version", "msg__net_address__timestamp", "msg__net_address__addr__ip",
                "msg__net_address__addr__port", "msg__net_address__timestamp__seconds",
                "msg__net_address__timestamp__nanos",
            )
        ),
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_are_refused(announced, why):  # A1
    with pytest.raises(why):
        push_validator_addrs.request_untrusted(addresses(*announced))


# anything


def test_nothing_is_a_fine_answer_and_so_is_what_nobody_knows():
    void_untrusted(VOID)
    void_untrusted(bytes.fromhex("0801 1200"))


def a_batch_and(unknown):
    """An answer with batch 5, and inside and behind it `unknown` bytes of small fields that nobody knows."""
    inner = BATCH.encode() + b"\x78\x00" * (unknown // 4)
    answer = rpc_pb2.GetBatchResponse()
    answer.batch.MergeFromString(inner)
    return answer.SerializeToString() + b"\x78\x00" * (unknown // 4)


def test_15_kb_that_nobody_knows_are_read_over():
    assert get_batch.response_untrusted(a_batch_and(15 * KB), BatchNumber(5)) == BATCH


@pytest.mark.parametrize("unknown", [17 * KB, 10 * KB * KB])
def test_an_answer_of_little_but_what_nobody_knows_is_not_looked_at(unknown):
    """The largest one took 4 s, in which nobody else was heard."""
    with pytest.raises(Malformed, match="too many fields that nobody knows"):
        get_batch.response_untrusted(a_batch_and(unknown), BatchNumber(5))


def test_a_large_batch_is_not_taken_for_it():
    large = SyncBatch(BatchNumber(5), (b"x" * KB * KB, b""), b"proof")

    assert get_batch.response_untrusted(get_batch.encode_response(large), BatchNumber(5)) == large


def test_an_answer_that_cannot_be_read_is_refused():
    with pytest.raises(Malformed):
        void_untrusted(b"\x08")


READERS = [
    ping.request_untrusted,
    ping.response_untrusted,
    void_untrusted,
    push_batch_store_state.request_untrusted,
    push_validator_addrs.request_untrusted,
    get_batch.request_untrusted,
    lambda body: get_batch.response_untrusted(body, BatchNumber(5)),
    get_block.request_untrusted,
    lambda body: get_block.response_untrusted(body, 4, GENESIS),
    lambda body: push_block_store_state.request_untrusted(body, GENESIS),
]
SAMPLES = [
    block_answer(), block_push(3, certificate()), addresses(announcement(1), announcement(2)),
    get_batch.encode_response(BATCH), ping.encode_request(bytes(32)), b"\x08\x05\x18\x07",
]  # fmt: skip


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_end_in_a_peer_error(body):
    for reader in READERS:
        with contextlib.suppress(PeerError):
            reader(body)


@given(st.sampled_from(SAMPLES), st.data())
def test_a_damaged_message_is_read_or_ends_in_a_peer_error(sample, data):
    damaged = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])

    for reader in READERS:
        with contextlib.suppress(PeerError):
            reader(body)
