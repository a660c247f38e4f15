"""A development chain: anvil, found on this machine, started on loopback and stopped again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
import trio
from msgspec import Raw

from attestrio.errors import SetupError, SourceError
from attestrio.l1.api import Address, BlockNumber, TxHash
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.for_web3 import wait_receipt
from attestrio.l1.provider import L1Provider
from attestrio.l1.wire import bytes_untrusted, hex_bytes, hex_number, number_untrusted
from attestrio.sim.artifacts import Artifact

CHAIN_ID: Final = 31337
NAMED_BY: Final = "ATTESTRIO_ANVIL"
CHECKOUT: Final = Path(__file__).parents[3]
START_S, STOP_S = 20.0, 5.0
RECEIPT_S, RECEIPT_EVERY_S = 20.0, 0.02
LISTENING: Final = b"Listening on "
MAX_SAID = 64 << 10  # bytes that anvil prints before it listens


class AnvilAbsent(SetupError):
    """There is no anvil on this machine, or it cannot be run: install it, or name it."""

    code: ClassVar[str] = "anvil_absent"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"{problem}; `npm i @foundry-rs/anvil-linux-amd64` installs it, --anvil, {NAMED_BY} or PATH name it"
        )


class AnvilFailed(SetupError):
    """anvil ended, or said nothing, before it listened."""

    code: ClassVar[str] = "anvil_failed"

    def __init__(self, path: Path, said: str) -> None:
        super().__init__(f"{path} did not start: {said.strip() or 'it said nothing'}")
        self.path = path


class TransactionFailed(SourceError):
    """A transaction was mined and refused, although it was welcome when it was sent: the chain has moved meanwhile."""

    code: ClassVar[str] = "transaction_failed"

    def __init__(self, transaction: TxHash) -> None:
        super().__init__(f"transaction {hex_bytes(transaction)} was mined and refused")
        self.transaction = transaction


def find_anvil(given: Path | None = None) -> Path:
    """The program: `given`, ATTESTRIO_ANVIL, the PATH, node_modules here or in the checkout. Raises AnvilAbsent."""
    named = given or (Path(told) if (told := os.environ.get(NAMED_BY)) else None)
    if named is not None:
        if not os.access(named, os.X_OK) or named.is_dir():
            raise AnvilAbsent(f"{named} is not a program")
        return named
    installed = shutil.which("anvil")
    if installed is not None:
        return Path(installed)
    for folder in (Path.cwd(), CHECKOUT):
        for found in sorted((folder / "node_modules" / "@foundry-rs").glob("*/bin/anvil")):
            return found
    raise AnvilAbsent("anvil was not found")


@dataclass(frozen=True, slots=True)
class Anvil:
    """A development chain that runs. It mines a block for each transaction unless told otherwise."""

    url: str
    provider: L1Provider
    accounts: tuple[Address, ...]
    """With 10,000 ether each; anvil signs for them."""

    async def ask(self, method: str, *params: object) -> Any:  # noqa: ANN401  JSON
        """Any JSON-RPC method. Raises SourceError."""
        return await self.provider.ask(method, params, _decoded)

    async def send(self, by: Address, to: Address | None, data: bytes, *, value: int = 0) -> dict[str, Any]:
        """A transaction and its receipt. Raises CallReverted when it would be refused, NoReceipt, TransactionFailed."""
        what: dict[str, object] = {"from": hex_bytes(by), "data": hex_bytes(data), "value": hex_number(value)}
        if to is not None:
            what["to"] = hex_bytes(to)
        # More than estimated: what is zero in the newest block may not be in the next, the block's number for one.
        what["gas"] = hex_number(number_untrusted(await self.ask("eth_estimateGas", what)) * 3 // 2)
        sent = TxHash(bytes_untrusted(await self.ask("eth_sendTransaction", what), 32))
        receipt = await wait_receipt(self.provider, sent, RECEIPT_S, RECEIPT_EVERY_S)
        if receipt["status"] != "0x1":
            raise TransactionFailed(sent)
        return receipt

    async def deploy(self, by: Address, contract: Artifact, *arguments: object) -> Address:
        """Put a contract on the chain."""
        receipt = await self.send(by, None, contract.creation(*arguments))
        return Address(bytes_untrusted(receipt["contractAddress"], 20))

    async def head(self) -> BlockNumber:
        return BlockNumber(number_untrusted(await self.ask("eth_blockNumber")))

    async def mine(self, blocks: int = 1) -> None:
        """Empty blocks, or those that wait for one."""
        await self.ask("anvil_mine", hex_number(blocks))

    async def reorg(self, depth: int) -> None:
        """Replace the newest `depth` blocks by empty ones; their transactions are gone."""
        await self.ask("anvil_reorg", depth, [])

    async def rollback(self, depth: int) -> None:
        """Take the newest `depth` blocks away."""
        await self.ask("anvil_rollback", depth)


@asynccontextmanager
async def running_anvil(
    path: Path | None = None, *options: str, chain_id: int = CHAIN_ID, port: int = 0
) -> AsyncIterator[Anvil]:
    """Start anvil on loopback and stop it at the end; `options` go to it as they are.

    One slot is one epoch, so that safe and finalized are 1 and 2 blocks behind. Raises AnvilAbsent, AnvilFailed.
    """
    program = find_anvil(path)
    fixed = ["--host", "127.0.0.1", "--port", str(port), "--chain-id", str(chain_id), "--slots-in-an-epoch", "1"]
    try:
        process = await trio.lowlevel.open_process(
            [program, *fixed, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as exc:
        raise AnvilAbsent(f"{program} cannot be run: {exc.strerror or exc}") from exc
    try:
        url = await _listening(program, process)
        async with L1Provider([Endpoint(url, chain_id)]) as provider, trio.open_nursery() as nursery:
            nursery.start_soon(_drain, process)
            accounts = await provider.ask("eth_accounts", (), _decoded)
            yield Anvil(url, provider, tuple(Address(bytes_untrusted(one, 20)) for one in accounts))
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await _stop(process)


async def _listening(program: Path, process: trio.Process) -> str:
    """The URL, from what it prints once it listens."""
    assert process.stdout is not None
    said = b""
    with trio.move_on_after(START_S):
        while len(said) < MAX_SAID:
            chunk = await process.stdout.receive_some()
            said += chunk
            _, found, rest = said.rpartition(LISTENING)
            if found and b"\n" in rest:
                return f"http://{rest.split()[0].decode('ascii')}"
            if not chunk:
                break
    raise AnvilFailed(program, said[-500:].decode("utf-8", "replace"))


async def _drain(process: trio.Process) -> None:
    """Read on, because a full pipe would stop it."""
    assert process.stdout is not None
    async for _ in process.stdout:
        pass


async def _stop(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(STOP_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()


def _decoded(raw: Raw, source: str) -> Any:  # noqa: ANN401  JSON
    return msgspec.json.decode(raw)
