"""The keystore: what is written is read, by others too, and what is wrong is one clear sentence."""

from __future__ import annotations

import json
import stat

import pytest
from attestrio.bls import KeystoreUnusable, ScryptCost, SecretKey, WrongPassword, read_keystore, write_keystore
from attestrio.bls.field import R
from attestrio.bls.keystore import MAX_BYTES, decrypt, encrypt
from attestrio.errors import SetupError
from bls_values import KEY_G1, SCALAR
from eth_keyfile import create_keyfile_json, decode_keyfile_json
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

SECRET = SecretKey(SCALAR)
PASSWORD = "correct horse – ✓"
CHEAP = ScryptCost(n=2, r=1, p=1)
TEXT = encrypt(SECRET, PASSWORD, cost=CHEAP, randomness=bytes)


def changed(**crypto):
    """The keystore with fields of `crypto` replaced; None takes one out."""
    document = json.loads(TEXT)
    document["crypto"] = {name: value for name, value in (document["crypto"] | crypto).items() if value is not None}
    return json.dumps(document).encode()


def kdf(**params):
    return changed(kdfparams=json.loads(TEXT)["crypto"]["kdfparams"] | params)


def opened(raw):
    """The key in it, or the refusal."""
    try:
        return decrypt(raw, PASSWORD, what="key.json")
    except SetupError as exc:
        return exc


def stock(scalar, **options):
    return json.dumps(create_keyfile_json(scalar.to_bytes(32, "big"), PASSWORD.encode(), **options)).encode()


def test_a_key_written_is_read_back(tmp_path):
    path = tmp_path / "keys" / "operator.bls.json"

    write_keystore(path, SECRET, PASSWORD, cost=CHEAP)

    assert read_keystore(path, PASSWORD) == SECRET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_looks_like_that_of_the_other_operators():
    document = json.loads(TEXT)

    assert set(document) == {"pubKey", "crypto"}
    assert document["pubKey"] == f"E([{KEY_G1.x},{KEY_G1.y}])"
    assert set(document["crypto"]) == {"cipher", "ciphertext", "cipherparams", "kdf", "kdfparams", "mac"}
    assert document["crypto"]["kdfparams"] == {"dklen": 32, "n": 2, "p": 1, "r": 1, "salt": "00" * 32}


def test_a_stock_v3_decoder_opens_our_file():
    document = {"version": 3, "crypto": json.loads(TEXT)["crypto"]}

    assert decode_keyfile_json(document, PASSWORD.encode()) == SCALAR.to_bytes(32, "big")


@pytest.mark.parametrize("options", [{"kdf": "scrypt", "iterations": 2}, {"kdf": "pbkdf2", "iterations": 2}], ids=str)
def test_a_stock_v3_file_is_opened(options):
    assert decrypt(stock(SCALAR, **options), PASSWORD, what="key.json") == SECRET


@pytest.mark.slow
def test_the_usual_cost_is_that_of_geth():
    text = encrypt(SECRET, PASSWORD)

    assert json.loads(text)["crypto"]["kdfparams"] | {"salt": ""} == {
        "dklen": 32, "n": 262144, "p": 1, "r": 8, "salt": "",
    }  # fmt: skip
    assert decrypt(text.encode(), PASSWORD, what="key.json") == SECRET


def test_two_files_of_one_key_share_nothing():
    one, two = (json.loads(encrypt(SECRET, PASSWORD, cost=CHEAP))["crypto"] for _ in range(2))

    assert one["ciphertext"] != two["ciphertext"]
    assert one["kdfparams"]["salt"] != two["kdfparams"]["salt"]
    assert one["cipherparams"] != two["cipherparams"]


def test_a_wrong_password_is_one_sentence_that_names_the_file(tmp_path):
    path = tmp_path / "key.json"
    write_keystore(path, SECRET, PASSWORD, cost=CHEAP)

    with pytest.raises(WrongPassword) as caught:
        read_keystore(path, "guess")

    assert isinstance(caught.value, SetupError)
    assert str(caught.value) == f"BLS keystore {path}: wrong password, or the file was changed after it was written"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "not a keystore: "),
        (b"\xff\xfe", "not a keystore: "),
        (b"[]", "not a keystore: Expected `object`"),
        (b"{}", "not a keystore: Object missing required field `crypto`"),
        (b'{"version": 1, "crypto": ' + TEXT.encode().partition(b'"crypto":')[2].partition(b',"pubKey"')[0] + b"}",
         "its version is not 3"),
        (changed(mac=None), "missing required field `mac`"),
        (changed(mac="xyz"), "mac is not hex"),
        (changed(ciphertext="é"), "ciphertext is not hex"),
        (changed(cipher="aes-256-cbc"), "its cipher is not aes-128-ctr"),
        (changed(cipherparams={"iv": "00"}), "iv of 1 bytes, it has 16"),
        (changed(kdf="argon2"), "its kdf is neither scrypt nor pbkdf2"),
        (changed(kdfparams=7), "Expected `object`"),
        (kdf(dklen=16), "dklen is 16, it has to be 32"),
        (kdf(salt="0"), "salt is not hex"),
        (kdf(n=3), "scrypt parameters are impossible"),
        (kdf(n=0), "scrypt parameters are impossible"),
        (kdf(r=-1), "scrypt parameters are impossible"),
        (kdf(n=1 << 20, r=1), "scrypt parameters are impossible"),
        (kdf(n=1 << 40), "too much memory or time"),
        (kdf(n=2, p=1 << 40), "too much memory or time"),
        (kdf(r=1 << 60), "too much memory or time"),
        (changed(kdf="pbkdf2", kdfparams={"c": 1 << 40, "dklen": 32, "prf": "hmac-sha256", "salt": ""}), "rounds"),
        (changed(kdf="pbkdf2", kdfparams={"c": 9, "dklen": 32, "prf": "hmac-md5", "salt": ""}), "its prf is not"),
        (stock(R, iterations=2), "what it holds is no BLS key"),
        (TEXT.replace("E([1", "E([2").encode(), "its public key is not that of the secret key"),
    ],
    ids=lambda value: value[-24:] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_file_that_is_no_keystore_is_one_sentence(raw, problem):
    with pytest.raises(KeystoreUnusable) as caught:
        decrypt(raw, PASSWORD, what="key.json")

    assert str(caught.value).startswith("BLS keystore key.json: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SetupError)


@given(st.integers(0, len(TEXT) - 1), st.integers(0, 255))
@settings(max_examples=examples(100))
def test_a_changed_byte_never_gives_another_key(at, byte):
    raw = TEXT.encode()

    outcome = opened(raw[:at] + bytes([byte]) + raw[at + 1 :])

    assert outcome == SECRET or str(outcome).startswith("BLS keystore key.json: ")


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    huge = tmp_path / "huge.json"
    huge.write_bytes(b" " * (MAX_BYTES + 1))

    for path in (tmp_path / "absent.json", tmp_path, huge):
        with pytest.raises(KeystoreUnusable, match="cannot be read"):
            read_keystore(path, PASSWORD)


def test_a_file_is_never_replaced(tmp_path):
    path = tmp_path / "key.json"
    path.write_text("mine")

    with pytest.raises(KeystoreUnusable, match="none is ever replaced"):
        write_keystore(path, SECRET, PASSWORD, cost=CHEAP)

    assert path.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(KeystoreUnusable, match="cannot be written"):
        write_keystore(tmp_path / "file" / "keys" / "key.json", SECRET, PASSWORD, cost=CHEAP)
