"""`attestrio protection` and `attestrio receipt`: histories moved between hosts, receipts verified without a node."""

import json
import stat

import pytest
import trio
from attestrio.kit.blocking import inline
from attestrio.kit.datadir import DataDir
from attestrio.protection.history import HISTORY
from attestrio.protection.receipt_lines import (
    FIRST_PREV,
    CommitteeBrief,
    Receipt,
    ReceiptLine,
    RuleAnswer,
    UpstreamAnswer,
)
from attestrio.protection.record import DoubleVote, VoteRecord
from attestrio.roles import Batch, BatchHash, BatchNumber
from cli_kit import GENESIS, SECRETS

KEY = SECRETS[0]


def batch(number, content=1):
    return Batch(BatchNumber(number), BatchHash(bytes([content]) * 32), GENESIS.hash())


def sign(data_dir, *batches, chain_id=270, new_key=False):
    """What a node in this directory would answer; it starts as after a move, without --init-protection."""

    async def run():
        record = VoteRecord(data_dir / HISTORY, chain_id, inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(record.run)
            if new_key:
                await record.add_key(KEY.public())
            epoch = (await record.open_epoch(GENESIS.hash(), 0, "start")).id
            votes = []
            for one in batches:
                try:
                    votes.append(await record.sign(KEY, one, epoch=epoch))
                except DoubleVote as exc:
                    votes.append(exc.code)
            await record.close()
        return votes

    return trio.run(run)


@pytest.fixture
def old(tmp_path):
    """The data directory of a node that has signed 7 and 8, and is stopped."""
    DataDir.open(tmp_path / "old").close()
    sign(tmp_path / "old", batch(7), batch(8), new_key=True)
    return tmp_path / "old"


# --- moving a key


def test_a_key_moves_to_another_host_and_contradicts_nothing(attestrio, tmp_path, old):
    file, new = tmp_path / "history.json", tmp_path / "new"

    exported = attestrio("protection", "export", file, "--retire", "--data-dir", old)
    imported = attestrio("protection", "import", file, "--data-dir", new)

    assert (exported.code, imported.code) == (0, 0)
    assert exported.out.splitlines()[0] == f"{file}: chain 270, 1 keys, 2 votes"
    assert imported.out == "2 votes taken over, 1 keys may sign here\n"
    assert sign(new, batch(7), batch(8, content=2), batch(9))[:2] == [KEY.sign_batch(batch(7)), "double_vote"]


def test_a_retired_node_is_halted_until_somebody_says_otherwise(attestrio, tmp_path, old):
    attestrio("protection", "export", tmp_path / "history.json", "--retire", "--data-dir", old)

    note = json.loads((old / "HALT").read_text())
    repair = attestrio("protection", "repair", "--data-dir", old)

    assert (note["code"], note["evidence"]) == ("retired", {"keys": [KEY.public().to_text()]})
    assert repair.code == 70
    assert "the signing history was moved away as history.json" in repair.err
    assert attestrio("protection", "status", "--data-dir", old, "--json").document["halted"].endswith("[retired]")


def test_a_node_that_is_halted_for_another_reason_is_not_retired(attestrio, tmp_path, old):
    """Acknowledging that reason would take the retirement back."""
    (old / "HALT").write_text(json.dumps({"code": "clone_seen", "sentence": "s", "evidence": {}, "at": 1.0}))

    ended = attestrio("protection", "export", tmp_path / "history.json", "--retire", "--data-dir", old, "--json")

    assert (ended.code, ended.error["code"]) == (70, "halted")
    assert not (tmp_path / "history.json").exists()


def test_retiring_twice_gives_the_history_again(attestrio, tmp_path, old):
    for name in ("one.json", "two.json"):
        assert attestrio("protection", "export", tmp_path / name, "--retire", "--data-dir", old).code == 0

    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_the_file_is_new_and_only_the_operator_s(attestrio, tmp_path, old):
    file = tmp_path / "history.json"

    attestrio("protection", "export", file, "--data-dir", old)
    before = file.read_bytes()
    ended = attestrio("protection", "export", file, "--retire", "--data-dir", old)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ended.err.endswith(
        "exists already, and a history is never overwritten; choose another name [export_unwritable]\n"
    )
    assert ended.code == 2
    assert file.read_bytes() == before
    assert not (old / "HALT").exists()  # nothing was moved, so nothing is stopped


def test_a_running_node_is_not_exported_unless_it_is_only_looked_at(attestrio, tmp_path, old):
    file = tmp_path / "history.json"
    with DataDir.open(old):
        refused = attestrio("protection", "export", file, "--data-dir", old, "--json")
        assert not file.exists()
        looked = attestrio("protection", "export", file, "--data-dir", old, "--while-running")
        both = attestrio("protection", "export", file, "--data-dir", old, "--while-running", "--retire")

    assert (refused.code, refused.error["code"]) == (5, "export_while_running")
    assert "the key could contradict itself on another host" in refused.error["message"]
    assert looked.out.endswith("a copy to look at: votes cast from now on are not in it, move no key with it\n")
    assert (both.code, both.err.splitlines()[-1].split()[-1]) == (2, "[usage]")


def test_a_directory_in_use_takes_nothing_over(attestrio, tmp_path, old):
    attestrio("protection", "export", tmp_path / "history.json", "--data-dir", old)
    with DataDir.open(tmp_path / "new"):
        ended = attestrio("protection", "import", tmp_path / "history.json", "--data-dir", tmp_path / "new", "--json")

    assert (ended.code, ended.error["code"]) == (5, "data_dir_in_use")
    assert not (tmp_path / "new" / HISTORY).exists()


def test_old_votes_become_a_watermark(attestrio, tmp_path, old):
    file = tmp_path / "history.json"

    attestrio("protection", "export", file, "--data-dir", old, "--newest", 1)

    (entry,) = json.loads(file.read_text())["attesters"]
    assert (entry["low_watermark"], [vote["number"] for vote in entry["votes"]]) == ("7", ["8"])


def test_a_history_of_another_chain_is_refused_unless_it_is_meant(attestrio, tmp_path, old):
    file, new = tmp_path / "history.json", tmp_path / "new"
    attestrio("protection", "export", file, "--data-dir", old)
    DataDir.open(new).close()
    sign(new, batch(1), chain_id=271, new_key=True)

    refused = attestrio("protection", "import", file, "--data-dir", new, "--json")
    other = attestrio("protection", "import", file, "--data-dir", new, "--chain-id", 272, "--json")
    meant = attestrio("protection", "import", file, "--data-dir", new, "--chain-id", 270)

    assert (refused.code, refused.error["code"], other.error["code"]) == (2, "wrong_chain", "wrong_chain")
    assert (meant.code, meant.out) == (0, "2 votes taken over, 1 keys may sign here\n")
    ended = attestrio("protection", "export", tmp_path / "which.json", "--data-dir", new, "--json")
    assert ended.error["code"] == "chain_not_clear"
    one = attestrio("protection", "export", tmp_path / "one.json", "--data-dir", new, "--chain-id", 271)
    assert "note: chain 270 is in this history too and not in the file; export it as well\n" in one.out


def test_two_hosts_that_disagreed_are_named(attestrio, tmp_path, old):
    file, new = tmp_path / "history.json", tmp_path / "new"
    attestrio("protection", "export", file, "--data-dir", old)
    DataDir.open(new).close()
    sign(new, batch(8, content=2), new_key=True)

    ended = attestrio("protection", "import", file, "--data-dir", new)

    assert ended.out.splitlines() == [
        "1 votes taken over, 1 keys may sign here",
        "1 numbers have two hashes now: the key signed both, neither is signed again",
    ]
    assert sign(new, batch(8), batch(8, content=2)) == ["double_vote", "double_vote"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [(None, "import_unreadable"), (b"{}", "bad_interchange"), (b"\x00" * 9, "bad_interchange")],
    ids=["absent", "empty", "zeros"],
)
def test_what_is_no_history_changes_nothing(attestrio, tmp_path, raw, code):
    file = tmp_path / "history.json"
    if raw is not None:
        file.write_bytes(raw)

    ended = attestrio("protection", "import", file, "--data-dir", tmp_path / "new", "--json")

    assert (ended.code, ended.error["code"]) == (2, code)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("verb", [("export", "history.json"), ("status",)], ids=["export", "status"])
def test_a_directory_without_a_history_is_said_and_not_made(attestrio, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)

    ended = attestrio("protection", *verb, "--data-dir", tmp_path / "nowhere", "--json")

    assert (ended.code, ended.error["code"]) == (2, "history_not_found")
    assert list(tmp_path.iterdir()) == []


def test_status_says_what_is_on_record(attestrio, old):
    ended = attestrio("protection", "status", "--data-dir", old)
    document = attestrio("protection", "status", "--data-dir", old, "--json").document

    assert "halted         no\n" in ended.out
    assert "    2 votes, newest 8, nothing pruned\n" in ended.out
    assert document == {
        "halted": None,
        "epoch": {"id": 1, "cause": "start", "genesis": GENESIS.hash().to_text()},
        "refusals": 0,
        "keys": [KEY.public().to_text()],
        "histories": [
            {
                "chain_id": 270,
                "genesis": GENESIS.hash().to_text(),
                "key": KEY.public().to_text(),
                "votes": 2,
                "newest": 8,
                "low_watermark": None,
                "contested": 0,
            }
        ],
    }


def test_the_data_directory_of_the_configuration_is_used(attestrio, tmp_path, old):
    config = tmp_path / "node.toml"
    config.write_text(f'[node]\ndata_dir = "{old}"\n')

    ended = attestrio("protection", "status", "--config", config, "--json")

    assert [one["votes"] for one in ended.document["histories"]] == [2]


# --- receipts


@pytest.fixture
def log(tmp_path):
    """A log of three receipts, and the hashes of its lines."""
    path, heads, raw = tmp_path / "receipts.log", [FIRST_PREV], b""
    for seq, number in enumerate((7, 8, 9), 1):
        said = (UpstreamAnswer("http://main", f"batch {number}\x1b[2J"),)
        receipt = Receipt(
            KEY.sign_batch(batch(number)), 1, CommitteeBrief.of(GENESIS.attesters), said, (RuleAnswer("record", "ok"),)
        )
        line, head = ReceiptLine(seq, heads[-1], seq - 1, 1_700_000_000_000 + seq, receipt).encode()
        heads.append(head)
        raw += line
    path.write_bytes(raw)
    return path, [head.hex() for head in heads[1:]]


def test_a_good_log_verifies(attestrio, log):
    path, heads = log

    ended = attestrio("receipt", "verify", path)
    document = attestrio("receipt", "verify", path, "--head", heads[1], "--json").document

    assert ended.code == 0
    assert ended.out == f"3 receipts verified, {path.stat().st_size} bytes\nhead {heads[2]}\n"
    assert document == {"ok": True, "receipts": 3, "head": heads[2], "bytes": path.stat().st_size, "torn": 0}


def test_the_altered_byte_is_named(attestrio, log):
    path, _ = log
    raw = bytearray(path.read_bytes())
    at = raw.index(b"http://main", raw.index(b"\n"))
    raw[at] ^= 0x20
    path.write_bytes(raw)

    ended = attestrio("receipt", "verify", path, "--json")

    assert (ended.code, ended.error["code"]) == (4, "receipts_altered")
    assert ended.error["message"].startswith(f"{path}: altered from byte {at} on, in receipt 2: ")


def test_receipts_cut_off_are_noticed_with_a_hash_noted_down_earlier(attestrio, log):
    path, heads = log
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))

    assert attestrio("receipt", "verify", path).code == 0
    ended = attestrio("receipt", "verify", path, "--head", heads[2], "--json")

    assert (ended.code, ended.error["code"]) == (4, "receipts_altered")
    assert "it ends without the receipt it has to contain" in ended.error["message"]


