"""A genesis and scripted main nodes, for the tests of this folder."""

from attestrio.roles import AttesterSecretKey, Committee, Genesis, RoundRobin, WeightedAttester, WeightedValidator
from attestrio.sim.cluster import VALIDATOR

KEY = AttesterSecretKey.from_bytes(b"\x07" * 32)


def genesis_of(fork=0, chain_id=270, weight=1):
    return Genesis(
        chain_id=chain_id,
        fork_number=fork,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(VALIDATOR, 1),),
        leader_selection=RoundRobin(),
        attesters=Committee([WeightedAttester(KEY.public(), weight)]),
    )
