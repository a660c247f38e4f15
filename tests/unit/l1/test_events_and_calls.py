import contextlib

import pytest
from attestrio.kit.jsonrpc import MalformedAnswer
from attestrio.l1 import Address, BlockHash, BlockNumber, BlockRef, Contract, Event, Function, Log, Reverts, TxHash
from attestrio.l1.api import LogFilter, Topic
from attestrio.l1.errors import UnreadableEvent
from attestrio.l1.logs import filter_for
from attestrio.l1.place import CursorUnreadable, Place, Window
from hypothesis import given
from hypothesis import strategies as st
from stub_chain import StubChain

NEW_BATCH = Event.parse(
    "NewBatchV3(bytes32 indexed batchMerkleRoot, address senderAddress, uint32 taskCreatedBlock,"
    " string batchDataPointer, uint256 respondToTaskFeeLimit)"
)
ADDRESS = Address(b"\x11" * 20)
REF = BlockRef(BlockNumber(5), BlockHash(b"\x05" * 32))
VALUES = {
    "batchMerkleRoot": b"\x22" * 32,
    "senderAddress": b"\x33" * 20,
    "taskCreatedBlock": 5,
    "batchDataPointer": "http://storage/batch",
    "respondToTaskFeeLimit": 10**18,
}


def log_of(topics, data, index=0) -> Log:
    return Log(ADDRESS, topics, data, REF, index, TxHash(bytes(32)))


# The identifiers are those of specs/aligned.md, 1.1.


@pytest.mark.parametrize(
    ("declared", "topic"),
    [
        (
            "NewBatchV2(bytes32 indexed r, address s, uint32 b, string p)",
            "130d3e81af62e03ed6fff5e3bb343695ec513892cfad24d286486745dcc61437",
        ),
        (
            "NewBatchV3(bytes32 indexed r, address s, uint32 b, string p, uint f)",
            "8801fc966deb2c8f563a103c35c9e80740585c292cd97518587e6e7927e6af55",
        ),
        (
            "BatchVerified(bytes32 indexed r, address s)",
            "8511746b73275e06971968773119b9601fc501d7bdf3824d8754042d148940e2",
        ),
        (
            "NewPubkeyRegistration(address indexed operator, (uint256 X, uint256 Y) g1, (uint256[2], uint256[2] Y) g2)",
            "e3fb6613af2e8930cf85d47fcf6db10192224a64c6cbe8023e0eee1ba3828041",
        ),
    ],
)
def test_topics_are_those_of_the_deployed_contract(declared, topic):
    assert Event.parse(declared).topic.hex() == topic


@pytest.mark.parametrize(
    ("declared", "selector"),
    [
        ("createNewTask(bytes32 root, string pointer, uint256 limit)", "d66eaabd"),
        (
            "respondToTaskV2(bytes32, address, (uint32[] a, (uint256 X, uint256 Y)[] b, (uint256 X, uint256 Y)[] c,"
            " (uint256[2] X, uint256[2] Y) d, (uint256 X, uint256 Y) e, uint32[] f, uint32[] g, uint32[][] h) p)",
            "ab21739a",
        ),
        ("batchesState(bytes32) returns (uint32, bool, uint256)", "b099627e"),
        ("disabledVerifiers() returns (uint256)", "ea5ca34b"),
    ],
)
def test_selectors_are_those_of_the_deployed_contract(declared, selector):
    assert Function.parse(declared).selector.hex() == selector


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NoParameters",
        "a(b",
        "a((uint256 x)",
        "a(uint256 one two)",
        "a(uint256)) b",
        "a(uint256)",
        "a(bool x, bool x)",
    ],
)
def test_what_is_no_declaration_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # several places, one meaning
        Event.parse(text)


def test_an_event_is_read_back_as_it_was_emitted():
    log = log_of(*NEW_BATCH.emitted(**VALUES))

    assert NEW_BATCH.read_untrusted(log) == VALUES


def test_an_indexed_string_is_its_hash():
    event = Event.parse("Named(string indexed name, address indexed who)")
    log = log_of((event.topic, Topic(b"\x07" * 32), Topic(bytes(12) + b"\x08" * 20)), b"")

    assert event.read_untrusted(log) == {"name": b"\x07" * 32, "who": b"\x08" * 20}


