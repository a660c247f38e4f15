"""Which names a browser may use: a page of somebody else cannot read ours by a name of its own."""

import pytest
from attestrio.web.hosts import checked_hosts, is_ours
from hypothesis import given
from hypothesis import strategies as st

ALLOWED = checked_hosts(["node-1.example.org"])


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:9464", "localhost", "LOCALHOST:80", "[::1]", "[::1]:9464", "192.0.2.7:1",
     "node-1.example.org", "Node-1.example.org:9464"],
)  # fmt: skip
def test_addresses_localhost_and_configured_names_are_ours(host):
    assert is_ours(host, ALLOWED)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example", "node-1.example.org.",
     "[::1", "[::1]x", "::1", "127.0.0.1:x", "localhost:²"],
)  # fmt: skip
def test_every_other_name_is_not(host):
    assert not is_ours(host, ALLOWED)


@pytest.mark.parametrize("host", ["", "a b", "host:80", "-a", "a/b"])
def test_a_name_that_is_none_is_refused_in_the_configuration(host):
    with pytest.raises(ValueError, match="no name of a host"):
        checked_hosts([host])


@given(st.text())
def test_no_header_makes_it_raise(host):
    assert is_ours(host, ALLOWED) in (True, False)
