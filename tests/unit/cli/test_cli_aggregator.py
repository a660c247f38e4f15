"""`attestrio aggregator`: its configuration, the account it sends from, and what is asked of a journal."""

import hashlib
import json
import socket
import tomllib
from pathlib import Path

import msgspec
import pytest
import trio
from attestrio.aggregator import rows
from attestrio.aggregator.rows import Answer, Claim, OperatorKey, Phase, Place, Signed, Task
from attestrio.app.aggregator import EMBEDDED, JOURNAL
from attestrio.app.ecdsa_key import AccountUnusable, read_account
from attestrio.journal import Item, Put, SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.datadir import DataDir
from attestrio.roles.keccak import keccak256
from eth_account import Account

SHIPPED = Path(__file__).parents[3] / "configs" / "aggregator.toml"
OPEN, PARKED, UNKNOWN = (bytes([byte]) * 32 for byte in (1, 2, 3))
OPERATOR = b"\x0f" * 32
ACCOUNT = Account.from_key(b"\x01" * 32)


def named(identifier):
    return f"0x{identifier.hex()}"


@pytest.fixture
def data_dir(tmp_path):
    """What an aggregator left that waits for one batch, has put off another, and knows nothing of a third."""

    async def write():
        journal = SqliteJournal(tmp_path / JOURNAL, inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            put = [
                Put(rows.TASKS, OPEN, rows.pack(Task(b"r" * 32, b"s" * 20, 7, b"h" * 32, 0, 1, ""))),
                Put(rows.TASKS, PARKED, rows.pack(Task(b"p" * 32, b"s" * 20, 8, b"h" * 32, 0, 1, ""))),
                Put(rows.ANSWERS, PARKED, rows.pack(Answer(Phase.PARKED, "fee_above_limit", "too dear"))),
                Put(rows.KEYS, OPERATOR, rows.pack(OperatorKey(b"o" * 20, b"1" * 64, b"2" * 128, 3))),
                Put(rows.ABOUT, rows.END, Place(20).to_bytes()),
                *(
                    Put(rows.SIGNATURES, rows.signature_key(one, OPERATOR), rows.pack(Signed(b"x" * 64, 0.0)))
                    for one in (OPEN, UNKNOWN)
                ),
            ]
            claim = Item(rows.claim_key(UNKNOWN, 0), rows.pack(Claim(b"u" * 32, b"s" * 20, 5)))
            await journal.append(rows.UNKNOWN, [claim], put=put)
            await journal.close()

    trio.run(write)
    return tmp_path


@pytest.fixture
def keystore(tmp_path):
    path = tmp_path / "ecdsa.json"
    path.write_text(json.dumps(Account.encrypt(ACCOUNT.key, "x", "scrypt", 2)))
    return path


def test_check_lists_what_is_missing(attestrio):
    ended = attestrio("aggregator", "check", "-c", SHIPPED)

    assert ended.code == 0
    assert "ok so far" in ended.out
    assert "ecdsa.keystore is missing: the account that answers are sent from" in ended.out


def test_check_opens_the_keystore_and_says_who_sends(attestrio, keystore, monkeypatch):
    monkeypatch.setenv("ATTESTRIO_ECDSA_PASSWORD", "x")

    ended = attestrio("aggregator", "check", "--set", f"ecdsa.keystore={keystore}", "--json")

    assert ended.document["account"] == ACCOUNT.address
    assert all("ecdsa" not in one for one in ended.document["missing"])


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("server.bind", "8090", "bad_address"),
        ("server.bind", "127.0.0.1:70000", "bad_address"),
        ("server.bind", "", "bad_address"),
        ("server.bind", "192.0.2.1:0", "bad_address"),  # an address that no machine has
        ("aggregator.metrics_bind", "127.0.0.1", "bad_address"),
        ("journal.redis_url", "redis://", "redis_unusable"),
        ("journal.redis_url", "redis://one two:6379", "redis_unusable"),
        ("journal.redis_url", "redis://host:port", "redis_unusable"),
        ("l1.rpc_urls", '["http://one two:8545"]', "bad_config"),
        ("telemetry.url", "http://one two:4001", "bad_config"),
    ],
)
def test_check_refuses_what_run_refuses(attestrio, key, value, code):
    ended = attestrio("aggregator", "check", "--set", f"{key}={value}", "--json")

    assert (ended.code, ended.error["code"]) == (2, code)
    assert "\n" not in ended.error["message"]


def test_check_may_be_asked_while_the_aggregator_runs(attestrio):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = attestrio("aggregator", "check", "--set", f"server.bind={bind}")

    assert ended.code == 0


