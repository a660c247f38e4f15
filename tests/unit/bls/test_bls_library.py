"""The library is optional, used late, and never given anything it would panic about."""

from __future__ import annotations

import subprocess
import sys

import attestrio.bls
import pytest
from attestrio.bls import (
    BadPoint,
    SecretKey,
    encode_g2,
    from_limbs_untrusted,
    g1_from_words_untrusted,
    g2_from_bytes_untrusted,
    pairing,
    verify,
    verify_group,
)
from attestrio.bls.field import P
from attestrio.errors import MissingExtra, SetupError
from bls_values import KEY_G2, LIMBS_X, LIMBS_Y, MESSAGE, SIGNATURE, on_the_twist


@pytest.fixture
def without_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "attestrio.bls.pairing")
    monkeypatch.delattr(attestrio.bls, "pairing")
    monkeypatch.setitem(sys.modules, "zksnake", None)
    monkeypatch.setitem(sys.modules, "zksnake._algebra", None)


@pytest.mark.parametrize(
    "use",
    [
        lambda: SecretKey(1).sign(MESSAGE),
        lambda: SecretKey(1).public_g1(),
        lambda: SecretKey(1).public_g2(),
        lambda: verify(MESSAGE, SIGNATURE, KEY_G2),
        lambda: verify_group(MESSAGE, [(SIGNATURE, KEY_G2)]),
    ],
    ids=["sign", "public_g1", "public_g2", "verify", "verify_group"],
)
def test_a_missing_extra_is_one_sentence_that_names_it(without_the_extra, use):
    with pytest.raises(MissingExtra) as caught:
        use()

    assert isinstance(caught.value, SetupError)
    assert str(caught.value) == (
        "BLS signatures need zksnake: install the extra with `pip install 'attestrio[aligned]'`"
    )


def test_points_are_read_without_the_extra(without_the_extra):
    assert from_limbs_untrusted(LIMBS_X, LIMBS_Y) == SIGNATURE
    assert g2_from_bytes_untrusted(encode_g2(KEY_G2)) == KEY_G2


@pytest.mark.real
@pytest.mark.slow
def test_importing_loads_no_library():
    program = "import sys, attestrio, attestrio.bls; print([n for n in sys.modules if n.startswith('zksnake')])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "read",
    [
        lambda: g1_from_words_untrusted(1, 3),
        lambda: g1_from_words_untrusted(1 + P, 2),
        lambda: g1_from_words_untrusted(0, 0),
        lambda: from_limbs_untrusted(LIMBS_Y, LIMBS_X),
        lambda: attestrio.bls.G2(*on_the_twist((3, 4))),
        lambda: attestrio.bls.G2((1, 2), (3, 4)),
    ],
)
def test_what_the_library_would_panic_about_never_reaches_it(monkeypatch, capfd, read):
    monkeypatch.setattr(pairing, "curve", None)

    with pytest.raises(BadPoint):
        read()

    assert capfd.readouterr() == ("", "")


def test_an_operator_s_key_is_handed_over_once():
    pairing.native_g2.cache_clear()

    for _ in range(3):
        assert verify(MESSAGE, SIGNATURE, KEY_G2)

    assert pairing.native_g2.cache_info().misses == 1
