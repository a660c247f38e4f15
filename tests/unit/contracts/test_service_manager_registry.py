"""ServiceManager.sol: who is an operator now, and who was at some block."""

import pytest
from attestrio.bls import encode_g1, sum_g1
from attestrio.roles.keccak import keccak256
from evm import Deployed, Operator, Refused, contract_g2, refusal, words

QUORUM = b"\0"


@pytest.fixture
def manager():
    return Deployed("ServiceManager", b"\x99" * 20)


@pytest.fixture
def operators():
    return [Operator.number(n, stake=100 + n) for n in range(3)]


def state(manager, block):
    (quorum,) = manager.call("getOperatorState", manager.address, QUORUM, block)
    return [(bytes.fromhex(address[2:]), id, stake) for address, id, stake in quorum]


def rows(operators):
    return [(one.address, one.id, one.stake) for one in operators]


def hints(manager, block, *ids):
    return manager.call("getCheckSignaturesIndices", manager.address, block, QUORUM, list(ids))


def test_registration_shows_both_keys_of_an_operator(manager, operators):
    sent = operators[0].registered(manager)

    g2 = contract_g2(operators[0].secret)
    assert sent.events == [
        (
            "NewPubkeyRegistration",
            {"operator": operators[0].address, "pubkeyG1": words(operators[0].key), "pubkeyG2": g2},
        ),
        ("OperatorSocketUpdate", {"operatorId": operators[0].id, "socket": ""}),
    ]


def test_an_operator_is_unknown_then_registered_then_gone(manager, operators):
    operator = operators[0]
    before = manager.call("getOperatorStatus", operator.address)
    operator.registered(manager)
    registered = manager.call("getOperatorStatus", operator.address)
    manager.send("removeOperator", operator.address)

    assert (before, registered, manager.call("getOperatorStatus", operator.address)) == (0, 1, 2)
    assert manager.call("getOperatorId", operator.address) == operator.id
    assert manager.call("getOperatorFromId", operator.id) == operator.address


def test_the_state_is_that_of_the_block_asked_for(manager, operators):
    blocks = [one.registered(manager).block for one in operators]
    left = manager.send("removeOperator", operators[0].address).block
    more = manager.send("setOperator", operators[1].address, words(operators[1].key),
                        contract_g2(operators[1].secret), 7).block  # fmt: skip

    assert state(manager, blocks[0] - 1) == []
    assert state(manager, blocks[1]) == rows(operators[:2])
    assert state(manager, left - 1) == rows(operators)
    assert state(manager, left) == rows(operators[1:])
    assert state(manager, more) == [(operators[1].address, operators[1].id, 7), *rows(operators[2:])]


def test_an_index_is_good_for_the_blocks_of_its_entry_alone(manager, operators):
    first, second = [one.registered(manager).block for one in operators[:2]]
    manager.mine()

    *_, totals, stakes = hints(manager, first, operators[0].id)
    assert manager.call("getTotalStakeAtBlockNumberFromIndex", 0, first, totals[0]) == operators[0].stake
    assert manager.call("getStakeAtBlockNumberAndIndex", 0, first, operators[0].id, stakes[0][0]) == 100
    with pytest.raises(Refused) as late:
        manager.call("getTotalStakeAtBlockNumberFromIndex", 0, second, totals[0])
    with pytest.raises(Refused) as early:
        manager.call("getTotalStakeAtBlockNumberFromIndex", 0, first, totals[0] + 1)
    assert refusal(late) == ("Error", ("index is of an earlier block",))
    assert refusal(early) == ("Error", ("index is of a later block",))


def test_the_key_of_the_quorum_is_the_sum_of_those_in_it(manager, operators):
    blocks = [one.registered(manager).block for one in operators]
    blocks.append(manager.send("removeOperator", operators[1].address).block)
    members = [operators[:1], operators[:2], operators, [operators[0], operators[2]]]

    for block, inside in zip(blocks, members, strict=True):
        (index,) = hints(manager, block)[1]
        wanted = keccak256(encode_g1(sum_g1([one.key for one in inside])))[:24]
        assert manager.call("getApkHashAtBlockNumberAndIndex", 0, block, index) == wanted


def test_a_bitmap_says_whether_an_operator_was_in_the_quorum(manager, operators):
    joined = operators[0].registered(manager).block
    left = manager.send("removeOperator", operators[0].address).block

    (index,) = hints(manager, joined, operators[0].id)[0]
    assert manager.call("getQuorumBitmapAtBlockNumberByIndex", operators[0].id, joined, index) == 1
    assert manager.call("getQuorumBitmapAtBlockNumberByIndex", operators[0].id, left, index + 1) == 0
    with pytest.raises(Refused):
        hints(manager, left, operators[0].id)
    with pytest.raises(Refused):
        hints(manager, joined - 1, operators[0].id)


def test_an_operator_that_comes_back_has_its_key_and_a_new_entry(manager, operators):
    operators[0].registered(manager)
    manager.send("removeOperator", operators[0].address)

    back = operators[0].registered(manager)

    assert [name for name, _ in back.events] == ["OperatorSocketUpdate"]
    assert state(manager, back.block) == rows(operators[:1])


def test_a_key_belongs_to_one_operator_for_ever(manager, operators):
    operators[0].registered(manager)
    thief = Operator(operators[1].address, operators[0].secret, 1)
    changed = Operator(operators[0].address, operators[1].secret, 1)

    with pytest.raises(Refused) as stolen:
        thief.registered(manager)
    with pytest.raises(Refused) as other:
        changed.registered(manager)

    assert refusal(stolen) == ("Error", ("key of another operator",))
    assert refusal(other) == ("Error", ("operator has another key",))


def test_only_one_who_is_registered_leaves(manager, operators):
    with pytest.raises(Refused) as unknown:
        manager.send("removeOperator", operators[0].address)

    assert refusal(unknown) == ("Error", ("operator not registered",))


def test_there_is_one_quorum(manager):
    with pytest.raises(Refused) as other:
        manager.call("getOperatorState", manager.address, b"\1", 1)

    assert refusal(other) == ("Error", ("no such quorum",))


def test_every_registry_is_at_one_address(manager):
    names = ("serviceManager", "blsApkRegistry", "stakeRegistry", "indexRegistry")

    assert {manager.call(name) for name in names} == {manager.address}
