"""ServiceManager.sol: responses and their signatures. A pairing takes py-evm 0.6 s."""

import pytest
from attestrio.bls import SecretKey, map_to_curve, sum_g1
from attestrio.roles.keccak import keccak256
from evm import PRICE, Deployed, Operator, Refused, batch_id, contract_g2, refusal, response, words

pytestmark = pytest.mark.slow

ROOT = b"\x11" * 32
LIMIT = 10**15
CHECK = "BLSSignatureChecker.checkSignatures: "


class Network:
    """A service manager with an aggregator, four operators of 100 each, and one task."""

    def __init__(self):
        self.manager = Deployed("ServiceManager", b"\x99" * 20)
        self.aggregator, self.batcher = self.manager.accounts[4], self.manager.accounts[1]
        self.manager.send("setAggregator", self.aggregator)
        self.operators = [Operator.number(n) for n in range(4)]
        for operator in self.operators:
            operator.registered(self.manager)
        self.id = batch_id(ROOT, self.batcher)
        self.block = self.manager.send("createNewTask", ROOT, "", LIMIT, by=self.batcher, value=3 * LIMIT).block

    def signed_by(self, signers, **changes):
        return response(self.manager, self.operators, signers, self.id, self.block, **changes)

    def respond(self, params, **how):
        return self.manager.send("respondToTaskV2", ROOT, self.batcher, params, by=self.aggregator, **how)


@pytest.fixture
def network():
    return Network()


def test_a_batch_that_everybody_signed_is_verified_and_paid(network):
    had = network.manager.balance(network.aggregator)

    sent = network.respond(network.signed_by(network.operators))

    left = network.manager.call("balanceOf", network.batcher)
    paid = 3 * LIMIT - left
    assert sent.events == [
        ("BatchVerified", {"batchMerkleRoot": ROOT, "senderAddress": network.batcher}),
        ("BatcherBalanceUpdated", {"batcher": network.batcher, "newBalance": left}),
    ]
    assert network.manager.call("batchesState", network.id) == (network.block, True, LIMIT)
    assert network.manager.balance(network.aggregator) == had - sent.gas * sent.price + paid
    assert 70_000 * PRICE < paid <= LIMIT
    with pytest.raises(Refused) as again:
        network.respond(network.signed_by(network.operators))
    assert refusal(again) == ("BatchAlreadyResponded", (network.id,))


def test_three_quarters_of_the_stake_suffice_and_half_does_not(network):
    with pytest.raises(Refused) as half:
        network.respond(network.signed_by(network.operators[:2]))
    assert refusal(half) == ("InvalidQuorumThreshold", (20_000, 26_800))

    network.respond(network.signed_by(network.operators[1:]))
    assert network.manager.call("batchesState", network.id)[1] is True


def test_the_stake_that_counts_is_that_of_the_task(network):
    """An operator that left, one whose stake grew and one that came do not change an older task."""
    manager, operators = network.manager, network.operators
    manager.send("removeOperator", operators[3].address)
    manager.send("setOperator", operators[0].address, words(operators[0].key), contract_g2(operators[0].secret), 10**9)
    Operator.number(9, stake=10**9).registered(manager)

    network.respond(network.signed_by(operators[1:]))

    assert manager.call("batchesState", network.id)[1] is True


def test_a_signature_of_another_message_is_invalid(network):
    wrong = sum_g1([one.secret.sign(b"\xff" * 32) for one in network.operators])

    with pytest.raises(Refused) as invalid:
        network.respond(network.signed_by(network.operators, signature=wrong))

    assert refusal(invalid) == ("Error", (CHECK + "signature is invalid",))


def test_who_is_not_listed_has_to_have_signed(network):
    """Keys of all four in G2, one of them listed as absent: the keys do not belong together."""
    params = list(network.signed_by(network.operators[1:]))
    params[3] = contract_g2(*[one.secret for one in network.operators])

    with pytest.raises(Refused) as invalid:
        network.respond(tuple(params))

    assert refusal(invalid) == ("Error", (CHECK + "signature is invalid",))


