"""Which genesis may follow, and a status that belongs to one that may not."""

import pytest
import trio
from attestrio.errors import SafetyError, SourceError
from attestrio.protection.epochs import (
    GenesisNotFollowed,
    KnowsGenesis,
    NotASuccessor,
    SuccessorCheck,
    require_successor,
)
from attestrio.roles import (
    AttesterSecretKey,
    BatchNumber,
    Committee,
    Genesis,
    RoundRobin,
    ValidatorPublicKey,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.status import AttestationStatus


def genesis(fork=3, chain=270, weight=1):
    key = AttesterSecretKey.from_bytes(b"\x01" * 32).public()
    return Genesis(
        chain_id=chain,
        fork_number=fork,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(ValidatorPublicKey.from_bytes(bytes(96)), 1),),
        leader_selection=RoundRobin(),
        attesters=Committee([WeightedAttester(key, weight)]),
    )


NOW = genesis()


@pytest.mark.parametrize("told", [genesis(4), genesis(9), genesis(4, weight=2)], ids=["next", "later", "committee"])
def test_higher_fork_of_the_same_chain_may_follow(told):
    require_successor(NOW, told)


@pytest.mark.parametrize(
    "told",
    [NOW, genesis(3, weight=2), genesis(2), genesis(0), genesis(4, chain=271)],
    ids=["itself", "same fork", "lower", "first", "other chain"],
)
def test_nothing_else_may_follow(told):
    with pytest.raises(NotASuccessor) as refused:
        require_successor(NOW, told)

    assert isinstance(refused.value, SafetyError)
    assert (refused.value.current, refused.value.told) == (NOW, told)
    for part in (told.hash().to_text(), f"fork {told.fork_number}", f"chain {told.chain_id}", "cannot follow"):
        assert part in str(refused.value)


class MainNode:
    """Tells one status and shows one genesis, which may be an error; `shown` counts how often it was asked for."""

    def __init__(self, status, shows=None):
        self.status, self.shows, self.shown = status, shows, 0

    async def attestation_status(self):
        await trio.lowlevel.checkpoint()
        if isinstance(self.status, SourceError):
            raise self.status
        return self.status

    async def consensus_genesis(self):
        await trio.lowlevel.checkpoint()
        self.shown += 1
        if isinstance(self.shows, SourceError):
            raise self.shows
        return self.shows


def status(of):
    return AttestationStatus(of.hash(), BatchNumber(7))


async def ask(main_node):
    return await SuccessorCheck(main_node, NOW, main_node).attestation_status()


@pytest.mark.parametrize("told", [None, status(NOW)], ids=["none", "own"])
async def test_status_of_the_own_genesis_passes_and_nobody_is_asked_for_more(told):
    main_node = MainNode(told)

    assert await ask(main_node) == told
    assert main_node.shown == 0


async def test_status_of_a_genesis_that_may_follow_passes():
    assert await ask(MainNode(status(genesis(4)), genesis(4))) == status(genesis(4))


@pytest.mark.parametrize(
    ("told", "shows", "why"),
    [
        (genesis(4), None, "the main node does not show it"),
        (genesis(4), genesis(5), "the main node does not show it"),
        (genesis(4), NOW, "the main node does not show it"),
        (genesis(2), genesis(2), "fork 2"),
        (genesis(3, weight=2), genesis(3, weight=2), "cannot follow"),
        (genesis(4, chain=271), genesis(4, chain=271), "chain 271"),
    ],
    ids=["none shown", "other shown", "old shown", "lower", "same fork", "other chain"],
)
async def test_status_of_a_genesis_that_may_not_follow_is_no_answer(told, shows, why):
    with pytest.raises(GenesisNotFollowed, match=why) as refused:
        await ask(MainNode(status(told), shows))

    assert isinstance(refused.value, SourceError)  # so the status runner keeps its number and asks again


@pytest.mark.parametrize(
    "main_node", [MainNode(SourceError("down")), MainNode(status(genesis(4)), SourceError("down"))]
)
async def test_main_node_that_fails_while_it_is_asked_is_an_error_of_the_source(main_node):
    with pytest.raises(SourceError, match="down"):
        await ask(main_node)


def test_who_can_show_a_genesis_is_known_by_its_method():
    assert isinstance(MainNode(None), KnowsGenesis)
    assert not isinstance(object(), KnowsGenesis)
