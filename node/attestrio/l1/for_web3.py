"""AsyncWeb3 over our endpoints, for wallets, deployments and whatever needs an ABI at run time.

Not for scanning: a log takes web3 30 times as long. Importing web3 takes 1.6 s, so it is done in `web3_over`.
Under trio web3 cannot wait (`wait_for_transaction_receipt`, `batch_requests`, request caching): use `wait_receipt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from msgspec import Raw, ValidationError
from msgspec.json import decode

from attestrio.errors import SourceError
from attestrio.kit.jsonrpc import MalformedAnswer, RpcFailed
from attestrio.kit.recursion import recursion_limit_kept
from attestrio.l1.api import TxHash
from attestrio.l1.errors import CallReverted
from attestrio.l1.wire import hex_bytes, hex_number

if TYPE_CHECKING:
    from web3 import AsyncWeb3

    from attestrio.l1.provider import L1Provider


class NoReceipt(SourceError):
    """A transaction has no receipt yet: still waiting, dropped or replaced; look again or send again."""

    code = "no_receipt"

    def __init__(self, transaction: TxHash, waited_s: float) -> None:
        super().__init__(f"transaction {hex_bytes(transaction)} has no receipt after {waited_s:g} s")
        self.transaction, self.waited_s = transaction, waited_s


def web3_over(provider: L1Provider) -> AsyncWeb3[Any]:
    """A web3 whose calls go through `provider`: its endpoints, retries, limits and pinned chain id.

    Errors of a server come out as web3's own exceptions, those of the network as our SourceError.
    """
    with recursion_limit_kept():
        from web3 import AsyncWeb3
        from web3.providers.async_base import AsyncJSONBaseProvider
        from web3.types import RPCEndpoint, RPCResponse

    class TrioProvider(AsyncJSONBaseProvider):
        global_ccip_read_enabled = False  # it asks asyncio for its loop

        def __init__(self) -> None:
            super().__init__(cache_allowed_requests=False)

        async def make_request(self, method: RPCEndpoint, params: object) -> RPCResponse:
            if method == "eth_chainId":  # web3 asks twice for every call of a contract
                await trio.lowlevel.checkpoint()
                result: Any = hex_number(provider.chain_id)
            else:
                plain = decode(self.encode_rpc_request(method, params))["params"]  # web3's own types to JSON
                try:
                    result = await provider.ask(method, tuple(plain), _as_is, final=(RpcFailed,))
                except RpcFailed as exc:
                    return _error(exc)
            return {"jsonrpc": "2.0", "id": 1, "result": result}

        async def is_connected(self, show_traceback: bool = False) -> bool:
            try:
                await provider.block("latest")
            except SourceError:
                return False
            return True

    def _error(exc: RpcFailed) -> RPCResponse:
        data = hex_bytes(exc.data) if isinstance(exc, CallReverted) else ""
        return {"jsonrpc": "2.0", "id": 1, "error": {"code": exc.rpc_code, "message": exc.message, "data": data}}

    return AsyncWeb3(TrioProvider(), middleware=[])


async def wait_receipt(
    provider: L1Provider, transaction: TxHash, timeout_s: float, every_s: float = 1.0
) -> dict[str, Any]:
    """The receipt as JSON, asked for every `every_s`. Raises NoReceipt after `timeout_s`, SourceError."""
    with trio.move_on_after(timeout_s):
        while True:
            receipt = await provider.ask("eth_getTransactionReceipt", (hex_bytes(transaction),), _receipt)
            if receipt is not None:
                return receipt
            await trio.sleep(every_s)
    raise NoReceipt(transaction, timeout_s)


def _as_is(raw: Raw, source: str) -> object:
    return decode(raw)


def _receipt(raw: Raw, source: str) -> dict[str, Any] | None:
    try:
        return decode(raw, type=dict[str, Any] | None)
    except ValidationError as exc:
        raise MalformedAnswer(source, str(exc)) from exc