def test_a_fee_above_the_limit_is_refused_at_the_price_that_makes_it(network):
    with pytest.raises(Refused) as dear:
        network.respond(network.signed_by(network.operators), price=10**10)

    name, (limit, cost) = refusal(dear)
    assert (name, limit) == ("ExceededMaxRespondFee", LIMIT)
    assert cost > LIMIT
    assert network.manager.call("batchesState", network.id) == (network.block, False, LIMIT)


def test_signed_stake_is_told_with_a_record_of_who_did_not_sign(network):
    params = network.signed_by(network.operators[1:])
    network.manager.mine()

    stake, record = network.manager.call("checkSignatures", network.id, network.block, params)

    assert stake == ((300,), (400,))
    assert record == keccak256(network.block.to_bytes(4, "big") + network.operators[0].id)


@pytest.mark.parametrize("message", [bytes(range(32)), b"\xff" * 32, bytes(32)])
def test_a_message_is_hashed_to_the_same_point_as_here(network, message):
    """A signature over the point that we compute is one over the point that the contract computes."""
    secret = SecretKey(12345)

    paired, valid = network.manager.call(
        "trySignatureAndApkVerification", message, words(secret.public_g1()), contract_g2(secret),
        words(secret.sign(message)),
    )  # fmt: skip

    assert map_to_curve(message) == SecretKey(1).sign(message)
    assert (paired, valid) == (True, True)


def test_a_verified_batch_includes_its_proofs_and_no_others(network):
    leaves = [(bytes([n]) * 32, b"\2" * 32, b"\3" * 32, b"\4" * 20) for n in range(4)]
    hashes = [keccak256(b"".join(leaf)) for leaf in leaves]
    nodes = [keccak256(hashes[0] + hashes[1]), keccak256(hashes[2] + hashes[3])]
    root = keccak256(nodes[0] + nodes[1])
    manager = network.manager
    block = manager.send("createNewTask", root, "", LIMIT, by=network.batcher).block
    signed = response(manager, network.operators, network.operators, batch_id(root, network.batcher), block)
    manager.send("respondToTaskV2", root, network.batcher, signed, by=network.aggregator)

    def included(leaf, path, index, sender=network.batcher):
        function = "verifyBatchInclusion(bytes32,bytes32,bytes32,bytes20,bytes32,bytes,uint256,address)"
        return manager.call(function, *leaf, root, path, index, sender)

    assert included(leaves[2], hashes[3] + nodes[0], 2)
    assert not included(leaves[2], hashes[3] + nodes[0], 1)
    assert not included(leaves[1], hashes[3] + nodes[0], 2)
    assert not included(leaves[2], hashes[3] + nodes[0] + b"\0", 2)
    assert not included(leaves[2], hashes[3] + nodes[0], 2, sender=network.aggregator)


@pytest.mark.parametrize("seconds_absent", [0, 1])
def test_non_signers_are_listed_in_order_and_once(network, seconds_absent):
    params = list(network.signed_by(network.operators[2:]))
    bitmaps, keys, stakes = params[0], params[1], params[7][0]
    order = [1, 0] if seconds_absent == 0 else [0, 0]
    params[0], params[1] = [bitmaps[n] for n in order], [keys[n] for n in order]
    params[7] = [[stakes[n] for n in order]]

    with pytest.raises(Refused) as unsorted:
        network.respond(tuple(params))

    assert refusal(unsorted) == ("Error", (CHECK + "nonSignerPubkeys not sorted",))


def test_the_key_of_the_quorum_has_to_be_the_registered_one(network):
    params = list(network.signed_by(network.operators))
    params[2] = [words(network.operators[0].key)]

    with pytest.raises(Refused) as other:
        network.respond(tuple(params))

    assert refusal(other) == ("Error", (CHECK + "key of the quorum is not the registered one",))


def test_a_key_outside_the_subgroup_fails_and_does_not_burn_the_gas(network):
    params = list(network.signed_by(network.operators))
    params[3] = ((1, 1), (1, 1))

    with pytest.raises(Refused) as failed:
        network.respond(tuple(params))

    assert refusal(failed) == ("Error", (CHECK + "pairing failed",))
