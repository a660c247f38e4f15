"""A batch of proofs as it is downloaded: a CBOR array of maps, or the same in JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final

import msgspec

from attestrio.operator.cbor import ARRAY, Reader
from attestrio.operator.errors import BatchTooLarge, BatchUnreadable, UnknownProvingSystem

MAX_BYTES: Final = 268_435_456
MAX_JSON: Final = 32 << 20  # in JSON a byte is a number of its own, for which Python takes 8 bytes and more
MAX_ENTRIES: Final = 1 << 16
MAX_KEYS: Final = 64
ADDRESS: Final = re.compile(r"0x([0-9a-fA-F]{40})")


class ProvingSystem(IntEnum):
    """The id is what leaves are hashed with, and the bit of the contract's map of disabled verifiers."""

    GNARK_PLONK_BLS12_381 = 0
    GNARK_PLONK_BN254 = 1
    GROTH16_BN254 = 2
    SP1 = 3
    RISC0 = 4

    @property
    def text(self) -> str:
        """As batches and configurations name it."""
        return NAMES[self]


NAMES: Final = {
    ProvingSystem.GNARK_PLONK_BLS12_381: "GnarkPlonkBls12_381",
    ProvingSystem.GNARK_PLONK_BN254: "GnarkPlonkBn254",
    ProvingSystem.GROTH16_BN254: "Groth16Bn254",
    ProvingSystem.SP1: "SP1",
    ProvingSystem.RISC0: "Risc0",
}
SYSTEMS: Final = {name: system for system, name in NAMES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One proof and what it is checked against. None and empty are different things, also for the root."""

    system: ProvingSystem
    proof: bytes
    public_input: bytes | None
    verification_key: bytes | None
    program: bytes | None
    generator: bytes
    """The address of who made the proof, 20 bytes."""


def batch_untrusted(raw: bytes, max_bytes: int = MAX_BYTES) -> tuple[Entry, ...]:
    """The entries of a batch, at least one. Raises only BatchUnreadable and its kinds.

    Takes about as much memory again as `raw`, and 10 ms per MB. What starts as no CBOR array is taken for JSON.
    Lengths have to be told beforehand, as every writer does.
    """
    if len(raw) > max_bytes:
        raise BatchTooLarge("bytes", len(raw), max_bytes)
    entries = _from_cbor(raw) if raw[:1] and raw[0] >> 5 == ARRAY else _from_json(raw)
    if not entries:
        raise BatchUnreadable("it is empty")
    return entries


def _from_cbor(raw: bytes) -> tuple[Entry, ...]:
    reader = Reader(raw)
    entries = tuple([_entry(reader) for _ in range(reader.array(MAX_ENTRIES))])
    reader.end()
    return entries


def _entry(reader: Reader) -> Entry:
    texts: dict[str, str] = {}
    octets: dict[str, bytes | None] = {}

    def required() -> bytes:
        return reader.octets()

    def optional() -> bytes | None:
        return reader.or_null(required)

    readers: dict[str, Callable[[], bytes | None]] = {
        "proof": required, "pub_input": optional, "verification_key": optional, "vm_program_code": optional,
    }  # fmt: skip
    for _ in range(reader.map(MAX_KEYS)):
        key = reader.text()
        if key in texts or key in octets:
            raise reader.bad(f"key {key} twice")
        if key in ("proving_system", "proof_generator_addr"):
            texts[key] = reader.text()
        elif key in readers:
            octets[key] = readers[key]()
        else:
            reader.skip()
    proof = octets.get("proof")
    if proof is None:
        raise reader.bad("an entry without proof")
    return Entry(
        system_untrusted(texts.get("proving_system", "")), proof, octets.get("pub_input"),
        octets.get("verification_key"), octets.get("vm_program_code"),
        _address(texts.get("proof_generator_addr", "")),
    )  # fmt: skip


_Octets = list[Annotated[int, msgspec.Meta(ge=0, le=255)]]


class _JsonEntry(msgspec.Struct):
    proving_system: str
    proof: _Octets
    proof_generator_addr: str
    pub_input: _Octets | None = None
    verification_key: _Octets | None = None
    vm_program_code: _Octets | None = None


def _from_json(raw: bytes) -> tuple[Entry, ...]:
    if len(raw) > MAX_JSON:
        raise BatchTooLarge("bytes of a batch in JSON", len(raw), MAX_JSON)
    try:
        read = msgspec.json.decode(raw, type=list[_JsonEntry])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BatchUnreadable(str(exc)) from exc
    if len(read) > MAX_ENTRIES:
        raise BatchTooLarge("entries", len(read), MAX_ENTRIES)
    return tuple(
        Entry(
            system_untrusted(one.proving_system), bytes(one.proof), _octets(one.pub_input),
            _octets(one.verification_key), _octets(one.vm_program_code), _address(one.proof_generator_addr),
        )
        for one in read
    )  # fmt: skip


def _octets(numbers: list[int] | None) -> bytes | None:
    return None if numbers is None else bytes(numbers)


def system_untrusted(name: str) -> ProvingSystem:
    """Raises UnknownProvingSystem."""
    system = SYSTEMS.get(name)
    if system is None:
        raise UnknownProvingSystem(name)
    return system


def _address(text: str) -> bytes:
    found = ADDRESS.fullmatch(text)
    if found is None:
        raise BatchUnreadable("the generator's address is not 0x and 40 hex digits")
    return bytes.fromhex(found[1])
