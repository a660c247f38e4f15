"""A sequencer as a process: sent transactions, followed, killed, unwound, refused a start, told to build again."""

import json
import signal
from functools import partial

import pytest
import trio
from attestrio.resequence.journal import Journal
from attestrio.sim.l2 import CHAIN_ID, TALLY, address_of, deployment, secret_of
from eth_account import Account
from processes import run, started
from sequencer_site import SequencerSite
from suite import patient
from web3 import Web3

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def site(tmp_path):
    return SequencerSite(tmp_path)


async def command(*tokens):
    """A command beside the sequencer; it succeeds."""
    ended = await trio.to_thread.run_sync(partial(run, *tokens))
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


async def add_blocks(site, sequencer, count):
    """That many blocks more, of one transaction each; some of them in batches of their own."""
    for turn in range(count):
        await sequencer.receipt(await sequencer.send(site.wallets.transfer(turn % 3, 3, value=turn + 1)))


async def wait_followed(path, entries):
    """Until a copy of a stream has so many entries."""
    with trio.fail_after(patient(20)):
        while True:
            ended = await trio.to_thread.run_sync(partial(run, "stream", "info", path, "--json"))
            if ended.returncode == 0 and json.loads(ended.stdout)["header"]["total_entries"] >= entries:
                return
            await trio.sleep(0.1)


async def entries_of(site):
    return json.loads(await command("stream", "info", site.stream, "--json"))["header"]["total_entries"]


async def test_transactions_get_into_blocks_and_the_blocks_into_a_stream_that_others_follow(site, tmp_path):
    copy = tmp_path / "copy.bin"

    async with site.running() as sequencer:
        async with started("stream", "follow", sequencer.stream, copy):
            await add_blocks(site, sequencer, 5)
            await wait_followed(copy, await entries_of(site))
        hashes = await sequencer.hashes()
        code, _ = await sequencer.process.stop(signal.SIGTERM)

    verified = json.loads(await command("stream", "verify", site.stream, "--json"))
    copied = json.loads(await command("stream", "verify", copy, "--json"))
    assert code == 143
    assert len(set(hashes)) == 7
    assert (verified["ok"], verified["counts"]["blocks"], verified["counts"]["transactions"]) == (True, 7, 6)
    assert copied["counts"] == verified["counts"]


async def test_web3_deploys_and_calls_a_contract(site):
    async with site.running() as sequencer:
        seen = await trio.to_thread.run_sync(deploy_and_call, sequencer.url)
        known = await sequencer.ask("eth_getBlockByNumber", "latest", True)

    assert seen["chain"] == CHAIN_ID
    assert seen["deployed"]["status"] == 1
    assert seen["code"] == TALLY
    assert seen["called"]["status"] == 1
    assert seen["called"]["gasUsed"] <= seen["estimate"] <= seen["called"]["gasUsed"] * 1.2
    assert int.from_bytes(seen["called"]["logs"][0]["data"], "big") == 7
    assert int.from_bytes(seen["slot"], "big") == 7
    assert known["transactions"][0]["from"] == f"0x{address_of(0).hex()}"


def deploy_and_call(url):
    """What web3 and eth_account make of a sequencer."""
    w3, account = Web3(Web3.HTTPProvider(url)), Account.from_key(secret_of(0))

    def send(**what):
        fields = {
            "from": account.address,
            "nonce": w3.eth.get_transaction_count(account.address, "pending"),
            "gasPrice": w3.eth.gas_price,
            "chainId": w3.eth.chain_id,
            "value": 0,
            **what,
        }
        estimate = w3.eth.estimate_gas(fields)
        signed = account.sign_transaction(
            {name: value for name, value in fields.items() if name != "from"} | {"gas": estimate}
        )
        sent = w3.eth.send_raw_transaction(signed.raw_transaction)
        return estimate, w3.eth.wait_for_transaction_receipt(sent, timeout=patient(20), poll_latency=0.05)

    _, deployed = send(data=deployment(TALLY))
    estimate, called = send(to=deployed["contractAddress"], data=(7).to_bytes(32, "big"))
    return {
        "chain": w3.eth.chain_id,
        "deployed": deployed,
        "code": bytes(w3.eth.get_code(deployed["contractAddress"])),
        "estimate": estimate,
        "called": called,
        "slot": bytes(w3.eth.get_storage_at(deployed["contractAddress"], 0)),
    }


