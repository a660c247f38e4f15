"""`attestrio cert`: certificates in a database, as JSON and as protobuf; believed only after they were verified."""

import json

import pytest
from cli_kit import GENESIS, SECRETS, STRANGER, certificate, genesis_of, write_database, write_genesis

CERTIFICATES = [certificate(number) for number in (0, 1, 2)]


@pytest.fixture
def genesis(tmp_path):
    return write_genesis(tmp_path / "genesis.json")


@pytest.fixture(params=["database", "json", "protobuf"])
def write(request, tmp_path):
    """Writes one certificate, in each form."""
    path = tmp_path / "certificate"

    def in_form(one, genesis=GENESIS):
        match request.param:
            case "database":
                write_database(path, [one], genesis)
            case "json":
                path.write_text(json.dumps(one.to_json()))
            case "protobuf":
                path.write_bytes(one.encode())
        return path

    return in_form


def test_show_prints_what_a_file_holds(attestrio, write):
    file = write(CERTIFICATES[1])

    ended = attestrio("cert", "show", file)
    (document,) = attestrio("cert", "show", file, "--json").document

    assert ended.out == f"batch 1  {CERTIFICATES[1].batch.hash.to_text()}  3 signatures\n"
    assert document == {
        "batch": 1,
        "hash": CERTIFICATES[1].batch.hash.to_text(),
        "genesis": GENESIS.hash().to_text(),
        "signers": [member.key.to_text() for member in GENESIS.attesters],
    }


def test_show_full_prints_json_that_can_be_read_again(attestrio, write, tmp_path, genesis):
    file = write(CERTIFICATES[1])

    text = attestrio("cert", "show", file, "--full")
    (document,) = attestrio("cert", "show", file, "--full", "--json").document

    assert json.loads(text.out) == document == CERTIFICATES[1].to_json()
    (tmp_path / "copy.json").write_text(text.out)
    assert attestrio("cert", "verify", tmp_path / "copy.json", "--genesis", genesis).code == 0


def test_a_valid_certificate_verifies(attestrio, write, genesis):
    file = write(CERTIFICATES[1])

    ended = attestrio("cert", "verify", file, "--genesis", genesis)
    (document,) = attestrio("cert", "verify", file, "--genesis", genesis, "--json").document

    assert ended.code == 0
    assert ended.out == f"batch 1  {CERTIFICATES[1].batch.hash.to_text()}  verified, 3 signatures\n"
    assert (document["batch"], document["verified"]) == (1, True)


def forged():
    """One signature is that of another batch."""
    one, other = certificate(1), certificate(2)
    return type(one)(one.batch, {**one.signatures, SECRETS[0].public(): other.signatures[SECRETS[0].public()]})


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        (forged(), "bad_signature"),
        (certificate(1, secrets=SECRETS[:2]), "not_enough_signers"),
        (certificate(1, secrets=[*SECRETS, STRANGER]), "bad_signers_set"),
        (certificate(1, secrets=[]), "not_enough_signers"),
    ],
    ids=["forged", "too few", "stranger", "nobody"],
)
def test_a_certificate_that_does_not_verify_is_refused_with_the_reason(attestrio, write, genesis, spoiled, reason):
    file = write(spoiled)

    ended = attestrio("cert", "verify", file, "--genesis", genesis, "--json")

    assert (ended.code, ended.out) == (2, "")
    assert ended.error["code"] == "certificate_refused"
    assert ended.error["message"].startswith(f"{file}: the certificate of batch 1 does not verify: ")
    assert ended.error["message"].endswith(f"({reason})")


def test_a_certificate_of_another_genesis_is_refused(attestrio, write, genesis):
    file = write(certificate(1, of=genesis_of(fork=1)), genesis_of(fork=1))

    ended = attestrio("cert", "verify", file, "--genesis", genesis)

    assert ended.code == 2
    assert ended.err.endswith("(genesis_mismatch) [certificate_refused]\n")


