"""The price of precompiles: numbers of upstream's formulas, run on their own."""

from __future__ import annotations

import pytest
from attestrio.zkevm.counters import TxCounters, limits_of
from attestrio.zkevm.counters.helpers import DIV
from attestrio.zkevm.counters.precompiles import P256_B, P256_FIELD, P256VERIFY, precompile_cost
from attestrio.zkevm.keyless import KEYLESS_INPUT
from attestrio.zkevm.transactions import CURVE_ORDER
from counters_kit import Operands, amounts, of
from cryptography.hazmat.primitives.asymmetric import ec

LEVELS = 19


def words(*numbers):
    return b"".join(number.to_bytes(32, "big") for number in numbers)


def price(number, data, out=0, fork=9):
    return of(precompile_cost(number, data, out, fork))


def modexp(size, out, base, exponent, modulus, e, n, fork):
    """Called with `size` bytes behind the three lengths; the base is 2."""
    body = (2).to_bytes(base, "big") + e.to_bytes(exponent, "big") + n.to_bytes(modulus, "big")
    return price(5, words(base, exponent, modulus) + body.ljust(size, b"\0"), out, fork)


@pytest.mark.parametrize(
    ("number", "data", "out", "expected"),
    [
        (1, words(5, 27, 7, 7), 32, "S1480 A34 B81 M6"),
        (1, words(5, 54, 7, 7), 32, "S7729 A560 B596 M6 K1"),
        (2, b"", 32, "S1105 A24 B54 M3 SHA1"),
        (2, bytes(100), 32, "S1693 A36 B84 M6 SHA2"),
        (4, bytes(100), 40, "S3171 A73 B161 M12"),
        (6, bytes(128), 64, "S3240 A106 B171 M9"),
        (6, b"", 64, "S3240 A106 B171 M9"),
        (7, bytes(96), 64, "S177255 A20052 B20111 M8"),
        (8, bytes(384), 32, "S576876 A47541 B9046 M8"),
        (3, bytes(64), 32, ""),
        (9, bytes(213), 64, ""),
    ],
)
def test_a_precompile_costs_what_it_costs_upstream(number, data, out, expected):
    assert price(number, data, out) == amounts(expected)


def test_ecrecover_is_good_for_few_signatures():
    good, bad = price(1, words(5, 54, 7, 7)), price(1, words(5, 27, 7, 7))

    assert price(1, words(5, (1 << 200) + 55, CURVE_ORDER - 1, CURVE_ORDER - 1)) == good
    for v, r, s in [
        (28, 7, 7),
        (53, 7, 7),
        (54, 1 << 64, 7),
        (54, 7, 1 << 64),
        (54, CURVE_ORDER, 7),
        (54, 7, CURVE_ORDER),
    ]:
        assert price(1, words(5, v, r, s)) == bad
    assert price(1, b"") == bad
    assert price(1, KEYLESS_INPUT) == amounts("")
    assert price(1, KEYLESS_INPUT + b"\0") == bad


@pytest.mark.parametrize(
    ("sizes", "e", "n", "before_13", "from_13"),
    [
        ((96, 32, 32, 32, 32), 3, 101, "S43062 A75 B2522 M10", "S43062 A75 B2522 M10"),
        ((129, 64, 1, 64, 64), 2**300 + 1, 2**255 + 7, "S124026 A2656 B16679 M12", "S124026 A2656 B16679 M12"),
        ((129, 96, 32, 1, 96), 255, 7, "S123990 A93 B7280 M13", "S109014 A3727 B20886 M13"),
        ((129, 96, 32, 1, 96), 255, 2**64, "S4296 A100 B228 M13", "S4296 A100 B228 M13"),
    ],
)
def test_modexp_costs_by_exponent_and_modulus(sizes, e, n, before_13, from_13):
    assert modexp(*sizes, e, n, fork=7) == amounts(before_13)
    assert modexp(*sizes, e, n, fork=13) == amounts(from_13)


def test_modexp_gives_arith_back_for_a_modulus_of_one_word():
    few, many = (modexp(96, 32, 32, 32, 32, e, 101, fork=13) for e in (1, 2**256 - 1))

    assert few["A"] - many["A"] == 255
    assert many["A"] < 0


