"""`attestrio operator`: its configuration, its keystore, and what is asked of a data directory."""

import json
import tomllib
from pathlib import Path

import msgspec
import pytest
import trio
from attestrio.app.operator import JOURNAL
from attestrio.app.operator_config import LAYOUT, OperatorConfig
from attestrio.bls import ScryptCost, SecretKey, read_keystore, write_keystore
from attestrio.duty import Reason
from attestrio.journal import Item, Put, SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.datadir import DataDir
from attestrio.operator import rows
from attestrio.operator.progress import Watermark
from attestrio.operator.rows import Ended, OnChain, Verdict

SHIPPED = Path(__file__).parents[3] / "configs" / "operator.toml"
WAITS, REFUSED = b"\x01" * 32, b"\x02" * 32


@pytest.fixture
def data_dir(tmp_path):
    """What an operator left that has one batch to verify, and has refused one."""

    async def write():
        journal = SqliteJournal(tmp_path / JOURNAL, inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            row = OnChain(b"r" * 32, b"s" * 20, 7, 0, "http://storage/x")
            refused = Verdict(Ended.REFUSED, Reason.PROOF_INVALID, detail="entry 3, SP1")
            put = [
                Put(rows.CHAIN, WAITS, rows.pack(row)), Put(rows.CHAIN, REFUSED, rows.pack(row)),
                Put(rows.VERDICTS, REFUSED, rows.pack(refused)), Put(rows.ABOUT, rows.END, Watermark(20).to_bytes()),
                Put(rows.ABOUT, rows.MARK, Watermark(7).to_bytes()),
            ]  # fmt: skip
            await journal.append(rows.WORK, [Item(rows.key_of(WAITS, row, None))], put=put)
            await journal.close()

    trio.run(write)
    return tmp_path


def test_the_shipped_file_has_every_key_with_its_default():
    text = SHIPPED.read_text()
    off = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line]

    made, origin = LAYOUT.explain(SHIPPED)

    paths = {"data_dir": str(SHIPPED.parent / "attestrio-operator")}
    default = msgspec.structs.replace(OperatorConfig().operator, **paths)
    assert made == msgspec.structs.replace(OperatorConfig(), operator=default)
    named = set(origin) | {(section, line.split(" = ")[0]) for line in off for section, _ in LAYOUT.sections()}
    assert {pair for pair in LAYOUT.keys() if pair not in LAYOUT.secrets} - named == set()  # noqa: SIM118
    assert tomllib.loads(text)["verifier"]["programs"] == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[aggregator]\nadress = 'a:1'\n", "unknown key aggregator.adress; did you mean address?"),
        ("[aggregator]\naddress = 'nowhere'\n", "aggregator: address is not HOST:PORT: nowhere"),
        ("[aggregator]\nretry_first_s = 5.0\nretry_cap_s = 1.0\n", "retry_cap_s is below retry_first_s"),
        ("[l1]\nmanager = '0x12'\n", "l1: manager is not an address"),
        ("[l1]\nrpc_urls = ['http://a', 'http://a']\n", "rpc_urls names an endpoint twice"),
        ("[l1]\nrpc_urls = ['http://a', 'http://b']\nagree = 3\n", "agree = 3 of 2 rpc_urls"),
        ("[verifier]\nprograms = {Nova = ['/bin/true']}\n", "no proving system is called Nova"),
        ("[verifier]\nprograms = {SP1 = ['true']}\n", "SP1 needs the whole path of a program"),
        ("[batches]\nmax_batch_bytes = 268435457\n", "max_batch_bytes has to be 268435456 at most"),
        ("[batches]\nkeep_blocks = 10\n", "keep_blocks has to be above horizon_blocks"),
        ("[bls]\npassword = 'x'\n", "bls.password may not stand in a file: use bls.password_file or"),
        ("[gossip]\n", "unknown section [gossip]"),
    ],
)
def test_a_mistake_names_the_key_and_ends_with_2(attestrio, tmp_path, text, said):
    path = tmp_path / "operator.toml"
    path.write_text(text)

    ended = attestrio("operator", "check", "-c", path)

    assert ended.code == 2
    assert said in ended.err


def test_check_lists_what_is_missing(attestrio):
    ended = attestrio("operator", "check", "-c", SHIPPED)

    assert ended.code == 0
    assert "ok so far" in ended.out
    assert "bls.keystore is missing: the BLS key that signs" in ended.out


