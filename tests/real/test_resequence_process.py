"""Building again as a process: planned, killed anywhere, stopped by strictness, and followed by other processes."""

import json
import shutil
import signal
from contextlib import closing
from functools import partial

import pytest
import trio
from attestrio.resequence.journal import Journal
from attestrio.resequence.record import Phase
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.l1_store import L1Store, Rollback
from attestrio.sequencer.rollbacks import not_obeyed
from attestrio.sim.resequence_demo import CHAIN, KEPT
from attestrio.stream.messages import BatchEnd
from processes import run, started
from resequence_site import DemoSite, entries_of
from suite import free_port, patient

pytestmark = [pytest.mark.real, pytest.mark.slow]

LOWERED = "[build]\nlimits = { A = 3000 }\n"
AGAIN = ("sequencer", "run", "--resequence", "--set", "resequence.then=exit")


def hashes(site):
    """Of all blocks in the database."""
    with ChainDb.open(site.data / CHAIN) as db:
        return [db.block_hash(number) for number in range(db.tip.number + 1)]


def phase(site):
    return Journal(site.stream).record().phase


def test_a_rebuild_is_planned_made_and_repeated(tmp_path):
    site = DemoSite(tmp_path / "site")
    before = hashes(site)

    nothing = site.command("resequence", "plan")
    for _ in range(2):
        site.unwind(KEPT)
        planned = site.command("resequence", "plan")
        refused = site.command("sequencer", "run")
        ended = site.command(*AGAIN)

        assert nothing.stdout == "nothing to re-sequence: stream and chain both end with batch 13\n"
        assert planned.stdout.splitlines() == [
            "batches 4 to 13 are to be built again: 19 blocks, 45 transactions",
            "each becomes one batch with all of its transactions",
        ]
        assert (refused.returncode, "[resequence_needed]" in refused.stderr) == (2, True)
        assert ended.returncode == 0, ended.stderr
        assert site.entries() == entries_of(site.original)  # the last batch is open in both
        assert hashes(site) == before
        assert phase(site) is Phase.DONE
    idle = site.command(*AGAIN)

    assert idle.returncode == 0
    assert "nothing to re-sequence" in idle.stderr
    assert site.entries() == entries_of(site.original)


async def test_the_start_after_it_ends_the_batch_that_was_left_open(tmp_path):
    site = DemoSite(tmp_path / "site", more="[build]\nempty_blocks = false\n")
    site.unwind(KEPT)
    assert (await trio.to_thread.run_sync(partial(site.command, *AGAIN))).returncode == 0
    left = site.entries()

    async with started("sequencer", "run", "-c", site.config) as sequencer:
        await sequencer.wait_said("sequencer running")

    *rest, end = site.entries()
    assert left == rest == entries_of(site.original)
    assert end.type == BatchEnd.TYPE


def rolled_back_on_l1(folder):
    """A site that hears L1, as far as it has it on disk: all leaves and a rollback, and nobody to ask."""
    site = DemoSite(folder)
    manager = "77" * 20
    told = site.config.read_text()
    heard = f'rpc_urls = ["http://127.0.0.1:1"]\nrollup_manager = "0x{manager}"'
    site.config.write_text(told.replace('leaves = "l1_info.jsonl"', heard))
    with closing(L1Store.open(site.data / "l1.db")) as store, store.transaction():
        for leaf in site.plan.leaves:
            store.put_leaf(leaf, 1)
        store.put_rollback(Rollback(b"key", 1, KEPT))
    return site


def test_a_rollback_that_was_obeyed_by_hand_is_not_obeyed_again_after_it(tmp_path):
    """The operator's way: stopped, rolled back on L1, unwound, built again; the next start goes on from there."""
    site = rolled_back_on_l1(tmp_path / "site")
    site.unwind(KEPT)

    ended = site.command(*AGAIN)

    assert ended.returncode == 0, ended.stderr
    assert "re-sequenced: 10 batches" in ended.stderr
    assert site.entries() == entries_of(site.original)
    with ChainDb.open(site.data / CHAIN) as db, closing(L1Store.open(site.data / "l1.db")) as store:
        assert not_obeyed(db, store) == []


def test_a_rollback_that_nobody_has_obeyed_yet_is_obeyed_before(tmp_path):
    """One that came while the sequencer was stopped, and reaches further back than the operator went."""
    site = rolled_back_on_l1(tmp_path / "site")
    site.unwind(KEPT + 2)

    ended = site.command(*AGAIN)

    assert ended.returncode == 0, ended.stderr
    assert "re-sequenced: 10 batches after batch 3" in ended.stderr
    assert site.entries() == entries_of(site.original)


