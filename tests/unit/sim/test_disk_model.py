import random

import pytest
from attestrio.sim.disk_model import (
    SECTOR,
    Create,
    FileTree,
    Remove,
    Rename,
    Survival,
    Sync,
    SyncFolder,
    Truncate,
    Write,
)


def tree_of(*operations):
    tree = FileTree()
    for operation in operations:
        tree.do(operation)
    return tree


def rng(seed=0):
    return random.Random(seed)


def survivors(tree, survival, in_flight=None, seeds=200):
    """All that may be left."""
    return [tree.after(survival, rng(seed), in_flight).view() for seed in range(seeds)]


SYNCED = (Create("a", 1), Write(1, 0, b"old"), Sync(1), SyncFolder("."))


def test_what_was_synced_survives_every_crash():
    tree = tree_of(*SYNCED)

    for survival in Survival:
        assert all(left == {"a": b"old"} for left in survivors(tree, survival, seeds=20))
    assert tree.clean


def test_what_was_not_synced_is_lost_when_the_power_is_cut():
    tree = tree_of(*SYNCED, Write(1, 0, b"new"))

    assert tree.view() == {"a": b"new"}
    assert tree.after(Survival.LOST, rng()).view() == {"a": b"old"}
    assert not tree.clean


def test_a_killed_process_loses_nothing_and_a_power_cut_after_it_everything_that_was_never_synced():
    tree = tree_of(*SYNCED, Write(1, 0, b"new"))

    restarted = tree.after(Survival.KILLED, rng())

    assert restarted.view() == {"a": b"new"}
    assert restarted.after(Survival.LOST, rng()).view() == {"a": b"old"}
    restarted.do(Sync(1))
    assert restarted.after(Survival.LOST, rng()).view() == {"a": b"new"}


def test_a_torn_write_is_cut_at_a_sector_and_what_came_before_it_is_whole():
    tree = tree_of(*SYNCED, Write(1, 0, b"b" * SECTOR), Write(1, SECTOR, b"c" * SECTOR * 4))

    lengths = {len(left["a"]) for left in survivors(tree, Survival.TORN)}

    assert lengths == {SECTOR, 2 * SECTOR, 3 * SECTOR, 4 * SECTOR}


def test_sectors_begin_where_the_disk_has_them_not_where_the_write_does():
    tree = tree_of(*SYNCED, Write(1, 500, b"c" * 100))

    lengths = {len(left["a"]) for left in survivors(tree, Survival.TORN)}

    assert lengths == {3, 512}


def test_a_later_write_may_survive_without_an_earlier_one():
    tree = tree_of(*SYNCED, Write(1, 0, b"N"), Write(1, 2, b"N"))

    left = {each["a"] for each in survivors(tree, Survival.REORDERED)}

    assert left == {b"old", b"Nld", b"olN", b"NlN"}


def test_a_file_may_have_grown_without_its_bytes():
    tree = tree_of(*SYNCED, Write(1, 3, b"new"))

    left = {each["a"] for each in survivors(tree, Survival.REORDERED)}

    assert {b"old", b"oldnew", b"old\0\0\0"} < left
    assert {len(each) for each in left} == {3, 6}


def test_the_operation_under_way_may_be_done_in_part_or_not_at_all():
    tree = tree_of(*SYNCED)

    torn = {each["a"] for each in survivors(tree, Survival.TORN, Write(1, 0, b"n" * SECTOR * 2))}
    cut = {each["a"] for each in survivors(tree, Survival.REORDERED, Truncate(1, 0))}

    assert torn == {b"old", b"n" * SECTOR}
    assert cut == {b"old", b""}


def test_a_renamed_file_has_its_old_name_until_the_folder_is_synced():
    tree = tree_of(*SYNCED, Create("draft", 2), Write(2, 0, b"new"), Sync(2), Rename("draft", "a"))

    assert tree.view() == {"a": b"new"}
    assert tree.after(Survival.LOST, rng()).view() == {"a": b"old"}
    left = survivors(tree, Survival.REORDERED)
    assert {tuple(sorted(each.items())) for each in left} == {
        (("a", b"old"),),
        (("a", b"old"), ("draft", b"new")),
        (("a", b"new"),),
    }
    tree.do(SyncFolder("."))
    assert tree.after(Survival.LOST, rng()).view() == {"a": b"new"}


def test_a_removed_file_may_come_back_until_the_folder_is_synced():
    tree = tree_of(*SYNCED, Remove("a"))

    assert tree.view() == {}
    assert tree.after(Survival.LOST, rng()).view() == {"a": b"old"}
    tree.do(SyncFolder("."))
    assert tree.after(Survival.LOST, rng()).view() == {}


def test_a_synced_file_without_a_synced_name_is_gone():
    tree = tree_of(Create("a", 1), Write(1, 0, b"old"), Sync(1))

    assert tree.after(Survival.LOST, rng()).view() == {}


def test_syncing_another_folder_does_not_help():
    tree = tree_of(Create("a", 1), Sync(1), SyncFolder("elsewhere"))

    assert tree.after(Survival.LOST, rng()).view() == {}


def test_a_journal_keeps_its_order_across_folders():
    tree = tree_of(Create("one/a", 1), Create("two/b", 2), Create("one/c", 3), SyncFolder("two"))

    assert set(tree.after(Survival.LOST, rng()).view()) == {"one/a", "two/b"}


def test_what_a_failed_sync_should_have_written_is_not_written_by_the_next_one():
    left = set()
    for seed in range(100):
        tree = tree_of(*SYNCED, Write(1, 0, b"N"), Write(1, 2, b"N"))
        tree.fail_sync(1, rng(seed))
        tree.do(Sync(1))
        left.add(tree.after(Survival.LOST, rng()).view()["a"])

    assert left == {b"old", b"Nld", b"olN", b"NlN"}


def test_a_crash_does_not_change_the_disk_it_is_asked_of():
    tree = tree_of(*SYNCED, Write(1, 0, b"new"), Create("b", 2))

    for survival in Survival:
        tree.after(survival, rng()).do(Write(1, 0, b"???"))

    assert tree.view() == {"a": b"new", "b": b""}
    assert tree.after(Survival.LOST, rng()).view() == {"a": b"old"}


@pytest.mark.parametrize("size", [0, 2, 3, 5])
def test_the_size_is_known_without_the_bytes(size):
    tree = tree_of(*SYNCED, Truncate(1, size), Write(1, 4, b"x"), Truncate(1, size))

    assert tree.size(1) == size == len(tree.view()["a"])


def test_the_files_of_one_part_come_with_what_waits_for_them():
    tree = tree_of(*SYNCED, Create("b", 2), Write(2, 0, b"b"), Sync(2))

    mine = tree.only("b")
    mine.do(SyncFolder("."))

    assert mine.after(Survival.LOST, rng()).view() == {"b": b"b"}
