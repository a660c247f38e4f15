"""What an operator may decide about the network, and what a slip is answered with."""

import math
from dataclasses import FrozenInstanceError

import pytest
from attestrio.gossip.limiter import Rate
from attestrio.gossip.rpc.methods import METHODS
from attestrio.gossip.rpc.spec import KB, MB
from attestrio.gossip.rules import (
    MAX_BATCH_BYTES,
    NAMES,
    GossipRules,
    check_address,
    inbound_of,
    outbound_of,
    rates_of,
)
from attestrio.roles import NodeSecretKey

A, B = (NodeSecretKey.from_bytes(bytes([index]) * 32).public() for index in (1, 2))
SECRET = NodeSecretKey.from_bytes(b"\x03" * 32).to_text()


def spec(rules, name):
    return next(one for one in rules.specs() if one.name == name)


def test_without_configuration_the_numbers_are_those_of_the_network():
    rules = GossipRules()

    assert rules.specs() == METHODS
    assert (rules.dynamic_inbound_limit, rules.ping_timeout_s, rules.redial_s) == (100, 10.0, 20.0)
    assert (rules.fetch, rules.accept_rate, rules.max_batch_bytes) == (True, Rate(10, 0.1), 10 * MB)


def test_a_configured_rate_counts_for_its_method_alone():
    rules = GossipRules(rates={"push_batch_votes": Rate(10, 0.0)})

    assert spec(rules, "push_batch_votes").rate == Rate(10, 0.0)
    assert [one for one in rules.specs() if one not in METHODS] == [spec(rules, "push_batch_votes")]


def test_an_answer_may_be_as_large_as_the_largest_batch_and_a_little_more():
    rules = GossipRules(max_batch_bytes=5000, rates={"get_batch": Rate(1, 1.0)})

    assert spec(rules, "get_batch").max_resp == 5000 + KB
    assert spec(rules, "get_batch").rate == Rate(1, 1.0)


def test_a_ping_waits_as_long_as_configured():
    assert spec(GossipRules(ping_timeout_s=2.5), "ping").timeout_s == 2.5


