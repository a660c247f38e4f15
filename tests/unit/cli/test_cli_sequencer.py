"""`attestrio sequencer` and `attestrio unwind`: what they refuse, what they say, and what unwinding leaves behind."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from attestrio.app.sequencer_parts import CHAIN, STREAM, opened
from attestrio.kit.datadir import DataDir
from attestrio.resequence.journal import Journal
from attestrio.resequence.record import Phase, Record
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.sink import DirectSink
from attestrio.sequencer.writer import ChainWriter
from attestrio.sim.l2 import (
    CHAIN_ID,
    COINBASE,
    ETHER,
    FORK,
    GENESIS_AT,
    USERS,
    address_of,
    begin_plan,
    build,
    demo_plan,
)
from attestrio.stream.backup import STREAM as STREAM_COPY

SHIPPED = Path(__file__).parents[3] / "configs" / "sequencer.toml"
RECORD = Record(Phase.REBUILDING, 5, 13, "00" * 32, 0, 0, 40, 10, True, True, "")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The demo chain, with a batch without blocks, and its stream: as a sequencer has left them. Only to be copied."""
    folder = tmp_path_factory.mktemp("made")
    with DataDir.open(folder / "data") as data, opened(data.path, data / STREAM, 1) as files:
        writer, plan = ChainWriter(files.db, DirectSink(files.stream)), demo_plan(odd=True)
        begin_plan(files.db, plan)
        writer.align()
        writer.write(build(files.db, plan))
    rich = {f"0x{address_of(user).hex()}": {"balance": str(100 * ETHER)} for user in range(USERS)}
    (folder / "alloc.json").write_text(json.dumps(rich))
    (folder / "chain.json").write_text(json.dumps({"chainId": CHAIN_ID}))
    (folder / "conf.json").write_text(json.dumps({"timestamp": GENESIS_AT}))
    (folder / "sequencer.toml").write_text(f"""
[sequencer]
data_dir = "data"
[chain]
allocation = "alloc.json"
chainspec = "chain.json"
conf = "conf.json"
forks = {{ {FORK} = 0 }}
coinbase = "0x{COINBASE.hex()}"
[stream]
bind = "127.0.0.1:0"
[rpc]
bind = ""
""")
    return folder


@pytest.fixture
def site(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made, tmp_path / "site", ignore=shutil.ignore_patterns("LOCK"))
    return tmp_path / "site"


def ends_with(site):
    """Batch and block."""
    with ChainDb.open(site / "data" / CHAIN) as db:
        return db.last_batch.number, db.tip.number


def write_leaves(site):
    leaves = [
        {"index": one.index, "ger": one.ger.hex(), "l1_hash": one.l1_hash.hex(), "timestamp": one.timestamp}
        for one in demo_plan().leaves
    ]
    (site / "l1_info.jsonl").write_text("".join(json.dumps(one) + "\n" for one in leaves))


# --- unwind


@pytest.mark.slow
def test_unwinding_takes_the_chain_back_and_leaves_stream_and_backup(attestrio, site):
    before = (site / "data" / STREAM).read_bytes()

    ended = attestrio("unwind", "--to-batch", 5, "-c", site / "sequencer.toml", "--json")

    document = ended.document
    backup = Path(document.pop("backup"))
    assert document == {"batch": 5, "block": 13, "batches": 8, "blocks": 13}
    assert ends_with(site) == (5, 13)
    assert (site / "data" / STREAM).read_bytes() == before
    assert backup.parent == site / "data" / "backups"
    with ChainDb.open(backup / CHAIN) as db:
        assert (db.last_batch.number, db.tip.number) == (13, 26)
    assert attestrio("stream", "verify", backup / STREAM_COPY).code == 0


@pytest.mark.slow
def test_unwinding_says_what_comes_next(attestrio, site):
    ended = attestrio("unwind", "--to-batch", 12, "--no-backup", "-c", site / "sequencer.toml")

    assert ended.code == 0
    assert "the chain ends with batch 12, block 24: 1 batches and 2 blocks were taken back" in ended.out
    assert "run --resequence" in ended.out
    assert not (site / "data" / "backups").exists()


@pytest.mark.slow
def test_to_the_last_batch_nothing_happens(attestrio, site):
    ended = attestrio("unwind", "--to-batch", 13, "-c", site / "sequencer.toml")

    assert (ended.code, ended.out) == (0, "nothing to do: the chain ends with batch 13\n")
    assert ends_with(site) == (13, 26)
    assert not (site / "data" / "backups").exists()


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1 << 63, 1 << 64])
def test_a_batch_that_no_database_can_number_is_refused(attestrio, site, batch):
    ended = attestrio("unwind", "--to-batch", batch, "-c", site / "sequencer.toml", "--json")

    assert (ended.code, ended.error["code"]) == (2, "usage")
    assert ends_with(site) == (13, 26)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_chain_does_not_go_back_when_there_is_no_stream_to_build_it_again_from(attestrio, site, harm):
    harm(site / "data" / "data-stream.bin")

    ended = attestrio("unwind", "--to-batch", 5, "--no-backup", "-c", site / "sequencer.toml", "--json")

    assert (ended.code, ended.error["code"]) in {(4, "stream_unreadable"), (4, "not_a_stream")}
    assert ends_with(site) == (13, 26)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (0, "batch 1 is the earliest to go back to"),
        (7, "no block found, go back to one that has blocks"),
        (14, "no such batch, the last one is 13"),
    ],
)
def test_what_cannot_be_gone_back_to_is_refused_and_nothing_is_copied(attestrio, site, batch, said):
    ended = attestrio("unwind", "--to-batch", batch, "-c", site / "sequencer.toml", "--json")

    assert (ended.code, ended.error["code"]) == (2, "unwind_refused")
    assert said in ended.error["message"]
    assert ends_with(site) == (13, 26)
    assert not (site / "data" / "backups").exists()


