"""What wallets and tools ask a sequencer: JSON-RPC as Ethereum's nodes speak it, for the newest state.

Not here: logs by filter, subscriptions, traces, proofs, and the state of earlier blocks, which is not kept. What is
not here is an error, never a made-up answer.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from attestrio.kit.jsonrpc import CallRefused, InvalidParams, Method
from attestrio.l1.contract import Reverts
from attestrio.sequencer.call_desk import CallDesk, How
from attestrio.sequencer.calls import CallFailed, Wanted, call, estimate
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.intake import Intake
from attestrio.sequencer.pool import TransactionRefused
from attestrio.sequencer.reader import ChainReader
from attestrio.sequencer.rpc_shapes import block_json, hex_bytes, hex_number, receipt_json, tx_json
from attestrio.sequencer.sealed import SealedBlock
from attestrio.sequencer.settings import Rules

T = TypeVar("T")
SERVER_ERROR, REVERTED = -32_000, 3
NEWEST: Final = ("latest", "pending")
REVERTS: Final = Reverts.parse()
HEX: Final = re.compile("0x[0-9a-fA-F]*")
QUANTITY: Final = re.compile("0x[0-9a-fA-F]{1,64}")


class _Message(msgspec.Struct):
    """The first parameter of eth_call; fields that are not named here are of no use to us."""

    to: str | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    data: str | None = None
    input: str | None = None
    value: str | None = None
    gas: str | None = None
    gasPrice: str | None = None


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """What the answers depend on."""

    version: str = "attestrio"
    gas_price: int = 10**9
    """In wei: what eth_gasPrice suggests."""
    call_gas: int = 10_000_000
    """The most that eth_call and eth_estimateGas execute."""


@dataclass(frozen=True, slots=True)
class SequencerRpc:
    """The methods, by name in `methods`."""

    intake: Intake
    calls: CallDesk
    settings: RpcSettings = field(default_factory=RpcSettings)

    @property
    def rules(self) -> Rules:
        return self.calls.rules

    @property
    def methods(self) -> Mapping[str, Method]:
        fixed: dict[str, object] = {
            "eth_chainId": hex_number(self.rules.chain_id),
            "net_version": str(self.rules.chain_id),
            "web3_clientVersion": self.settings.version,
            "eth_gasPrice": hex_number(self.settings.gas_price),
            "eth_syncing": False,
            "eth_accounts": [],
        }
        return {
            **{name: _always(value) for name, value in fixed.items()},
            "eth_blockNumber": self._block_number,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionCount": self._transaction_count,
            "eth_getBalance": self._balance,
            "eth_getCode": self._code,
            "eth_getStorageAt": self._storage,
            "eth_sendRawTransaction": self._send,
            "eth_call": self._call,
            "eth_estimateGas": self._estimate,
            "zkevm_batchNumber": self._batch_number,
            "zkevm_batchNumberByBlockNumber": self._batch_of_block,
        }

    # --- blocks

    async def _block_number(self, params: tuple[Raw, ...]) -> object:
        _read(params, 0)
        return hex_number(await self._ask(_height))

    async def _batch_number(self, params: tuple[Raw, ...]) -> object:
        _read(params, 0)

        def last(db: ChainDb) -> int:
            batch = db.last_batch
            return 0 if batch is None else batch.number

        return hex_number(await self._ask(last))

    async def _batch_of_block(self, params: tuple[Raw, ...]) -> object:
        number = _number(_read(params, 1)[0])
        block = await self._ask(lambda db: db.block(number))
        return None if block is None else hex_number(block.batch.number)

    async def _block_by_number(self, params: tuple[Raw, ...]) -> object:
        at, full = _read(params, 1, 2)
        block = await self._ask(lambda db: _block_at(db, at))
        return None if block is None else block_json(block, full=full is True)

    async def _block_by_hash(self, params: tuple[Raw, ...]) -> object:
        told, full = _read(params, 1, 2)
        hash = _bytes(told, 32)
        block = await self._ask(lambda db: db.block_by_hash(hash))
        return None if block is None else block_json(block, full=full is True)

    # --- transactions

    async def _transaction(self, params: tuple[Raw, ...]) -> object:
        hash = _bytes(_read(params, 1)[0], 32)
        waits = self.intake.pool.get(hash)
        if waits is not None:
            return tx_json(waits, None)
        found = await self._ask(lambda db: _place(db, hash))
        return None if found is None else block_json(found[0], full=True)["transactions"][found[1]]

    async def _receipt(self, params: tuple[Raw, ...]) -> object:
        hash = _bytes(_read(params, 1)[0], 32)
        found = await self._ask(lambda db: _place(db, hash))
        return None if found is None else receipt_json(*found)

    async def _send(self, params: tuple[Raw, ...]) -> object:
        raw = _bytes(_read(params, 1)[0])
        try:
            return hex_bytes(await self.intake.add(raw))
        except TransactionRefused as exc:
            raise CallRefused(SERVER_ERROR, str(exc)) from exc

    # --- state

    async def _transaction_count(self, params: tuple[Raw, ...]) -> object:
        told, at = _read(params, 1, 2)
        address = _bytes(told, 20)
        nonce = await self._state(at, lambda db: db.state.nonce(address))
        return hex_number(self.intake.pool.nonce_after(address, nonce) if at == "pending" else nonce)

    async def _balance(self, params: tuple[Raw, ...]) -> object:
        told, at = _read(params, 1, 2)
        address = _bytes(told, 20)
        return hex_number(await self._state(at, lambda db: db.state.balance(address)))

    async def _code(self, params: tuple[Raw, ...]) -> object:
        told, at = _read(params, 1, 2)
        address = _bytes(told, 20)
        return hex_bytes(await self._state(at, lambda db: db.state.code(address)))

    async def _storage(self, params: tuple[Raw, ...]) -> object:
        told, place, at = _read(params, 2, 3)
        address, slot = _bytes(told, 20), _number(place, 256)
        value = await self._state(at, lambda db: db.state.storage(address, slot))
        return hex_bytes(value.to_bytes(32, "big"))

    async def _call(self, params: tuple[Raw, ...]) -> object:
        return hex_bytes(await self._execute(params, call))

    async def _estimate(self, params: tuple[Raw, ...]) -> object:
        return hex_number(await self._execute(params, estimate))

    # --- within

    async def _execute(self, params: tuple[Raw, ...], how: How[T]) -> T:
        if not 1 <= len(params) <= 2:  # what is to be overridden in the state is not offered
            raise InvalidParams
        wanted = self._wanted(params[0])
        at = _read(params[1:], 0, 1)[0]

        def check(chain: ChainReader) -> None:
            _check_newest(chain, at)

        try:
            return await self.calls.execute(how, wanted, check)
        except CallFailed as exc:
            if exc.returned or str(exc) == "execution reverted":
                name, said = REVERTS.read_untrusted(exc.returned)
                text = f"{exc}: {said[0]}" if name == "Error" and said else str(exc)
                raise CallRefused(REVERTED, text, hex_bytes(exc.returned)) from exc
            raise CallRefused(SERVER_ERROR, str(exc)) from exc

    def _wanted(self, raw: Raw) -> Wanted:
        try:
            told = msgspec.json.decode(raw, type=_Message)
        except msgspec.DecodeError as exc:
            raise InvalidParams from exc
        data = told.input if told.input is not None else told.data
        gas = self.settings.call_gas if told.gas is None else min(_number(told.gas), self.settings.call_gas)
        return Wanted(
            to=None if told.to is None else _bytes(told.to, 20),
            data=b"" if data is None else _bytes(data),
            sender=bytes(20) if told.from_ is None else _bytes(told.from_, 20),
            value=0 if told.value is None else _number(told.value, 256),
            gas=gas,
            gas_price=0 if told.gasPrice is None else _number(told.gasPrice, 256),
        )

    def _ask(self, question: Callable[[ChainDb], Any]) -> Awaitable[Any]:
        return self.intake.chain.ask(question)

    async def _state(self, at: object, question: Callable[[ChainDb], Any]) -> Any:  # noqa: ANN401
        """What the newest state says. Raises CallRefused for any other."""

        def ask(db: ChainDb) -> Any:  # noqa: ANN401
            _check_newest(db, at)
            return question(db)

        return await self._ask(ask)


def _always(value: object) -> Method:
    async def method(params: tuple[Raw, ...]) -> object:
        return value

    return method


def _check_newest(db: ChainReader, at: object) -> None:
    if at is not None and at not in NEWEST and _number(at) != _height(db):
        raise CallRefused(SERVER_ERROR, "only the newest state is kept")


def _height(db: ChainReader) -> int:
    tip = db.tip
    return 0 if tip is None else tip.number


def _block_at(db: ChainDb, at: object) -> SealedBlock | None:
    if at in NEWEST:
        return db.block(_height(db))
    return db.block(0 if at == "earliest" else _number(at))


def _place(db: ChainDb, hash: bytes) -> tuple[SealedBlock, int] | None:
    place = db.transaction_place(hash)
    block = None if place is None else db.block(place[0])
    return None if place is None or block is None else (block, place[1])


# --- parameters, which all come from strangers


def _read(params: tuple[Raw, ...], least: int, most: int | None = None) -> list[Any]:
    """As many values as there may be, None for those that are not given. Raises InvalidParams."""
    most = least if most is None else most
    if not least <= len(params) <= most:
        raise InvalidParams
    try:
        given = [msgspec.json.decode(one) for one in params]
    except msgspec.DecodeError as exc:
        raise InvalidParams from exc
    return given + [None] * (most - len(given))


def _bytes(told: object, size: int | None = None) -> bytes:
    if not isinstance(told, str) or not HEX.fullmatch(told) or len(told) % 2:
        raise InvalidParams
    raw = bytes.fromhex(told[2:])
    if size is not None and len(raw) != size:
        raise InvalidParams
    return raw


def _number(told: object, bits: int = 63) -> int:
    """Of SQLite's size unless said otherwise: no block has a higher number."""
    if not isinstance(told, str) or not QUANTITY.fullmatch(told):
        raise InvalidParams
    number = int(told, 16)
    if number >= 1 << bits:
        raise InvalidParams
    return number
