"""A sequencer that hears L1: leaves of the info tree get into its blocks, rollbacks take its batches back."""

import json
from contextlib import asynccontextmanager
from functools import partial

import trio
from anvil_kit import needs_anvil
from attestrio.sim.anvil import running_anvil
from attestrio.sim.artifacts import artifact
from attestrio.stream import L2Block, message_untrusted
from attestrio.stream.reader import StreamReader
from processes import run
from sequencer_site import SequencerSite
from suite import patient

pytestmark = needs_anvil

ROLLUP = b"\x77" * 20


class Manager:
    """RollupManager.sol on a chain, with our rollup."""

    def __init__(self, anvil, address):
        self.anvil, self.address = anvil, address
        self.contract = artifact("RollupManager")

    async def send(self, function, *arguments):
        """A transaction, and as many blocks as make it final."""
        data = self.contract.functions[function].encode(*arguments)
        await self.anvil.send(self.anvil.accounts[0], self.address, data)
        await self.anvil.mine(3)


@asynccontextmanager
async def l1():
    async with running_anvil() as anvil:
        manager = Manager(anvil, await anvil.deploy(anvil.accounts[0], artifact("RollupManager")))
        await manager.send("addRollup", ROLLUP, 1)
        yield manager


def site_on(folder, manager, more=""):
    return SequencerSite(
        folder,
        more=f"""
[l1]
rpc_urls = ["{manager.anvil.url}"]
chain_id = 31337
rollup_manager = "0x{manager.address.hex()}"
poll_s = 0.1
{more}
""",
    )


async def add_blocks(site, sequencer, count):
    for turn in range(count):
        await sequencer.receipt(await sequencer.send(site.wallets.transfer(turn % 3, 3, value=turn + 1)))


def blocks_in(path):
    """Of a stream, as it tells them."""
    with StreamReader.open(path) as reader:
        messages = [message_untrusted(entry.type, entry.data) for entry in reader.entries()]
    return [one for one in messages if isinstance(one, L2Block)]


async def test_blocks_take_over_the_leaves_of_l1_in_their_order(tmp_path):
    async with l1() as manager:
        site = site_on(tmp_path, manager)
        for number in range(3):
            await manager.send("updateExitRoot", bytes([number]) * 32, b"\x0b" * 32)
        async with site.running() as sequencer:
            with trio.fail_after(patient(30)):
                while not any(block.l1_infotree_index for block in blocks_in(site.stream)):
                    await add_blocks(site, sequencer, 1)
            await manager.send("updateExitRoot", b"\x33" * 32, b"\x0b" * 32)
            with trio.fail_after(patient(30)):
                while blocks_in(site.stream)[-1].l1_infotree_index != 4:
                    await add_blocks(site, sequencer, 1)

    used = [block for block in blocks_in(site.stream) if block.l1_infotree_index]
    indices = [block.l1_infotree_index for block in used]  # from the newest that was heard of at the first block
    assert indices == list(range(indices[0], 5))
    assert all(block.min_timestamp <= block.timestamp for block in used)
    assert len({block.global_exit_root for block in used}) == len(used)
    assert b"" not in {block.l1_blockhash.strip(b"\0") for block in used}


async def test_a_rollback_on_l1_stops_the_building_and_takes_the_chain_back(tmp_path):
    async with l1() as manager:
        site = site_on(tmp_path, manager)
        async with site.running() as sequencer:
            await add_blocks(site, sequencer, 10)
            hashes = await sequencer.hashes()
            await manager.send("sequenceBatches", ROLLUP, 2, b"\x02" * 32)
            await manager.send("sequenceBatches", ROLLUP, 3, b"\x03" * 32)
            await manager.send("rollbackBatches", ROLLUP, 2)
            await sequencer.process.wait_said("nothing is built any more")
            batch = await sequencer.ask("zkevm_batchNumber")
            refused = await sequencer.send(site.wallets.transfer(0, 1))
        without = await trio.to_thread.run_sync(partial(run, "sequencer", "run", "-c", site.config))
        async with site.running("--resequence", "--set", "resequence.then=build") as sequencer:
            rebuilt = await sequencer.hashes()
            await sequencer.send(site.wallets.transfer(1, 2))

    assert batch == "0x2"
    assert "--resequence" in refused["message"]
    assert "[resequence_needed]" in without.stderr
    assert rebuilt == hashes


async def test_a_rollback_on_l1_is_followed_by_building_again_where_that_is_configured(tmp_path):
    async with l1() as manager:
        site = site_on(tmp_path, manager, '[resequence]\non_rollback = "resequence"')
        async with site.running() as sequencer:
            await add_blocks(site, sequencer, 10)
            hashes = await sequencer.hashes()
            await manager.send("sequenceBatches", ROLLUP, 2, b"\x02" * 32)
            await manager.send("sequenceBatches", ROLLUP, 3, b"\x03" * 32)
            await manager.send("rollbackBatches", ROLLUP, 2)
            await sequencer.process.wait_said("re-sequenced: ")
            await sequencer.process.wait_said("building goes on")
            await add_blocks(site, sequencer, 2)
            after = await sequencer.hashes()
            await sequencer.process.stop(15)

    verified = json.loads(run("stream", "verify", site.stream, "--json").stdout)
    assert after[: len(hashes)] == hashes
    assert len(after) > len(hashes)
    assert verified["ok"]
