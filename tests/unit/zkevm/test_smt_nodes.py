"""Nodes of the tree, in memory and in SQLite: what is written, what is forgotten, what a sweep leaves."""

from __future__ import annotations

from contextlib import closing

import apsw
import pytest
from attestrio.errors import StorageUnusable
from attestrio.kit.sqlite import open_database
from attestrio.zkevm import MemoryNodes, Smt
from attestrio.zkevm.nodes_sqlite import NODES_SCHEMA, SqliteNodes

KEYS = [(at * 7919 % 251, at, 0, at << 40) for at in range(40)]


def database(folder):
    return open_database(folder / "state.db", application_id=0x41545354, schema=(NODES_SCHEMA,))


@pytest.fixture
def connection(tmp_path):
    opened = database(tmp_path)
    yield opened
    opened.close(True)


@pytest.fixture(params=["memory", "sqlite"])
def nodes(request):
    return MemoryNodes() if request.param == "memory" else SqliteNodes(request.getfixturevalue("connection"))


def kept(nodes, tree):
    """The tree is written, and everything else forgotten."""
    written = nodes.write(tree.root_bytes)
    nodes.drop()
    return written


def everything(tree, keys=KEYS):
    return [tree.get(key) for key in keys]


def test_a_tree_that_was_written_is_there_after_the_rest_is_forgotten(nodes):
    tree = Smt(nodes)
    tree.apply({key: at + 1 for at, key in enumerate(KEYS)})

    kept(nodes, tree)

    assert everything(Smt(nodes, tree.root_bytes)) == list(range(1, 41))


def test_what_the_blocks_of_a_batch_replaced_is_not_written(nodes):
    tree = Smt(nodes)
    for block in range(20):
        tree.apply(dict.fromkeys(KEYS, block + 1))
    once = Smt(MemoryNodes())
    once.apply(dict.fromkeys(KEYS, 20))

    written = kept(nodes, tree)

    assert written == once.nodes.write(once.root_bytes)
    assert len(nodes) == written


def test_the_next_batch_writes_only_what_it_has_changed(nodes):
    tree = Smt(nodes)
    tree.apply(dict.fromkeys(KEYS, 1))
    first = kept(nodes, tree)

    tree.apply({KEYS[3]: 2})
    second = kept(nodes, tree)

    assert 1 < second <= tree.depth + 1 < first
    assert everything(tree) == [1, 1, 1, 2] + [1] * 36


def test_a_dropped_block_leaves_the_tree_before_it(nodes):
    tree = Smt(nodes)
    tree.apply(dict.fromkeys(KEYS, 1))
    kept(nodes, tree)
    before = tree.root_bytes

    tree.apply(dict.fromkeys(KEYS, 2))
    nodes.drop()

    with pytest.raises(StorageUnusable, match="lacks the node"):
        everything(tree)
    assert everything(Smt(nodes, before)) == [1] * 40


def test_every_root_that_was_written_is_a_snapshot(nodes):
    tree, roots = Smt(nodes), []
    for batch in range(5):
        tree.apply(dict.fromkeys(KEYS[batch:], batch + 1))
        kept(nodes, tree)
        roots.append(tree.root_bytes)

    for batch, root in enumerate(roots):
        assert everything(Smt(nodes, root), KEYS[batch:]) == [batch + 1] * (40 - batch)


def test_a_sweep_leaves_the_trees_that_are_kept_and_nothing_else(nodes):
    tree, roots = Smt(nodes), []
    for batch in range(4):
        tree.apply(dict.fromkeys(KEYS[::2], batch + 1) | dict.fromkeys(KEYS[1::2], 9))
        kept(nodes, tree)
        roots.append(tree.root_bytes)
    before = len(nodes)

    gone = nodes.prune([roots[1], roots[3]])

    assert len(nodes) == before - gone
    assert everything(Smt(nodes, roots[1])) == [2, 9] * 20
    assert everything(Smt(nodes, roots[3])) == [4, 9] * 20
    for root in (roots[0], roots[2]):
        with pytest.raises(StorageUnusable, match=root.hex()):
            everything(Smt(nodes, root))


def test_a_pruned_tree_is_had_again_by_setting_its_values(nodes):
    tree = Smt(nodes)
    tree.apply(dict.fromkeys(KEYS, 1))
    kept(nodes, tree)
    old = tree.root_bytes
    tree.apply({KEYS[0]: 0, KEYS[1]: 7})
    kept(nodes, tree)
    nodes.prune([tree.root_bytes])

    tree.apply({KEYS[0]: 1, KEYS[1]: 1})
    kept(nodes, tree)

    assert tree.root_bytes == old
    assert everything(Smt(nodes, old)) == [1] * 40


@pytest.mark.parametrize("roots", [[], [bytes(32)]], ids=["none", "empty"])
def test_when_no_tree_is_kept_everything_goes(nodes, roots):
    tree = Smt(nodes)
    tree.apply(dict.fromkeys(KEYS, 1))
    written = kept(nodes, tree)

    assert nodes.prune(roots) == written
    assert len(nodes) == 0


def test_no_sweep_while_a_block_is_under_way(nodes):
    tree = Smt(nodes)
    tree.apply({KEYS[0]: 1})

    with pytest.raises(ValueError, match="1 nodes are collected"):
        nodes.prune([tree.root_bytes])


# --- in a database


def test_what_is_rolled_back_is_written_again_by_the_next_try(tmp_path, connection):
    nodes = SqliteNodes(connection)
    tree = Smt(nodes)
    tree.apply(dict.fromkeys(KEYS, 1))
    connection.execute("BEGIN")
    nodes.write(tree.root_bytes)
    connection.execute("ROLLBACK")

    nodes.drop()
    again = Smt(nodes)
    again.apply(dict.fromkeys(KEYS, 1))
    kept(nodes, again)

    assert again.root_bytes == tree.root_bytes
    with closing(database(tmp_path)) as other:
        assert everything(Smt(SqliteNodes(other), tree.root_bytes)) == [1] * 40


def test_another_process_finds_the_tree(tmp_path, connection):
    nodes = SqliteNodes(connection)
    tree = Smt(nodes)
    tree.apply(dict.fromkeys(KEYS, 1))
    kept(nodes, tree)

    with closing(database(tmp_path)) as other:
        assert everything(Smt(SqliteNodes(other), tree.root_bytes)) == [1] * 40


def test_nodes_are_found_however_few_are_remembered(connection, monkeypatch):
    monkeypatch.setattr("attestrio.zkevm.nodes_sqlite.REMEMBERED", 3)
    nodes = SqliteNodes(connection)
    tree = Smt(nodes)
    tree.apply(dict.fromkeys(KEYS, 1))
    kept(nodes, tree)

    assert everything(tree) == [1] * 40
    assert len(nodes._recent) <= 3
    assert len(nodes._older) <= 3


def test_a_file_that_cannot_be_written_is_named(tmp_path, connection):
    tree = Smt(SqliteNodes(apsw.Connection(connection.filename, flags=apsw.SQLITE_OPEN_READONLY)))
    tree.apply({KEYS[0]: 1})

    with pytest.raises(StorageUnusable, match=r"state\.db cannot be opened for writing"):
        tree.nodes.write(tree.root_bytes)