@pytest.mark.parametrize(
    ("password", "text", "code"),
    [("y", None, "account_not_opened"), ("x", "{}", "account_unusable"), ("x", "[", "account_unusable")],
)
def test_a_keystore_that_does_not_open_is_one_sentence(attestrio, keystore, monkeypatch, password, text, code):
    monkeypatch.setenv("ATTESTRIO_ECDSA_PASSWORD", password)
    if text is not None:
        keystore.write_text(text)

    ended = attestrio("aggregator", "check", "--set", f"ecdsa.keystore={keystore}", "--json")

    assert (ended.code, ended.error["code"]) == (2, code)


def test_a_keystore_is_read_as_others_write_it(keystore):
    assert read_account(keystore, "x").address == ACCOUNT.address


def test_a_keystore_that_is_not_there_is_no_bug(tmp_path):
    with pytest.raises(AccountUnusable, match="cannot be read"):
        read_account(tmp_path / "nowhere.json", "x")


def test_a_keystore_of_something_else_is_refused(keystore):
    held = json.loads(keystore.read_text())
    crypto, params = held["crypto"], held["crypto"]["kdfparams"]
    costs = {name: params[name] for name in ("n", "r", "p", "dklen")}
    derived = hashlib.scrypt(b"x", salt=bytes.fromhex(params["salt"]), **costs)
    stream = bytes(one ^ other for one, other in zip(bytes.fromhex(crypto["ciphertext"]), ACCOUNT.key, strict=True))
    crypto["ciphertext"] = bytes(byte ^ 0xFF for byte in stream).hex()  # 32 bytes ff, above the order of the group
    crypto["mac"] = keccak256(derived[16:] + bytes.fromhex(crypto["ciphertext"])).hex()
    keystore.write_text(json.dumps(held))

    with pytest.raises(AccountUnusable, match="no key of secp256k1"):
        read_account(keystore, "x")


def test_run_refuses_a_configuration_with_holes(attestrio, tmp_path):
    ended = attestrio("aggregator", "run", "-c", SHIPPED, "--data-dir", tmp_path / "data")

    assert ended.code == 2
    assert "ecdsa.keystore is missing" in ended.err
    assert not (tmp_path / "data").exists()


def test_status_says_in_numbers_what_waits_and_for_what(attestrio, data_dir):
    plain = attestrio("aggregator", "status", "--data-dir", data_dir)
    document = attestrio("aggregator", "status", "--data-dir", data_dir, "--json").document

    assert "nobody leads" in plain.out
    assert "everything before block 20; 1 operators" in plain.out
    assert document["tasks"] == {"open": 2}
    assert document["parked"] == {"fee_above_limit": 1}
    assert (document["signatures"], document["orphan_signatures"], document["unknown"]) == (2, 1, 1)


def test_queue_names_each_batch_that_waits(attestrio, data_dir):
    document = attestrio("aggregator", "queue", "--data-dir", data_dir, "--json").document

    assert [(one["batch"], one["signed"]) for one in document["open"]] == [(named(OPEN), 1), (named(PARKED), 0)]
    assert document["open"][1]["reason"] == "fee_above_limit"
    assert [one["batch"] for one in document["unknown"]] == [named(UNKNOWN)]


def test_a_long_queue_is_cut_and_says_so(attestrio, data_dir):
    ended = attestrio("aggregator", "queue", "--most", 1, "--data-dir", data_dir)

    assert named(OPEN) in ended.out
    assert named(PARKED) not in ended.out
    assert "and 1 more" in ended.out


@pytest.mark.parametrize("verb", ["status", "queue"])
def test_nothing_is_no_empty_success(attestrio, tmp_path, verb):
    ended = attestrio("aggregator", verb, "--data-dir", tmp_path, "--json")

    assert (ended.code, ended.error["code"]) == (2, "no_aggregator")
    assert not (tmp_path / JOURNAL).exists()


def test_a_data_directory_that_no_folder_can_be_is_one_sentence(attestrio):
    ended = attestrio("aggregator", "status", "--data-dir", "x" * 300)

    assert (ended.code, "[data_dir_unwritable]" in ended.err) == (4, True)


def test_commands_are_carried_out_where_nobody_leads(attestrio, data_dir):
    retried = attestrio("aggregator", "retry", named(PARKED), "--data-dir", data_dir, "--json")
    dropped = attestrio("aggregator", "drop", named(OPEN), "--data-dir", data_dir)
    fetched = attestrio("aggregator", "fetch", named(UNKNOWN), "--blocks", 5000, "--data-dir", data_dir, "--json")
    document = attestrio("aggregator", "queue", "--data-dir", data_dir, "--json").document

    assert retried.document["done"] == "its answer is sent as soon as there is a quorum"
    assert dropped.code == 0
    assert fetched.document["done"] == "it is looked for on the chain, 5000 blocks back"
    assert [(one["phase"], one["reason"]) for one in document["open"]] == [("parked", "dropped"), ("waiting", "")]
    assert len(document["unknown"]) == 1


