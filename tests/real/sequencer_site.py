"""A sequencer's folder for tests: genesis, injected transaction and configuration of the demo chain."""

import json
import time
from contextlib import asynccontextmanager

import httpx
import trio
from attestrio.sim.l2 import CHAIN_ID, COINBASE, ETHER, FORK, GENESIS_AT, USERS, Wallets, address_of
from processes import started
from suite import patient

RUNNING = "sequencer running"
RUN_S = patient(60)


class SequencerSite:
    """Everything that `attestrio sequencer run` needs, and the wallets of the chain's users."""

    def __init__(self, folder, *, block_s=0.05, batch_s=0.3, more=""):
        self.folder, self.data = folder, folder / "data"
        self.stream, self.config = self.data / "data-stream.bin", folder / "sequencer.toml"
        self.wallets = Wallets()
        rich = {f"0x{address_of(user).hex()}": {"balance": str(100 * ETHER), "nonce": "0"} for user in range(USERS)}
        (folder / "alloc.json").write_text(json.dumps(rich))
        (folder / "chain.json").write_text(json.dumps({"chainId": CHAIN_ID}))
        (folder / "conf.json").write_text(json.dumps({"timestamp": GENESIS_AT, "gasLimit": 0, "difficulty": 0}))
        first = {
            "transaction": f"0x{self.wallets.transfer(3, 0).hex()}",
            "timestamp": int(time.time()) - 60,
            "ger": "0x" + "11" * 32,
            "l1_hash": "0x" + "22" * 32,
        }
        (folder / "injected.json").write_text(json.dumps(first))
        self.config.write_text(f"""
[sequencer]
data_dir = "data"
[chain]
allocation = "alloc.json"
chainspec = "chain.json"
conf = "conf.json"
injected = "injected.json"
forks = {{ "{FORK}" = 0 }}
coinbase = "0x{COINBASE.hex()}"
[build]
block_seal_s = {block_s}
batch_seal_s = {batch_s}
empty_blocks = false
[stream]
bind = "127.0.0.1:0"
[rpc]
bind = "127.0.0.1:0"
[log]
format = "json"
level = "debug"
{more}
""")

    @asynccontextmanager
    async def running(self, *flags, timeout_s=RUN_S):
        """The process, once it runs, with a client for its JSON-RPC."""
        async with started("sequencer", "run", "-c", self.config, *flags, timeout_s=timeout_s) as process:
            await process.wait_said(RUNNING)
            yield Told(process)


class Told:
    """A sequencer that runs: where it can be reached, and what it answers."""

    def __init__(self, process):
        self.process = process
        (line,) = (line for line in process.logged() if line.startswith(RUNNING))
        self.stream = line.split("stream at ")[1].split(",")[0]
        self.url = line.split("JSON-RPC at ")[1].split(",")[0]

    async def ask(self, method, *params):
        """The result of a call, or its error object."""
        async with httpx.AsyncClient(trust_env=False) as client:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            answer = (await client.post(self.url, json=body)).json()
        return answer.get("result", answer.get("error"))

    async def send(self, raw):
        """The hash of a transaction."""
        return await self.ask("eth_sendRawTransaction", f"0x{raw.hex()}")

    async def receipt(self, hash):
        """Once there is one."""
        with trio.fail_after(patient(20)):
            while True:
                found = await self.ask("eth_getTransactionReceipt", hash)
                if found is not None:
                    return found
                await trio.sleep(0.02)

    async def hashes(self):
        """Of all blocks."""
        height = int(await self.ask("eth_blockNumber"), 16)
        return [(await self.ask("eth_getBlockByNumber", hex(number), False))["hash"] for number in range(height + 1)]
