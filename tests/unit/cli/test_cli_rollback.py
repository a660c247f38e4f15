"""`attestrio rollback`, `attestrio epoch`: what is told about epochs, and what is left for a node that runs."""

import json
from contextlib import contextmanager

import pytest
import trio
from attestrio.kit.blocking import inline
from attestrio.kit.datadir import DataDir
from attestrio.protection.commands import CommandBox, Verb
from attestrio.protection.epochs import EpochCause
from attestrio.protection.history import HISTORY
from attestrio.protection.pending import PendingRollback, read_pending, write_pending
from attestrio.protection.record import VoteRecord
from attestrio.store.sqlite import SqliteBatchStore
from cli_kit import GENESIS, certificate, genesis_of

FORK = genesis_of(fork=1)
WAITS = PendingRollback(2, EpochCause.GENESIS_CHANGED, "a -> b", FORK.hash().to_text(), 1, 12.5)


async def _write(folder):
    async with trio.open_nursery() as nursery:
        record = VoteRecord(folder / HISTORY, GENESIS.chain_id, inline, clock=lambda: 0.0)
        await nursery.start(record.run)
        await record.open_epoch(GENESIS.hash(), 0, EpochCause.START)
        await record.open_epoch(FORK.hash(), 1, EpochCause.GENESIS_CHANGED, "reverted")
        await record.close()
        for number, (genesis, batches) in enumerate([(GENESIS, (0, 1, 2)), (FORK, (1,))], start=1):
            store = SqliteBatchStore(folder / "store.db", genesis.hash(), run_blocking=inline, epoch=number)
            await nursery.start(store.run)
            for batch in batches:
                await store.put_batch_to_sign(certificate(batch, of=genesis).batch)
                await store.persist_qc(certificate(batch, of=genesis))
            await store.close()


@pytest.fixture
def folder(tmp_path):
    """A data directory with two epochs."""
    made = tmp_path / "data"
    made.mkdir()
    trio.run(_write, made)
    return made


@contextmanager
def node_in(folder):
    """Somebody who holds the directory, as a node does."""
    with DataDir.open(folder):
        yield


def test_epochs_are_listed_with_their_certificates_oldest_first(attestrio, folder):
    ended = attestrio("epoch", "list", "--data-dir", folder)
    documents = attestrio("epoch", "list", "--data-dir", folder, "--json").document

    assert ended.out.splitlines() == [
        f"epoch 1  1970-01-01 00:00:00  start  fork 0  {GENESIS.hash().to_text()}"
        "  3 certificates, the newest for batch 2",
        f"epoch 2  1970-01-01 00:00:00  genesis_changed  fork 1  {FORK.hash().to_text()}"
        "  1 certificates, the newest for batch 1",
    ]
    assert [(one["epoch"], one["detail"], one["last_certified"]) for one in documents] == [
        (1, "", 2),
        (2, "reverted", 1),
    ]


def test_epochs_are_listed_while_a_node_runs_and_without_a_store(attestrio, folder):
    (folder / "store.db").unlink()

    with node_in(folder):
        ended = attestrio("epoch", "list", "--data-dir", folder)

    assert ended.code == 0
    assert [line.rpartition("  ")[2] for line in ended.out.splitlines()] == ["no certificates", "no certificates"]


def test_status_says_that_nothing_waits(attestrio, folder):
    ended = attestrio("rollback", "status", "--data-dir", folder)

    assert ended.code == 0
    assert ended.out.splitlines()[0].startswith("epoch 2 ")
    assert ended.out.splitlines()[1:] == ["nothing waits"]


def test_status_says_what_waits_and_what_lets_it_begin(attestrio, folder):
    write_pending(folder, WAITS)

    ended = attestrio("rollback", "status", "--data-dir", folder)
    document = attestrio("rollback", "status", "--data-dir", folder, "--json").document

    assert ended.out.splitlines()[1:] == [
        f"epoch 2 ended (genesis_changed); next is fork 1, {FORK.hash().to_text()}",
        "`attestrio rollback apply` lets it begin",
    ]
    assert document["epoch"]["epoch"] == 2
    assert document["waits"] == {
        "ended": 2, "cause": "genesis_changed", "detail": "a -> b", "genesis": FORK.hash().to_text(),
        "fork_number": 1, "at": 12.5,
    }  # fmt: skip


def test_consent_is_left_for_a_node_that_waits(attestrio, folder):
    write_pending(folder, WAITS)

    with node_in(folder):
        ended = attestrio("rollback", "apply", "--why", "announced", "--data-dir", folder)

    command = CommandBox(folder).take()
    assert ended.code == 0
    assert "consent left for the node" in ended.out
    assert (command.verb, command.why) == (Verb.CONSENT, "announced")
    assert read_pending(folder) == WAITS  # the node takes it away


def test_end_of_the_epoch_is_left_for_a_node_that_runs(attestrio, folder):
    with node_in(folder):
        ended = attestrio("epoch", "end", "--why", "reverted to 1", "--data-dir", folder, "--json")

    command = CommandBox(folder).take()
    assert ended.document == {"posted": "end-epoch", "why": "reverted to 1"}
    assert (command.verb, command.why) == (Verb.END_EPOCH, "reverted to 1")


@pytest.mark.parametrize("command", [("rollback", "apply"), ("epoch", "end")])
def test_nothing_is_left_where_no_node_runs(attestrio, folder, command):
    write_pending(folder, WAITS)

    ended = attestrio(*command, "--data-dir", folder)

    assert ended.code == 2
    assert ended.err.endswith("[node_not_running]\n")
    assert CommandBox(folder).take() is None


def test_consent_without_a_rollback_is_refused(attestrio, folder):
    with node_in(folder):
        ended = attestrio("rollback", "apply", "--data-dir", folder)

    assert ended.code == 2
    assert ended.err.endswith("[nothing_waits]\n")
    assert CommandBox(folder).take() is None


@pytest.mark.parametrize(
    "command", [("rollback", "status"), ("rollback", "apply"), ("epoch", "list"), ("epoch", "end")]
)
@pytest.mark.parametrize("name", ["", "elsewhere"])
def test_directory_in_which_no_node_ever_ran_is_named_and_not_made(attestrio, tmp_path, command, name):
    ended = attestrio(*command, "--data-dir", tmp_path / name)

    assert ended.code == 2
    assert ended.err.endswith("[no_record]\n")
    assert list(tmp_path.iterdir()) == []


def test_directory_is_the_configured_one_unless_it_is_said(attestrio, folder, tmp_path):
    (tmp_path / "node.toml").write_text('[node]\ndata_dir = "data"\n')

    ended = attestrio("rollback", "status", "--config", tmp_path / "node.toml", "--json")

    assert json.loads(ended.out)["epoch"]["genesis"] == FORK.hash().to_text()
