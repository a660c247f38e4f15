"""What the operator of a simulated main node does when batches are given up."""

import json

import pytest
from attestrio.protection.commands import CommandBox, Verb
from attestrio.protection.epochs import require_successor
from attestrio.roles import AttesterSecretKey, Committee, Genesis, RoundRobin, WeightedAttester, WeightedValidator
from attestrio.sim.chain import SimChain
from attestrio.sim.cluster import VALIDATOR
from attestrio.sim.rollup import SimRollup, next_fork

GENESIS = Genesis(
    chain_id=270,
    fork_number=3,
    first_block=0,
    protocol_version=1,
    validators=(WeightedValidator(VALIDATOR, 1),),
    leader_selection=RoundRobin(),
    attesters=Committee([WeightedAttester(AttesterSecretKey.from_bytes(b"\x01" * 32).public(), 1)]),
)


@pytest.fixture
def rollup(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "genesis.json").write_text(json.dumps(GENESIS.to_json()))
    chain = SimChain(GENESIS.hash())
    chain.seal(10)
    return SimRollup(chain, tmp_path / "genesis.json", CommandBox(tmp_path / "data"))


def test_next_fork_is_the_same_chain_and_may_follow():
    following = next_fork(GENESIS, 8)

    require_successor(GENESIS, following)
    assert (following.fork_number, following.first_block) == (4, 8)
    assert (following.chain_id, following.attesters) == (GENESIS.chain_id, GENESIS.attesters)


def test_revert_changes_chain_and_genesis_file_and_ends_the_main_nodes_epoch(rollup):
    following = rollup.revert(7)

    command = rollup.main.take()
    assert rollup.genesis() == following == next_fork(GENESIS, 8)
    assert (rollup.chain.genesis, rollup.chain.first, rollup.chain.height.value) == (following.hash(), 8, 7)
    assert (command.verb, command.why) == (Verb.END_EPOCH, "reverted to batch 7")
    assert sorted(path.name for path in rollup.genesis_file.parent.iterdir()) == ["data", "genesis.json"]


def test_revert_to_a_batch_that_is_not_there_changes_nothing(rollup):
    with pytest.raises(ValueError, match="revert to 10"):
        rollup.revert(10)

    assert rollup.genesis() == GENESIS
    assert rollup.chain.genesis == GENESIS.hash()
    assert rollup.main.take() is None
