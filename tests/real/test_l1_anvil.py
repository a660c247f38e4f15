"""Provider, web3 and scanner against anvil, a real Ethereum node; a contract of a few bytes makes the logs."""

import os
import signal
import subprocess
from contextlib import asynccontextmanager

import pytest
import trio
from attestrio.journal import Item, Put, SqliteJournal
from attestrio.l1 import (
    Address,
    BlockNumber,
    Endpoint,
    Event,
    L1Provider,
    LogScanner,
    ScanSettings,
    TxHash,
    filter_for,
    wait_receipt,
    web3_over,
)
from attestrio.l1.errors import CallReverted, WrongChain
from attestrio.l1.wire import bytes_untrusted
from attestrio.sim.anvil import AnvilAbsent, find_anvil
from msgspec.json import decode
from suite import patient

CHAIN_ID = 31337
NOTED = Event.parse("Noted(bytes32 topic, uint256 number)")
# Copies the call's data to memory and emits it as one log, whose topic is the first 32 bytes; empty data reverts.
RUNTIME = "366000600037" + "36600f576000 6000fd5b".replace(" ", "") + "60005136" + "6000a100"
INIT = "60" + f"{len(RUNTIME) // 2:02x}" + "80600b6000396000f3"


def absent_or(find):
    try:
        return str(find())
    except AnvilAbsent:
        return None


ANVIL = absent_or(find_anvil)
pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        ANVIL is None and not os.environ.get("CI"),
        reason="anvil not found: ATTESTRIO_ANVIL, PATH or node_modules/@foundry-rs/anvil-linux-amd64",
    ),
]


def plain(raw, source):
    return decode(raw)


class Node:
    """An anvil that runs, and what tests ask of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.provider = L1Provider([Endpoint(url, CHAIN_ID)], schedule=(0.2, 0.2))
        self.account = ""
        self.contract = Address(b"")

    async def ask(self, method: str, *params):
        return await self.provider.ask(method, params, plain)

    async def deploy(self) -> None:
        self.account = (await self.ask("eth_accounts"))[0]
        made = await self.ask("eth_sendTransaction", {"from": self.account, "data": "0x" + INIT + RUNTIME})
        receipt = await wait_receipt(self.provider, TxHash(bytes_untrusted(made)), 5.0, 0.02)
        self.contract = Address(bytes_untrusted(receipt["contractAddress"], 20))

    async def note(self, *numbers: int) -> None:
        """One block each, one log in it."""
        for number in numbers:
            data = NOTED.topic.hex() + f"{number:064x}"
            sent = await self.ask(
                "eth_sendTransaction", {"from": self.account, "to": "0x" + self.contract.hex(), "data": "0x" + data}
            )
            with trio.fail_after(patient(10)):
                while await self.ask("eth_getTransactionReceipt", sent) is None:  # noqa: ASYNC110 - anvil has no event
                    await trio.sleep(0.01)


@asynccontextmanager
async def anvil(*options: str):
    process = await trio.lowlevel.open_process(
        [ANVIL, "--port", "0", "--chain-id", str(CHAIN_ID), *options], stdout=subprocess.PIPE
    )
    try:
        said = b""
        with trio.fail_after(patient(20)):
            while b"Listening on " not in said or not said.endswith(b"\n"):
                said += await process.stdout.receive_some()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain, process.stdout)
            node = Node("http://" + said.rpartition(b"Listening on ")[2].split()[0].decode())
            async with node.provider:
                yield node
            nursery.cancel_scope.cancel()
    finally:
        process.send_signal(signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


async def drain(stream) -> None:
    async for _ in stream:
        pass


class JournalSink:
    """Keeps what the chain says in a journal's shared state: each step one transaction."""

    def __init__(self, journal: SqliteJournal) -> None:
        self.journal, self.voids = journal, []

    async def cursor(self) -> bytes | None:
        return await self.journal.cursor("noted")

    async def record(self, step) -> None:
        put = [Put("noted", log.key, bytes([NOTED.read_untrusted(log)["number"]])) for log in step.logs]
        if step.void_above is not None:
            self.voids.append(step.void_above)
            above = (step.void_above + 1).to_bytes(8, "big")
            put += [Put("noted", key, None) for key, _ in await self.journal.scan("noted", 1_000) if key >= above]
        work = [Item(log.key) for log in step.logs]
        await self.journal.append("jobs", work, cursor=("noted", step.cursor), put=put)

    async def numbers(self) -> list[int]:
        return [value[0] for _, value in await self.journal.scan("noted", 1_000)]


