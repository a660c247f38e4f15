"""Files that are whole or not there, and reading that neither waits nor grows without end."""

import errno
import os
import resource
import socket
import stat
from pathlib import Path

import pytest
from attestrio.kit import files
from attestrio.kit.files import open_regular, read_bounded, write_new


@pytest.fixture
def small_files():
    """The system refuses to make a file longer than 10 bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def without_links(*_args, **_more):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_new_file_is_private_and_alone(tmp_path):
    write_new(tmp_path / "new" / "key", "secret\n")

    assert (tmp_path / "new" / "key").read_text() == "secret\n"
    assert stat.S_IMODE((tmp_path / "new" / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert os.listdir(tmp_path / "new") == ["key"]


def test_a_disk_that_fills_up_leaves_nothing_and_the_next_attempt_succeeds(tmp_path, small_files):
    with pytest.raises(OSError, match="File too large"):
        write_new(tmp_path / "key", "more than ten bytes")
    left = os.listdir(tmp_path)

    write_new(tmp_path / "key", "ten bytes\n")

    assert left == []
    assert (tmp_path / "key").read_text() == "ten bytes\n"


def test_a_text_that_cannot_be_encoded_leaves_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_new(tmp_path / "key", "\ud800")

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("linked", [True, False], ids=["hard links", "no hard links"])
def test_what_is_there_is_never_replaced(tmp_path, monkeypatch, linked):
    if not linked:
        monkeypatch.setattr(os, "link", without_links)
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, "new")

    assert (tmp_path / "file").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", without_links)

    write_new(tmp_path / "key", "secret\n")

    assert (tmp_path / "key").read_text() == "secret\n"
    assert os.listdir(tmp_path) == ["key"]


def test_a_disk_that_fails_while_the_name_is_given_is_told(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "link", full)

    with pytest.raises(OSError, match="No space left on device"):
        write_new(tmp_path / "key", "secret\n")

    assert os.listdir(tmp_path) == []


def test_a_file_is_read_up_to_its_bound(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")

    assert read_bounded(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="longer than 4 bytes"):
        read_bounded(tmp_path / "file", 4)


def fifo(path):
    os.mkfifo(path)


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (fifo, "not a regular file"),
        (unix_socket, "No such device or address"),
        (os.mkdir, "Is a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    ],
    ids=["fifo", "socket", "folder", "device"],
)
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, make, said):
    make(tmp_path / "file")
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(OSError, match=said):
        open_regular(tmp_path / "file")
    with pytest.raises(OSError, match=said):
        read_bounded(tmp_path / "file", 5)

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pipe_is_read_where_it_is_allowed():
    reading, writing = os.pipe()
    os.write(writing, b"12345")
    os.close(writing)

    try:
        assert read_bounded(Path(f"/dev/fd/{reading}"), 5, pipes=True) == b"12345"
    finally:
        os.close(reading)