def test_a_lead_that_was_left_behind_holds_nobody_up_where_the_directory_is_free(attestrio, data_dir):
    async def lead():
        journal = SqliteJournal(data_dir / JOURNAL, inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            assert await journal.lead(rows.OWNER, EMBEDDED, 3600.0) is not None
            await journal.close()

    trio.run(lead)

    assert attestrio("aggregator", "retry", named(PARKED), "--data-dir", data_dir).code == 0


def test_a_command_nobody_obeys_is_taken_back(attestrio, data_dir, monkeypatch):
    monkeypatch.setattr("attestrio.app.aggregator_tell.REPLY_S", -9.95)

    with DataDir.open(data_dir):
        ended = attestrio("aggregator", "retry", named(PARKED), "--data-dir", data_dir)
    document = attestrio("aggregator", "status", "--data-dir", data_dir, "--json").document

    assert "did not answer in time" in ended.err
    assert document["parked"] == {"fee_above_limit": 1}


@pytest.mark.parametrize("text", ["0x12", "zz" * 32, "0x" + "11" * 33, ""])
def test_what_is_no_identifier_hash_is_refused(attestrio, data_dir, text):
    assert attestrio("aggregator", "retry", text, "--data-dir", data_dir).code == 2


def test_a_batch_nobody_has_seen_is_an_error(attestrio, data_dir):
    ended = attestrio("aggregator", "retry", "0x" + "99" * 32, "--data-dir", data_dir, "--json")

    assert (ended.code, ended.error["code"]) == (2, "no_such_batch")


@pytest.fixture
def theirs(tmp_path):
    path = tmp_path / "config-aggregator.yaml"
    path.write_text(
        'environment: "production"\neth_rpc_url: "http://localhost:8545"\n'
        'aggregator:\n  server_ip_port_address: localhost:8090\nbls:\n  private_key_store_path: "x"\n'
    )
    return path


def test_what_is_imported_is_a_configuration_that_check_takes(attestrio, theirs, tmp_path):
    made = attestrio("aggregator", "import-config", theirs, "--out", tmp_path / "made.toml")

    checked = attestrio("aggregator", "check", "-c", tmp_path / "made.toml", "--json")

    assert made.code == 0
    assert "bls.private_key_store_path is left out: an aggregator signs nothing with a BLS key" in made.out
    assert checked.document["ok"]
    assert all("rpc_urls" not in one for one in checked.document["missing"])


def test_an_import_to_stdout_is_toml_with_its_remarks(attestrio, theirs):
    ended = attestrio("aggregator", "import-config", theirs)

    assert tomllib.loads(ended.out)["server"] == {"bind": "localhost:8090"}
    assert "# - bls.private_key_store_path is left out" in ended.out


def test_an_import_wants_the_name_of_a_file(attestrio, theirs):
    ended = attestrio("aggregator", "import-config", theirs, "--out", "")

    assert (ended.code, "--out: names no file" in ended.err) == (2, True)


def test_an_import_replaces_no_file(attestrio, theirs):
    ended = attestrio("aggregator", "import-config", theirs, "--out", theirs, "--json")

    assert (ended.code, ended.error["code"]) == (2, "bad_config")
    assert theirs.read_text().startswith("environment")


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (("--operators", 4), "--operators is for --aligned"),
        (("--redis", "redis://h"), "--redis is for --aligned"),
        (("--aligned", "--chain"), "--chain has no meaning beside --aligned"),
        (("--aligned", "--attesters", 4), "--attesters has no meaning beside --aligned"),
    ],
)
def test_options_of_another_devnet_are_refused(attestrio, tokens, said):
    ended = attestrio("devnet", *tokens)

    assert (ended.code, said in ended.err) == (2, True)


def test_the_journal_of_a_devnet_has_to_be_a_redis(attestrio, tmp_path):
    (tmp_path / "anvil").write_text("#!/bin/sh\n")
    (tmp_path / "anvil").chmod(0o755)

    ended = attestrio("devnet", "--aligned", "--redis", "localhost", "--anvil", tmp_path / "anvil")

    assert (ended.code, "--redis: redis_url has to begin with redis://" in ended.err) == (2, True)


def test_report_documents_are_json(attestrio, data_dir):
    ended = attestrio("aggregator", "status", "--data-dir", data_dir, "--json")

    assert msgspec.json.decode(ended.out)["answers"] == {"parked": 1}
