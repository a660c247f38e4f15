"""Transactions that wait for a block: what is taken in, in which order it is offered, when it leaves.

Per account by nonce, without gaps; among accounts first come, first served: the price decides only whether one that
waits is replaced by another of its nonce. Nothing here waits, and nothing is kept on disk: that is `pool_store`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from attestrio.errors import PeerError
from attestrio.zkevm.errors import BadTransaction
from attestrio.zkevm.executor import intrinsic_gas
from attestrio.zkevm.transactions import LEGACY, Tx, tx_untrusted


class TransactionRefused(PeerError):
    """A transaction does not get into the pool; its sender is told why, in the words that wallets know."""

    code: ClassVar[str] = "transaction_refused"


class NoRoom(TransactionRefused):
    """Nothing is wrong with the transaction, but there is no room for it now: send it again later."""

    code: ClassVar[str] = "no_room_for_transaction"


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What is taken in."""

    most: int = 5_000
    """Transactions at once."""
    ahead: int = 64
    """How far above the account's nonce one may be."""
    max_bytes: int = 128 * 1024
    max_gas: int = 30_000_000
    """Of one transaction: more than the prover's steps allow cannot be used up anyway."""
    min_gas_price: int = 0
    """In wei."""
    lifetime_s: float = 3 * 3600.0
    """After which one that never got into a block is forgotten."""


