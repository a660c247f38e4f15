"""The price of each opcode: numbers of an independent model that meets all of upstream's batches."""

from __future__ import annotations

import pytest
from attestrio.zkevm.counters import TxCounters, limits_of
from attestrio.zkevm.counters.opcodes import Kind, opcode_costs
from attestrio.zkevm.opcodes import HEIGHTS
from counters_kit import Operands, amounts, of

LEVELS = 19
FRAMES = {
    "": {},
    "deploy": {"is_create": True, "is_deploy": True},
    "within": {"is_deploy": True},
    "create": {"is_create": True},
    "create2": {"is_create2": True},
}
"""A usual frame, the init code of a transaction, a call from there, the init code of CREATE and of CREATE2."""

CASES = [
    # opcode, frame, operands from the top, code and nonce found, price
    (0x01, "", (), {}, "S22 B1"),
    (0x01, "create", (), {}, "S262 A6 B16 M1"),
    (0x60, "", (), {}, "S26"),
    (0x64, "", (), {}, "S40"),
    (0x7F, "", (), {}, "S69"),
    (0x63, "deploy", (), {}, "S514 A12 B30 M2"),
    (0x63, "within", (), {}, "S464 A14 B23 M1"),
    (0x63, "create2", (), {}, "S270 A6 B15 M1"),
    (0x51, "", (), {}, "S320 A6 B19 M1"),
    (0x52, "", (), {}, "S174 A2 B10 M1"),
    (0x53, "", (), {}, "S165 A2 B10 M1"),
    (0x35, "", (), {}, "S212 A4 B10 M1"),
    (0x54, "", (), {}, "S42 B1 P65"),
    (0x55, "", (), {}, "S102 B9 P103"),
    (0x20, "", (0, 64), {}, "S898 A19 B51 M3 K1"),
    (0x20, "", (0, 0), {}, "S424 A9 B23 M1 K1"),
    (0x0A, "", (2, 0), {}, "S1611 A34 B96"),
    (0x0A, "", (2, 256), {}, "S3146 A68 B190"),
    (0xA0, "", (0, 32), {}, "S715 A14 B40 M2 D5 P28"),
    (0xA4, "", (0, 31), {}, "S715 A14 B40 M2 D5 P28"),
    (0x37, "", (0, 0, 100), {}, "S1772 A34 B87 M9"),
    (0x3E, "", (0, 0, 100), {}, "S2292 A52 B119 M8"),
    (0x39, "", (0, 0, 100), {}, "S4262 A4 B316 M100"),
    (0x39, "deploy", (0, 0, 100), {}, "S2264 A46 B117 M11"),
    (0x39, "create2", (0, 0, 100), {}, "S4502 A10 B331 M101"),
    (0x3C, "", (0, 0, 0, 10), {"code": 100}, "S828 A5 B51 M20 D2 P86"),
    (0xF1, "", (0, 0, 0, 0, 4, 0, 32), {"code": 100}, "S630 A5 B45 D3 P220"),
    (0xF1, "", (0, 0, 0, 0, 0, 0, 0), {"code": 100}, "S394 A1 B29 D3 P220"),
    (0xF2, "", (0, 0, 0, 0, 4, 0, 32), {"code": 100}, "S600 A5 B42 D3 P163"),
    (0xF4, "", (0, 0, 0, 4, 0, 32), {"code": 100}, "S600 A5 B37 D3 P163"),
    (0xFA, "", (0, 0, 0, 4, 0, 32), {"code": 100}, "S600 A5 B37 D3 P163"),
    (0xF0, "", (0, 0, 100), {}, "S1598 A29 B98 M5 K1 D3 P212"),
    (0xF5, "", (0, 0, 100, 0), {}, "S2438 A49 B150 M9 K3 D3 P193"),
    (0xF3, "", (0, 32), {}, "S1174 A26 B62 M4"),
    (0xF3, "create", (0, 32), {}, "S1205 A25 B72 M4 D1 P39"),
    (0xF3, "within", (0, 32), {}, "S412 A8 B25 M1"),
    (0xFD, "", (0, 68), {}, "S1702 A38 B88 M6"),
    (0xFF, "", (0,), {}, "S218 B11 P179"),
    (0x57, "deploy", (), {}, "S432 A10 B28 M2"),
    (0x57, "create", (), {}, "S272 A6 B17 M1"),
]

