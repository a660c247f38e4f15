"""What the page calls keys."""

import pytest
from attestrio.web.names import Names, short
from web_kit import KEYS, PEER

ALICE = KEYS[0].to_text()


def test_a_key_with_a_name_is_shown_by_it_and_another_one_shortened():
    names = Names([f"{ALICE}=alice", f"{PEER}= node of alice "])

    assert names.of(ALICE) == "alice"
    assert names.of(str(PEER)) == "node of alice"
    assert names.of(KEYS[1].to_text()) == short(KEYS[1].to_text())
    assert names.given(KEYS[1].to_text()) is None
    assert names.given(None) is None


def test_a_short_form_keeps_both_ends():
    assert short("attester:public:secp256k1:02abcdef" + "00" * 27 + "1234") == "02abcdef…1234"
    assert short("short") == "short"


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([ALICE], "KEY=NAME"),
        ([f"{ALICE}="], "KEY=NAME"),
        ([f"{ALICE}={'a' * 61}"], "60 characters"),
        ([f"{ALICE}=a\nb"], "KEY=NAME"),
        (["alice=bob"], "no public key"),
        ([f"{ALICE}=a", f"{ALICE}=b"], "twice"),
    ],
)
def test_a_name_that_cannot_be_meant_is_refused(pairs, problem):
    with pytest.raises(ValueError, match=problem):
        Names(pairs)
