"""What the journal holds is read back as it was written, also by a later release."""

import msgspec
import pytest
from attestrio.aggregator import rows
from attestrio.aggregator.rows import Answer, Attempt, Claim, Evidence, OperatorKey, Phase, Place, Signed, Task
from attestrio.aggregator.settings import RecoverySettings, SenderSettings
from hypothesis import given
from hypothesis import strategies as st

TASK = Task(b"r" * 32, b"s" * 20, 7, b"h" * 32, 3, 10**18, "http://data")
EACH = [
    TASK,
    Task(b"r" * 32, b"s" * 20, 7, b"h" * 32, 3, 0, "", 9, True, 4),
    Signed(b"p" * 64, 1.5),
    OperatorKey(b"o" * 20, b"1" * 64, b"2" * 128, 5),
    Answer(Phase.WAITING),
    Answer(Phase.REPLACED, "too_slow", "72 s", 0, (Attempt(b"raw", b"h" * 32, 10**12, 2.0),), (9, b"h" * 32), 3.0),
    Claim(b"r" * 32, b"s" * 20, -1),
    Claim(b"r" * 32, b"s" * 20, 5, "not_on_chain", "", 1_000),
    Evidence(b"1" * 64, b"2" * 64, 1.0, "10.0.0.1:2"),
]


@pytest.mark.parametrize("row", EACH, ids=lambda row: type(row).__name__)
def test_a_row_survives_the_disk(row):
    assert rows.unpack(rows.pack(row), type(row)) == row


def test_a_row_of_an_earlier_release_is_read_with_what_it_has():
    raw = msgspec.msgpack.encode([b"r" * 32, b"s" * 20, 7, b"h" * 32, 3, 10**18, "http://data"])

    assert rows.unpack(raw, Task) == TASK


@pytest.mark.parametrize(
    ("changes", "is_open"), [({}, True), ({"verified": 9}, False), ({"void": True}, False)], ids=str
)
def test_a_task_is_open_while_it_is_on_the_chain_without_an_answer(changes, is_open):
    assert msgspec.structs.replace(TASK, **changes).is_open is is_open


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1))
def test_the_key_of_a_claim_says_which_batch_and_which_turn(identifier, turn):
    key = rows.claim_key(identifier, turn)

    assert (rows.identifier_of(key), rows.turn_of(key)) == (identifier, turn)


def test_the_key_of_a_signature_says_which_batch_and_whose():
    key = rows.signature_key(b"i" * 32, b"o" * 32)

    assert (rows.identifier_of(key), rows.operator_of(key)) == (b"i" * 32, b"o" * 32)


@given(st.integers(-1, 2**40), st.integers(0, 2**31))
def test_a_place_survives_the_disk(block, index):
    assert Place.from_bytes(Place(block, index).to_bytes()) == Place(block, index)


def test_waits_for_the_chain_are_as_long_as_its_blocks():
    assert RecoverySettings(block_s=12.0).chain == (12.0, 24.0, 48.0)
    assert SenderSettings(block_s=1.0).chain == (1.0, 2.0, 4.0)
