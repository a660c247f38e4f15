"""Poseidon compiled and in plain Python, a block's work on the state tree, and the room its nodes take.

Both versions hash the same random states in turn, in the thread's own time; ratios are of medians. "Inside" is what a
tree does: many hashes in one call. A block changes four slots of a tree and makes a block info root, as an empty block
of chain 779 does. Memory is what the objects take that a `MemoryNodes` keeps, the file what SQLite has on disk. Exit 1
if a target is missed, as the ratios are where there is no compiled version.
"""

from __future__ import annotations

import random
import sys
import tempfile
from array import array
from collections.abc import Callable
from pathlib import Path
from statistics import median

from _floor import Figure, arguments, cpu, report
from attestrio.kit.sqlite import open_database
from attestrio.zkevm import BlockFacts, MemoryNodes, Smt, block_info_root, poseidon, poseidon_plain
from attestrio.zkevm.nodes import KeptNodes
from attestrio.zkevm.nodes_sqlite import NODES_SCHEMA, SqliteNodes
from attestrio.zkevm.poseidon import P, Words
from attestrio.zkevm.poseidon_plain import BRANCH

COMPILED = {"one by one": 15, "inside": 20}  # times plain Python
PLAIN = 3_000  # hashes a second: chain 779 with every root takes a million, and has five minutes
AT_ONCE = 2_000
MILLION = 1_000_000

Version = tuple[Callable[..., Words], Callable[..., list[bytes]]]


def versions() -> dict[str, Version]:
    found: dict[str, Version] = {"plain": (poseidon_plain.hash12, poseidon_plain.run)}
    if poseidon.IMPLEMENTATION == "native":
        from attestrio.zkevm import poseidon_native

        found["native"] = (poseidon_native.hash12, poseidon_native.run)
    return found


def one_by_one(version: Version, states: list[tuple[int, ...]]) -> Callable[[], object]:
    hash12 = version[0]
    pairs = [(state[:8], state[8:]) for state in states]

    def work() -> None:
        for inputs, capacity in pairs:
            hash12(inputs, capacity)

    return work


def inside(version: Version, states: list[tuple[int, ...]]) -> Callable[[], object]:
    """As many branches, in one call."""
    literals = [poseidon.bytes_of(half) for state in states for half in (state[:4], state[4:8])]
    steps = array("i", [part for at in range(len(states)) for part in (BRANCH, 2 * at, 2 * at + 1)])
    return lambda: version[1](literals, steps)


def speeds(rounds: int, count: int) -> list[Figure]:
    draw = random.Random("poseidon")
    states = [tuple(draw.randrange(P) for _ in range(12)) for _ in range(count)]
    found, figures = versions(), []
    for what, kind in (("one by one", one_by_one), ("inside", inside)):
        seconds: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(rounds):
            for name, version in found.items():
                some = states if name == "native" else states[: count // 10]
                seconds[name].append(cpu(kind(version, some)) / len(some))
        each = {name: median(values) for name, values in seconds.items()}
        goals = {"plain": PLAIN}
        figures += [
            Figure(f"{name}, {what}", 1 / each[name], "hashes/s", goals.get(name)) for name in sorted(each)
        ]  # fmt: skip
        figures.append(
            Figure(f"compiled against plain, {what}", each["plain"] / each.get("native", 1e9), "x", COMPILED[what])
        )
    return figures


def keys(count: int, seed: str) -> list[Words]:
    draw = random.Random(seed)
    return [(draw.randrange(P), draw.randrange(P), draw.randrange(P), draw.randrange(P)) for _ in range(count)]


def grown(nodes: KeptNodes, leaves: list[Words]) -> Smt:
    tree = Smt(nodes)
    for start in range(0, len(leaves), AT_ONCE):
        tree.apply(dict.fromkeys(leaves[start : start + AT_ONCE], 1 << 70))
    nodes.write(tree.root_bytes)
    nodes.drop()
    return tree


def block_work(version: Version, blocks: int, leaves: int) -> float:
    """Milliseconds for a block."""
    poseidon._run, poseidon._hash12 = version[1], version[0]
    known = keys(leaves, "leaves")
    tree = grown(MemoryNodes(), known)

    def work() -> None:
        for number in range(blocks):
            tree.apply(dict.fromkeys(known[4 * number % leaves :][:4], number + 1 << 60))
            block_info_root(BlockFacts(tree.root_bytes, b"\7" * 20, number, 1 << 50, number, bytes(32), bytes(32), 0))

    return cpu(work) / blocks * 1e3


def room(leaves: int) -> list[Figure]:
    known = keys(leaves, "room")
    nodes = MemoryNodes()
    tree = grown(nodes, known)
    table = nodes._nodes
    memory = (sys.getsizeof(table) + sum(sys.getsizeof(part) for node in table.items() for part in node)) / len(nodes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "nodes.db")
        connection = open_database(path, application_id=0x41545342, schema=(NODES_SCHEMA,))
        stored = SqliteNodes(connection)
        assert grown(stored, known).root_bytes == tree.root_bytes
        count = len(stored)
        connection.close()
        disk = path.stat().st_size / count
    return [
        Figure("memory of a million nodes", memory * MILLION / 2**20, "MiB", 500, at_least=False),
        Figure("SQLite file of a million nodes", disk * MILLION / 2**20, "MiB", 500, at_least=False),
        Figure("nodes in that tree", len(nodes), "nodes"),
    ]


def main() -> int:
    asked = arguments(__doc__ or "")
    figures = room(2_000 if asked.quick else 100_000)
    figures += speeds(asked.rounds, 1_000 if asked.quick else 20_000)
    for name, version in versions().items():
        work = block_work(version, 5 if asked.quick else 100, 500 if asked.quick else 3_000)
        figures.append(Figure(f"{name}: roots of a block that is empty", work, "ms"))
    return report("poseidon", figures, as_json=asked.json)


if __name__ == "__main__":
    sys.exit(main())