@pytest.mark.parametrize(
    "break_it",
    [
        lambda topics, data: (topics, data[:-40]),
        lambda topics, data: (topics, b""),
        lambda topics, data: (topics, data[:64] + b"\xff" * 32 + data[96:]),
        lambda topics, data: (topics, data.replace(b"http", b"\xff\xfe\xfd\xfc")),
        lambda topics, data: (topics[:1], data),
        lambda topics, data: ((*topics, topics[1]), data),
        lambda topics, data: ((topics[1], topics[1]), data),
        lambda topics, data: (topics, b"\x01" + data[1:]),
    ],
    ids=["cut", "empty", "pointer", "no text", "topic missing", "topic too many", "other event", "address too long"],
)
def test_a_log_that_is_not_what_the_abi_says_is_refused_by_name(break_it):
    with pytest.raises(UnreadableEvent):
        NEW_BATCH.read_untrusted(log_of(*break_it(*NEW_BATCH.emitted(**VALUES))))


@given(data=st.binary(max_size=400))
def test_any_data_ends_in_values_or_in_one_error(data):
    topics, _ = NEW_BATCH.emitted(**VALUES)

    with contextlib.suppress(UnreadableEvent):
        assert NEW_BATCH.read_untrusted(log_of(topics, data)).keys() == VALUES.keys()


def test_a_filter_takes_several_events_and_pins_a_topic():
    other = Event.parse("BatchVerified(bytes32 indexed r, address s)")
    wanted = filter_for(ADDRESS, NEW_BATCH, other, where={1: (Topic(b"\x22" * 32),)})
    topics, data = NEW_BATCH.emitted(**VALUES)

    assert wanted == LogFilter((ADDRESS,), ((NEW_BATCH.topic, other.topic), (Topic(b"\x22" * 32),)))
    assert wanted.matches(log_of(topics, data))
    assert not wanted.matches(log_of((topics[0], Topic(bytes(32))), data))
    assert not wanted.matches(log_of(topics[:1], data))


# --- calls


async def test_a_contract_answers_with_values():
    chain, answer = StubChain(), Function.parse("x(address a, uint256 b)").encode(b"\x01" * 20, 7)[4:]

    async def call(to, data, at):
        assert (to, data.hex(), at) == (ADDRESS, "b099627e" + "22" * 32, "latest")
        return answer

    chain.call = call
    function = Function.parse("batchesState(bytes32) returns (address who, uint256)")

    assert await Contract(chain, ADDRESS).call(function, b"\x22" * 32) == (b"\x01" * 20, 7)


@pytest.mark.parametrize("returned", [b"", b"\x01" * 31])
def test_an_address_without_the_contract_is_named(returned):
    with pytest.raises(MalformedAnswer):
        Function.parse("disabledVerifiers() returns (uint256)").read_untrusted(returned)


def test_reasons_for_a_revert_are_read():
    reverts = Reverts.parse("BatchAlreadySubmitted(bytes32)", "InsufficientFunds(address, uint256, uint256)")

    assert reverts.read_untrusted(bytes.fromhex("3102f10c") + b"\x22" * 32) == (
        "BatchAlreadySubmitted",
        (b"\x22" * 32,),
    )
    assert reverts.read_untrusted(Function.parse("Error(string)").encode("no")) == ("Error", ("no",))
    assert reverts.read_untrusted(bytes.fromhex("5c54305e")) == ("InsufficientFunds", ())
    assert reverts.read_untrusted(b"\x00\x01") == ("", ())


# --- place


@given(
    numbers=st.lists(st.integers(0, 2**40), unique=True, min_size=1, max_size=80).map(sorted),
    index=st.none() | st.integers(0, 2**40),
    remember=st.integers(1, 70),
)
def test_a_place_survives_its_bytes_and_remembers_the_newest_blocks(numbers, index, remember):
    place = Place(-1)
    for number in numbers:
        place = place.reached(BlockRef(BlockNumber(number), BlockHash(number.to_bytes(32, "big"))), index, remember)

    assert Place.from_bytes(place.to_bytes()) == place
    assert [ref.number for ref in place.checkpoints] == numbers[-remember:]
    assert place.whole == (len(numbers) <= remember)


@given(raw=st.binary(max_size=120))
def test_any_cursor_ends_in_a_place_or_in_one_error(raw):
    try:
        place = Place.from_bytes(raw)
    except CursorUnreadable:
        return
    assert place.to_bytes() == raw or raw[17] > 1


def test_a_window_never_asks_for_less_than_one_block_nor_more_than_its_most():
    window = Window(5, 8)

    for _ in range(20):
        window.answered()
    assert window.size == 8
    assert [window.refused() for _ in range(5)] == [True, True, True, False, False]
    assert window.size == 1
