"""Ethereum as the sender sees it: one account, one contract, and transactions that are bytes before they are sent.

`sign` gives the bytes of a transaction and sends nothing, so that they can be written down first. The key is an
eth_account's; nobody else here has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import rlp  # type: ignore[import-untyped]  # ships no types
from msgspec import Raw

from attestrio.aggregator.surface import GET_CHECK_SIGNATURES_INDICES, QUORUMS, Contracts
from attestrio.kit.jsonrpc import MalformedAnswer, RpcFailed
from attestrio.l1.api import Address, BlockHash, BlockNumber, BlockRef, TxHash
from attestrio.l1.wire import bytes_untrusted, data_untrusted, hex_bytes, hex_number

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from attestrio.l1.provider import L1Provider

PLAIN_GAS: Final = 21_000  # of a transaction to ourselves
MAX_COUNT: Final = 1 << 53  # nonces, blocks
MAX_GAS: Final = 1 << 26  # more than a block holds
MAX_PRICE: Final = 1 << 60  # wei: an ether for one unit of gas
MAX_WEI: Final = 1 << 128  # more than there is of any ether
"""What a node says is written into rows and transactions, so what cannot be true is refused when it is read."""


@dataclass(frozen=True, slots=True)
class Indices:
    """Where the contract finds the histories it needs, as its own retriever says it."""

    bitmaps: tuple[int, ...]
    quorum_keys: tuple[int, ...]
    totals: tuple[int, ...]
    stakes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction that anybody may send."""

    raw: bytes
    hash: TxHash


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction that is in a block."""

    block: BlockRef
    succeeded: bool
    gas_used: int = 0
    """0 also where a node does not tell."""


def gas_and_data(raw: bytes) -> tuple[int, bytes]:
    """The gas limit and the data of a transaction that `sign` gave: [nonce, price, gas, to, value, data, v, r, s]."""
    _, _, gas, _, _, data, *_ = rlp.decode(raw)
    return int.from_bytes(gas, "big"), bytes(data)


class EthereumPort(Protocol):
    """All of it raises SourceError where no endpoint answers; what is refused says RpcFailed."""

    @property
    def address(self) -> Address: ...

    async def used_nonces(self) -> int:
        """How many nonces of the account are used up in the newest block."""
        ...

    async def gas_price(self) -> int:
        """What the node would pay, wei per gas."""
        ...

    async def indices(self, created: int, non_signers: Sequence[bytes]) -> Indices:
        """For a task created in that block; `non_signers` are operator ids, ascending. Raises CallReverted."""
        ...

    async def simulate(self, data: bytes, price: int, gas: int) -> None:
        """The call on the newest block, at this price. Raises CallReverted, RpcFailed."""
        ...

    async def estimate(self, data: bytes, price: int) -> int:
        """The gas limit to send with: what it takes at present and a tenth more. Raises CallReverted, RpcFailed."""
        ...

    def sign(self, nonce: int, price: int, gas: int, data: bytes | None) -> Signed:
        """A transaction to the contract; to ourselves, with nothing in it, where `data` is None."""
        ...

    async def send(self, raw: bytes) -> None:
        """Hand it to the network. Raises RpcFailed: refused, or known already; SourceError: it may have arrived."""
        ...

    async def receipt(self, transaction: TxHash) -> Receipt | None:
        """None: in no block (any more)."""
        ...

    async def balance(self) -> int:
        """What the account has in the newest block, wei."""
        ...


@dataclass(frozen=True, slots=True)
class EthereumAccount:
    """An `EthereumPort` over our endpoints.

    Prices are those of the transactions everybody takes (type 0): what a transaction offers is what it pays, and what
    the contract weighs against the limit of the batch. Simulations carry the price and a block: without a price the
    contract sees none and lets every fee pass, without a block some nodes use the one to come.
    """

    provider: L1Provider
    contracts: Contracts
    account: LocalAccount
    gas_percent: int = 110
    """Of the estimate: the state may have moved when the transaction is mined."""

    @property
    def address(self) -> Address:
        return Address(bytes.fromhex(self.account.address[2:]))

    async def used_nonces(self) -> int:
        return await self.provider.ask("eth_getTransactionCount", (hex_bytes(self.address), "latest"), _NONCE)

    async def gas_price(self) -> int:
        return await self.provider.ask("eth_gasPrice", (), _PRICE)

    async def indices(self, created: int, non_signers: Sequence[bytes]) -> Indices:
        function = GET_CHECK_SIGNATURES_INDICES
        asked = function.encode(self.contracts.coordinator, created, QUORUMS, list(non_signers))
        returned = await self.provider.call(self.contracts.retriever, asked, "latest")
        ((bitmaps, quorum_keys, totals, stakes),) = function.read_untrusted(returned)
        return Indices(tuple(bitmaps), tuple(quorum_keys), tuple(totals), tuple(tuple(one) for one in stakes))

    async def simulate(self, data: bytes, price: int, gas: int) -> None:
        # With a limit: some nodes want the account to have the money for their own, 200 times as high.
        asked = self._call(data, price) | {"gas": hex_number(gas)}
        await self.provider.ask("eth_call", (asked, "latest"), data_untrusted, final=(RpcFailed,))

    async def estimate(self, data: bytes, price: int) -> int:
        asked = self._call(data, price), "latest"
        gas = await self.provider.ask("eth_estimateGas", asked, _GAS, final=(RpcFailed,))
        return gas * self.gas_percent // 100

    def sign(self, nonce: int, price: int, gas: int, data: bytes | None) -> Signed:
        signed = self.account.sign_transaction(
            {
                "nonce": nonce, "gasPrice": price, "gas": gas, "value": 0, "chainId": self.provider.chain_id,
                "to": bytes(self.address if data is None else self.contracts.manager), "data": data or b"",
            }
        )  # fmt: skip
        return Signed(bytes(signed.raw_transaction), TxHash(bytes(signed.hash)))

    async def send(self, raw: bytes) -> None:
        """With one endpoint after the other until one has taken or refused it: the same bytes, so never two of them."""
        await self.provider.ask("eth_sendRawTransaction", (hex_bytes(raw),), _accepted, final=(RpcFailed,))

    async def receipt(self, transaction: TxHash) -> Receipt | None:
        return await self.provider.ask("eth_getTransactionReceipt", (hex_bytes(transaction),), _receipt)

    async def balance(self) -> int:
        return await self.provider.ask("eth_getBalance", (hex_bytes(self.address), "latest"), _WEI)

    def _call(self, data: bytes, price: int) -> dict[str, str]:
        return {
            "from": hex_bytes(self.address), "to": hex_bytes(self.contracts.manager), "data": hex_bytes(data),
            "gasPrice": hex_number(price),
        }  # fmt: skip


class _ReceiptJson(msgspec.Struct):
    blockNumber: str
    blockHash: str
    status: str
    gasUsed: str = "0x0"


_read_text = msgspec.json.Decoder(str).decode
_read_receipt = msgspec.json.Decoder(_ReceiptJson | None).decode


def _number(text: str, least: int, below: int) -> int:
    """A number of the size its name has. Raises ValueError."""
    value = int(text, 16) if text[:2] == "0x" and text[2:].isalnum() else -1
    if not least <= value < below:
        raise ValueError(f"no such number: {text[:80]!r}")
    return value


def _quantity(below: int, least: int = 0) -> Callable[[Raw, str], int]:
    """What reads a number from `least` up to `below`, and raises MalformedAnswer."""

    def read(result: Raw, source: str) -> int:
        try:
            return _number(_read_text(result), least, below)
        except (msgspec.DecodeError, ValueError) as exc:
            raise MalformedAnswer(source, str(exc)) from exc

    return read


_NONCE: Final = _quantity(MAX_COUNT)
_PRICE: Final = _quantity(MAX_PRICE)
_GAS: Final = _quantity(MAX_GAS, PLAIN_GAS)
_WEI: Final = _quantity(MAX_WEI)


def _accepted(result: Raw, source: str) -> None:
    """The hash is known beforehand; that there is a result says that the transaction was taken."""


def _receipt(result: Raw, source: str) -> Receipt | None:
    try:
        told = _read_receipt(result)
        if told is None or not told.blockHash:
            return None
        number = BlockNumber(_number(told.blockNumber, 0, MAX_COUNT))
        block = BlockRef(number, BlockHash(bytes_untrusted(told.blockHash, 32)))
        return Receipt(block, _number(told.status, 0, 2) == 1, _number(told.gasUsed, 0, MAX_GAS))
    except (msgspec.DecodeError, ValueError) as exc:
        raise MalformedAnswer(source, str(exc)) from exc