def test_a_plan_names_what_would_split_and_strictness_stops_there_with_everything_as_it_was(tmp_path):
    site = DemoSite(tmp_path / "site", more=LOWERED)
    site.unwind(KEPT)

    planned = site.command("resequence", "plan", "--json")
    dry = site.command("sequencer", "run", "--resequence", "--dry-run")
    after_plans = site.entries()
    stopped = site.command(*AGAIN)

    plan = json.loads(planned.stdout)
    assert plan["stops"] is True
    assert {one["what"] for one in plan["splits"]} == {"A"}
    assert plan["new_batches"] == plan["old_batches"] + len(plan["splits"])
    first = plan["splits"][0]["old_batch"]
    assert f"batch {first} splits at block" in dry.stdout
    assert dry.stdout.splitlines()[-1] == f"strict: a rebuild stops at batch {first}, and everything is put back"
    assert after_plans == entries_of(site.original)
    assert stopped.returncode == 2
    assert f"batch {first} does not fit into one batch" in stopped.stderr
    assert site.entries() == entries_of(site.original)
    assert phase(site) is Phase.RESTORED

    # what was stopped can be allowed
    ended = site.command(*AGAIN, "--no-strict")
    audited = run("resequence", "audit", site.original, site.stream, "--kept", KEPT)
    assert ended.returncode == 0, ended.stderr
    assert len(site.entries()) > len(after_plans)
    assert audited.returncode == 0, audited.stderr


async def killed_once_said(site, text, *flags):
    """Start to build again, and kill it as soon as it has said this."""
    tokens = [*AGAIN, *flags, "-c", site.config]
    async with started(*tokens) as process:
        await process.wait_said(text)
        return (await process.stop(signal.SIGKILL))[0]


@pytest.mark.parametrize("flags", [(), ("--no-strict",)], ids=["as it was", "split"])
async def test_a_rebuild_killed_anywhere_ends_as_if_nothing_had_happened(tmp_path, flags):
    site = DemoSite(tmp_path / "site", more=LOWERED if flags else "")
    site.unwind(KEPT)
    assert site.command(*AGAIN, *flags).returncode == 0
    wanted, wanted_hashes = site.entries(), hashes(site)
    killed = []

    for text in ("batch 5 became", "batch 12 became"):
        site.again()
        with ChainDb.open(site.data / CHAIN) as db:
            db.unwind_to_batch(KEPT)
        # twice in one rebuild: what goes on with a killed one is killed as well
        codes = [await killed_once_said(site, said, *flags) for said in (text, "building again")]
        killed += codes
        if Journal(site.stream).unfinished() is not None:
            refused = await trio.to_thread.run_sync(partial(site.command, "sequencer", "run"))
            assert (refused.returncode, "[rebuild_unfinished]" in refused.stderr) == (2, True)
        ended = await trio.to_thread.run_sync(partial(site.command, *AGAIN, *flags))

        assert ended.returncode == 0, ended.stderr
        assert site.entries() == wanted
        assert hashes(site) == wanted_hashes

    assert -signal.SIGKILL in killed


async def test_a_copy_and_a_copy_of_it_run_through_the_rollback_and_one_of_them_is_killed(tmp_path):
    site, copy, third = DemoSite(tmp_path / "site", more=LOWERED), tmp_path / "copy.bin", tmp_path / "third.bin"
    port = free_port()
    bind = ("--set", f"stream.bind=127.0.0.1:{port}", "-c", site.config)
    follow = ("stream", "follow", f"127.0.0.1:{port}", copy, "--serve", "127.0.0.1:0", "--json")

    async with started(*follow) as follower:
        async with started("sequencer", "run", "--set", "build.empty_blocks=false", *bind) as sequencer:
            await sequencer.wait_said("sequencer running")
            await wait_entries(copy, len(site.entries()))
            assert (await sequencer.stop(signal.SIGTERM))[0] in (0, 143)
        before = site.entries()
        site.unwind(KEPT)
        async with started("sequencer", "run", "--resequence", "--no-strict", *bind) as sequencer:
            await sequencer.wait_said("building again")
            await follower.stop(signal.SIGKILL)
            await sequencer.wait_said("sequencer running")
            after = site.entries()
            async with started(*follow) as follower:
                await follower.wait_said("serving")
                relay = json.loads(follower.out.splitlines()[0])["address"]
                await wait_same(copy, after)
                ended = await trio.to_thread.run_sync(partial(follow_once, relay, third))

    assert ended.returncode == 0, ended.stderr
    assert after[: len(before)] != before
    assert entries_of(copy) == after
    assert entries_of(third) == after


async def test_a_copy_made_once_is_cut_to_a_server_that_has_less(tmp_path):
    site, copy = DemoSite(tmp_path / "site"), tmp_path / "copy.bin"
    shutil.copyfile(site.original, copy)
    assert run("stream", "truncate", site.stream, 100).returncode == 0

    async with started("stream", "serve", site.stream, "--bind", "127.0.0.1:0", "--json") as server:
        await server.wait_said("serving")
        address = json.loads(server.out.splitlines()[0])["address"]
        ended = await trio.to_thread.run_sync(partial(follow_once, address, copy))

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == f"100 entries in {copy}"
    assert entries_of(copy) == entries_of(site.original)[:100]


def follow_once(address, path):
    return run("stream", "follow", address, path, "--once")


async def wait_same(path, wanted):
    with trio.fail_after(patient(30)):
        while entries_of(path) != wanted:  # noqa: ASYNC110 - another process writes it, and tells nobody
            await trio.sleep(0.05)


async def wait_entries(path, count):
    with trio.fail_after(patient(30)):
        while not path.exists() or len(entries_of(path)) < count:  # noqa: ASYNC110 - as above
            await trio.sleep(0.05)
