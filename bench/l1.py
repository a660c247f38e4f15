"""The scan of a contract's logs: JSON-RPC on loopback, eth_abi, a journal on disk; then killed 30 times.

    python bench/l1.py [--quick] [--json] [--seed 1]

The endpoint is a process of its own. It has 100 logs in each block, those of an Aligned service manager, and refuses
more than 10,000 at once, as public ones do. The scanner is another: each log is checked, decoded by eth_abi and
recorded in the transaction that moves the cursor. Its time is from the first question to the last commit, without the
start of Python.

In the second variant the scanner is killed (-9) at 30 random moments and started again over the same file. In both,
every log has to be there, once, in the order of the chain, and none may have been handed over twice. Exit 1 if not, or
if a million takes more than a minute.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import apsw
import msgspec
import trio
from _floor import Figure, report
from attestrio.journal import Item, Limits, SqliteJournal
from attestrio.l1 import (
    Address,
    BlockHash,
    BlockNumber,
    BlockRef,
    Endpoint,
    Event,
    L1Provider,
    LogScanner,
    ScanSettings,
    Step,
    TxHash,
    filter_for,
)
from attestrio.l1.api import Log

LOGS, QUICK_LOGS, PER_BLOCK, KILLS, MOST = 1_000_000, 60_000, 100, 30, 10_000
CHAIN_ID = 31337
ADDRESS = Address(b"\x16" * 20)
NEW_BATCH = Event.parse(
    "NewBatchV3(bytes32 indexed batchMerkleRoot, address senderAddress, uint32 taskCreatedBlock,"
    " string batchDataPointer, uint256 respondToTaskFeeLimit)"
)
DOUBLED = 3  # what a scanner ends with that was handed a log again


def hash_of(block: int) -> bytes:
    return hashlib.sha256(b"block %d" % block).digest()


# --- the endpoint


def logs_json(block: int) -> str:
    """The logs of one block, as eth_getLogs has them."""
    topics, data = NEW_BATCH.emitted(
        batchMerkleRoot=bytes(32),
        senderAddress=b"\x33" * 20,
        taskCreatedBlock=block,
        batchDataPointer="https://storage.alignedlayer.example/" + "ab" * 32 + ".json",
        respondToTaskFeeLimit=10**15,
    )
    head = f'{{"address":"0x{ADDRESS.hex()}","topics":["0x{topics[0].hex()}","0x'
    body = (
        f'"],"data":"0x{data.hex()}","blockHash":"0x{hash_of(block).hex()}","blockNumber":"{block:#x}",'
        f'"blockTimestamp":"{block:#x}",'
    )
    return ",".join(
        f'{head}{block:032x}{index:032x}{body}"transactionHash":"0x{index:064x}","transactionIndex":"{index:#x}",'
        f'"logIndex":"{index:#x}","removed":false}}'
        for index in range(PER_BLOCK)
    )


def answer(method: str, params: list, blocks: int) -> str:
    """Result or error, as JSON with its name."""
    if method == "eth_chainId":
        return f'"result":"{CHAIN_ID:#x}"'
    if method == "eth_getBlockByNumber":
        number = blocks if params[0] == "latest" else int(params[0], 16)
        if number > blocks:
            return '"result":null'
        told = {"number": hex(number), "hash": "0x" + hash_of(number).hex(), "timestamp": hex(number)}
        return f'"result":{msgspec.json.encode(told | {"parentHash": "0x" + hash_of(number - 1).hex()}).decode()}'
    where = params[0]
    if "blockHash" in where:
        found = next(n for n in range(blocks, -1, -1) if "0x" + hash_of(n).hex() == where["blockHash"])
        first = last = found
    else:
        first, last = int(where["fromBlock"], 16), int(where["toBlock"], 16)
    if (last - first + 1) * PER_BLOCK > MOST:
        range_ = f"[{first:#x}, {first + MOST // PER_BLOCK - 1:#x}]"
        text = f"query returned more than {MOST} results. Try with this block range {range_}."
        return f'"error":{{"code":-32005,"message":"{text}"}}'
    return f'"result":[{",".join(logs_json(block) for block in range(max(first, 1), last + 1))}]'


async def serve_connection(stream: trio.SocketStream, blocks: int) -> None:
    """HTTP/1.1 as httpx speaks it."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            if not (chunk := await stream.receive_some()):
                return
            buffer += chunk
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        size = int(
            next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        )
        while len(buffer) < size:
            buffer += await stream.receive_some()
        request, buffer = msgspec.json.decode(buffer[:size]), buffer[size:]
        told = answer(request["method"], request["params"], blocks)
        body = f'{{"jsonrpc":"2.0","id":{request["id"]},{told}}}'.encode()
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def serve(blocks: int) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        try:
            await serve_connection(stream, blocks)
        except trio.BrokenResourceError:  # the scanner was killed
            return

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/", flush=True)
    await trio.serve_listeners(handle, [listener])


# --- the scanner


