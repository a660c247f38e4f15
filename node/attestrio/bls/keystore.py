"""The file a BLS key is kept in: `{"pubKey": "E([x,y])", "crypto": {...}}`, `crypto` as in Ethereum's keystore v3.

The payload is the scalar, 32 bytes big-endian. A stock v3 file with such a payload is read too; it has no `pubKey`.
Source: specification of Aligned 2.1; the format of `crypto` is the Web3 Secret Storage Definition, version 3.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from eth_hash.backends.pycryptodome import keccak256

from attestrio.bls.bn254 import SecretKey
from attestrio.bls.errors import BadScalar, KeystoreUnusable, WrongPassword
from attestrio.bls.points import G1
from attestrio.kit.files import read_bounded, write_new

MAX_BYTES = 64 * 1024  # of a keystore file; a usual one has 600
CIPHER, SCRYPT, PBKDF2, PRF = "aes-128-ctr", "scrypt", "pbkdf2", "hmac-sha256"
KEY_BYTES, SALT_BYTES, IV_BYTES = 32, 32, 16  # of the derived key: 16 to encrypt, 16 for the MAC

# A file could ask for all memory and a year. Eight times what geth writes is the most that is done.
MAX_SCRYPT_MEMORY = 1 << 31
MAX_SCRYPT_WORK = 1 << 24  # n · r · p; geth: 2^21, about 0.7 s
MAX_PBKDF2_ROUNDS = 1 << 23


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """How hard guessing a password is made. The default is what geth and eigensdk write: 256 MiB, about 0.7 s."""

    n: int = 1 << 18
    r: int = 8
    p: int = 1


class CipherParams(msgspec.Struct, frozen=True):
    iv: str


class ScryptParams(msgspec.Struct, frozen=True):
    dklen: int
    n: int
    p: int
    r: int
    salt: str


class Pbkdf2Params(msgspec.Struct, frozen=True):
    c: int
    dklen: int
    prf: str
    salt: str


class Crypto(msgspec.Struct, frozen=True):
    cipher: str
    ciphertext: str
    cipherparams: CipherParams
    kdf: str
    kdfparams: msgspec.Raw
    mac: str


class Keystore(msgspec.Struct, frozen=True, omit_defaults=True):
    crypto: Crypto
    pubKey: str | None = None  # the name in the file
    version: int = 3


Params = TypeVar("Params", ScryptParams, Pbkdf2Params)


def read_keystore(path: Path, password: str) -> SecretKey:
    """The key in a file. Raises KeystoreUnusable, WrongPassword, MissingExtra; up to some seconds of work."""
    try:
        raw = read_bounded(path, MAX_BYTES)
    except OSError as exc:
        raise KeystoreUnusable(str(path), f"cannot be read ({exc.strerror})") from exc
    return decrypt(raw, password, what=str(path))


def write_keystore(path: Path, key: SecretKey, password: str, *, cost: ScryptCost | None = None) -> None:
    """Write a new file, readable for its owner only. Raises KeystoreUnusable, also when there is one already,
    MissingExtra."""
    text = encrypt(key, password, cost=cost)
    try:
        write_new(path, text)
    except FileExistsError as exc:
        raise KeystoreUnusable(str(path), "a file is in the way, and none is ever replaced") from exc
    except OSError as exc:
        raise KeystoreUnusable(str(path), f"cannot be written ({exc.strerror})") from exc


def encrypt(
    key: SecretKey,
    password: str,
    *,
    cost: ScryptCost | None = None,
    randomness: Callable[[int], bytes] = os.urandom,
) -> str:
    """The text of a keystore. `randomness(n)` gives n bytes. Raises MissingExtra."""
    cost = cost or ScryptCost()
    salt, iv = randomness(SALT_BYTES), randomness(IV_BYTES)
    params = ScryptParams(dklen=KEY_BYTES, n=cost.n, p=cost.p, r=cost.r, salt=salt.hex())
    derived = _scrypt(params, password)
    ciphertext = _aes(derived, iv, key.to_bytes())
    crypto = Crypto(
        cipher=CIPHER,
        ciphertext=ciphertext.hex(),
        cipherparams=CipherParams(iv.hex()),
        kdf=SCRYPT,
        kdfparams=msgspec.Raw(msgspec.json.encode(params)),
        mac=_mac(derived, ciphertext).hex(),
    )
    return msgspec.json.encode(Keystore(crypto, _public_text(key.public_g1()))).decode("ascii") + "\n"


def decrypt(raw: bytes, password: str, *, what: str) -> SecretKey:
    """The key in the text of a keystore; `what` names it in errors. Raises KeystoreUnusable, WrongPassword,
    MissingExtra."""
    try:
        keystore, payload = opened(raw, password)
        key = SecretKey.from_bytes(payload)
    except Malformed as exc:
        raise KeystoreUnusable(what, f"not a keystore: {exc}") from exc
    except BadScalar as exc:
        raise KeystoreUnusable(what, "what it holds is no BLS key of BN254") from exc
    except NotOpened as exc:
        raise WrongPassword(what) from exc
    told = keystore.pubKey
    if told is not None and told.replace(" ", "") != _public_text(key.public_g1()):
        raise KeystoreUnusable(what, "its public key is not that of the secret key in it")
    return key


class Malformed(ValueError):
    """A rule of the format is broken; whoever has opened the file says in which."""


class NotOpened(Exception):
    """The MAC does not fit: another password, or the file was changed."""


def opened(raw: bytes, password: str) -> tuple[Keystore, bytes]:
    """A keystore of any kind of key, and its secret payload. Raises Malformed, NotOpened, MissingExtra."""
    try:
        keystore = msgspec.json.decode(raw, type=Keystore)
        return keystore, _open(keystore, password)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Malformed(str(exc)) from exc


def _open(keystore: Keystore, password: str) -> bytes:
    crypto = keystore.crypto
    if keystore.version != 3:
        raise Malformed("its version is not 3")
    if crypto.cipher != CIPHER:
        raise Malformed(f"its cipher is not {CIPHER}")
    ciphertext, iv = _hex(crypto.ciphertext, "ciphertext"), _hex(crypto.cipherparams.iv, "iv")
    if len(iv) != IV_BYTES:
        raise Malformed(f"iv of {len(iv)} bytes, it has {IV_BYTES}")
    derived = _derive(crypto, password)
    if not hmac.compare_digest(_mac(derived, ciphertext), _hex(crypto.mac, "mac")):
        raise NotOpened
    return _aes(derived, iv, ciphertext)


def _derive(crypto: Crypto, password: str) -> bytes:
    if crypto.kdf == SCRYPT:
        return _scrypt(_params(crypto, ScryptParams), password)
    if crypto.kdf == PBKDF2:
        return _pbkdf2(_params(crypto, Pbkdf2Params), password)
    raise Malformed(f"its kdf is neither {SCRYPT} nor {PBKDF2}")


def _params(crypto: Crypto, kind: type[Params]) -> Params:
    params = msgspec.json.decode(crypto.kdfparams, type=kind)
    if params.dklen != KEY_BYTES:
        raise Malformed(f"dklen is {params.dklen}, it has to be {KEY_BYTES}")
    return params


def _scrypt(params: ScryptParams, password: str) -> bytes:
    n, r, p = params.n, params.r, params.p
    if n < 2 or n & (n - 1) or r < 1 or p < 1:
        raise Malformed("its scrypt parameters are impossible")
    memory = 128 * r * (n + p + 2)
    if memory >= MAX_SCRYPT_MEMORY or n * r * p > MAX_SCRYPT_WORK:
        raise Malformed("its scrypt parameters ask for too much memory or time")
    salt = _hex(params.salt, "salt")
    try:
        return hashlib.scrypt(_encoded(password), salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=KEY_BYTES)
    except ValueError as exc:  # what OpenSSL refuses on top, such as n >= 2^(16 r)
        raise Malformed("its scrypt parameters are impossible") from exc


def _pbkdf2(params: Pbkdf2Params, password: str) -> bytes:
    if params.prf != PRF:
        raise Malformed(f"its prf is not {PRF}")
    if not 0 < params.c <= MAX_PBKDF2_ROUNDS:
        raise Malformed(f"its count of rounds is not between 1 and {MAX_PBKDF2_ROUNDS}")
    return hashlib.pbkdf2_hmac("sha256", _encoded(password), _hex(params.salt, "salt"), params.c, KEY_BYTES)


def _encoded(password: str) -> bytes:
    return password.encode("utf-8", "surrogateescape")  # as the environment or a file gave it


def _hex(text: str, field: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError as exc:
        raise Malformed(f"{field} is not hex") from exc


def _aes(derived: bytes, iv: bytes, data: bytes) -> bytes:
    """Both ways: in counter mode encrypting is decrypting."""
    work = Cipher(algorithms.AES(derived[:16]), modes.CTR(iv)).encryptor()
    return work.update(data) + work.finalize()


def _mac(derived: bytes, ciphertext: bytes) -> bytes:
    return keccak256(derived[16:32] + ciphertext)


def _public_text(key: G1) -> str:
    """As gnark prints a point."""
    return f"E([{key.x},{key.y}])"
