"""A chain whose state and tree lie in one database: a block is there whole or not at all, whatever ends the process."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from attestrio.kit.sqlite import open_database
from attestrio.zkevm.executor import BlockEnv, ChainRules, Executor
from attestrio.zkevm.genesis import Account, begin_chain
from attestrio.zkevm.nodes_sqlite import NODES_SCHEMA, SqliteNodes
from attestrio.zkevm.smt import Smt
from attestrio.zkevm.state import State
from attestrio.zkevm.state_sqlite import STATE_SCHEMA, SqliteStore
from attestrio.zkevm.transactions import sign_legacy, unsigned_legacy
from execution_kit import ALICE, BOB, CHAIN_ID, COINBASE, COUNT, ETHER, GWEI, LOGGED, SECRET_OF, contract

SCHEMA = (STATE_SCHEMA + NODES_SCHEMA + "CREATE TABLE block (number INTEGER PRIMARY KEY, hash BLOB NOT NULL);",)
ACCOUNTS = {ALICE: Account(balance=ETHER), contract(1): Account(code=LOGGED + COUNT)}


class Killed(BaseException):
    """Nobody catches it, as nobody catches a kill."""


class Node:
    """What a sequencer keeps: state, nodes and its own rows about blocks, in one file."""

    def __init__(self, connection, path):
        self.db, self.nodes = connection, SqliteNodes(connection)
        self.state = State(SqliteStore(connection, path))
        self.executor = Executor(self.state, Smt(self.nodes), ChainRules(CHAIN_ID))
        if self.state.tip.number < 0:
            with self.block_written():
                self.note(begin_chain(self.state, self.executor.smt, ACCOUNTS, timestamp=1_000).hash())

    @contextmanager
    def block_written(self):
        try:
            with self.state.transaction():
                yield
                self.nodes.write(self.state.tip.root)
        finally:
            self.nodes.drop()

    def note(self, hash):
        self.db.execute("INSERT INTO block VALUES (?, ?)", (self.state.tip.number, hash))

    def hashes(self):
        return [bytes(hash) for (hash,) in self.db.execute("SELECT hash FROM block ORDER BY number")]

    def build(self, *, die=None):
        """One block with one transaction. Returns its hash."""
        tip = self.state.tip
        number = tip.number + 1
        unsigned = unsigned_legacy(
            chain_id=CHAIN_ID, nonce=self.state.nonce(ALICE), gas_price=GWEI, gas=100_000, to=contract(1)
        )
        self.executor.begin_block(BlockEnv(number, 1_000 + number, COINBASE, 9, self.hashes()[-1], tip.root))
        self.executor.apply(sign_legacy(unsigned, SECRET_OF[ALICE]), 255)
        with self.block_written():
            built = self.executor.finish_block()
            self.note(built.hash)
            if die:
                raise die
        return built.hash

    def unwind_to(self, number):
        with self.block_written():
            self.executor.unwind_to(number)
            self.db.execute("DELETE FROM block WHERE number > ?", (number,))


@contextmanager
def node(path):
    connection = open_database(path, application_id=0x7A6B, schema=SCHEMA)
    try:
        yield Node(connection, str(path))
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chain.sqlite"


def test_a_chain_goes_on_after_a_restart(path, tmp_path):
    with node(tmp_path / "other.sqlite") as other:
        wanted = [other.build() for _ in range(3)]

    found = []
    for _ in range(3):
        with node(path) as one:
            found.append(one.build())

    assert found == wanted


def test_a_kill_before_the_commit_leaves_the_block_before(path):
    with node(path) as one:
        first = one.build()
        with pytest.raises(Killed):
            one.build(die=Killed())
        tip = one.state.tip

    with node(path) as one:
        assert one.state.tip == tip
        assert one.hashes()[1:] == [first]
        assert one.state.storage(contract(1), 1) == 1
        assert one.state.balance(BOB) == 0


def test_it_goes_on_in_the_same_process_as_well(path, tmp_path):
    with node(tmp_path / "other.sqlite") as other:
        wanted = [other.build() for _ in range(2)]

    with node(path) as one:
        found = [one.build()]
        with pytest.raises(Killed):
            one.build(die=Killed())
        one.executor.drop_block()
        found.append(one.build())

    assert found == wanted


def test_going_back_and_building_again_gives_the_same_hashes_after_a_restart(path):
    with node(path) as one:
        built = [one.build() for _ in range(4)]
        one.unwind_to(1)

    with node(path) as one:
        again = [one.build() for _ in range(3)]

    assert again == built[1:]