@pytest.mark.slow
def test_a_sequencer_that_runs_is_not_unwound(attestrio, site):
    with DataDir.open(site / "data"):
        ended = attestrio("unwind", "--to-batch", 5, "-c", site / "sequencer.toml", "--json")

    assert (ended.code, ended.error["code"]) == (5, "data_dir_in_use")


@pytest.mark.slow
def test_a_backup_that_fails_leaves_the_chain_as_it_was(attestrio, site):
    (site / "data" / "backups").write_text("in the way")

    ended = attestrio("unwind", "--to-batch", 5, "-c", site / "sequencer.toml", "--json")

    assert (ended.code, ended.error["code"]) == (4, "backup_failed")
    assert ends_with(site) == (13, 26)


def test_where_no_sequencer_has_run_there_is_nothing_to_unwind(attestrio, tmp_path):
    ended = attestrio("unwind", "--to-batch", 5, "--data-dir", tmp_path / "data", "--json")

    assert (ended.code, ended.error["code"]) == (2, "no_sequencer")
    assert not (tmp_path / "data").exists()


# --- a start that is refused


@pytest.mark.slow
def test_a_stream_that_is_ahead_is_refused_in_one_sentence(attestrio, site):
    attestrio("unwind", "--to-batch", 5, "--no-backup", "-c", site / "sequencer.toml")

    ended = attestrio("sequencer", "run", "-c", site / "sequencer.toml")

    assert ended.code == 2
    assert ended.err == (
        "attestrio: the stream has batches up to 13 and the chain ends before batch 6: start with --resequence to build"
        " them again [resequence_needed]\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", [("sequencer", "run"), ("unwind", "--to-batch", 5)], ids=["run", "unwind"])
def test_while_a_rebuild_is_under_way_only_that_can_go_on(attestrio, site, command):
    Journal(site / "data" / STREAM).put(RECORD)

    ended = attestrio(*command, "-c", site / "sequencer.toml", "--json")

    assert (ended.code, ended.error["code"]) == (2, "rebuild_unfinished")
    assert ends_with(site) == (13, 26)


@pytest.mark.slow
def test_a_rebuild_that_has_ended_is_in_nobodys_way(attestrio, site):
    Journal(site / "data" / STREAM).put(replace(RECORD, phase=Phase.DONE))

    assert attestrio("unwind", "--to-batch", 12, "--no-backup", "-c", site / "sequencer.toml").code == 0


@pytest.mark.slow
def test_another_chain_in_the_same_directory_is_refused(attestrio, site):
    (site / "chain.json").write_text(json.dumps({"chainId": 5}))

    ended = attestrio("sequencer", "run", "-c", site / "sequencer.toml", "--json")

    assert (ended.code, ended.error["code"]) == (2, "other_chain")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("alloc.json", {}),
        ("conf.json", {"timestamp": GENESIS_AT + 1}),
        ("conf.json", {"timestamp": GENESIS_AT, "gasLimit": 5}),
    ],
)
def test_a_chain_that_began_otherwise_than_its_files_now_say_is_not_gone_on_with(attestrio, site, name, content):
    (site / name).write_text(json.dumps(content))

    ended = attestrio("sequencer", "run", "-c", site / "sequencer.toml", "--json")

    assert (ended.code, ended.error["code"]) == (2, "chain_genesis_differs")
    assert ends_with(site) == (13, 26)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["deleted", "empty"])
@pytest.mark.parametrize("flags", [(), ("--resequence",), ("--resequence", "--dry-run")], ids=" ".join)
def test_a_stream_whose_chain_is_gone_is_told_so_and_nothing_is_made(attestrio, site, harm, flags):
    harm(site / "data" / CHAIN)
    before = {path.name: path.stat().st_size for path in (site / "data").iterdir()}

    ended = attestrio("sequencer", "run", *flags, "-c", site / "sequencer.toml", "--json")

    assert (ended.code, ended.error["code"]) == (2, "chain_missing")
    assert "is missing or empty, and the stream has batches up to 13" in ended.error["message"]
    after = {path.name: path.stat().st_size for path in (site / "data").iterdir()}
    assert {name: size for name, size in after.items() if name != "LOCK"} == before


