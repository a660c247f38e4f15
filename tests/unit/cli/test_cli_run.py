"""`node run` and `main-node run`: what ends a start before it has begun."""

import contextlib
import os
import sqlite3

import pytest
from attestrio.kit.datadir import DataDir
from attestrio.protection.history import HISTORY
from cli_kit import SECRETS, certificate, genesis_of, write_database, write_genesis, write_history

NOWHERE = "http://127.0.0.1:9"  # discard: nobody listens, and nobody is asked in these tests


@pytest.fixture
def node(attestrio, tmp_path):
    """Starts a node that fails."""
    genesis = write_genesis(tmp_path / "genesis.json")

    def run(*more):
        return attestrio(
            *("node", "run", "--set", f"main_node.url={NOWHERE}", "--set", f"genesis.file={genesis}"),
            *("--set", f"node.data_dir={tmp_path}/data", *more),
        )

    return run


@pytest.fixture
def main_node(attestrio, tmp_path):
    """Starts a main node that fails."""
    genesis = write_genesis(tmp_path / "genesis.json")

    def run(*more, bind="127.0.0.1:0"):
        return attestrio(
            *("main-node", "run", "--bind", bind, "--set", f"genesis.file={genesis}", "--set", "batches.source=file"),
            *("--set", f"batches.file={tmp_path}/batches.jsonl", "--data-dir", tmp_path / "data", *more),
        )

    return run


def one_sentence(ended, code, name, *said):
    """Exit code, stable code, and what has to stand in the sentence; nothing else on either stream."""
    assert ended.code == code
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1, ended.err
    assert ended.err.endswith(f" [{name}]\n")
    for part in said:
        assert str(part) in ended.err


# configuration


def test_a_node_without_main_node_says_which_key_is_missing(attestrio, tmp_path):
    ended = attestrio("node", "run", "--data-dir", tmp_path / "data")

    one_sentence(ended, 2, "bad_config", "main_node.url is missing")


def test_a_main_node_without_genesis_says_which_key_is_missing(attestrio, tmp_path):
    ended = attestrio("main-node", "run", "--bind", "127.0.0.1:0", "--data-dir", tmp_path / "data")

    one_sentence(ended, 2, "bad_config", "genesis.file is missing")


def test_a_main_node_without_batches_says_which_key_is_missing(main_node):
    ended = main_node("--set", "batches.source=main-node")

    one_sentence(ended, 2, "bad_config", 'batches.source = "main-node" needs main_node.url')


def test_each_role_refuses_the_configuration_of_the_other(attestrio, tmp_path):
    file = tmp_path / "node.toml"
    file.write_text("[serve]\n")

    as_node = attestrio("node", "run", "--config", file)
    as_main_node = attestrio("main-node", "run", "--data-dir", tmp_path)

    one_sentence(as_node, 2, "bad_config", file, "use `attestrio main-node run`")
    one_sentence(as_main_node, 2, "bad_config", "needs the section [serve], or --bind HOST:PORT")


def test_a_wrong_configuration_is_json_with_the_flag(node):
    ended = node("--set", "main_node.poll_s=0", "--json")

    assert (ended.code, ended.out) == (2, "")
    assert ended.error == {"code": "bad_config", "message": "flag: main_node: poll_s has to be above 0, not 0.0"}


def test_a_configuration_that_never_ends_is_refused(attestrio):
    one_sentence(attestrio("node", "run", "--config", "/dev/zero"), 2, "bad_config", "longer than 1048576 bytes")


# keys and genesis


