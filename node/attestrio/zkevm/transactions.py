"""Transactions as a stream carries them: reading, sender, hashes, and what they are in the data of a batch.

    legacy   [nonce, price, gas, to, value, data, v, r, s]              v: 27, 28, or 35 + 2 * chain id + parity
    typed    string( type . [chain id, nonce, (tip,) price, gas, to, value, data, access list, parity, r, s] )

In a batch's data a legacy one is `[nonce, price, gas, to, value, data, chain id, "", ""] . r . s . v . percentage`.
The last three of the list are missing when it is for no chain in particular (before EIP-155); v is 27 or 28 there.

Source: EIP-155, 2718, 2930 and 1559; specified for cdk-erigon 2723db784b, vectors in tests/golden/datastream.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from coincurve import PrivateKey, PublicKey

from attestrio.roles.keccak import keccak256
from attestrio.zkevm.errors import BadRlp, BadTransaction, TypedTransactionRefused
from attestrio.zkevm.rlp import Encodable, Item, decode_untrusted, encode, encode_int, int_untrusted

LEGACY, ACCESS_LIST, DYNAMIC_FEE = 0, 1, 2
CURVE_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
SENDERS_REMEMBERED: Final = 16_384
SIGNATURE_BYTES: Final = 32 + 32 + 1
"""r, s and v of a transaction in the data of a batch; the percentage is one byte more."""

AccessList = tuple[tuple[bytes, tuple[int, ...]], ...]
"""Addresses, each with slots of it."""


@dataclass(frozen=True, slots=True)
class Tx:
    """A signed transaction. Addresses are 20 bytes, amounts in wei."""

    type: int
    chain_id: int
    """0: legacy, and for no chain in particular."""
    nonce: int
    gas_price: int
    """Of type 2 the most it pays, its tip included."""
    gas: int
    to: bytes | None
    """None: `data` makes a contract."""
    value: int
    data: bytes
    access_list: AccessList
    parity: int
    """Of the signature: 0 or 1."""
    r: int
    s: int
    encoded: bytes
    """As it stands in the stream."""

    @property
    def is_deploy(self) -> bool:
        return self.to is None

    def canonical(self) -> bytes:
        """What is hashed, and what the trie of a block's transactions has: a typed one without the string around."""
        if self.type == LEGACY:
            return self.encoded
        raw = decode_untrusted(self.encoded)
        assert isinstance(raw, bytes)
        return raw

    def hash(self) -> bytes:
        """32 bytes."""
        return keccak256(self.canonical())

    def sender(self) -> bytes:
        """The address that signed. Raises BadTransaction when no key can have. Some 60 µs, then remembered."""
        return _sender(self)

    def signing_hash(self) -> bytes:
        """32 bytes."""
        if self.type == LEGACY:
            return keccak256(encode([*self._fields(), *self._chain_fields()]))
        fields = decode_untrusted(self.canonical()[1:])
        assert isinstance(fields, list)
        return keccak256(bytes([self.type]) + encode(fields[:-3]))

    def batch_l2_data(self, percentage: int) -> bytes:
        """What it is in the data of a batch, with the percentage (0 to 255) of its price.

        Raises TypedTransactionRefused.
        """
        if self.type != LEGACY:
            raise TypedTransactionRefused(self.type)
        unsigned = encode([*self._fields(), *self._chain_fields()])
        signature = self.r.to_bytes(32, "big") + self.s.to_bytes(32, "big") + bytes([27 + self.parity])
        return unsigned + signature + bytes([percentage])

    def l2_form(self) -> bytes:
        """The bytes whose linear Poseidon hash is the hash of this transaction on the second layer.

        01, or 00 for no chain . nonce 8 . price 32 . gas 8 . (00 . to 20 | 01) . value 32 . length 3 . data
        . [chain id 8] . sender 20
        """
        return b"".join(
            (
                b"\1" if self.chain_id else b"\0",
                self.nonce.to_bytes(8, "big"),
                self.gas_price.to_bytes(32, "big"),
                self.gas.to_bytes(8, "big"),
                b"\1" if self.to is None else b"\0" + self.to,
                self.value.to_bytes(32, "big"),
                len(self.data).to_bytes(3, "big"),
                self.data,
                self.chain_id.to_bytes(8, "big") if self.chain_id else b"",
                self.sender(),
            )
        )

    def _fields(self) -> list[Encodable]:
        numbers = (self.nonce, self.gas_price, self.gas)
        return [*map(encode_int, numbers), self.to or b"", encode_int(self.value), self.data]

    def _chain_fields(self) -> list[Encodable]:
        return [encode_int(self.chain_id), b"", b""] if self.chain_id else []


@dataclass(frozen=True, slots=True)
class Percentages:
    """How much of its price a transaction pays, by its kind: n stands for (n + 1) / 256, so 255 is all of it."""

    eth_transfer: int = 255
    erc20_transfer: int = 255
    contract_invocation: int = 255
    contract_deployment: int = 255

    @classmethod
    def from_fractions(
        cls, eth_transfer: float, erc20_transfer: float, invocation: float, deployment: float
    ) -> Percentages:
        """From fractions 0 to 1, as they are configured upstream; rounded half up."""
        numbers = (int(255 * part + 0.5) for part in (eth_transfer, erc20_transfer, invocation, deployment))
        return cls(*numbers)

    def of(self, tx: Tx) -> int:
        if tx.is_deploy:
            return self.contract_deployment
        if len(tx.data) >= 8 and tx.data[:4] in ERC20_TRANSFERS:
            return self.erc20_transfer
        return self.contract_invocation if tx.data else self.eth_transfer


