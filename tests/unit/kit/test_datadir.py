import os
import stat

import pytest
from attestrio.errors import DataDirInUse, StorageUnusable
from attestrio.kit.datadir import DataDir, DataDirForeign, DataDirUnwritable


def test_a_missing_directory_is_made_for_its_owner_only(tmp_path):
    with DataDir.open(tmp_path / "a" / "b") as data:
        assert stat.S_IMODE(os.stat(data.path).st_mode) == 0o700
        assert (data / "LOCK").read_text() == f"{os.getpid()}\n"
        assert data / "x.db" == tmp_path / "a" / "b" / "x.db"


def test_a_second_holder_is_told_who_the_first_is(tmp_path):
    with DataDir.open(tmp_path), pytest.raises(DataDirInUse, match=f"in use by process {os.getpid()}") as caught:
        DataDir.open(tmp_path)

    assert caught.value.exit_code == 5
    assert str(tmp_path) in str(caught.value)


def test_a_closed_directory_can_be_taken_again(tmp_path):
    first = DataDir.open(tmp_path)
    first.close()
    first.close()

    with DataDir.open(tmp_path) as second:
        assert second.path == tmp_path


def test_the_lock_of_a_killed_process_does_not_hold(tmp_path):
    DataDir.open(tmp_path).close()
    (tmp_path / "LOCK").write_text("999999999\n")

    with DataDir.open(tmp_path):
        assert (tmp_path / "LOCK").read_text() == f"{os.getpid()}\n"


def test_configuration_and_keys_put_there_beforehand_are_welcome(tmp_path):
    (tmp_path / "node.toml").write_text("")
    (tmp_path / "keys").mkdir()

    with DataDir.open(tmp_path) as data:
        assert (data / "node.toml").exists()


def test_a_directory_another_program_locks_is_left_as_it_was(tmp_path):
    (tmp_path / "LOCK").touch()
    (tmp_path / "CURRENT").write_text("MANIFEST-000001\n")

    with pytest.raises(DataDirForeign, match="choose another directory") as caught:
        DataDir.open(tmp_path)

    assert caught.value.exit_code == 4
    assert sorted(os.listdir(tmp_path)) == ["CURRENT", "LOCK"]
    assert (tmp_path / "LOCK").read_text() == ""


@pytest.mark.parametrize("text", ["attestrio data directory, layout 2", "geth"])
def test_a_directory_of_another_layout_is_refused(tmp_path, text):
    (tmp_path / "ATTESTRIO").write_text(text)

    with pytest.raises(DataDirForeign, match=text):
        DataDir.open(tmp_path)


def test_a_start_killed_while_marking_the_directory_is_taken_up_again(tmp_path):
    (tmp_path / "ATTESTRIO").touch()
    (tmp_path / "LOCK").touch()

    with DataDir.open(tmp_path):
        assert "layout 1" in (tmp_path / "ATTESTRIO").read_text()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_marker_that_is_no_file_is_refused_and_nobody_waits_for_it(tmp_path, make):
    make(tmp_path / "ATTESTRIO")

    with pytest.raises(DataDirForeign, match="its ATTESTRIO is not a regular file"):
        DataDir.open(tmp_path)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_path_that_is_no_directory_is_refused(tmp_path, name):
    (tmp_path / "file").touch()

    with pytest.raises(DataDirUnwritable, match="file"):
        DataDir.open(tmp_path / name)


def test_a_read_only_file_system_is_refused():
    with pytest.raises(StorageUnusable, match="/proc/attestrio") as caught:
        DataDir.open("/proc/attestrio")

    assert caught.value.exit_code == 4


def test_a_lock_that_points_elsewhere_is_not_followed(tmp_path):
    DataDir.open(tmp_path / "data").close()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "data" / "LOCK").unlink()
    (tmp_path / "data" / "LOCK").symlink_to(victim)

    with pytest.raises(DataDirUnwritable):
        DataDir.open(tmp_path / "data")

    assert victim.read_text() == "precious"
