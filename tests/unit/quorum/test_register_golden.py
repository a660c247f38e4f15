"""The 30 scripts printed by the reference, step by step: results, and the whole state after each step.

One difference is wanted: a certificate of the reference also carries votes for another number with the same hash.
Ours leaves those signers out, and its weight still reaches the threshold.
"""

import json
from pathlib import Path

import pytest
from attestrio.quorum import BadVoteSignature, DuplicateEntry, VoteRegister, VotesRefused, WrongGenesis
from attestrio.roles import AttesterPublicKey, Committee, GenesisHash, SignedBatch, WeightedAttester

GOLDEN = Path(__file__).parents[2] / "golden" / "attestation.json"
SCRIPTS = json.loads(GOLDEN.read_text())["vote_registry_scripts"]
REFUSALS = {
    "duplicate entry": DuplicateEntry,
    "vote for batch with different genesis": WrongGenesis,
    "PublicKey mismatch": BadVoteSignature,
}


def committee_of(script) -> Committee:
    members = [(bytes.fromhex(member["key"]), member["weight"]) for member in script["committee"]]
    return Committee([WeightedAttester(AttesterPublicKey.from_bytes(key), weight) for key, weight in members])


def state_of(register: VoteRegister) -> dict:
    return {
        "min_batch_number": register.min_batch_number,
        "support": [[b.number, b.hash.to_bytes().hex(), weight] for b, weight in register.support.items()],
        "votes": sorted(
            [key.to_bytes().hex(), vote.batch.number, vote.batch.hash.to_bytes().hex()]
            for key, vote in register.votes.items()
        ),
    }


def expected_state(state) -> dict:
    return {
        "min_batch_number": int(state["min_batch_number"]),
        "support": [[int(number), digest, int(weight)] for number, digest, weight in state["support"]],
        "votes": sorted([key, int(number), digest] for key, number, digest in state["votes"]),
    }


def expected_signers(state) -> set[str]:
    """Those the reference lists, without the ones who voted for another number."""
    number = int(state["quorum"]["number"])
    voted = {key: int(voted) for key, voted, _ in state["votes"]}
    return {key for key in state["quorum"]["signers"] if voted[key] == number}


def update_like(register, committee, genesis, step):
    """Play an update, and compare what it answered."""
    votes = [SignedBatch.decode(bytes.fromhex(vote["signed_proto"])) for vote in step["votes"]]
    result = step["result"]
    if not result["ok"]:
        refusal = next(error for text, error in REFUSALS.items() if result["error"].startswith(text))
        with pytest.raises(VotesRefused) as raised:
            register.update(committee, genesis, votes)
        assert type(raised.value) is refusal
        return
    added = register.update(committee, genesis, votes)
    last = result["last_added"]
    assert added.added == result["added"]
    assert added.weight_added == result["weight_added"]
    assert added.last_added == (None if last is None else int(last))


@pytest.mark.parametrize("script", SCRIPTS, ids=[f"script {i}" for i in range(len(SCRIPTS))])
def test_register_goes_through_the_same_states_as_the_reference(script):
    committee, genesis = committee_of(script), GenesisHash(bytes.fromhex(script["genesis"]))
    register = VoteRegister()

    for step in script["steps"]:
        if step["op"] == "set_min":
            register.set_min_batch_number(int(step["number"]))
        else:
            update_like(register, committee, genesis, step)

        assert state_of(register) == expected_state(step["state"])
        certificate, wanted = register.find_quorum(committee, genesis), step["state"]["quorum"]
        assert (certificate is None) == (wanted is None)
        if certificate is not None:
            assert certificate.batch.number == int(wanted["number"])
            assert certificate.batch.hash.to_bytes().hex() == wanted["hash"]
            assert {key.to_bytes().hex() for key in certificate.signatures} == expected_signers(step["state"])
            certificate.verify_with(genesis, committee)


def test_there_are_thirty_scripts():
    assert len(SCRIPTS) == 30
