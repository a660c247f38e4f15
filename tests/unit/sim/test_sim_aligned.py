"""What the devnet of Aligned verifies."""

import pytest
from attestrio.operator.batch import Entry, ProvingSystem
from attestrio.roles.keccak import keccak256
from attestrio.sim.aligned import HashVerifier


@pytest.mark.parametrize(("proof", "good"), [(keccak256(b"program"), True), (keccak256(b"other"), False), (b"", False)])
async def test_a_proof_is_good_if_it_is_the_hash_of_its_program(proof, good):
    entry = Entry(ProvingSystem.SP1, proof, None, None, b"program", bytes(20))

    assert await HashVerifier().verify(entry) is good