FIXED = {
    "S32": (0x00,),
    "S22 B1": (0x01, 0x03, 0x16, 0x17, 0x18, 0x19),
    "S62 A1 B1": (0x02,),
    "S67 A1 B3": (0x04, 0x59),
    "S97 A1 B8": (0x05,),
    "S72 A1 B3": (0x06,),
    "S92 A1 B8": (0x07,),
    "S42 A1 B3": (0x08,),
    "S112 A3 B5": (0x09,),
    "S32 B6 P38": (0x0B,),
    "S20 B1": (0x10, 0x11, 0x12, 0x13, 0x14, 0x15),
    "S107 A2 B7": (0x1A,),
    "S70 A2 B3": (0x1B,),
    "S90 A1 B6": (0x1C,),
    "S107 A1 B10": (0x1D,),
    "S18": (0x30, 0x80, 0x8F),
    "S126 B4 P65": (0x31,),
    "S17": (0x32, 0x33, 0x34, 0x3A, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46),
    "S22": (0x36,),
    "S22 P19": (0x38,),
    "S128 B4 P65": (0x3B, 0x3F),
    "S23 B1": (0x3D,),
    "S27 K1 P19": (0x40,),
    "S20 P19": (0x47,),
    "S15": (0x50,),
    "S27 B1": (0x56,),
    "S32 B2": (0x57,),
    "S16": (0x58, 0x5A, 0x5F),
    "S14": (0x5B,),
    "S28": (0x61,),
    "S29": (0x62,),
    "S30": (0x63,),
    "S92": (0x7E,),
    "S19": (0x90, 0x9F),
    "S62": (0xFE,),
}
"""Prices in a usual frame, added up by hand."""


def price(opcode, frame, operands=(), fork=9, **found):
    counting = TxCounters(fork, LEVELS, limits_of(fork))
    counting.opcode(Operands(*operands, **FRAMES[frame], **found), opcode)
    return counting.used.as_map()


@pytest.mark.parametrize(("opcode", "frame", "operands", "found", "expected"), CASES)
def test_an_opcode_costs_what_the_model_says(opcode, frame, operands, found, expected):
    assert price(opcode, frame, operands, **found) == amounts(expected)


@pytest.mark.parametrize(("expected", "opcodes"), FIXED.items())
def test_an_opcode_with_a_fixed_price_has_this_one(expected, opcodes):
    for opcode in opcodes:
        assert price(opcode, "") == amounts(expected), hex(opcode)


def test_from_fork_13_on_a_look_at_an_address_costs_more():
    call = (0, 0, 0, 0, 4, 0, 32)

    assert price(0xF1, "", call, fork=13, code=100)["B"] == 46
    assert price(0xFF, "", (0,), fork=13)["B"] == 12
    assert price(0x31, "", (0,), fork=13) == price(0x31, "", (0,)) | {"B": 5}


def test_to_copy_nothing_costs_nothing():
    for opcode in (0x37, 0x39, 0x3C, 0x3E):
        for frame in FRAMES:
            assert price(opcode, frame, (0, 0, 0, 0), code=9) == amounts("")


def test_a_creation_pays_for_the_length_of_the_callers_next_nonce():
    one, two = (price(0xF0, "", (0, 0, 100), nonce=nonce) for nonce in (254, 255))

    assert one == price(0xF0, "", (0, 0, 100))
    assert {letter: two[letter] - one[letter] for letter in "SAB"} == {"S": 87, "A": 2, "B": 6}


def test_of_a_size_the_low_64_bits_count():
    assert price(0x37, "", (0, 0, (1 << 64) + 100)) == price(0x37, "", (0, 0, 100))
    assert price(0x39, "", (0, 0, (1 << 64) - 1))["M"] == (1 << 64) - 1


def test_what_a_hook_is_shown_has_a_price_and_nothing_else_has():
    table = opcode_costs(9, LEVELS, Kind(create=True, deploy=True))

    priced = {opcode for opcode, fixed in enumerate(table.fixed) if fixed is None or fixed.whole}

    assert priced == set(HEIGHTS)
    assert len(priced) == 143


def test_levels_of_the_tree_cost_hashes_and_nothing_else():
    low, high = (opcode_costs(9, levels, Kind()) for levels in (19, 20))
    more = {
        opcode: {letter: of(high.fixed[opcode])[letter] - of(fixed)[letter] for letter in amounts("")}
        for opcode, fixed in enumerate(low.fixed)
        if fixed is not None
    }

    assert {opcode: change for opcode, change in more.items() if any(change.values())} == {
        opcode: amounts(f"P{times}")
        for opcode, times in {
            0x0B: 2, 0x31: 1, 0x38: 1, 0x3B: 1, 0x3F: 1, 0x40: 1, 0x47: 1, 0x54: 1, 0x55: 3, 0xFF: 7,
        }.items()
    }  # fmt: skip


def test_an_opcode_that_was_not_paid_for_is_taken_back():
    counting = TxCounters(9, LEVELS, limits_of(9))
    frame = Operands(0, 0, 100)

    counting.opcode(frame, 0x01)
    counting.opcode(frame, 0x37)
    counting.take_back()

    assert counting.used.as_map() == amounts("S22 B1")
