"""Names and types of the contracts are those of the chain, byte for byte."""

import pytest
from aligned_chain import CONTRACTS, OPERATORS, SENDER, AlignedChain, root_of
from attestrio.aggregator import surface
from attestrio.aggregator.surface import Contracts, wanted
from attestrio.bls import g1_from_words_untrusted, g2_from_words_untrusted
from attestrio.l1.api import Address
from attestrio.sim.artifacts import artifact

SELECTORS = {
    "RESPOND_TO_TASK": "ab21739a",
    "GET_OPERATOR_STATE": "3563b0d1",
    "GET_CHECK_SIGNATURES_INDICES": "4f739f74",
    "ALIGNED_AGGREGATOR": "4a5bf632",
    "BATCHES_STATE": "b099627e",
}
ERRORS = {
    "BatchAlreadySubmitted": "3102f10c",
    "BatchDoesNotExist": "2396d34e",
    "BatchAlreadyResponded": "9cf1aff2",
    "InsufficientFunds": "5c54305e",
    "InvalidQuorumThreshold": "a61eb88a",
    "SenderIsNotAggregator": "2cbe4195",
    "InvalidDepositAmount": "412ed242",
    "ExceededMaxRespondFee": "86fc507e",
    "InvalidAddress": "161eb542",
    "Error": "08c379a0",
}


@pytest.mark.parametrize("name", SELECTORS)
def test_a_function_has_the_selector_of_the_deployed_contract(name):
    assert getattr(surface, name).selector.hex() == SELECTORS[name]


def test_the_registration_of_a_key_has_the_topic_of_the_deployed_contract():
    topic = "e3fb6613af2e8930cf85d47fcf6db10192224a64c6cbe8023e0eee1ba3828041"

    assert surface.NEW_PUBKEY_REGISTRATION.topic.hex() == topic


@pytest.mark.parametrize("name", ERRORS)
def test_a_refusal_of_the_contract_is_known_by_name(name):
    assert surface.ERRORS.known[bytes.fromhex(ERRORS[name])].name == name


@pytest.mark.parametrize("name", SELECTORS)
def test_the_stand_in_contract_has_the_same_functions(name):
    ours = getattr(surface, name)

    assert artifact("ServiceManager").functions[ours.name].selector == ours.selector


def test_a_registered_key_comes_back_as_the_points_it_was():
    chain = AlignedChain()
    chain.register(OPERATORS[0])
    chain.mine()

    told = surface.NEW_PUBKEY_REGISTRATION.read_untrusted(chain.blocks[-1].logs[0])

    assert told["operator"] == OPERATORS[0].address
    assert g1_from_words_untrusted(*told["pubkeyG1"]) == OPERATORS[0].secret.public_g1()
    assert g2_from_words_untrusted(*told["pubkeyG2"]) == OPERATORS[0].secret.public_g2()


def test_the_filter_wants_tasks_answers_and_keys_and_nothing_else():
    chain = AlignedChain()
    chain.post(root_of(1))
    chain.post(root_of(2), event=surface.NEW_BATCH_V2)
    chain.answer(root_of(1), sender=SENDER)
    chain.register(OPERATORS[0])
    chain.post(root_of(3), address=Address(b"\x99" * 20))
    chain.mine()

    assert [wanted(CONTRACTS).matches(log) for log in chain.blocks[-1].logs] == [True, True, True, True, False]


def test_one_contract_in_all_four_places_is_asked_for_once():
    address = Address(b"\x01" * 20)

    assert wanted(Contracts(address, address, address, address)).addresses == (address,)