REPLACE_PERCENT: Final = 10
"""How much more the successor of a nonce has to pay."""


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What the chain says of an account."""

    nonce: int
    balance: int
    """In wei."""


@dataclass(slots=True)
class _Pending:
    tx: Tx
    hash: bytes
    place: int
    """In order of arrival."""
    since: float


@dataclass(slots=True)
class _Account:
    next: int
    """The nonce that the chain executes next."""
    waiting: dict[int, _Pending] = field(default_factory=dict)

    def ready(self) -> Iterator[_Pending]:
        """Those without a gap before them."""
        nonce = self.next
        while (pending := self.waiting.get(nonce)) is not None:
            yield pending
            nonce += 1


class Pool:
    """The transactions that wait. One task at a time."""

    def __init__(self, chain_id: int, settings: PoolSettings = PoolSettings()) -> None:
        self._chain_id, self._settings = chain_id, settings
        self._accounts: dict[bytes, _Account] = {}
        self._by_hash: dict[bytes, _Pending] = {}
        self._places = 0

    def __len__(self) -> int:
        return len(self._by_hash)

    def hashes(self) -> set[bytes]:
        """Of all that wait."""
        return set(self._by_hash)

    def get(self, hash: bytes) -> Tx | None:
        """One that waits, by its hash."""
        pending = self._by_hash.get(hash)
        return None if pending is None else pending.tx

    def nonce_after(self, sender: bytes, nonce: int) -> int:
        """The first nonce without a transaction, from the account's own `nonce` on."""
        account = self._accounts.get(sender)
        while account is not None and nonce in account.waiting:
            nonce += 1
        return nonce

    # --- coming

    def read_untrusted(self, raw: bytes) -> Tx:
        """A transaction as a wallet sends it, as far as it can be judged without the chain. Raises TransactionRefused.

        Some 100 µs, for its signature.
        """
        if len(raw) > self._settings.max_bytes:
            raise TransactionRefused(f"oversized data: {len(raw)} B, limit {self._settings.max_bytes} B")
        if raw[:1] and raw[0] < 0x80:  # the byte of a type; a legacy one is a list
            raise TransactionRefused(f"transaction type not supported: {raw[0]}, only legacy ones are")
        try:
            tx = tx_untrusted(raw)
            tx.sender()
        except BadTransaction as exc:
            raise TransactionRefused(f"invalid transaction: {exc}") from exc
        self._judge(tx)
        return tx

    def add(self, tx: Tx, account: AccountFacts, now: float) -> bytes:
        """Take it in; its hash. `account`: of its sender. Raises TransactionRefused."""
        hash, sender = tx.hash(), tx.sender()
        if hash in self._by_hash:
            raise TransactionRefused("already known")
        if tx.nonce < account.nonce:
            raise TransactionRefused(f"nonce too low: next nonce {account.nonce}, tx nonce {tx.nonce}")
        waits = self._accounts.get(sender)
        if tx.nonce > account.nonce + self._settings.ahead:
            moves = waits is not None and account.nonce in waits.waiting  # then its turn comes nearer
            kind = NoRoom if moves else TransactionRefused
            raise kind(f"nonce too high: next nonce {account.nonce}, tx nonce {tx.nonce}")
        if (cost := tx.gas * tx.gas_price + tx.value) > account.balance:
            raise TransactionRefused(
                f"insufficient funds for gas * price + value: balance {account.balance}, tx cost {cost}"
            )
        old = None if waits is None else waits.waiting.get(tx.nonce)
        if old is not None and tx.gas_price * 100 < old.tx.gas_price * (100 + REPLACE_PERCENT):
            raise TransactionRefused("replacement transaction underpriced")
        if old is None and len(self) >= self._settings.most:
            raise NoRoom("txpool is full")
        self._put(tx, account.nonce, now)
        return hash

    def restore(self, tx: Tx, nonce: int, since: float) -> bool:
        """Take in what had been taken in before a restart, in the order it came: it is not judged again.

        False: it is over, or of another chain. `nonce`: what the chain executes next of its sender.
        """
        if tx.nonce < nonce or tx.chain_id != self._chain_id:
            return False
        self._put(tx, nonce, since)
        return True

    def _put(self, tx: Tx, nonce: int, since: float) -> None:
        hash, sender = tx.hash(), tx.sender()
        waits = self._accounts.get(sender)
        if waits is None:
            waits = self._accounts[sender] = _Account(nonce)
        waits.next = max(waits.next, nonce)  # a block may have come since the caller asked
        old = waits.waiting.get(tx.nonce)
        if old is not None:
            del self._by_hash[old.hash]
        self._places += 1
        pending = _Pending(tx, hash, self._places if old is None else old.place, since)
        waits.waiting[tx.nonce] = self._by_hash[hash] = pending

    def _judge(self, tx: Tx) -> None:
        settings = self._settings
        if tx.type != LEGACY:
            raise TransactionRefused(f"transaction type not supported: {tx.type}, only legacy ones are")
        if tx.chain_id == 0:
            raise TransactionRefused("only replay-protected (EIP-155) transactions allowed over RPC")
        if tx.chain_id != self._chain_id:
            raise TransactionRefused(f"invalid chain id for signer: have {tx.chain_id} want {self._chain_id}")
        if tx.gas > settings.max_gas:
            raise TransactionRefused(f"exceeds block gas limit: {tx.gas}, limit {settings.max_gas}")
        if tx.gas < (needed := intrinsic_gas(tx)):
            raise TransactionRefused(f"intrinsic gas too low: have {tx.gas}, want {needed}")
        if tx.gas_price < settings.min_gas_price:
            raise TransactionRefused(
                f"transaction underpriced: gas price {tx.gas_price}, minimum {settings.min_gas_price}"
            )

    # --- going

    def ready(self, most: int) -> list[Tx]:
        """What can be executed one after the other, `most` at most."""
        queues = {sender: account.ready() for sender, account in self._accounts.items()}
        turns = sorted(
            (pending.place, sender) for sender, account in self._accounts.items() for pending in account.ready()
        )[:most]
        # Each turn belongs to an account, which uses it for its lowest nonce, whichever of its own came first.
        return [next(queues[sender]).tx for _, sender in turns]

    def done(self, txs: Iterable[Tx]) -> None:
        """These are in a block."""
        for tx in txs:
            account = self._accounts.get(tx.sender())
            if account is not None:
                self._moved(tx.sender(), account, max(account.next, tx.nonce + 1))

    def drop(self, tx: Tx) -> None:
        """It cannot be executed, whatever comes. What its sender sent after it waits for another of its nonce."""
        account = self._accounts.get(tx.sender())
        pending = None if account is None else account.waiting.get(tx.nonce)
        if account is not None and pending is not None and pending.tx == tx:
            self._forget(tx.sender(), account, tx.nonce)

    def senders(self) -> tuple[bytes, ...]:
        """Of all that wait."""
        return tuple(self._accounts)

    def renew(self, nonces: Mapping[bytes, int]) -> None:
        """What the chain executes next of each of `senders()`; it may have gone back."""
        for sender, nonce in nonces.items():
            account = self._accounts.get(sender)
            if account is not None:
                self._moved(sender, account, nonce)

    def expire(self, now: float) -> int:
        """Forget what has waited for too long; how many that were."""
        old = [
            (sender, account, nonce)
            for sender, account in self._accounts.items()
            for nonce, pending in account.waiting.items()
            if now - pending.since > self._settings.lifetime_s
        ]
        for sender, account, nonce in old:
            self._forget(sender, account, nonce)
        return len(old)

    def _moved(self, sender: bytes, account: _Account, nonce: int) -> None:
        account.next = nonce
        for past in [one for one in account.waiting if one < nonce]:
            self._forget(sender, account, past)

    def _forget(self, sender: bytes, account: _Account, nonce: int) -> None:
        del self._by_hash[account.waiting.pop(nonce).hash]
        if not account.waiting:
            self._accounts.pop(sender, None)
