import errno
import os

import pytest
from attestrio.kit.disk import RealDisk, write_whole
from attestrio.sim.disk import SimDisk


@pytest.fixture(params=[RealDisk, SimDisk], ids=["real", "sim"])
def disk(request, tmp_path):
    return RealDisk() if request.param is RealDisk else SimDisk(tmp_path)


def test_a_file_grows_at_its_end_and_is_read_anywhere(disk, tmp_path):
    file = disk.open(tmp_path / "log")

    file.append(b"one")
    file.append(b"two")
    file.sync()
    disk.sync_folder(tmp_path)

    assert (file.size(), file.read(0, 6), file.read(2, 2), file.read(6, 1)) == (6, b"onetwo", b"et", b"")
    file.close()
    again = disk.open(tmp_path / "log")
    again.append(b"!")
    assert again.read(0, 100) == b"onetwo!"
    again.truncate(3)
    again.append(b"?")
    assert again.read(0, 100) == b"one?"
    again.close()


def test_only_the_owner_may_read(disk, tmp_path):
    disk.open(tmp_path / "log").close()

    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_followed(disk, tmp_path):
    (tmp_path / "log").symlink_to(tmp_path / "other")

    with pytest.raises(OSError) as refused:  # noqa: PT011  the number is looked at
        disk.open(tmp_path / "log")

    assert refused.value.errno == errno.ELOOP
    assert not (tmp_path / "other").exists()


def test_a_file_written_whole_replaces_the_former_and_leaves_no_draft(disk, tmp_path):
    (tmp_path / ".HALT.draft").write_bytes(b"what an earlier crash has left")

    write_whole(disk, tmp_path / "HALT", b"first, and longer")
    write_whole(disk, tmp_path / "HALT", b"second")

    assert os.listdir(tmp_path) == ["HALT"]
    assert disk.read(tmp_path / "HALT", 6) == b"second"


def test_what_is_too_long_is_refused(disk, tmp_path):
    write_whole(disk, tmp_path / "HALT", b"12345")

    with pytest.raises(OSError) as refused:  # noqa: PT011  the number is looked at
        disk.read(tmp_path / "HALT", 4)

    assert refused.value.errno == errno.EFBIG


def test_renamed_and_removed(disk, tmp_path):
    write_whole(disk, tmp_path / "a", b"a")

    disk.rename(tmp_path / "a", tmp_path / "b")
    disk.remove(tmp_path / "b")

    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        disk.remove(tmp_path / "b")


def test_a_closed_file_is_refused(disk, tmp_path):
    file = disk.open(tmp_path / "log")
    file.close()

    for act in (file.size, file.sync, lambda: file.read(0, 1), lambda: file.truncate(0)):
        with pytest.raises(ValueError, match="closed"):
            act()
