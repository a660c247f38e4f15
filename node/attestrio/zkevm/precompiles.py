"""Which precompiles a fork has, and how one that is switched off answers. Needs py-evm: loaded with `vm`.

A precompile that is off is still there: its address is warm, and a call of it is reverted and gives all gas back.

| fork | on | off |
|---|---|---|
| to 6 | 1 ecrecover, 4 identity | 2, 3, 5 to 9 |
| 7 | also 2 sha256, 5 modexp, 6 to 8 of the curve bn254 | 3 ripemd160, 9 blake2f |
| 8 to 12 | without 5 | 3, 5, 9 |
| from 13 | 5 again, 0x100 p256verify | 3, 9 |

Source: cdk-erigon, the lists in core/vm/contracts_zkevm.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from eth.abc import ComputationAPI
from eth.exceptions import OutOfGas, VMError
from eth.vm.forks.berlin.computation import BERLIN_PRECOMPILES

from attestrio.zkevm.keyless import KEYLESS_ADDRESS, KEYLESS_INPUT

ECRECOVER, P256VERIFY = 1, 0x100
P256_GAS: Final = 3450

Precompile = Callable[[ComputationAPI], object]


class SwitchedOff(VMError):
    """A precompile that this fork has switched off was called: like a REVERT without data."""

    burns_gas = False
    erases_return_data = False


def numbers_on(fork: int) -> frozenset[int]:
    """The addresses, as numbers, of the precompiles that answer."""
    if fork < 7:
        return frozenset({1, 4})
    usual = {1, 2, 4, 6, 7, 8}
    if fork == 7:
        return frozenset(usual | {5})
    return frozenset(usual if fork < 13 else usual | {5, P256VERIFY})


def precompiles(fork: int) -> dict[bytes, Precompile]:
    """By address: all that are there, those that are off included."""
    there = {int.from_bytes(address, "big"): function for address, function in BERLIN_PRECOMPILES.items()}
    there[ECRECOVER] = ecrecover
    if fork >= 13:
        there[P256VERIFY] = p256verify
    on = numbers_on(fork)
    return {
        number.to_bytes(20, "big"): function if number in on else switched_off for number, function in there.items()
    }


def switched_off(computation: ComputationAPI) -> None:
    raise SwitchedOff("this precompile is switched off")


def is_paid(error: VMError | None) -> bool:
    """Whether a precompile that ended like this has had its gas."""
    return not isinstance(error, (OutOfGas, SwitchedOff))


def ecrecover(computation: ComputationAPI) -> None:
    """Ethereum's, but for one input."""
    BERLIN_PRECOMPILES[ECRECOVER.to_bytes(20, "big")](computation)
    if computation.msg.data_as_bytes == KEYLESS_INPUT:
        computation.output = KEYLESS_ADDRESS.rjust(32, b"\0")


def p256verify(computation: ComputationAPI) -> None:
    """Input: digest, r, s, x, y, 32 bytes each. Output: 1 as a word when the signature is right, else nothing."""
    computation.consume_gas(P256_GAS, reason="p256verify")
    data = computation.msg.data_as_bytes
    if len(data) != 160:
        return
    r, s, x, y = (int.from_bytes(data[at : at + 32], "big") for at in range(32, 160, 32))
    try:
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        key.verify(encode_dss_signature(r, s), data[:32], ec.ECDSA(Prehashed(hashes.SHA256())))
    except (ValueError, InvalidSignature):
        return
    computation.output = (1).to_bytes(32, "big")