@pytest.mark.slow
def test_a_chain_that_is_gone_is_built_from_its_stream_where_batch_1_is_configured(attestrio, site):
    with ChainDb.open(site / "data" / CHAIN) as db:
        hashes = [db.block_hash(number) for number in range(27)]
    plan = demo_plan(odd=True)
    (site / "data" / CHAIN).unlink()
    first = plan.injected
    injected = {"transaction": first.encoded.hex(), "timestamp": first.timestamp, "ger": first.ger.hex()}
    (site / "injected.json").write_text(json.dumps(injected | {"l1_hash": first.l1_hash.hex()}))
    write_leaves(site)

    ended = attestrio(
        "sequencer", "run", "--resequence", "-c", site / "sequencer.toml", "--set", "resequence.then=exit",
        "--set", f"chain.injected={site / 'injected.json'}", "--set", f"l1.leaves={site / 'l1_info.jsonl'}",
    )  # fmt: skip

    assert ended.code == 0, ended.err
    with ChainDb.open(site / "data" / CHAIN) as db:
        assert [db.block_hash(number) for number in range(27)] == hashes


def test_run_refuses_a_configuration_with_holes(attestrio, tmp_path):
    ended = attestrio("sequencer", "run", "-c", SHIPPED, "--data-dir", tmp_path / "data")

    assert ended.code == 2
    assert "chain.allocation is missing" in ended.err
    assert not (tmp_path / "data").exists()


# --- building again


@pytest.mark.slow
def test_with_the_flag_everything_is_built_again_and_the_hashes_are_the_same(attestrio, site):
    with ChainDb.open(site / "data" / CHAIN) as db:
        hashes = [db.block_hash(number) for number in range(27)]
    attestrio("unwind", "--to-batch", 3, "--no-backup", "-c", site / "sequencer.toml")
    write_leaves(site)

    ended = attestrio(
        "sequencer", "run", "--resequence", "-c", site / "sequencer.toml",
        "--set", "resequence.then=exit", "--set", f"l1.leaves={site / 'l1_info.jsonl'}",
    )  # fmt: skip

    assert ended.code == 0
    assert "re-sequenced: 10 batches after batch 3 became 10, 19 blocks became 19" in ended.err
    with ChainDb.open(site / "data" / CHAIN) as db:
        assert [db.block_hash(number) for number in range(27)] == hashes
    assert attestrio("stream", "verify", site / "data" / STREAM).code == 0


@pytest.mark.slow
def test_a_dry_run_prints_the_splits_before_what_fits_nowhere_and_then_names_it(attestrio, site):
    attestrio("unwind", "--to-batch", 3, "--no-backup", "-c", site / "sequencer.toml")
    write_leaves(site)
    command = (
        "sequencer", "run", "--resequence", "--dry-run", "-c", site / "sequencer.toml",
        "--set", f"l1.leaves={site / 'l1_info.jsonl'}", "--set", "build.data_budget=200",
    )  # fmt: skip

    told = attestrio(*command)
    document = attestrio(*command, "--json")

    assert told.code == document.code == 2
    assert "splits at block" in told.out
    assert "they would become" not in told.out
    assert "even in a batch of its own [rebuild_fits_nowhere]" in told.err
    assert document.error["code"] == "rebuild_fits_nowhere"
    assert (document.document["stops"], document.document["whole"]) == (True, False)
    assert document.document["splits"]
    assert ends_with(site) == (3, 7)


@pytest.mark.slow
def test_a_leaf_that_is_missing_stops_it_and_the_next_start_may_try_again(attestrio, site):
    attestrio("unwind", "--to-batch", 3, "--no-backup", "-c", site / "sequencer.toml")

    ended = attestrio(
        "sequencer", "run", "--resequence", "-c", site / "sequencer.toml", "--set", "resequence.then=exit", "--json"
    )

    assert (ended.code, ended.error["code"]) == (3, "leaf_missing")
    assert attestrio("stream", "verify", site / "data" / STREAM).code == 0
    assert ends_with(site) == (3, 7)


# --- check


def test_check_lists_what_is_missing(attestrio):
    ended = attestrio("sequencer", "check", "-c", SHIPPED)

    assert ended.code == 0
    assert "chain.coinbase is missing: who gets the fees" in ended.out


@pytest.mark.slow
def test_check_reads_the_files_of_the_chain(attestrio, site):
    good = attestrio("sequencer", "check", "-c", site / "sequencer.toml", "--json")
    (site / "conf.json").write_text("{}")
    bad = attestrio("sequencer", "check", "-c", site / "sequencer.toml", "--json")

    assert good.document["chain_id"] == CHAIN_ID
    assert (bad.code, "timestamp is missing" in bad.error["message"]) == (2, True)


@pytest.mark.slow
def test_a_disk_without_room_for_an_unwind_is_one_sentence_and_changes_nothing(site):
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
        "from attestrio.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "unwind", "--to-batch", "5", "-c", str(site / "sequencer.toml")]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ended.returncode, "Traceback" in ended.stderr) == (4, False), ended.stderr
    assert ends_with(site) == (13, 26)