def test_run_refuses_a_configuration_with_holes(attestrio, tmp_path):
    ended = attestrio("operator", "run", "-c", SHIPPED, "--data-dir", tmp_path / "data")

    assert ended.code == 2
    assert "bls.keystore is missing" in ended.err
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_new_keystore_opens_with_its_password_and_no_other(attestrio, tmp_path, monkeypatch):
    (tmp_path / "password").write_text("of mine\nnot this line\n")
    file = tmp_path / "key.json"

    made = attestrio("operator", "keystore", "new", file, "--password-file", tmp_path / "password", "--json")
    monkeypatch.setenv("ATTESTRIO_BLS_PASSWORD", "another")
    refused = attestrio("operator", "keystore", "show", file)

    assert made.code == 0
    assert read_keystore(file, "of mine").public_g1().x == int(made.document["public_g1"]["x"])
    assert (refused.code, "wrong password" in refused.err) == (2, True)
    assert attestrio("operator", "keystore", "new", file).code == 2


def test_show_prints_the_operator_id(attestrio, tmp_path, monkeypatch):
    write_keystore(tmp_path / "key.json", SecretKey(12345), "x", cost=ScryptCost(n=2))
    nothing = attestrio("operator", "keystore", "show", tmp_path / "key.json")
    monkeypatch.setenv("ATTESTRIO_BLS_PASSWORD", "x")

    ended = attestrio("operator", "keystore", "show", tmp_path / "key.json", "--json")

    assert (nothing.code, "no_password" in nothing.err) == (2, True)
    assert ended.document["operator_id"] == "0x26e12805541af2be0505cba0230e232b7c6648371f78b16d2f8301a24bf590b7"


def test_status_says_how_far_what_waits_and_what_was_not_signed_and_why(attestrio, data_dir):
    plain = attestrio("operator", "status", "--data-dir", data_dir)
    document = attestrio("operator", "status", "--data-dir", data_dir, "--json").document

    assert "known before block 20, done before block 7" in plain.out
    assert f"refused 0x{REFUSED.hex()}  proof_invalid  entry 3, SP1" in plain.out
    assert (document["work"], document["outbox"], document["ended"]) == (1, 0, {"refused": 1})
    assert [one["batch"] for one in document["waiting"]] == [f"0x{WAITS.hex()}"]


def test_status_of_nothing_is_no_empty_success(attestrio, tmp_path):
    ended = attestrio("operator", "status", "--data-dir", tmp_path)

    assert (ended.code, "no_operator" in ended.err) == (2, True)
    assert not (tmp_path / JOURNAL).exists()


def test_a_batch_is_dropped_and_taken_up_again_where_nobody_runs(attestrio, data_dir):
    dropped = attestrio("operator", "drop", f"0x{WAITS.hex()}", "--data-dir", data_dir)
    again = attestrio("operator", "drop", f"0x{WAITS.hex()}", "--data-dir", data_dir, "--json")
    retried = attestrio("operator", "retry", f"0x{REFUSED.hex()}", "--data-dir", data_dir, "--json")
    document = attestrio("operator", "status", "--data-dir", data_dir, "--json").document

    assert (dropped.code, again.code, again.error["code"]) == (0, 2, "no_such_batch")
    assert retried.document["done"] == "it is verified again"
    assert document["ended"] == {"dropped": 1, "open": 1}
    assert [one["batch"] for one in document["waiting"]] == [f"0x{REFUSED.hex()}"]


def test_a_command_waits_for_the_operator_that_runs_and_is_taken_back(attestrio, data_dir, monkeypatch):
    monkeypatch.setattr("attestrio.cli.operator.ANSWER_S", 0.05)

    with DataDir.open(data_dir):
        ended = attestrio("operator", "drop", f"0x{WAITS.hex()}", "--data-dir", data_dir)
    document = attestrio("operator", "status", "--data-dir", data_dir, "--json").document

    assert "did not answer within" in ended.err
    assert document["work"] == 1


@pytest.mark.parametrize("text", ["0x12", "zz" * 32, "0x" + "11" * 33, ""])
def test_what_is_no_identifier_hash_is_refused(attestrio, data_dir, text):
    assert attestrio("operator", "retry", text, "--data-dir", data_dir).code == 2


def test_json_of_an_error_is_one_document(attestrio, tmp_path):
    ended = attestrio("operator", "status", "--data-dir", tmp_path, "--json")

    assert json.loads(ended.err)["error"]["code"] == "no_operator"