ERC20_TRANSFERS: Final = (bytes.fromhex("a9059cbb"), bytes.fromhex("23b872dd"))
"""Selectors of `transfer` and `transferFrom`."""


def tx_untrusted(encoded: bytes) -> Tx:
    """Read a transaction as a stream carries it. Raises only BadTransaction; the sender is not recovered yet.

    Of the signature is checked what can be checked without the curve: r and s in range, s in the lower half.
    """
    try:
        item = decode_untrusted(encoded)
        tx = _legacy(item, encoded) if isinstance(item, list) else _typed(item, encoded)
    except BadRlp as exc:
        raise BadTransaction(str(exc)) from exc
    if not (0 < tx.r < CURVE_ORDER and 0 < tx.s <= CURVE_ORDER // 2):
        raise BadTransaction("r or s of the signature is out of range")
    return tx


def sign_legacy(unsigned: Tx, secret: bytes) -> Tx:
    """The legacy transaction, signed with a 32-byte secret: for tests and simulated users."""
    signature = PrivateKey(secret).sign_recoverable(unsigned.signing_hash(), hasher=None)
    r, s, parity = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    v = 35 + 2 * unsigned.chain_id + parity if unsigned.chain_id else 27 + parity
    return tx_untrusted(encode([*unsigned._fields(), *map(encode_int, (v, r, s))]))


def unsigned_legacy(
    *, chain_id: int, nonce: int, gas_price: int, gas: int, to: bytes | None, value: int = 0, data: bytes = b""
) -> Tx:
    """What `sign_legacy` takes."""
    return Tx(LEGACY, chain_id, nonce, gas_price, gas, to, value, data, (), 0, 0, 0, b"")


def _legacy(item: list[Item], encoded: bytes) -> Tx:
    nonce, price, gas, to, value, data, v, r, s = _counted(item, 9)
    number = int_untrusted(v, 9)
    if number in (27, 28):
        chain_id, parity = 0, number - 27
    elif number >= 35:
        chain_id, parity = (number - 35) // 2, (number - 35) % 2
    else:
        raise BadTransaction(f"v is {number}")
    if chain_id >= 1 << 64:
        raise BadTransaction(f"chain id {chain_id}")
    return Tx(
        LEGACY, chain_id, *_amounts(nonce, price, gas), _address(to, empty=True), int_untrusted(value, 32),
        _bytes(data), (), parity, int_untrusted(r, 32), int_untrusted(s, 32), encoded,
    )  # fmt: skip


def _typed(raw: bytes, encoded: bytes) -> Tx:
    if not raw or raw[0] not in (ACCESS_LIST, DYNAMIC_FEE):
        raise BadTransaction(f"type {raw[:1].hex() or 'none'} is not known")
    item = decode_untrusted(raw[1:])
    fields = _counted(item, 11 if raw[0] == ACCESS_LIST else 12)
    if raw[0] == DYNAMIC_FEE:
        int_untrusted(fields.pop(2), 32)  # the tip, which a chain without a base fee cannot part from the price
    chain_id, nonce, price, gas, to, value, data, access_list, parity, r, s = fields
    odd = int_untrusted(parity, 1)
    if odd > 1:
        raise BadTransaction(f"parity {odd}")
    return Tx(
        raw[0], int_untrusted(chain_id, 8), *_amounts(nonce, price, gas), _address(to, empty=True),
        int_untrusted(value, 32), _bytes(data), _access_list(access_list), odd, int_untrusted(r, 32),
        int_untrusted(s, 32), encoded,
    )  # fmt: skip


def _amounts(nonce: Item, price: Item, gas: Item) -> tuple[int, int, int]:
    return int_untrusted(nonce, 8), int_untrusted(price, 32), int_untrusted(gas, 8)


def _access_list(item: Item) -> AccessList:
    if not isinstance(item, list):
        raise BadTransaction("the access list is none")
    pairs = [_counted(pair, 2) for pair in item]
    return tuple((_address(address, empty=False) or b"", _slots(slots)) for address, slots in pairs)


def _slots(item: Item) -> tuple[int, ...]:
    if not isinstance(item, list) or not all(isinstance(slot, bytes) and len(slot) == 32 for slot in item):
        raise BadTransaction("a slot of an access list has not 32 B")
    return tuple(int.from_bytes(_bytes(slot), "big") for slot in item)


def _counted(item: Item, count: int) -> list[Item]:
    if not isinstance(item, list) or len(item) != count:
        raise BadTransaction(f"not a list of {count} fields")
    return list(item)


def _bytes(item: Item) -> bytes:
    if not isinstance(item, bytes):
        raise BadTransaction("a list stands where bytes stand")
    return item


def _address(item: Item, *, empty: bool) -> bytes | None:
    raw = _bytes(item)
    if len(raw) == 20:
        return raw
    if raw or not empty:
        raise BadTransaction(f"address of {len(raw)} B")
    return None


@lru_cache(SENDERS_REMEMBERED)
def _sender(tx: Tx) -> bytes:
    signature = tx.r.to_bytes(32, "big") + tx.s.to_bytes(32, "big") + bytes([tx.parity])
    try:
        key = PublicKey.from_signature_and_message(signature, tx.signing_hash(), hasher=None)
    except Exception as exc:  # coincurve raises a bare Exception for a signature no key can have made
        raise BadTransaction("no key can have made the signature") from exc
    return keccak256(key.format(compressed=False)[1:])[12:]