def test_a_receipt_that_is_being_written_is_no_fault(attestrio, log):
    path, _ = log
    path.write_bytes(path.read_bytes()[:-40])

    ended = attestrio("receipt", "verify", path)

    assert ended.code == 0
    assert ended.out.splitlines()[0].startswith("2 receipts verified")
    assert "bytes of a receipt that was being written" in ended.out


def test_receipts_are_shown_without_steering_the_terminal(attestrio, log):
    path, heads = log

    ended = attestrio("receipt", "show", path, "--batch", 8)
    (document,) = attestrio("receipt", "show", path, "--batch", 8, "--json").document

    assert "receipt 2  batch 8  " in ended.out
    assert "  upstream   http://main: batch 8\\x1b[2J\n" in ended.out
    assert ended.out.endswith(f"  hash       {heads[1]}\n")
    assert (document["hash"], document["upstream"]) == (
        heads[1], [{"name": "http://main", "answer": "batch 8\x1b[2J"}]
    )  # fmt: skip


def test_show_stops_at_a_line_that_does_not_hold(attestrio, log):
    path, _ = log
    raw = path.read_bytes().replace(b'"number":"8"', b'"number":"6"')
    path.write_bytes(raw)

    ended = attestrio("receipt", "show", path)

    assert ended.code == 4
    assert ended.out.count("receipt ") == 1
    assert ended.err.endswith("[receipts_altered]\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [(("nowhere",), "nowhere: no such file"), ((".",), ".: is a folder"), (("log", "--head", "x"), "--head: expected")],
)
def test_what_cannot_be_read_is_named(attestrio, tmp_path, monkeypatch, arguments, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").touch()

    ended = attestrio("receipt", "verify", *arguments)

    assert ended.code == 2
    assert ended.err.startswith(f"attestrio: {problem}")
    assert ended.err.endswith("[receipts_unreadable]\n")