def test_modexp_without_a_modulus_costs_nothing():
    assert price(5, words(0, 5, 0), fork=13) == price(5, b"", fork=13) == amounts("")
    assert modexp(96, 32, 32, 32, 32, 3, 0, fork=13) == amounts("")


def test_sizes_that_modexp_is_told_and_not_given_are_not_made():
    huge = words((1 << 64) - 1, (1 << 64) - 1, (1 << 64) - 1) + b"\1" * 40

    assert price(5, huge, fork=13) == amounts("")


def test_p256verify_stops_at_the_first_thing_that_is_wrong():
    y = pow(64 + 4 + P256_B, (P256_FIELD + 1) // 4, P256_FIELD)  # a point of the curve upstream tests for
    whole = price(P256VERIFY, words(9, 1, 1, 4, y), fork=13)
    rest = {"S": 1635, "A": 36, "B": 83}  # what is read and written besides
    stops = [
        ((0, 0, 0, 0), "S13 B1"), ((P256_FIELD, 0, 0, 0), "S15 B2"), ((1, 0, 0, 0), "S17 B3"),
        ((1, P256_FIELD, 0, 0), "S19 B4"), ((1, 1, P256_FIELD, 0), "S22 B5"), ((1, 1, 1, P256_FIELD), "S24 B6"),
        ((1, 1, 0, 0), "S29 B8"), ((1, 1, 4, 4), "S104 A12 B15"),
    ]  # fmt: skip

    assert whole == amounts("S9353 A567 B105 M7")
    for numbers, expected in stops:
        stopped = price(P256VERIFY, words(9, *numbers), fork=13)
        assert {letter: stopped[letter] - rest[letter] for letter in rest} == {
            letter: amounts(expected)[letter] for letter in rest
        }
    assert price(P256VERIFY, words(9, 1, 1, 4), fork=13) == amounts("")


def test_a_key_in_use_counts_as_off_the_curve():
    numbers = ec.derive_private_key(5, ec.SECP256R1()).public_key().public_numbers()

    assert price(P256VERIFY, words(9, 1, 1, numbers.x, numbers.y), fork=13) == amounts("S1739 A48 B98 M7")


@pytest.mark.parametrize(
    ("opcode", "operands", "fork", "out"),
    [
        (0xF1, (0, 4, 0, 0, 0, 0, 40), 9, 40),
        (0xF2, (0, 4, 0, 0, 0, 0, 40), 9, 40),
        (0xFA, (0, 4, 0, 0, 0, 40), 9, 40),
        (0xFA, (0, 4, 0, 0, 0, 40), 4, 0),
        (0xF4, (0, 4, 0, 0, 0, 40), 9, 0),
    ],
)
def test_what_a_call_has_room_for_is_paid_by_most_opcodes(opcode, operands, fork, out):
    counting = TxCounters(fork, LEVELS, limits_of(fork))
    counting.opcode(Operands(0, 4, 0, 0, 0, 0, 999), 0xF1)  # an earlier call, which is over
    counting.opcode(Operands(*operands), opcode)
    before = counting.used.as_map()

    counting.precompile(Operands(depth=1, input=bytes(100)), 4)

    after = counting.used.as_map()
    assert {letter: after[letter] - before[letter] for letter in after} == price(4, bytes(100), out)


def test_a_precompile_called_by_the_transaction_has_room_for_nothing():
    counting = TxCounters(9, LEVELS, limits_of(9))

    counting.precompile(Operands(input=bytes(100)), 4)

    assert counting.used.as_map() == price(4, bytes(100), 0)


def test_a_collector_above_its_limits_leaves_loops_out():
    counting = TxCounters(9, LEVELS, limits_of(9))

    class Long(bytes):
        """320 MB that are not there."""

        def __len__(self):
            return 320_000_000

    counting.precompile(Operands(depth=1, input=Long()), 2)
    alone = counting.used.as_map()
    counting.opcode(Operands(0, 0, 100), 0x37)

    assert alone == amounts("S545 A6 B20 M3 SHA5000001")
    # Base, the row itself, the parts of saving memory, an offset, a word read: no words, and no words stored.
    assert counting.used.as_map()["S"] - 545 == 12 + 100 + 50 + 2 * 40 + 10 + 185
    assert of(DIV)["S"] == 40