async def test_a_killed_sequencer_goes_on_with_the_same_chain_and_what_it_had_taken_in(site):
    hashes, sent = [], None
    for _ in range(3):
        async with site.running() as sequencer:
            before = await sequencer.hashes()
            assert before[: len(hashes)] == hashes[: len(before)]
            assert len(before) >= len(hashes) - 1  # a block that was in no stream yet may be gone
            if sent is not None:
                await sequencer.receipt(sent)
            for turn in range(4):
                await sequencer.receipt(await sequencer.send(site.wallets.transfer(0, 1, value=turn + 1)))
            hashes = await sequencer.hashes()
            sent = await sequencer.send(site.wallets.transfer(0, 1))
            await sequencer.process.stop(signal.SIGKILL)

    verified = json.loads(await command("stream", "verify", site.stream, "--json"))
    assert verified["ok"]
    assert verified["counts"]["transactions"] >= 15


async def test_an_unwound_chain_starts_only_to_be_built_again_and_has_the_same_hashes_then(site):
    async with site.running() as sequencer:
        await add_blocks(site, sequencer, 12)
        hashes = await sequencer.hashes()
        await sequencer.process.stop(signal.SIGTERM)

    unwound = json.loads(await command("unwind", "--to-batch", 2, "-c", site.config, "--json"))
    refused = await trio.to_thread.run_sync(partial(run, "sequencer", "run", "-c", site.config))
    again = await command("sequencer", "run", "--resequence", "--set", "resequence.then=exit", "-c", site.config)
    nothing = await trio.to_thread.run_sync(
        partial(run, "sequencer", "run", "--resequence", "--set", "resequence.then=exit", "-c", site.config)
    )
    async with site.running() as sequencer:
        rebuilt = await sequencer.hashes()
        await add_blocks(site, sequencer, 1)

    assert unwound["batch"] == 2
    assert unwound["batches"] >= 1
    assert (site.data / "backups").is_dir()
    assert (refused.returncode, refused.stderr.count("\n"), "[resequence_needed]" in refused.stderr) == (2, 1, True)
    assert again == ""
    assert (nothing.returncode, "nothing to re-sequence" in nothing.stderr) == (0, True)
    assert rebuilt == hashes


async def test_after_building_again_it_serves_and_builds_nothing_until_it_is_started_without_the_flag(site):
    async with site.running() as sequencer:
        await add_blocks(site, sequencer, 6)
        await sequencer.process.stop(signal.SIGTERM)
    await command("unwind", "--to-batch", 1, "--no-backup", "-c", site.config)

    async with site.running("--resequence", "--no-strict") as sequencer:
        refused = await sequencer.send(site.wallets.transfer(0, 1))
        height = await sequencer.ask("eth_blockNumber")

    assert not (site.data / "backups").exists()
    assert "without --resequence" in refused["message"]
    assert height == "0x7"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_ended_in_the_middle_of_building_again_it_is_taken_up_and_nothing_else_may_begin(tmp_path, number):
    site = SequencerSite(tmp_path, block_s=0.01, batch_s=0.01)
    async with site.running() as sequencer:
        await add_blocks(site, sequencer, 25)
        hashes = await sequencer.hashes()
        await sequencer.process.stop(signal.SIGTERM)
    again = ("sequencer", "run", "--resequence", "--set", "resequence.then=exit", "-c", site.config)

    while Journal(site.stream).unfinished() is None:  # nothing keeps it from being quicker than a signal
        await command("unwind", "--to-batch", 1, "--no-backup", "-c", site.config)
        async with started(*again) as process:
            await process.wait_said("building again: batch 5 ")
            await process.stop(number)
    refused = await trio.to_thread.run_sync(partial(run, "sequencer", "run", "-c", site.config))
    await command(*again)

    assert (refused.returncode, "[rebuild_unfinished]" in refused.stderr) == (2, True)
    async with site.running() as sequencer:
        assert await sequencer.hashes() == hashes
    assert json.loads(await command("stream", "verify", site.stream, "--json"))["ok"]


async def test_transactions_of_a_file_get_into_blocks_once(tmp_path):
    site = SequencerSite(tmp_path, more='[pool]\nfile = "transactions.txt"')
    file = tmp_path / "transactions.txt"
    file.write_text("".join(f"0x{site.wallets.transfer(0, 1).hex()}\n" for _ in range(5)))
    user, seen = f"0x{address_of(0).hex()}", []

    for _ in range(2):
        async with site.running() as sequencer:
            with trio.fail_after(patient(20)):
                while True:
                    count = int(await sequencer.ask("eth_getTransactionCount", user, "latest"), 16)
                    if count == len(file.read_text().splitlines()):
                        break
                    await trio.sleep(0.05)
            seen.append(count)
        with file.open("a") as more:
            more.write(f"0x{site.wallets.transfer(0, 1).hex()}\n")

    assert seen == [5, 6]
