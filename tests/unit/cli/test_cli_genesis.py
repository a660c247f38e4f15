"""`attestrio genesis`: made, shown, hashed, refused."""

import errno
import json
import os
import stat

import pytest
from attestrio.roles import Genesis
from attestrio.sim.cluster import VALIDATOR
from cli_kit import GENESIS, SECRETS, genesis_of, write_genesis

KEYS = [secret.public().to_text() for secret in SECRETS]


def test_a_new_genesis_says_what_was_asked_for(attestrio, tmp_path):
    file = tmp_path / "genesis.json"

    ended = attestrio(
        *("genesis", "new", file, "--chain-id", 270, "--validator", VALIDATOR.to_text(), "--json"),
        *(word for key in KEYS for word in ("--attester", f"{key}=10")),
    )

    assert ended.code == 0
    assert ended.document == {"hash": GENESIS.hash().to_text(), "file": str(file)}
    assert Genesis.from_json(file.read_text()) == GENESIS


def test_every_number_of_a_genesis_can_be_given(attestrio, tmp_path):
    file = tmp_path / "genesis.json"

    attestrio(
        *("genesis", "new", file, "--chain-id", 1, "--fork-number", 2, "--first-block", 3, "--protocol-version", 4),
        *("--validator", f"{VALIDATOR.to_text()}=5"),
    )

    made = Genesis.from_json(file.read_text())
    assert (made.chain_id, made.fork_number, made.first_block, made.protocol_version) == (1, 2, 3, 4)
    assert made.validators[0].weight == 5
    assert made.attesters is None


def test_a_genesis_is_never_overwritten(attestrio, tmp_path):
    file = write_genesis(tmp_path / "genesis.json")
    before = file.read_text()

    ended = attestrio("genesis", "new", file, "--chain-id", 1, "--validator", VALIDATOR.to_text())

    assert ended.code == 2
    assert ended.err == f"attestrio: {file}: exists already; choose another name [bad_genesis]\n"
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--attester", "nonsense"], "--attester nonsense: the text does not start with attester:public:secp256k1:"),
        (["--attester", f"{KEYS[0]}=heavy"], "expected KEY or KEY=WEIGHT with a whole number"),
        (["--attester", f"{KEYS[0]}=-1"], "expected KEY or KEY=WEIGHT with a whole number"),
        (["--attester", f"{KEYS[0]}=0"], "has weight 0, a weight is above zero"),
        (["--attester", f"{KEYS[0]}={'9' * 5000}"], "Exceeds the limit"),
        (["--attester", KEYS[0], "--attester", KEYS[0]], f"cannot be made: {KEYS[0]} is in the committee twice"),
        (["--attester", f"{KEYS[0]}={2**64 - 1}", "--attester", KEYS[1]], "cannot be made: "),
        (["--fork-number", "-1"], "cannot be made: fork_number is -1"),
        (["--protocol-version", str(2**32)], "cannot be made: protocol_version is 4294967296"),
    ],
)
def test_a_genesis_that_cannot_be_is_refused_and_not_written(attestrio, tmp_path, more, said):
    file = tmp_path / "genesis.json"

    ended = attestrio("genesis", "new", file, "--chain-id", 1, "--validator", VALIDATOR.to_text(), *more, "--json")

    assert (ended.code, ended.error["code"]) == (2, "bad_genesis")
    assert said in ended.error["message"]
    assert not file.exists()


def test_a_full_disk_leaves_no_genesis_and_is_exit_4(attestrio, tmp_path, monkeypatch):
    def full(_handle):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    words = ("genesis", "new", tmp_path / "genesis.json", "--chain-id", 1, "--validator", VALIDATOR.to_text())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        first = attestrio(*words, "--json")
        left = list(tmp_path.iterdir())
    second = attestrio(*words)

    assert (first.code, first.error["code"], left) == (4, "file_unwritable", [])
    assert second.code == 0
    assert stat.S_IMODE((tmp_path / "genesis.json").stat().st_mode) & 0o044 == 0o044 & ~umask()


def umask():
    now = os.umask(0)
    os.umask(now)
    return now


def test_show_lists_the_committee_with_weights_and_threshold(attestrio, tmp_path):
    file = write_genesis(tmp_path / "genesis.json")

    ended = attestrio("genesis", "show", file)

    lines = ended.out.splitlines()
    assert lines[0] == f"hash           {GENESIS.hash().to_text()}"
    assert "attesters      3, weight 30, a certificate needs 25" in lines
    assert [line.split() for line in lines[-3:]] == [
        ["10", member.key.to_text()]
        for member in GENESIS.attesters  # in key order
    ]


def test_show_as_json_is_the_genesis_and_what_follows_from_it(attestrio, tmp_path):
    file = write_genesis(tmp_path / "genesis.json")

    document = attestrio("genesis", "show", file, "--json").document

    assert document == {"hash": GENESIS.hash().to_text(), "threshold": 25, "genesis": GENESIS.to_json()}


def test_a_genesis_without_attesters_says_so(attestrio, tmp_path):
    file = write_genesis(tmp_path / "genesis.json", genesis_of(secrets=()))

    shown, document = attestrio("genesis", "show", file), attestrio("genesis", "show", file, "--json").document

    assert "attesters      none: nobody attests batches of this genesis" in shown.out
    assert document["threshold"] is None


def test_hash_is_one_line_for_scripts(attestrio, tmp_path):
    file = write_genesis(tmp_path / "genesis.json")

    ended = attestrio("genesis", "hash", file)
    document = attestrio("genesis", "hash", file, "--json").document

    assert ended.out == GENESIS.hash().to_text() + "\n"
    assert document == {"hash": GENESIS.hash().to_text(), "file": str(file)}


def without_leader(told):
    del told["leaderSelection"]


def stranger_leads(told):
    told["leaderSelection"] = {"sticky": {"key": {"bn254": "AAAA" * 32}}}


@pytest.mark.parametrize(
    "spoil",
    [without_leader, stranger_leads, lambda told: told.update(surprise=1), lambda told: told.update(chainId="x")],
    ids=["leader missing", "leader no validator", "unknown field", "chain id"],
)
def test_a_spoiled_genesis_is_refused(attestrio, tmp_path, spoil):
    told = GENESIS.to_json()
    spoil(told)
    file = tmp_path / "genesis.json"
    file.write_text(json.dumps(told))

    ended = attestrio("genesis", "hash", file)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"attestrio: {file}: is no genesis: ")
    assert ended.err.endswith(" [bad_genesis]\n")


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 200_000, b"null"],
    ids=["empty", "cut", "list", "binary", "deep", "deep objects", "null"],
)
def test_what_is_no_genesis_file_is_one_sentence(attestrio, tmp_path, raw):
    file = tmp_path / "genesis.json"
    file.write_bytes(raw)

    ended = attestrio("genesis", "show", file)

    assert ended.code == 2
    assert ended.err.startswith(f"attestrio: {file}: is no genesis: Genesis: not ")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "problem"),
    [("nowhere", "no such file; `attestrio genesis new` makes one"), (".", "cannot be read: Is a directory")],
)
def test_a_genesis_that_cannot_be_read_is_named(attestrio, tmp_path, monkeypatch, name, problem):
    monkeypatch.chdir(tmp_path)

    assert attestrio("genesis", "hash", name).err == f"attestrio: {name}: {problem} [bad_genesis]\n"