def test_a_genesis_without_attesters_verifies_nothing(attestrio, write, tmp_path):
    nobody = genesis_of(secrets=())
    file = write(certificate(1, of=nobody), nobody)

    ended = attestrio("cert", "verify", file, "--genesis", write_genesis(tmp_path / "nobody.json", nobody))

    assert ended.err.endswith("(attesters_not_in_genesis) [certificate_refused]\n")


def test_a_database_is_read_in_order_and_one_can_be_chosen(attestrio, tmp_path, genesis):
    file = write_database(tmp_path / "store.db", CERTIFICATES)

    everything = attestrio("cert", "verify", file, "--genesis", genesis, "--json").document
    chosen = attestrio("cert", "verify", file, "--genesis", genesis, "--json", "--batch", 2).document

    assert [one["batch"] for one in everything] == [0, 1, 2]
    assert [one["batch"] for one in chosen] == [2]


def test_verified_lines_come_before_the_first_that_is_refused(attestrio, tmp_path, genesis):
    file = write_database(tmp_path / "store.db", [CERTIFICATES[0], forged(), CERTIFICATES[2]])

    ended = attestrio("cert", "verify", file, "--genesis", genesis)

    assert ended.code == 2
    assert [line.split()[1] for line in ended.out.splitlines()] == ["0"]
    assert "the certificate of batch 1 does not verify" in ended.err


def test_reading_leaves_the_database_as_it_was(attestrio, tmp_path, genesis):
    file = write_database(tmp_path / "store.db", CERTIFICATES)
    before = file.read_bytes()

    attestrio("cert", "verify", file, "--genesis", genesis)

    assert file.read_bytes() == before


@pytest.mark.parametrize("form", ["database", "json"])
def test_a_batch_without_certificate_is_said(attestrio, tmp_path, form):
    file = tmp_path / "certificates"
    if form == "database":
        write_database(file, CERTIFICATES)
    else:
        file.write_text(json.dumps(CERTIFICATES[0].to_json()))

    ended = attestrio("cert", "show", file, "--batch", 7)

    assert ended.code == 2
    assert ended.err == f"attestrio: {file}: holds no certificate of batch 7 [certificate_unreadable]\n"


def test_an_empty_database_holds_no_certificate(attestrio, tmp_path):
    file = write_database(tmp_path / "store.db", [])

    assert attestrio("cert", "show", file).err == (
        f"attestrio: {file}: holds no certificate [certificate_unreadable]\n"
    )


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff" * 40, b"{", b"{}", b"[]", b'{"a":' * 200_000, CERTIFICATES[0].encode()[:-3]],
    ids=["empty", "binary", "cut json", "no fields", "list", "deep", "cut protobuf"],
)
def test_what_is_no_certificate_is_one_sentence(attestrio, tmp_path, raw):
    file = tmp_path / "certificate"
    file.write_bytes(raw)

    ended = attestrio("cert", "show", file)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"attestrio: {file}: is neither a database of ours nor a certificate (")
    assert ended.err.endswith(" [certificate_unreadable]\n")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(("name", "problem"), [("nowhere", "no such file"), (".", "cannot be read: Is a directory")])
def test_a_certificate_file_that_cannot_be_read_is_named(attestrio, tmp_path, monkeypatch, name, problem):
    monkeypatch.chdir(tmp_path)

    assert attestrio("cert", "show", name).err == f"attestrio: {name}: {problem} [certificate_unreadable]\n"


def test_a_damaged_database_is_exit_4(attestrio, tmp_path):
    file = write_database(tmp_path / "store.db", CERTIFICATES)
    raw = bytearray(file.read_bytes())
    raw[4096:8192] = bytes(4096)
    file.write_bytes(raw)

    ended = attestrio("cert", "show", file, "--json")

    assert (ended.code, ended.error["code"]) == (4, "storage_corrupt")
    assert str(file) in ended.error["message"]