class Recorder:
    """Decodes each log and appends it to the journal, with the cursor."""

    def __init__(self, journal: SqliteJournal) -> None:
        self.journal = journal

    async def cursor(self) -> bytes | None:
        return await self.journal.cursor("scan")

    async def record(self, step: Step) -> None:
        items = [Item(log.key, self.body(log)) for log in step.logs]
        if await self.journal.append("batches", items, cursor=("scan", step.cursor)) != len(items):
            os._exit(DOUBLED)
        print(len(items), flush=True)

    def body(self, log: Log) -> bytes:
        values = NEW_BATCH.read_untrusted(log)
        return values["batchMerkleRoot"] + values["senderAddress"] + values["batchDataPointer"].encode()


async def scan(url: str, path: str, blocks: int) -> None:
    """Prints the seconds it took as its last line."""
    journal = SqliteJournal(path, limits=Limits(max_waiting=2 * LOGS))
    async with trio.open_nursery() as nursery, L1Provider([Endpoint(url, CHAIN_ID)]) as provider:
        await nursery.start(journal.run)
        began = time.perf_counter()
        settings = ScanSettings(BlockNumber(0), max_window=MOST, max_logs=MOST)
        scanner = LogScanner(provider, filter_for(ADDRESS, NEW_BATCH), Recorder(journal), settings)
        while scanner.scanned < blocks:
            await scanner.advance()
        took = time.perf_counter() - began
        await journal.close()
    print(f"took {took}", flush=True)


# --- the bench


def start(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE, text=True, bufsize=1
    )


def run_whole(url: str, path: Path, blocks: int) -> float:
    """Seconds."""
    process = start("--scan", url, path, blocks)
    lines = process.communicate()[0].split("\n")
    if process.returncode:
        raise SystemExit("a log was handed over twice" if process.returncode == DOUBLED else "the scanner failed")
    return float(lines[-2].removeprefix("took "))


def run_and_kill(url: str, path: Path, blocks: int, rng: random.Random, steps: int) -> int:
    """Let the scanner make some steps, kill it at a moment in the next; how many logs it said it had recorded."""
    process = start("--scan", url, path, blocks)
    told = [process.stdout.readline() for _ in range(rng.randrange(steps + 1))]
    time.sleep(rng.uniform(0.0, 0.5))
    process.send_signal(signal.SIGKILL)
    rest = process.communicate()[0].rpartition("\n")[0]
    if process.returncode == DOUBLED:
        raise SystemExit("a log was handed over twice")
    return sum(int(line) for line in "".join([*told, rest]).split("\n") if line.strip().isdecimal())


def faults(path: Path, logs: int) -> int:
    """How many rows are not the log that belongs there, and how many are missing."""
    connection = apsw.Connection(str(path))
    bad = seen = 0
    for (key,) in connection.execute("SELECT key FROM items ORDER BY position"):
        block, index = 1 + seen // PER_BLOCK, seen % PER_BLOCK
        ref = BlockRef(BlockNumber(block), BlockHash(hash_of(block)))
        bad += key != Log(ADDRESS, (), b"", ref, index, TxHash(b"")).key
        seen += 1
    connection.close()
    return bad + abs(logs - seen)


def abi_floor(rounds: int = 20_000) -> float:
    """Logs per minute that eth_abi decodes, and nothing else."""
    topics, data = NEW_BATCH.emitted(
        batchMerkleRoot=bytes(32), senderAddress=bytes(20), taskCreatedBlock=1, batchDataPointer="x" * 100,
        respondToTaskFeeLimit=1,
    )  # fmt: skip
    log = Log(ADDRESS, topics, data, BlockRef(BlockNumber(1), BlockHash(bytes(32))), 0, TxHash(bytes(32)))
    began = time.perf_counter()
    for _ in range(rounds):
        NEW_BATCH.read_untrusted(log)
    return 60 * rounds / (time.perf_counter() - began)


def measure(logs: int, seed: int) -> list[Figure]:
    blocks, rng = logs // PER_BLOCK, random.Random(seed)
    server = start("--serve", blocks)
    try:
        url = server.stdout.readline().strip()
        with tempfile.TemporaryDirectory(prefix="attestrio-l1-") as name:
            whole, killed = Path(name) / "whole.db", Path(name) / "killed.db"
            seconds = run_whole(url, whole, blocks)
            steps = max(2, logs // MOST // KILLS)
            promised = sum(run_and_kill(url, killed, blocks, rng, steps) for _ in range(KILLS))
            run_whole(url, killed, blocks)
            wrong, wrong_killed = faults(whole, logs), faults(killed, logs)
    finally:
        server.kill()
        server.communicate()
    rate = 60 * logs / seconds
    return [
        Figure("logs recorded in a minute", rate, "logs", 1_000_000.0),
        Figure("seconds for all logs", seconds, "s"),
        Figure("eth_abi alone", abi_floor(), "logs/min"),
        Figure("logs missing, doubled or out of order", float(wrong), "logs", 0.0, at_least=False),
        Figure(f"the same, killed {KILLS} times", float(wrong_killed), "logs", 0.0, at_least=False),
        Figure("logs recorded by scanners that were killed", float(promised), "logs"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="fewer logs, to see that the bench runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", metavar="BLOCKS", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--scan", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        trio.run(serve, args.serve)
    elif args.scan is not None:
        trio.run(scan, args.scan[0], args.scan[1], int(args.scan[2]))
    else:
        return report("l1", measure(QUICK_LOGS if args.quick else LOGS, args.seed), as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
