"""The golden values of the specification, and what upstream's own tests hold."""

import pytest
from attestrio import roles
from attestrio.roles.batch import HASH_HEAD
from attestrio.roles.legacy import pre_genesis_message_hash, verify_pre_genesis
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from roles_values import (
    KEY_1,
    KEY_2,
    SECRET_1,
    SECRET_2,
    VALIDATOR,
    batch,
    certificate,
    committees,
    genesis,
    secrets,
    unhex,
)
from suite import examples

GENESIS = {
    "sticky": (roles.Sticky(VALIDATOR), "75afd7c28303360e1f53b34caa36b7fee439e66037df2997f0e740aff21c5956"),
    "weighted": (roles.Weighted(), "ffefd5b229ec9ca43ffc385acca83360b8be714a5eb735229f7016f6ec638898"),
}
# Section 1.6, the genesis upstream watches for accidental changes: the first three of its five secrets, and the
# validator keys of all five, written out because roles does not compute with BLS.
DETECTOR_SECRETS = [
    "27cb45b1670a1ae8d376a85821d51c7f91ebc6e32788027a84758441aaf0a987",
    "20132edc08a529e927f155e710ae7295a2a0d249f1b1f37726894d1d0d8f0d81",
    "0946901f0a6650284726763b12de5da0f06df0016c8ec2144cf6b1903f1979a6",
]
DETECTOR_VALIDATORS = [
    "82e3ad5e96f84a45c68bc26c7ca3d446662b568e889c7c021a8d372298dfaf9d6a92e3ff7d804fabf37dffaa712a95e5"
    "0b0fe15400b9af2ab5590cf18620eba0e75f8965a4c52033601c9282bdb040201534c08c31f7ae736565b95cc0c6518f",
    "8be44f91e3d62fb4e418f13a6063bae8fbdf31be141e44a05aa737259b1803a304753c9b4c04a1011d799b47726ca4ca"
    "127d1229a3d60c446cb8fe72bf99b5f7bdf3a600ba3a333fdfdebf71b24b8c5d8bdc8f59e5d75deb14736b16e99a0ec2",
    "a9b3c4d8e3560cdcc7e6dfcdf0ad421df88970e0ffeb681ae41441fefd44ecc835830b09d839a8bbf7dd4f6f2ad76917"
    "06f118ea810abbda2506392525b9f17710c77ab947e5e2fb9323006e4ff75a617c64d9d0ea351c1c13247da26a8e265e",
    "a73d1320525e157b31db5bfc5f4f2a01c72d7c50a5ff5416e7f43be823570fdec35ba5fa3dd905bf3ebee22da2341014"
    "14f0d5eb7a060d51a01bba3327afa3d2d29fea59b9bb5b461619f6813b8305eccddc9df3c547e853ac800ce15928b90f",
    "91c769200cc7b2ff9639079864bb0ca23708274f10b634fb5c8dda9e57e715e46a040c3ba4640706bab645159906a429"
    "03fe4d3f45cbf9da3f87b4037a18b498a77fbf3ebd33282dda22b9a251b3dd849a2a2d62bd54ffad74b3e5c00e6f46e9",
]


def test_the_two_known_attesters_have_their_published_keys():
    assert KEY_1.to_bytes().hex() == "038b2762ad382b35090bb42992a3f6442d638425ea5528e800ffe5a9f7d4185589"
    assert KEY_2.to_bytes().hex() == "0330914e41b225fb6f8518d5278f0c014a9861018c8054f9bb425bb6538538f1c9"


@pytest.mark.parametrize("leader", GENESIS)
def test_the_genesis_of_the_specification_has_its_hash(leader):
    mode, expected = GENESIS[leader]

    assert genesis(leader=mode).hash().to_bytes().hex() == expected


def test_the_genesis_without_attesters_has_its_hash():
    without = genesis(leader=roles.RoundRobin(), attesters=())

    assert without.hash().to_bytes().hex() == "785d233b9e492c7b423e4ec6967ba5f5a740a766d0b0d34950187e167efb152a"
    assert without.attesters is None


def test_the_genesis_of_the_specification_is_encoded_field_by_field():
    weighted_validator = "0a620a60" + VALIDATOR.to_bytes().hex() + "1001"
    leader = "22661264" + "0a620a60" + VALIDATOR.to_bytes().hex()
    numbers = "28b90a" + "3003" + "38ac02" + "4001"
    attesters = f"4a270a231221{KEY_2.to_bytes().hex()}1014" + f"4a270a231221{KEY_1.to_bytes().hex()}100a"

    assert genesis().encode().hex() == "1a66" + weighted_validator + leader + numbers + attesters