@pytest.mark.parametrize("text", ["", "01" * 32, SECRETS[0].to_text() + "01", SECRETS[0].to_text()[:-1]])
def test_a_wrong_key_file_is_named_and_its_content_is_not(node, tmp_path, text):
    file = tmp_path / "attester.key"
    file.write_text(text)

    ended = node("--set", f"keys.attester_file={file}")

    one_sentence(ended, 2, "bad_config", f"keys.attester_file {file}: invalid format: expected attester:secret:")
    assert "0101" not in ended.err


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("node:secret:ed25519:" + "01" * 32, "a secret key of a node"),
        ("validator:secret:bls12_381:" + "01" * 32, "a secret key of a validator"),
        (SECRETS[0].public().to_text(), "a public key of an attester"),
    ],
)
def test_a_key_of_another_kind_is_called_by_its_kind(node, tmp_path, text, kind):
    file = tmp_path / "attester.key"
    file.write_text(text + "\n")

    ended = node("--set", f"keys.attester_file={file}")

    one_sentence(ended, 2, "bad_config", f"keys.attester_file {file}: {kind}: expected attester:secret:secp256k1:")
    assert text.rpartition(":")[2] not in ended.err


def test_a_wrong_key_in_the_environment_is_named_and_not_repeated(node, monkeypatch):
    monkeypatch.setenv("ATTESTRIO_KEYS_ATTESTER", "01" * 31)

    ended = node()

    one_sentence(ended, 2, "bad_config", "ATTESTRIO_KEYS_ATTESTER: invalid format")
    assert "0101" not in ended.err


@pytest.mark.parametrize(
    ("path", "problem"),
    [("/dev/zero", "cannot be read (not a regular file)"), ("/nowhere", "cannot be read (No such file or directory)")],
)
def test_a_key_file_that_cannot_be_read_says_how_to_make_one(node, path, problem):
    ended = node("--set", f"keys.attester_file={path}")

    one_sentence(ended, 2, "bad_config", path, problem, "`attestrio keys generate` makes a key")


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (None, "cannot be read (No such file or directory); `attestrio genesis new` makes one"),
        (b"{", "is no genesis: Genesis: not JSON"),
        (b"{}", "is no genesis: "),
        (b'{"a":' * 200_000, "is no genesis: Genesis: not JSON"),
        (b"\xff", "is no genesis: Genesis: not JSON"),
    ],
    ids=["absent", "cut", "empty", "deep", "binary"],
)
def test_a_wrong_genesis_file_is_named(node, tmp_path, raw, problem):
    file = tmp_path / "bad.json"
    if raw is not None:
        file.write_bytes(raw)

    ended = node("--set", f"genesis.file={file}")

    one_sentence(ended, 2, "bad_config", f"genesis.file {file}: {problem}")


