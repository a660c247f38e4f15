"""How a chain begins, and files that do not say it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.errors import ChainFileUnreadable, GenesisRootWrong, InjectedRefused, OtherGenesis
from attestrio.sequencer.genesis import Genesis, Injected, begin, check_genesis, inject
from attestrio.sequencer.leaves import MemoryLeaves
from attestrio.stream import BatchType
from sequencer_kit import BOB, CHAIN_A, blocks_a, contents, genesis_a, own_chain, own_rules, tx

FILES = {
    "accounts": {"0x" + "11" * 20: {"balance": "5", "nonce": "1", "code": "0x6001", "storage": {"0x01": "0x02"}}},
    "chain": {"chainId": 779},
    "conf": {"root": "0x" + "22" * 32, "timestamp": 9, "gasLimit": 3, "difficulty": 4},
}


def files(folder, **changed):
    paths = []
    for name, content in (FILES | changed).items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(content if isinstance(content, str) else json.dumps(content))
    return paths


def test_a_genesis_is_read_from_the_three_files_of_upstream(tmp_path):
    genesis = Genesis.read(*files(tmp_path))

    account = genesis.accounts[b"\x11" * 20]
    assert (genesis.chain_id, genesis.timestamp, genesis.gas_limit, genesis.difficulty) == (779, 9, 3, 4)
    assert genesis.root == b"\x22" * 32
    assert (account.balance, account.nonce, account.code, account.storage) == (5, 1, b"\x60\x01", {1: 2})


@pytest.mark.parametrize(
    "changed",
    [
        {"chain": {}},
        {"conf": {"root": "0x00"}},
        {"conf": "{"},
        {"chain": "[]"},
        {"conf": {"timestamp": 1, "root": 5}},
        {"accounts": {"0xzz": {}}},
        {"accounts": {"0x11": []}},
        {"chain": {"chainId": "many"}},
    ],
)
def test_files_that_do_not_say_how_a_chain_begins_are_refused(tmp_path, changed):
    with pytest.raises(ChainFileUnreadable):
        Genesis.read(*files(tmp_path, **changed))


def test_a_file_that_is_not_there_is_named(tmp_path):
    paths = files(tmp_path)
    paths[1].unlink()

    with pytest.raises(ChainFileUnreadable, match=r"chain\.json"):
        Genesis.read(*paths)


def test_the_genesis_block_is_upstreams(tmp_path):
    with ChainDb.open(tmp_path / "chain.db") as db:
        batch = begin(db, genesis_a())

        assert (batch.number, batch.closed, batch.head.kind) == (0, True, BatchType.REGULAR)
        assert db.tip.hash == blocks_a()[0].block.hash
        assert db.chain_id == CHAIN_A


def test_accounts_that_do_not_give_the_configured_root_begin_nothing(tmp_path):
    genesis = Genesis(CHAIN_A, 1, root=b"\x22" * 32)

    with ChainDb.open(tmp_path / "chain.db") as db:
        with pytest.raises(GenesisRootWrong):
            begin(db, genesis)

        assert (db.tip, db.last_batch, db.chain_id) == (None, None, None)
        assert begin(db, genesis_a()).number == 0


@pytest.mark.parametrize(
    "changed", [{"timestamp": 1}, {"gas_limit": 9}, {"difficulty": 9}, {"accounts": {}, "root": None}]
)
def test_a_genesis_that_is_no_longer_that_of_the_chain_is_told(tmp_path, changed):
    with ChainDb.open(tmp_path / "chain.db") as db:
        begin(db, genesis_a())
        before = contents(db)
        check_genesis(db, genesis_a())

        with pytest.raises(OtherGenesis) as caught:
            check_genesis(db, replace(genesis_a(), **changed))

        assert caught.value.want == db.block_hash(0)
        assert contents(db) == before


def test_a_chain_begins_once(tmp_path):
    with own_chain(tmp_path / "chain.db") as db:
        before = contents(db)

        with pytest.raises(RuntimeError):
            begin(db, genesis_a())

        assert contents(db) == before


def test_an_injected_transaction_that_fails_leaves_the_chain_without_batch_1(tmp_path):
    with ChainDb.open(tmp_path / "chain.db") as db:
        begin(db, genesis_a())
        builder = BatchBuilder(db, own_rules(), MemoryLeaves())

        with pytest.raises(InjectedRefused, match="balance"):
            inject(builder, Injected(tx(0, value=1), genesis_a().timestamp, bytes(32), bytes(32)))

        assert db.last_batch.number == 0
        assert builder.batch is None


def test_the_injected_batch_has_the_coinbase_that_l1_names(tmp_path):
    with own_chain(tmp_path / "chain.db") as db:
        db.unwind_to_end_of(0)
        injected = Injected(tx(0, sender=BOB), 2_000, b"\1" * 32, b"\2" * 32, coinbase=b"\x77" * 20)

        block, batch = inject(BatchBuilder(db, own_rules(data_budget=400), MemoryLeaves()), injected)

        assert block.header.coinbase == b"\x77" * 20
        assert (block.ger, block.l1_hash, block.l1_index, block.delta) == (b"\1" * 32, b"\2" * 32, 0, 2_000)
        assert (batch.head.kind, batch.closed, batch.counters) == (BatchType.INJECTED, True, None)