async def scan(node: Node, sink: JournalSink, **more) -> None:
    scanner = LogScanner(
        node.provider, filter_for(node.contract, NOTED), sink, ScanSettings(BlockNumber(0), follow=4, window=3, **more)
    )
    while await scanner.advance():
        pass


async def test_logs_survive_reorgs_rollbacks_and_restarts_of_the_scan(tmp_path):
    async with anvil() as node, trio.open_nursery() as nursery:
        journal = SqliteJournal(tmp_path / "journal.db")
        await nursery.start(journal.run)
        sink = JournalSink(journal)
        await node.deploy()

        await node.note(*range(10))
        await scan(node, sink)
        assert await sink.numbers() == list(range(10))

        await node.ask("anvil_reorg", 3, [])  # the last three blocks are replaced by empty ones
        await scan(node, sink)
        assert await sink.numbers() == list(range(7))

        await node.note(20, 21)
        await scan(node, sink)
        assert await sink.numbers() == [*range(7), 20, 21]

        await node.ask("anvil_rollback", 2)
        await node.note(30)
        await scan(node, sink)
        assert await sink.numbers() == [*range(7), 30]
        assert len(sink.voids) == 2

        await journal.close()


async def test_the_scan_stops_at_safe_and_finalized_blocks(tmp_path):
    async with anvil("--slots-in-an-epoch", "2") as node, trio.open_nursery() as nursery:
        journal = SqliteJournal(tmp_path / "journal.db")
        await nursery.start(journal.run)
        sink = JournalSink(journal)
        await node.deploy()
        await node.note(*range(8))  # block 2 to block 9

        await scan(node, sink, finality="finalized")
        finalized = (await node.provider.block("finalized")).number
        safe = (await node.provider.block("safe")).number
        assert await sink.numbers() == list(range(finalized - 1))

        await scan(node, sink, finality="safe")
        assert await sink.numbers() == list(range(safe - 1))
        assert 2 < finalized < safe < 9

        await journal.close()


async def test_a_refused_call_and_a_wrong_chain_are_named():
    async with anvil() as node:
        await node.deploy()

        with pytest.raises(CallReverted):
            await node.provider.call(node.contract, b"", "latest")
        async with L1Provider([Endpoint(node.url, 1)]) as other:
            with pytest.raises(WrongChain):
                await other.start()


async def test_web3_works_over_the_provider():
    async with anvil() as node:
        await node.deploy()
        w3 = web3_over(node.provider)
        account = w3.eth.account.create()
        balance = w3.to_wei(1, "ether")

        await node.ask("anvil_setBalance", account.address, hex(balance))
        signed = account.sign_transaction(
            {
                "to": w3.to_checksum_address(node.contract),
                "data": "0x" + NOTED.topic.hex() + f"{7:064x}",
                "nonce": await w3.eth.get_transaction_count(account.address),
                "gas": 100_000,
                "gasPrice": await w3.eth.gas_price,
                "chainId": await w3.eth.chain_id,
            }
        )
        sent = await w3.eth.send_raw_transaction(signed.raw_transaction)
        receipt = await wait_receipt(node.provider, TxHash(bytes(sent)), 5.0, 0.02)
        head = await node.provider.block("latest")
        (log,) = await node.provider.logs_of(filter_for(node.contract, NOTED), head.ref)

        assert await w3.is_connected()
        assert receipt["status"] == "0x1"
        assert NOTED.read_untrusted(log) == {"topic": NOTED.topic, "number": 7}
        assert await w3.eth.get_balance(account.address) < balance
        assert await w3.eth.block_number == head.number
