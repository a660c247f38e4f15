"""`attestrio keys`: what is printed, what is written, and what is never shown."""

import errno
import os
import stat

import pytest
from attestrio.roles import AttesterSecretKey, NodeSecretKey

SECRET_HEX = "01" * 32
SECRET = f"attester:secret:secp256k1:{SECRET_HEX}"


@pytest.mark.parametrize(("kind", "made"), [("attester", AttesterSecretKey), ("node", NodeSecretKey)])
def test_a_generated_key_is_private_and_its_public_half_is_printed(attestrio, tmp_path, kind, made):
    file = tmp_path / "new" / "my.key"

    ended = attestrio("keys", "generate", file, "--kind", kind, "--json")

    secret = made.from_text(file.read_text().strip())
    assert ended.code == 0
    assert ended.document == {"kind": kind, "public": secret.public().to_text(), "file": str(file)}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret.to_text() not in ended.out + ended.err


def test_the_first_line_is_the_public_key_alone(attestrio, tmp_path):
    made = attestrio("keys", "generate", tmp_path / "my.key")
    asked = attestrio("keys", "public", tmp_path / "my.key")

    assert made.out.splitlines()[0] == asked.out.strip()
    assert asked.out.startswith("attester:public:secp256k1:")
    assert (made.code, asked.code, made.err, asked.err) == (0, 0, "", "")


@pytest.mark.parametrize(("kind", "next_step"), [("attester", "makes the genesis"), ("node", "gossip.node_key_file")])
def test_the_second_line_says_what_the_key_is_for(attestrio, tmp_path, kind, next_step):
    ended = attestrio("keys", "generate", tmp_path / "my.key", "--kind", kind)

    (line,) = ended.out.splitlines()[1:]
    assert line.startswith(f"secret key written to {tmp_path}/my.key; next: ")
    assert next_step in line


def test_two_generated_keys_differ(attestrio, tmp_path):
    first, second = (attestrio("keys", "generate", tmp_path / name, "--json").document["public"] for name in "ab")

    assert first != second


def test_the_public_key_of_either_kind_is_found_by_its_prefix(attestrio, tmp_path):
    secret = NodeSecretKey.generate()
    (tmp_path / "node.key").write_text(secret.to_text())

    ended = attestrio("keys", "public", tmp_path / "node.key", "--json")

    assert ended.document == {"public": secret.public().to_text(), "file": str(tmp_path / "node.key")}


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that has no room for a new file, until told otherwise."""

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        yield patch.undo


def test_a_full_disk_leaves_no_key_and_is_exit_4(attestrio, tmp_path, full_disk):
    file = tmp_path / "my.key"

    first = attestrio("keys", "generate", file)
    left = list(tmp_path.iterdir())
    full_disk()
    second = attestrio("keys", "generate", file)

    assert (first.code, first.out, left) == (4, "", [])
    assert first.err == (
        f"attestrio: {file} cannot be written (No space left on device): mend the disk, then try again"
        " [file_unwritable]\n"
    )
    assert second.code == 0


def test_a_disk_that_is_full_after_the_key_leaves_neither_key_nor_marker(attestrio, tmp_path, monkeypatch):
    def full_after_the_key(handle):
        if (tmp_path / "my.key").exists() and stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_after_the_key)

    ended = attestrio("keys", "generate", tmp_path / "my.key", "--json")

    assert (ended.code, ended.error["code"]) == (4, "file_unwritable")
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_never_overwritten(attestrio, tmp_path):
    file = tmp_path / "my.key"
    file.write_text("precious")

    ended = attestrio("keys", "generate", file)

    assert ended.code == 2
    assert ended.err == (
        f"attestrio: {file}: exists already; a key is never overwritten, choose another name [bad_key_file]\n"
    )
    assert file.read_text() == "precious"


def test_a_name_below_a_file_cannot_be_written(attestrio, tmp_path):
    (tmp_path / "file").touch()

    ended = attestrio("keys", "generate", tmp_path / "file" / "my.key", "--json")

    assert ended.code == 2
    assert ended.error == {
        "code": "bad_key_file",
        "message": f"{tmp_path}/file/my.key: cannot be written: {tmp_path}/file is not a folder",
    }


def test_a_folder_that_takes_no_files_is_named(attestrio):
    ended = attestrio("keys", "generate", "/proc/my.key")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "attestrio: /proc/my.key: cannot be written: No such file or directory [bad_key_file]\n"


@pytest.mark.parametrize(
    "text",
    [
        SECRET_HEX,
        SECRET + "00",
        SECRET[:-2],
        SECRET.upper(),
        "attester:secret:secp256k1:" + "00" * 32,
        "attester:public:secp256k1:" + SECRET_HEX,
        SECRET + "\n" + SECRET,
        "",
        "\N{SNOWMAN}" + SECRET,
    ],
    ids=["bare", "long", "short", "upper", "zero", "public", "two", "empty", "utf-8"],
)
def test_a_file_without_a_key_is_refused_without_repeating_it(attestrio, tmp_path, text):
    file = tmp_path / "bad.key"
    file.write_text(text)

    ended = attestrio("keys", "public", file)

    assert ended.code == 2
    assert ended.err.startswith(f"attestrio: {file}: holds no secret key")
    assert ended.err.endswith("[bad_key_file]\n")
    assert "0101" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere.key", "no such file; `attestrio keys generate` makes one"),
        (".", "cannot be read: Is a directory"),
        ("/dev/full", "cannot be read: longer than 4096 bytes"),
    ],
)
def test_what_is_no_key_file_is_named(attestrio, tmp_path, monkeypatch, name, problem):
    monkeypatch.chdir(tmp_path)

    ended = attestrio("keys", "public", name)

    assert (ended.code, ended.err) == (2, f"attestrio: {name}: {problem} [bad_key_file]\n")


@pytest.mark.parametrize("command", [["keys", "public"], ["cert", "show"], ["genesis", "hash"], ["config", "show"]])
def test_a_secret_typed_in_place_of_a_file_is_not_repeated(attestrio, command):
    ended = attestrio(*command, SECRET)

    assert ended.code == 2
    assert "attester:secret:secp256k1:<secret>" in ended.err
    assert "0101" not in ended.out + ended.err


def test_a_generated_attester_key_is_marked_as_never_used_beside_it(attestrio, tmp_path):
    ended = attestrio("keys", "generate", tmp_path / "my.key", "--json")

    assert (tmp_path / "my.key.unused").read_text().strip() == ended.document["public"]


def test_a_node_key_has_no_history_and_no_marker(attestrio, tmp_path):
    attestrio("keys", "generate", tmp_path / "node.key", "--kind", "node")

    assert [file.name for file in tmp_path.iterdir()] == ["node.key"]


def test_a_key_that_is_there_already_is_not_marked_as_new(attestrio, tmp_path):
    (tmp_path / "my.key").write_text(SECRET)

    ended = attestrio("keys", "generate", tmp_path / "my.key")

    assert ended.code == 2
    assert not (tmp_path / "my.key.unused").exists()


def test_a_marker_that_cannot_be_written_is_told_with_what_to_do(attestrio, tmp_path):
    (tmp_path / "my.key.unused").mkdir()

    ended = attestrio("keys", "generate", tmp_path / "my.key")

    assert ended.code == 2
    assert (tmp_path / "my.key").exists()
    assert "--init-protection" in ended.err
