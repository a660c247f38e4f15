"""Values for the tests of roles: golden vectors, constants of the specification, random values of every type."""

import json
from pathlib import Path

from attestrio import roles
from hypothesis import strategies as st

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "attestation.json").read_text("utf-8"))
U64 = 2**64 - 1
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


# Section 1.6: two attesters and a validator that everybody knows.
SECRET_1 = roles.AttesterSecretKey(unhex("efc2431bd337d8ed1a16a21aa1f9916fade00cb9d1e849d493735df21e2d75ed"))
SECRET_2 = roles.AttesterSecretKey(unhex("899b0caa073f5db0a07e1fe953c94b05256f2c92fd03f0c33ef870622bc778ab"))
KEY_1, KEY_2 = SECRET_1.public(), SECRET_2.public()
VALIDATOR = roles.ValidatorPublicKey(
    unhex(
        "b14e3126668ae79e689a2d65c56522889a3812ef5433097c33bd7af601b073dcdddf46e188883aa381725c49e08f90c7"
        "05df1f78bf918e1978912cebeadff0d0084b1a4fe2ddee243e826348045f528803207f5de303c6a95bc1a701a190dbcf"
    )
)


def genesis(*, leader=None, attesters=((KEY_1, 10), (KEY_2, 20)), fork_number=3) -> roles.Genesis:
    """The genesis of section 1.6, or one that differs from it."""
    return roles.Genesis(
        chain_id=1337,
        fork_number=fork_number,
        first_block=300,
        protocol_version=1,
        validators=(roles.WeightedValidator(VALIDATOR, 1),),
        leader_selection=leader or roles.Sticky(VALIDATOR),
        attesters=roles.Committee(roles.WeightedAttester(key, weight) for key, weight in attesters)
        if attesters
        else None,
    )


def batch(number: int = 7, of: roles.Genesis | None = None) -> roles.Batch:
    return roles.Batch(roles.BatchNumber(number), roles.BatchHash(b"\xab" * 32), (of or genesis()).hash())


def certificate(of: roles.Batch, *secrets: roles.AttesterSecretKey) -> roles.BatchQC:
    return roles.BatchQC(of, {secret.public(): secret.sign_batch(of).signature for secret in secrets})


# Random values.

u64 = st.one_of(st.sampled_from([0, 1, 127, 128, 2**32, U64]), st.integers(0, U64))
digests = st.binary(min_size=32, max_size=32)
secrets = st.integers(1, ORDER - 1).map(lambda number: roles.AttesterSecretKey(number.to_bytes(32, "big")))
keys = secrets.map(lambda secret: secret.public())
batch_hashes = digests.map(roles.BatchHash)
genesis_hashes = digests.map(roles.GenesisHash)
batches = st.builds(roles.Batch, u64.map(roles.BatchNumber), batch_hashes, genesis_hashes)
signatures = st.builds(lambda secret, digest: secret.sign(roles.MsgHash(digest)), secrets, digests)
votes = st.builds(lambda secret, of: secret.sign_batch(of), secrets, batches)
certificates = st.builds(roles.BatchQC, batches, st.dictionaries(keys, signatures, max_size=4))
validator_keys = st.binary(min_size=96, max_size=96).map(roles.ValidatorPublicKey)
members = st.builds(roles.WeightedAttester, keys, st.integers(1, 2**60))
validators = st.builds(roles.WeightedValidator, validator_keys, st.integers(1, 2**60))
committees = st.lists(members, min_size=1, max_size=4, unique_by=lambda member: member.key).map(roles.Committee)
node_secrets = digests.map(roles.NodeSecretKey)


@st.composite
def geneses(draw):
    chosen = tuple(draw(st.lists(validators, min_size=1, max_size=3, unique_by=lambda validator: validator.key)))
    known = [validator.key for validator in chosen]
    return roles.Genesis(
        chain_id=draw(u64),
        fork_number=draw(u64),
        first_block=draw(u64),
        protocol_version=draw(st.integers(0, 2**32 - 1)),
        validators=chosen,
        leader_selection=draw(
            st.sampled_from([roles.RoundRobin(), roles.Weighted(), roles.Sticky(known[0]), roles.Rota(tuple(known))])
        ),
        attesters=draw(st.none() | committees),
    )


VALUES = {
    roles.AttesterPublicKey: keys,
    roles.Signature: signatures,
    roles.AggregateSignature: st.binary(min_size=48, max_size=48).map(roles.AggregateSignature),
    roles.BatchHash: batch_hashes,
    roles.GenesisHash: genesis_hashes,
    roles.MsgHash: digests.map(roles.MsgHash),
    roles.WeightedAttester: members,
    roles.WeightedValidator: validators,
    roles.ValidatorPublicKey: validator_keys,
    roles.Batch: batches,
    roles.SignedBatch: votes,
    roles.BatchQC: certificates,
    roles.SyncBatch: st.builds(
        roles.SyncBatch, u64.map(roles.BatchNumber), st.lists(st.binary(), max_size=4).map(tuple), st.binary()
    ),
    roles.Genesis: geneses(),
    roles.NodePublicKey: node_secrets.map(lambda secret: secret.public()),
    roles.NodeSignature: st.binary(min_size=64, max_size=64).map(roles.NodeSignature),
    roles.SignedSessionId: st.builds(lambda secret, session: secret.sign_session(session), node_secrets, st.binary()),
}
IN_TEXT = [kind for kind in (*VALUES, roles.AttesterSecretKey, roles.NodeSecretKey) if hasattr(kind, "from_text")]
IN_JSON = [kind for kind in VALUES if hasattr(kind, "from_json")]
VALUES_IN_TEXT = {**VALUES, roles.AttesterSecretKey: secrets, roles.NodeSecretKey: node_secrets}
