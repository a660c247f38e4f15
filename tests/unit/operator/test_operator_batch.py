"""Batches as they are downloaded: what is read, what is refused, and what it may cost."""

import json
import tracemalloc
from contextlib import suppress

import cbor2
import pytest
from attestrio.operator import batch as module
from attestrio.operator.batch import MAX_BYTES, ProvingSystem, batch_untrusted
from attestrio.operator.cbor import MAX_DEPTH, MAX_SKIPPED, Reader
from attestrio.operator.errors import BatchTooLarge, BatchUnreadable, UnknownProvingSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

PLAIN = {
    "proving_system": "Groth16Bn254",
    "proof": [0, 23, 24, 25, 255],
    "pub_input": [24, 24, 24],
    "verification_key": [7],
    "vm_program_code": None,
    "proof_generator_addr": "0x" + "Ab" * 20,
}


def one(**changes):
    return cbor2.dumps([PLAIN | changes])


def without(key):
    return cbor2.dumps([{name: value for name, value in PLAIN.items() if name != key}])


def test_an_entry_is_read_from_cbor_and_from_json_alike():
    (entry,) = batch_untrusted(one())

    assert entry.system is ProvingSystem.GROTH16_BN254
    assert (entry.proof, entry.public_input) == (bytes([0, 23, 24, 25, 255]), bytes([24, 24, 24]))
    assert (entry.verification_key, entry.program) == (b"\x07", None)
    assert entry.generator == b"\xab" * 20
    assert batch_untrusted(json.dumps([PLAIN]).encode()) == (entry,)


def test_byte_strings_are_read_like_arrays_of_numbers():
    assert batch_untrusted(one(proof=bytes(range(256)))) == batch_untrusted(one(proof=list(range(256))))


def test_null_absent_and_empty_are_told_apart():
    (absent,), (null,), (empty,) = (
        batch_untrusted(without("pub_input")), batch_untrusted(one(pub_input=None)), batch_untrusted(one(pub_input=[])),
    )  # fmt: skip

    assert (absent.public_input, null.public_input, empty.public_input) == (None, None, b"")


@pytest.mark.parametrize("value", [1.5, {"deep": [[{}], "x", None, True, -5]}, list(range(100)), b"x", 2**60, [300]])
def test_unknown_keys_are_passed_over(value):
    assert batch_untrusted(one(extra=value)) == batch_untrusted(one())


@settings(max_examples=examples(200))
@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_come_through_whatever_the_size_of_the_pieces(raw, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attestrio.operator.cbor.PIECE", piece)

        assert Reader(cbor2.dumps(list(raw))).octets() == raw


@settings(max_examples=examples(300))
@given(st.binary(max_size=200))
def test_whatever_is_downloaded_is_a_batch_or_one_named_error(raw):
    for given_ in (raw, one()[:60] + raw, b"\x81" + raw, b"[" + raw):
        try:
            batch_untrusted(given_)
        except BatchUnreadable:
            continue


@settings(max_examples=examples(100))
@given(st.integers(0, len(one()) - 1), st.binary(min_size=1, max_size=3))
def test_a_changed_byte_never_gets_out_as_another_error(at, other):
    raw = one()

    with suppress(BatchUnreadable):
        batch_untrusted(raw[:at] + other + raw[at + len(other) :])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "no batch"),
        (b"\x80", "it is empty"),
        (b"[]", "it is empty"),
        (b"\xa0", "no batch"),
        (one() + b"\0", "more after the end"),
        (one()[:-1], "ends inside an item"),
        (without("proof"), "an entry without proof"),
        (one(proof=None), "not an array of bytes"),
        (one(proof=[256]), "an array holds something else than bytes"),
        (one(proof=[1, "x"]), "an array holds something else than bytes"),
        (one(proof="text"), "not an array of bytes"),
        (one(proof_generator_addr="0x11"), "the generator's address is not 0x and 40 hex digits"),
        (b"\x81\xa2eproof\x80eproof\x80", "key proof twice"),
        (b"\x9f\xff", "a length that is not told beforehand"),
        (b"\x81\xa1\x01\x02", "not a text"),
        (b"\x81\xa1eproof\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "ends inside an array"),
        (b"\x81\xa1eproof\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "ends inside an item"),
        (json.dumps([PLAIN | {"proof": [256]}]).encode(), "no batch"),
        (b"[" * 100_000, "no batch"),
    ],
)
def test_what_is_no_batch_is_refused_by_name(raw, said):
    with pytest.raises(BatchUnreadable, match=said.replace("(", r"\(")):
        batch_untrusted(raw)


@pytest.mark.parametrize("raw", [one(proving_system="Nova"), without("proving_system")])
def test_an_unknown_proving_system_is_refused(raw):
    with pytest.raises(UnknownProvingSystem):
        batch_untrusted(raw)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"\x9b" + b"\xff" * 8, "items of the array"),
        (b"\x81\xbb" + b"\xff" * 8, "items of the map"),
        (b"\x81\xa1\x7b" + b"\xff" * 8, "bytes of a text"),
        (b"\x81\xa1aa" + b"\x81" * (MAX_DEPTH + 2) + b"\x80", "levels"),
        (b"\x81\xa1aa" + b"\xa1\x01" * (MAX_DEPTH + 2) + b"\x80", "levels"),
        (b"\x81\xa1aa\x9a\x00\x00\x80\x00" + b"\x80" * (1 << 15), "items under unknown keys"),
    ],
)
def test_a_bomb_is_refused_before_it_takes_memory(raw, what):
    tracemalloc.start()
    with pytest.raises(BatchTooLarge) as caught:
        batch_untrusted(raw)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert caught.value.what == what
    assert most < 1 << 20
    assert MAX_SKIPPED < 1 << 15


def test_a_batch_of_one_byte_too_many_is_refused_unread():
    with pytest.raises(BatchTooLarge) as caught:
        batch_untrusted(bytes(MAX_BYTES + 1))

    assert (caught.value.got, caught.value.limit) == (MAX_BYTES + 1, MAX_BYTES)


def test_json_has_a_smaller_limit(monkeypatch):
    monkeypatch.setattr(module, "MAX_JSON", 100)

    with pytest.raises(BatchTooLarge, match="bytes of a batch in JSON"):
        batch_untrusted(json.dumps([PLAIN]).encode())


def test_an_array_of_bytes_takes_no_more_memory_than_its_bytes():
    raw = one(proof=[255] * 1_000_000)
    tracemalloc.start()

    batch_untrusted(raw)

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8_000_000  # a list of numbers alone would take eight
