"""Whatever a stranger sends, a decoder answers with a value or a PeerError, and with nothing else."""

import pytest
from attestrio import roles
from attestrio.errors import PeerError
from hypothesis import given, settings
from hypothesis import strategies as st
from roles_values import IN_JSON, IN_TEXT, VALUES, VALUES_IN_TEXT
from suite import examples

named = {"ids": lambda kind: kind.__name__}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)

NOT_OURS = [
    "",
    "null",
    "[]",
    "7",
    "{",
    '{"chainId": 1e999}',
    '{"chainId": "0x1"}',
    '{"chainId": ' + "9" * 5000 + "}",
    '{"\\ud800": 1}',
    b"\xff",
    "[" * 100_000,
    '{"a":' * 50_000,
    '{"leaderSelection": ' + '{"rota":' * 200 + "1" + "}" * 201,
]


@pytest.mark.parametrize("kind", VALUES, **named)
@settings(max_examples=examples(100), deadline=None)
@given(raw=st.binary(max_size=200))
def test_random_bytes_end_in_a_value_or_a_peer_error(kind, raw):
    assert outcome(kind.decode, raw) in ("value", "refused")


@pytest.mark.parametrize("kind", VALUES, **named)
@settings(max_examples=examples(30), deadline=None)
@given(data=st.data())
def test_damaged_messages_end_in_a_value_or_a_peer_error(kind, data):
    raw = bytearray(data.draw(VALUES[kind]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))

    assert outcome(kind.decode, bytes(raw)) in ("value", "refused")
    assert outcome(kind.decode, bytes(raw[:cut])) in ("value", "refused")


@pytest.mark.parametrize("kind", IN_TEXT, **named)
@settings(max_examples=examples(50), deadline=None)
@given(text=st.text("0aF:xé٣ \n", max_size=70), raw=st.binary(max_size=100))
def test_random_text_and_bytes_end_in_a_value_or_a_peer_error(kind, text, raw):
    assert outcome(kind.from_text, text) == "refused"
    assert outcome(kind.from_text, kind.PREFIX + text) in ("value", "refused")
    assert outcome(kind.from_text, kind.PREFIX + raw.hex()) in ("value", "refused")
    assert outcome(kind.from_bytes, raw) in ("value", "refused")


@pytest.mark.parametrize("kind", IN_JSON, **named)
@settings(max_examples=examples(40), deadline=None)
@given(data=st.data(), junk=json_values, lenient=st.booleans())
def test_json_with_odd_values_ends_in_a_value_or_a_peer_error(kind, data, junk, lenient):
    told = data.draw(VALUES[kind]).to_json()
    target, path = told, []
    while isinstance(target, dict | list) and target:
        at = data.draw(st.sampled_from(list(target) if isinstance(target, dict) else list(range(len(target)))))
        path.append((target, at))
        target = target[at]
    holder, at = data.draw(st.sampled_from(path))
    holder[at] = junk

    assert outcome(lambda json: kind.from_json(json, lenient=lenient), told) in ("value", "refused")
    assert outcome(kind.from_json, junk) == "refused"


@pytest.mark.parametrize("kind", IN_JSON, **named)
@pytest.mark.parametrize("text", NOT_OURS, ids=range(len(NOT_OURS)))
def test_json_text_that_is_none_of_ours_is_refused(kind, text):
    with pytest.raises(PeerError):
        kind.from_json(text, lenient=True)


def test_a_message_that_is_said_to_be_endless_is_refused_at_once():
    with pytest.raises(roles.Malformed):
        roles.SignedBatch.decode(b"\x0a\xff\xff\xff\xff\x0f")


@pytest.mark.parametrize("kind", [roles.AttesterSecretKey, roles.NodeSecretKey], **named)
@settings(max_examples=examples(20), deadline=None)
@given(data=st.data())
def test_an_error_text_never_carries_what_was_read(kind, data):
    value = data.draw(VALUES_IN_TEXT[kind])

    with pytest.raises(PeerError) as refused:
        kind.from_text(value.to_text() + "0")

    assert value.to_bytes().hex() not in str(refused.value)


def outcome(decode, told):
    """What came of it; anything but a value or a PeerError goes through and fails the test."""
    try:
        decode(told)
    except PeerError:
        return "refused"
    return "value"
