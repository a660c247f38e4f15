"""A secret key shows itself to nobody who does not ask for it by name."""

import copy
import dataclasses
import logging
import pickle
import traceback

import msgspec
import pytest
from attestrio import roles
from attestrio.errors import PeerError
from roles_values import ORDER, genesis

RAW = bytes.fromhex("efc2431bd337d8ed1a16a21aa1f9916fade00cb9d1e849d493735df21e2d75ed")
KINDS = [roles.AttesterSecretKey, roles.NodeSecretKey]
HEX = RAW.hex()

secret_kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def said(exc: BaseException) -> str:
    """Everything a log with a traceback, causes and arguments included, would show of an error."""
    return "".join(traceback.format_exception(exc)) + repr(exc) + str(exc.args) + repr(vars(exc))


@secret_kinds
def test_a_secret_shows_its_public_half_only(kind, caplog):
    secret = kind.from_bytes(RAW)

    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("%s %r", secret, secret)
    shown = [repr(secret), str(secret), f"{secret}", repr([secret]), repr({"key": secret}), caplog.text]

    for text in shown:
        assert HEX not in text
        assert f"<secret for {secret.public().to_text()}>" in text


@secret_kinds
def test_a_secret_is_not_pickled(kind):
    with pytest.raises(TypeError, match="not pickled") as refused:
        pickle.dumps(kind.from_bytes(RAW))

    assert HEX not in said(refused.value)


@secret_kinds
def test_a_secret_inside_a_dataclass_is_not_dumped(kind):
    @dataclasses.dataclass
    class Holder:
        secret: object

    dumped = dataclasses.asdict(Holder(kind.from_bytes(RAW)))

    assert HEX not in repr(dumped)
    assert RAW not in repr(dumped).encode("latin-1")


@secret_kinds
def test_a_secret_is_not_serialised_by_msgspec(kind):
    with pytest.raises(TypeError):
        msgspec.json.encode(kind.from_bytes(RAW))


@secret_kinds
def test_a_copy_is_the_secret_itself(kind):
    secret = kind.from_bytes(RAW)

    assert copy.copy(secret) is secret
    assert copy.deepcopy(secret) is secret


@secret_kinds
def test_a_secret_gives_itself_only_when_asked(kind):
    secret = kind.from_bytes(RAW)

    assert secret.to_bytes() == RAW
    assert secret.to_text() == kind.PREFIX + HEX
    assert secret == kind.from_text(secret.to_text())
    assert secret != kind.from_bytes(RAW[::-1])
    assert secret != secret.to_text()


BAD_TEXTS = {
    "wrong prefix": "x{prefix}{hex}",
    "no prefix": "{hex}",
    "public prefix": "attester:public:secp256k1:{hex}",
    "odd": "{prefix}{hex}0",
    "long": "{prefix}{hex}00",
    "short": "{prefix}{short}",
    "blank": "{prefix}{hex} ",
    "newline": "{prefix}{hex}\n",
    "0x": "{prefix}0x{hex}",
    "colon": "{prefix}:{hex}",
    "not ascii": "{prefix}{hex}é",
    "twice": "{prefix}{prefix}{hex}",
}
READERS = [
    *KINDS,
    roles.AttesterPublicKey,
    roles.NodePublicKey,
    roles.Signature,
    roles.NodeSignature,
    roles.BatchHash,
    roles.ValidatorPublicKey,
]


@pytest.mark.parametrize("how", BAD_TEXTS)
@pytest.mark.parametrize("reader", READERS, ids=lambda kind: kind.__name__)
def test_no_reader_repeats_a_secret_that_was_pasted_wrongly(reader, how):
    text = BAD_TEXTS[how].format(prefix=reader.PREFIX, hex=HEX, short=HEX[:-2])

    if how == "public prefix" and reader is roles.AttesterPublicKey:
        text += "00"  # 33 bytes, none of them a key's first byte
    with pytest.raises(PeerError) as refused:
        reader.from_text(text)

    for part in (HEX, HEX[:16], HEX[-16:], HEX.upper(), repr(RAW)[2:-1]):
        assert part not in said(refused.value)


@pytest.mark.parametrize("reader", READERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("raw", [RAW + b"\0", RAW[:-1], b"\x04" + RAW, b"\x02" + RAW[1:]], ids=range(4))
def test_no_reader_repeats_bytes_of_the_wrong_length(reader, raw):
    with pytest.raises(PeerError) as refused:
        reader.from_bytes(raw + b"\0" * (len(raw) == reader.SIZE) if hasattr(reader, "SIZE") else raw)

    assert HEX[2:18] not in said(refused.value)
    assert repr(RAW[4:12])[2:-1] not in said(refused.value)


@pytest.mark.parametrize("field", ["chainId", "leaderSelection", "attesters"])
def test_json_with_a_secret_in_it_is_refused_by_the_name_of_the_field(field):
    with pytest.raises(roles.Malformed, match=field) as refused:
        roles.Genesis.from_json({**genesis().to_json(), field: HEX})

    assert HEX not in said(refused.value)


@pytest.mark.parametrize(
    "number", [0, ORDER, ORDER + 1, 2**256 - 1], ids=["zero", "order", "above the order", "greatest"]
)
def test_a_number_that_is_no_scalar_is_no_attester_key(number):
    with pytest.raises(roles.BadKey) as refused:
        roles.AttesterSecretKey.from_bytes(number.to_bytes(32, "big"))

    if number:
        assert hex(number)[2:] not in said(refused.value)


@pytest.mark.parametrize("size", [0, 23, 24, 31, 33, 64])
@secret_kinds
def test_a_secret_has_exactly_32_bytes(kind, size):
    with pytest.raises(roles.WrongLength) as refused:
        kind.from_bytes(b"\x01" * size)

    assert (refused.value.got, refused.value.want) == (size, 32)


def test_a_made_up_key_uses_the_randomness_it_is_given():
    draws = [b"\0" * 32, b"\xff" * 32, RAW]

    secret = roles.AttesterSecretKey.generate(lambda size: draws.pop(0)[:size])

    assert secret == roles.AttesterSecretKey.from_bytes(RAW)  # zero and what is above the order were drawn again
    assert roles.NodeSecretKey.generate(lambda size: RAW[:size]).to_bytes() == RAW
    assert roles.AttesterSecretKey.generate() != roles.AttesterSecretKey.generate()