def test_the_batch_of_the_specification_has_its_message_and_hash():
    seven = batch(7)

    assert seven.encode_message().hex() == ("224a0807" + "12220a20" + "ab" * 32 + "1a220a20" + GENESIS["sticky"][1])
    assert seven.message_hash().to_bytes().hex() == "9b54133ac61a6d112f0a1ef58d3212a978d66f7900b26a2003383a8b1bc1fdd4"


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (
            SECRET_1,
            "8e4fc2e0caa54af9925f8104d2cd5b6b7d2e59cc46511ca8d648f329ab86c0a02656dcf5a27e441d42bb6847a3cd243d"
            "7d6c662263eb92df195fd4ebf3d930861b",
        ),
        (
            SECRET_2,
            "aecd0722561da27bcd3a77d290a790774269091176f8e6637fcd7c32ce8e6dbc4332d03f9d4fcbb79bfa7acd539d6a6e"
            "ebaf86b0adf725408e6128e06076d00f1b",
        ),
    ],
    ids=["K1", "K2"],
)
def test_both_attesters_sign_the_batch_as_published(secret, expected):
    assert secret.sign_batch(batch()).signature.to_bytes().hex() == expected


def test_the_vote_of_the_specification_is_184_bytes():
    vote = SECRET_1.sign_batch(batch())

    key, signature = KEY_1.to_bytes().hex(), vote.signature.to_bytes().hex()
    assert vote.encode().hex() == f"0a4c{batch().encode_message().hex()}12231221{key}1a431241{signature}"
    assert len(vote.encode()) == 184


def test_the_certificate_of_the_specification_lists_the_smaller_x_first():
    both = certificate(batch(), SECRET_1, SECRET_2)

    entries = "".join(
        f"226a0a231221{key.to_bytes().hex()}12431241{both.signatures[key].to_bytes().hex()}" for key in (KEY_2, KEY_1)
    )
    assert both.encode().hex() == "0a4a" + batch().encode().hex() + entries
    assert list(both.signatures) == [KEY_2, KEY_1]
    both.verify(genesis())


def test_one_of_the_two_attesters_is_not_enough():
    with pytest.raises(roles.NotEnoughSigners) as refused:
        certificate(batch(), SECRET_1).verify(genesis())

    assert (refused.value.got, refused.value.want) == (10, 25)


def test_a_sync_batch_with_an_empty_block_and_an_empty_proof_keeps_both():
    two = roles.SyncBatch(roles.BatchNumber(2), (b"\x01\x02", b""), b"")

    assert two.encode().hex() == "0802" + "12020102" + "1200" + "1a00"
    assert roles.SyncBatch.decode(two.encode()) == two


def detector_attesters() -> roles.Committee:
    return roles.Committee(
        roles.WeightedAttester(roles.AttesterSecretKey(unhex(secret)).public(), 10 + at)
        for at, secret in enumerate(DETECTOR_SECRETS)
    )


def test_the_attesters_of_the_change_detector_stand_in_the_order_02_03_02():
    attesters = detector_attesters()

    assert [(member.key.to_bytes().hex()[:10], member.weight) for member in attesters] == [
        ("020f5b27c7", 11),
        ("039ff41dc5", 12),
        ("02f6b866b4", 10),
    ]


@pytest.mark.parametrize(
    ("attesters", "expected"),
    [
        (None, "13a16cfa758c6716b4c4d40a5fe71023a016c7507b7893c7dc775f4420fc5d61"),
        (detector_attesters(), "47a52a5491873fa4ceb369a334b4c09833a06bd34718fb22e530ab4d70b4daf7"),
    ],
    ids=["without attesters", "with attesters"],
)
def test_the_genesis_of_the_change_detector_has_not_changed(attesters, expected):
    detector = roles.Genesis(
        chain_id=1337,
        fork_number=402598740274745173,
        first_block=8902834932452,
        protocol_version=1,
        validators=tuple(
            roles.WeightedValidator(roles.ValidatorPublicKey(unhex(key)), 10 + at)
            for at, key in enumerate(DETECTOR_VALIDATORS)
        ),
        leader_selection=roles.Weighted(),
        attesters=attesters,
    )

    assert detector.hash().to_bytes().hex() == expected


