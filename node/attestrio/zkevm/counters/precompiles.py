"""What precompiles cost, on top of the opcode that calls them.

They are charged once their gas is paid, whether the input is any good or not. Some prices look like mistakes of
upstream's and are kept, as batches are cut by them: they are marked *sic*.

Source: cdk-erigon 2723db784b, core/vm/contracts_zkevm.go and zk_counters.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attestrio.zkevm.counters.helpers import (
    ADD,
    DIV,
    LOAD_32,
    LOAD_X,
    LOW_64,
    MUL,
    NOTHING,
    READ_DATA,
    SHA_BYTES,
    SHL,
    SHR,
    STORE_32,
    STORE_X,
    SUB,
    WORD,
    Cost,
    ceil_div,
    cost,
    signature,
)
from attestrio.zkevm.keyless import KEYLESS_INPUT
from attestrio.zkevm.transactions import CURVE_ORDER

P256VERIFY: Final = 0x100
PAIR_BYTES: Final = 192
SMALL: Final = cost(S=50, B=1) + 4 * STORE_32 + STORE_X
"""What ecAdd and ecMul do besides reading and computing."""

P256_FIELD: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
P256_B: Final = 0x5AC635D8_AA3A93E7_B3EBBD55_769886BC_651D06B0_CC53B0F6_3BCE3C3E_27D2604B
P256_VALID: Final = cost(S=7718, A=531, B=22)
P256_OFF_CURVE: Final = cost(S=104, A=12, B=15)


def precompile_cost(number: int, data: bytes, out: int, fork: int) -> Cost:
    """Of the precompile at this address, which is switched on, called with `data`.

    Args:
      out: bytes that the calling opcode has room for; 0 for DELEGATECALL and where a transaction calls it itself.
    """
    if number == 4:
        return _identity(data, out)
    if number == 5:
        return _modexp(data, out, fork)
    return ONLY_BY_DATA[number](data) if number in ONLY_BY_DATA else NOTHING


def _word(data: bytes, at: int) -> int:
    """Zeros follow behind the end."""
    return int.from_bytes(data[at : at + WORD].ljust(WORD, b"\0"), "big")


def _ecrecover(data: bytes) -> Cost:
    if data == KEYLESS_INPUT:
        return NOTHING
    r, s = _word(data, 64), _word(data, 96)
    v = (_word(data, 32) - 27) & 0xFF  # sic: 27 is taken off and 27 or 28 asked for, so that most pay the bad price
    recovered = signature(v, r, s, CURVE_ORDER - 1, CURVE_ORDER - 1)
    return cost(S=35, B=1) + 4 * READ_DATA + recovered + STORE_32 + STORE_X


def _sha256(data: bytes) -> Cost:
    size = len(data)
    begins = cost(S=100, B=1, SHA=ceil_div(size + 8, SHA_BYTES)) + 2 * DIV + STORE_32 + STORE_X
    return begins + (size // WORD) * (cost(S=11) + READ_DATA) + READ_DATA + SHR


def _identity(data: bytes, out: int) -> Cost:
    copied = (len(data) // WORD) * (cost(S=8) + READ_DATA + STORE_32) + READ_DATA + STORE_X
    returned = (out // WORD) * (cost(S=12) + LOAD_32 + STORE_32) + LOAD_X + STORE_X
    return cost(S=45, B=2) + DIV + copied + returned


def _ec_add(data: bytes) -> Cost:
    return SMALL + 4 * READ_DATA + cost(S=800, A=50, B=50)


def _ec_mul(data: bytes) -> Cost:
    return SMALL + 3 * READ_DATA + cost(S=175_000, A=20_000, B=20_000)


def _pairing(data: bytes) -> Cost:
    pairs = len(data) // PAIR_BYTES
    computed = cost(S=16 + 200_000 * pairs + 175_000, A=15_000 * pairs + 17_500, B=4_100 * pairs + 750)
    return cost(S=50, B=1) + 6 * READ_DATA + DIV + STORE_32 + STORE_X + computed


def _modexp(data: bytes, out: int, fork: int) -> Cost:
    base_size, exponent_size, modulus_size = (_word(data, at) & LOW_64 for at in (0, 32, 64))
    body = data[3 * WORD :]
    # Only what is really there is looked at: the sizes are a stranger's.
    exponent = body[base_size : base_size + exponent_size]
    modulus_at = base_size + exponent_size
    modulus = body[modulus_at : modulus_at + modulus_size]
    if not (base_size or modulus_size) or not any(modulus):
        return NOTHING
    fixed = cost(S=100, B=20) + 4 * READ_DATA + SHR + 2 * ADD + 3 * DIV + 3 * MUL + SUB + 2 * SHL + 2 * STORE_X
    fixed += (len(body) // WORD + out // WORD) * (cost(S=8) + STORE_32)
    low_at = modulus_at + max(0, modulus_size - 8)
    if not any(body[low_at : modulus_at + modulus_size]):
        return fixed
    turns, limbs = ceil_div(exponent_size, WORD), ceil_div(modulus_size, WORD)
    if fork < 13:
        turns, limbs = limbs, turns  # sic
    return fixed + _power(256 * turns, int.from_bytes(exponent, "big").bit_count(), limbs)


def _power(turns: int, ones: int, limbs: int) -> Cost:
    """Of square and multiply: a square each turn, a product for each one. Arith is below 0 for a single limb: sic."""
    pairs = limbs * (limbs - 1)
    return cost(
        S=86 + turns * (153 + 40 * pairs) + ones * (263 + 40 * pairs),
        B=5 - limbs + turns * (9 + 23 * pairs // 2) + ones * (17 + 23 * pairs // 2),
        A=limbs + turns * (2 * limbs**2 - limbs - 1) + ones * (limbs**2 - limbs - 1),
    )


def _p256verify(data: bytes) -> Cost:
    if len(data) != 5 * WORD:
        return NOTHING
    r, s, x, y = (_word(data, at) for at in range(WORD, 5 * WORD, WORD))
    return cost(S=50, B=1) + 5 * READ_DATA + _p256(r, s, x, y) + STORE_32 + STORE_X


def _p256(r: int, s: int, x: int, y: int) -> Cost:
    """Where the first thing that is wrong stops it. Sic: r and s are compared with the order of the field."""
    most = P256_FIELD - 1
    stops = (
        (r == 0, cost(S=13, B=1)),
        (r > most, cost(S=15, B=2)),
        (s == 0, cost(S=17, B=3)),
        (s > most, cost(S=19, B=4)),
        (x > most, cost(S=22, B=5)),
        (y > most, cost(S=24, B=6)),
        (x == 0 == y, cost(S=29, B=8)),
        ((y * y - x**3 - x - P256_B) % P256_FIELD != 0, P256_OFF_CURVE),  # sic: a is 1, so keys in use end here
    )
    return next((price for stopped, price in stops if stopped), P256_VALID)


ONLY_BY_DATA: Final[dict[int, Callable[[bytes], Cost]]] = {
    1: _ecrecover,
    2: _sha256,
    6: _ec_add,
    7: _ec_mul,
    8: _pairing,
    P256VERIFY: _p256verify,
}