def test_nobody_changes_the_rules_afterwards():
    peers = {A: "a:1"}
    rates = {"ping": Rate(1, 1.0)}
    rules = GossipRules(static_outbound=peers, rates=rates)

    peers[B] = "b:2"
    rates.clear()

    assert (dict(rules.static_outbound), dict(rules.rates)) == ({A: "a:1"}, {"ping": Rate(1, 1.0)})
    with pytest.raises(TypeError):
        rules.static_outbound[B] = "b:2"
    with pytest.raises(FrozenInstanceError):
        rules.fetch = False


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"static_outbound": {A: "host"}}, f"static_outbound: the address of {A} is not host:port"),
        ({"static_outbound": {A: "host:0"}}, f"static_outbound: the address of {A} has port 0, ports are 1 to 65535"),
        ({"dynamic_inbound_limit": -1}, "dynamic_inbound_limit has to be at least 0, not -1"),
        (
            {"ping_timeout_s": 0.0},
            "ping_timeout_s has to be from 1 to 1000000000, not 0.0: peers answer one ping a second",
        ),
        (
            {"ping_timeout_s": math.nan},
            "ping_timeout_s has to be from 1 to 1000000000, not nan: peers answer one ping a second",
        ),
        ({"redial_s": math.inf}, "redial_s has to be above 0 and 1000000000 at most, not inf"),
        ({"max_batch_bytes": 0}, f"max_batch_bytes has to be from 1 to {MAX_BATCH_BYTES}, not 0"),
        ({"max_batch_bytes": 1 << 32}, f"max_batch_bytes has to be from 1 to {MAX_BATCH_BYTES}, not 4294967296"),
        ({"rates": {"pong": Rate(1, 1.0)}}, "rates: no method is called pong; did you mean ping?"),
        ({"rates": {"zzz": Rate(1, 1.0)}}, f"rates: no method is called zzz; there are {', '.join(NAMES)}"),
    ],
)
def test_a_slip_is_one_sentence_that_names_the_rule(given, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        GossipRules(**given)

    assert str(caught.value) == said


def test_peers_are_read_from_their_texts():
    texts = [f"{A}@a.example:3054", f"{B}@[::1]:1"]

    assert outbound_of(texts) == {A: "a.example:3054", B: "[::1]:1"}
    assert inbound_of([str(A), str(B)]) == {A, B}
    assert (outbound_of([]), inbound_of([])) == ({}, frozenset())


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([str(A)], f"static_outbound: the address of {A} is not host:port"),
        ([f"{A}@a:1", f"{A}@b:2"], f"static_outbound names {A} twice"),
        ([f"{A}@a:65536"], f"static_outbound: the address of {A} has port 65536, ports are 1 to 65535"),
        ([f"{A}@a:1", "b:2"], "static_outbound: entry 2 is not node:public:ed25519:<64 hex digits>@host:port"),
        ([f"{A}00@a:1"], "static_outbound: entry 1 is not node:public:ed25519:<64 hex digits>@host:port"),
        ([f"{SECRET}@a:1"], "static_outbound: entry 1 is not node:public:ed25519:<64 hex digits>@host:port"),
        ([""], "static_outbound: entry 1 is not node:public:ed25519:<64 hex digits>@host:port"),
    ],
)
def test_a_peer_that_cannot_be_dialled_is_named_without_repeating_a_secret(texts, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        outbound_of(texts)

    assert str(caught.value).startswith(said)
    assert "0303" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([str(A), str(A)], f"static_inbound names {A} twice"),
        ([SECRET], "static_inbound: entry 1 is not node:public:ed25519:<64 hex digits> ("),
        ([f"{A}@a:1"], "static_inbound: entry 1 is not node:public:ed25519:<64 hex digits> ("),
        (["node:public:ed25519:" + "02" + "00" * 31], "static_inbound: entry 1 is not node:public:ed25519:"),
    ],
)
def test_a_key_that_is_none_is_named_without_repeating_a_secret(texts, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        inbound_of(texts)

    assert str(caught.value).startswith(said)
    assert "0303" not in str(caught.value)


def test_rates_are_read_from_their_texts_and_refresh_0_is_no_limit():
    found = rates_of(["push_batch_votes=10/0.1", "ping=2/0"])

    assert found == {"push_batch_votes": Rate(10, 0.1), "ping": Rate(2, 0.0)}
    assert found["ping"].unlimited


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("push_batch_votes", "rates: entry 1 is not method=burst/refresh_s, for example push_batch_votes=2/0.5"),
        ("ping=2", "rates: entry 1 is not method=burst/refresh_s"),
        ("ping=-2/1", "rates: entry 1 is not method=burst/refresh_s"),
        ("ping=2/-1", "rates: entry 1 is not method=burst/refresh_s"),
        ("ping=2/nan", "rates: entry 1 is not method=burst/refresh_s"),
        ("ping=2/inf", "rates: entry 1 is not method=burst/refresh_s"),
        ("ping=\N{SUPERSCRIPT TWO}/1", "rates: entry 1 is not method=burst/refresh_s"),
        ("ping=\N{ARABIC-INDIC DIGIT TWO}/1", "rates: entry 1 is not method=burst/refresh_s"),
        (f"ping={'9' * 5000}/1", "rates: entry 1 is not method=burst/refresh_s"),
        ("ping=0/1", "rates: a burst of 0 would never let ping through; it has to be 1 or more"),
        ("push_batch_vote=1/1", "rates: no method is called push_batch_vote; did you mean push_batch_votes?"),
    ],
)
def test_a_rate_that_is_none_is_answered_with_the_right_form(text, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        rates_of([text])

    assert str(caught.value).startswith(said)


def test_no_method_has_two_rates():
    with pytest.raises(ValueError, match=r"^rates names ping twice$"):
        rates_of(["ping=1/1", "ping=2/1"])


@pytest.mark.parametrize("text", ["127.0.0.1:3054", "node-1.example.org:1", "[::1]:65535", "[fe80::1%eth0]:3054"])
def test_an_address_is_a_host_and_a_port(text):
    check_address(text, "it")


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":1", "::1:80", "[]:1", "[::1]", "a b:1", "http://a:1", "a:1/", "a:x", "a:1\n", "a\0:1"],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match=r"^it is not host:port$"):
        check_address(text, "it")


def test_port_0_is_for_listening_alone():
    check_address("0.0.0.0:0", "bind", lowest_port=0)

    with pytest.raises(ValueError, match=r"^peer has port 0, ports are 1 to 65535$"):
        check_address("0.0.0.0:0", "peer")