def test_the_signature_of_web3js_verifies_and_is_made_again():
    secret = roles.AttesterSecretKey(unhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"))
    digest = roles.MsgHash(unhex("88cfbd7e51c7a40540b233cf68b62ad1df3e92462f1c6018d6d67eae0f3b08f5"))
    r = "c9cf86333bcb065d140032ecaab5d9281bde80f21b9687b3e94161de42d51895"
    s = "727a108a0b8d101465414033c3f705a9c7b826e596766046ee1183dbc8aeaa68"

    told = roles.Signature.from_bytes(unhex(r + s + "25"))  # v as EIP-155 has it

    told.verify(digest, secret.public())
    assert secret.sign(digest) == told
    assert told.to_bytes().hex() == r + s + "1b"


@pytest.mark.parametrize("v", [0, 4, 27, 31, 35, 37, 255])
def test_every_spelling_of_recovery_id_0_becomes_v_27(v):
    raw = SECRET_1.sign_batch(batch()).signature.to_bytes()

    assert roles.Signature.from_bytes(raw[:64] + bytes([v])).to_bytes() == raw


def test_the_published_certificate_of_batch_0_verifies_in_the_form_without_a_genesis():
    zero = roles.BatchNumber(0)
    content = roles.BatchHash(unhex("1574fa776dec8da2071e5f20d71840bfcbd82c2bca9ad68680edfedde1710bc4"))
    published = roles.Signature.from_bytes(  # the nonce is deterministic, so the key of section 1.6 makes it again
        unhex(
            "d62b16f9acf519ca020db8c385c87d539a9a925e8130ed37dd358e42176901d1"
            "4757c3106e8b9546aab76d33d4b51386611571d4e90ceb5fc189d6958414b9241c"
        )
    )

    layout = unhex("22260800") + HASH_HEAD + content.to_bytes()

    assert pre_genesis_message_hash(zero, content).to_bytes() == roles.keccak256(layout)
    assert SECRET_1.sign(pre_genesis_message_hash(zero, content)) == published
    verify_pre_genesis(zero, content, KEY_1, published)


@pytest.mark.parametrize("number", [1, 127, 128, 2**64 - 1])
def test_the_form_without_a_genesis_counts_its_own_length(number):
    content = roles.BatchHash(b"\xcd" * 32)
    signature = SECRET_2.sign(pre_genesis_message_hash(roles.BatchNumber(number), content))

    verify_pre_genesis(roles.BatchNumber(number), content, KEY_2, signature)
    with pytest.raises(roles.BadSignature):
        verify_pre_genesis(roles.BatchNumber(number - 1), content, KEY_2, signature)


def test_a_vote_with_a_genesis_is_no_vote_from_before():
    seven = batch(7)
    vote = SECRET_1.sign_batch(seven)

    with pytest.raises(roles.BadSignature):
        verify_pre_genesis(seven.number, seven.hash, vote.key, vote.signature)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"testing", "5f16f4c7f149ac4f9510d9cf8cf384038ad348b3bcdc01915f95de12df9d1b02"),
        (b"123456", "c888c9ce9e098d5864d3ded6ebcc140a12142263bace3a23a36f9905f12bd64a"),
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
    ],
)
def test_keccak_is_the_one_of_ethereum(text, expected):
    assert roles.keccak256(text).hex() == expected


@settings(max_examples=examples(20), deadline=None)
@given(secret=secrets, other=secrets, message=st.binary(), changed=st.binary(min_size=1))
def test_a_signature_is_good_for_one_key_and_one_message(secret, other, message, changed):
    signature = secret.sign_bytes(message)

    signature.verify_bytes(message, secret.public())
    with pytest.raises(roles.BadSignature):
        signature.verify_bytes(message + changed, secret.public())
    if other != secret:
        with pytest.raises(roles.BadSignature):
            signature.verify_bytes(message, other.public())
    assert signature.to_bytes()[64] in (27, 28)


@settings(max_examples=examples(20), deadline=None)
@given(committee=committees, extra=secrets)
def test_the_genesis_hash_depends_on_who_attests_but_not_on_their_order(committee, extra):
    assume(extra.public() not in committee)
    one = genesis(attesters=[(member.key, member.weight) for member in committee])
    reversed_order = genesis(attesters=[(member.key, member.weight) for member in reversed(list(committee))])
    one_more = genesis(attesters=[*((member.key, member.weight) for member in committee), (extra.public(), 1)])

    assert one == reversed_order
    assert one != one_more
