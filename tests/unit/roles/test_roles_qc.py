"""Certificates: what is checked, in which order, and what can be added."""

from collections.abc import Mapping
from threading import Thread

import pytest
from attestrio import roles
from roles_values import KEY_1, KEY_2, SECRET_1, SECRET_2, batch, certificate, genesis

STRANGER = roles.AttesterSecretKey((77).to_bytes(32, "big"))
SIX = [roles.AttesterSecretKey(number.to_bytes(32, "big")) for number in range(1, 7)]
OF_SIX = genesis(attesters=[(secret.public(), 1) for secret in SIX])


@pytest.mark.parametrize("count", range(7))
def test_five_of_six_equal_attesters_are_enough(count):
    qc = certificate(batch(of=OF_SIX), *SIX[:count])

    if count >= 5:
        qc.verify(OF_SIX)
    else:
        with pytest.raises(roles.NotEnoughSigners) as refused:
            qc.verify(OF_SIX)
        assert (refused.value.got, refused.value.want) == (count, 5)


def test_a_certificate_of_another_fork_with_the_same_keys_is_refused():
    other = genesis(fork_number=4)
    qc = certificate(batch(of=other), SECRET_1, SECRET_2)

    qc.verify(other)
    with pytest.raises(roles.GenesisMismatch) as refused:
        qc.verify(genesis())
    assert (refused.value.got, refused.value.want) == (other.hash(), genesis().hash())


def test_a_genesis_with_half_of_the_attesters_is_another_chain():
    half = genesis(attesters=[(secret.public(), 1) for secret in SIX[:3]])

    with pytest.raises(roles.GenesisMismatch):
        certificate(batch(of=OF_SIX), *SIX).verify(half)


def test_a_chain_without_attesters_has_no_certificates():
    nobody = genesis(attesters=())

    with pytest.raises(roles.AttestersNotInGenesis):
        certificate(batch(of=nobody), SECRET_1).verify(nobody)


def test_rules_are_checked_in_order_genesis_members_weight_signatures():
    here, other = genesis(), genesis(fork_number=4)
    wrong = SECRET_1.sign_batch(batch(8)).signature
    everything_wrong = roles.BatchQC(batch(of=other), {STRANGER.public(): wrong})
    stranger_and_light = roles.BatchQC(batch(), {STRANGER.public(): wrong, KEY_1: wrong})
    light_and_wrong = roles.BatchQC(batch(), {KEY_1: wrong})
    wrong_only = roles.BatchQC(batch(), {KEY_1: wrong, KEY_2: SECRET_2.sign_batch(batch()).signature})

    with pytest.raises(roles.GenesisMismatch):
        everything_wrong.verify(here)
    with pytest.raises(roles.BadSignersSet) as stranger:
        stranger_and_light.verify(here)
    with pytest.raises(roles.NotEnoughSigners):
        light_and_wrong.verify(here)
    with pytest.raises(roles.BadSignature) as bad:
        wrong_only.verify(here)

    assert stranger.value.stranger == STRANGER.public()
    assert bad.value.key == KEY_1


def test_verify_with_takes_a_committee_that_is_not_in_the_genesis():
    qc = certificate(batch(), SECRET_1)
    alone = roles.Committee([roles.WeightedAttester(KEY_1, 1)])

    qc.verify_with(genesis().hash(), alone)
    with pytest.raises(roles.AttestersNotInGenesis):
        qc.verify_with(genesis().hash(), None)


def test_adding_a_vote_makes_a_new_certificate():
    empty = roles.BatchQC(batch())

    both = empty.add(SECRET_1.sign_batch(batch()), genesis()).add(SECRET_2.sign_batch(batch()), genesis())

    assert len(empty.signatures) == 0
    assert both == certificate(batch(), SECRET_2, SECRET_1)
    both.verify(genesis())


def test_adding_is_refused_by_the_first_rule_that_is_broken():
    qc = certificate(batch(), SECRET_1)

    with pytest.raises(roles.AttestersNotInGenesis):
        qc.add(SECRET_1.sign_batch(batch(8)), genesis(attesters=()))
    with pytest.raises(roles.InconsistentMessages):
        qc.add(SECRET_1.sign_batch(batch(8)), genesis())
    with pytest.raises(roles.AlreadySigned):
        qc.add(SECRET_1.sign_batch(batch()), genesis())
    with pytest.raises(roles.SignerNotInCommittee):
        qc.add(STRANGER.sign_batch(batch()), genesis())


def test_a_certificate_does_not_follow_the_dictionary_it_was_made_from():
    signatures = {KEY_1: SECRET_1.sign_batch(batch()).signature}
    qc = roles.BatchQC(batch(), signatures)

    signatures.clear()

    assert list(qc.signatures) == [KEY_1]
    with pytest.raises(TypeError):
        qc.signatures[KEY_2] = qc.signatures[KEY_1]


def test_a_mapping_that_is_no_dictionary_is_kept_and_gives_the_same_certificate():
    full = certificate(batch(), SECRET_1, SECRET_2)
    lent = Lent(full.signatures)

    qc = roles.BatchQC(batch(), lent)

    assert qc.signatures is lent
    assert qc == full
    assert hash(qc) == hash(full)
    assert qc.encode() == full.encode()
    assert qc.to_json() == full.to_json()
    qc.verify(genesis())


class Lent(Mapping):
    """Signatures in the order in which they came, the other way round."""

    def __init__(self, signatures):
        self._signatures = dict(reversed(list(signatures.items())))

    def __getitem__(self, key):
        return self._signatures[key]

    def __iter__(self):
        return iter(self._signatures)

    def __len__(self):
        return len(self._signatures)


def test_a_vote_verifies_for_its_key_and_batch_only():
    vote = SECRET_1.sign_batch(batch())

    vote.verify()
    with pytest.raises(roles.BadSignature):
        roles.SignedBatch(vote.batch, KEY_2, vote.signature).verify()
    with pytest.raises(roles.BadSignature):
        roles.SignedBatch(batch(8), KEY_1, vote.signature).verify()


def test_verifying_in_two_threads_mixes_nothing_up():
    good = [secret.sign_batch(batch(at)) for at, secret in enumerate(SIX * 10)]
    bad = [roles.SignedBatch(vote.batch, STRANGER.public(), vote.signature) for vote in good]
    answers = {}

    def check(name, votes):
        answers[name] = [roles.recovers_to(vote.signature, vote.batch.message_hash(), vote.key) for vote in votes]

    threads = [Thread(target=check, args=("good", good)), Thread(target=check, args=("bad", bad))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == {"good": [True] * 60, "bad": [False] * 60}