def rows(file):
    """Everything in a database, by table."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def test_a_data_directory_of_another_chain_is_refused(node, tmp_path):
    (tmp_path / "data").mkdir()
    other = genesis_of(chain_id=271)
    file = write_history(tmp_path / "data" / HISTORY, other)
    before = rows(file)

    ended = node()

    one_sentence(ended, 2, "genesis_of_other_chain", tmp_path / "data", other.hash().to_text(), "chain 271")
    assert rows(file) == before


# addresses


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.0.0.1:66000", "127.0.0.1:http", "192.0.2.1:80", "no such host:80"])
def test_an_address_that_cannot_be_listened_on_is_named(main_node, bind):
    one_sentence(main_node(bind=bind), 2, "bad_address", f"cannot listen on {bind}: ")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:3060", "http://", "http://h:99999"])
def test_a_main_node_address_that_is_no_url_names_the_key(node, url):
    ended = node("--main-node-url", url)

    one_sentence(ended, 2, "bad_config", "main_node.url: not an http:// or https:// URL")


# batches


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense\n", "line 1: JSON is malformed"),
        ('{"number": 0, "hash": "x"}\n', "line 1: the text does not start with batch:keccak256:"),
        ('{"number": -1, "hash": "batch:keccak256:' + "00" * 32 + '"}\n', "line 1: "),
    ],
)
def test_a_batch_file_that_cannot_be_followed_is_named(main_node, tmp_path, text, problem):
    (tmp_path / "batches.jsonl").write_text(text)

    ended = main_node()

    one_sentence(ended, 2, "batch_file_unusable", tmp_path / "batches.jsonl", problem)


def test_a_batch_file_in_a_folder_that_is_not_there_is_said(main_node, tmp_path):
    ended = main_node("--set", f"batches.file={tmp_path}/nowhere/batches.jsonl")

    one_sentence(ended, 2, "batch_file_unusable", f"{tmp_path}/nowhere is not a directory")


# what nobody may have to wait for


@pytest.mark.parametrize("key", ["keys.attester_file", "genesis.file"])
def test_a_pipe_in_place_of_a_key_or_genesis_file_ends_the_start(node, tmp_path, key):
    os.mkfifo(tmp_path / "fifo")

    ended = node("--set", f"{key}={tmp_path}/fifo")

    one_sentence(ended, 2, "bad_config", f"{key} {tmp_path}/fifo: cannot be read (not a regular file); ")


def test_a_pipe_in_place_of_the_batch_file_ends_the_start(main_node, tmp_path):
    os.mkfifo(tmp_path / "batches.jsonl")

    ended = main_node()

    one_sentence(ended, 2, "batch_file_unusable", f"{tmp_path}/batches.jsonl cannot be read: not a regular file")


def test_a_pipe_in_place_of_the_marker_ends_the_start(node, tmp_path):
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data" / "ATTESTRIO")

    one_sentence(node(), 4, "data_dir_foreign", tmp_path / "data", "its ATTESTRIO is not a regular file")


# the data directory


@pytest.mark.parametrize("path", ["/proc/attestrio", "/dev/full", "/dev/null/data"])
def test_a_data_directory_that_cannot_be_made_is_exit_4(node, path):
    one_sentence(node("--data-dir", path), 4, "data_dir_unwritable", f"data directory {path} is not usable (")


def test_a_file_in_place_of_the_data_directory_is_exit_4(node, tmp_path):
    (tmp_path / "data").write_text("mine")

    one_sentence(node(), 4, "data_dir_unwritable", tmp_path / "data")
    assert (tmp_path / "data").read_text() == "mine"


def test_a_data_directory_of_another_program_is_left_alone(node, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "LOCK").write_text("")

    one_sentence(node(), 4, "data_dir_foreign", tmp_path / "data", "choose another directory")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["LOCK"]


def test_a_data_directory_in_use_is_exit_5(node, tmp_path):
    with DataDir.open(tmp_path / "data"):
        ended = node()

    one_sentence(ended, 5, "data_dir_in_use", tmp_path / "data", "in use by process ")


def flip(path):
    """Every bit of a page in the middle."""
    raw = bytearray(path.read_bytes())
    raw[4096:8192] = bytes(255 - byte for byte in raw[4096:8192])
    path.write_bytes(raw)


def truncate(path):
    path.write_bytes(path.read_bytes()[:5000])


def overwrite(path):
    path.write_bytes(b"\x00\x01\x02\x03" * 4096)


def of_another_program(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 77")
    connection.close()


def of_a_later_release(path):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1000")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (flip, "storage_corrupt"),
        (truncate, "storage_corrupt"),
        (overwrite, "storage_corrupt"),
        (of_another_program, "storage_foreign"),
        (of_a_later_release, "storage_newer"),
    ],
)
def test_a_database_that_cannot_be_used_is_exit_4_and_stays_as_it_is(node, tmp_path, spoil, code):
    (tmp_path / "data").mkdir()
    file = write_database(tmp_path / "data" / "store.db", [certificate(number) for number in range(3)])
    spoil(file)
    before = file.read_bytes()

    ended = node()

    one_sentence(ended, 4, code, file)
    assert file.read_bytes() == before


def test_a_folder_in_place_of_the_database_is_exit_4(node, tmp_path):
    (tmp_path / "data" / "store.db").mkdir(parents=True)

    one_sentence(node(), 4, "storage_unwritable", tmp_path / "data" / "store.db")
