"""The first words of a connection: exact bytes out, anything in."""

import pytest
from attestrio.errors import PeerError
from attestrio.gossip.errors import BadPreface
from attestrio.gossip.frame import FrameDecoder
from attestrio.gossip.preface import (
    ENCRYPTION_NOISE_NN,
    ENDPOINT_GOSSIP,
    Endpoint,
    encryption_untrusted,
    endpoint_untrusted,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from noise_kit import UNDECODABLE


def unframed(frame):
    decoder = FrameDecoder(100)
    decoder.feed(frame)
    return decoder.next_frame()


def test_a_dialler_says_the_exact_words_of_the_network():
    assert ENCRYPTION_NOISE_NN.hex() == "020000000a00"
    assert ENDPOINT_GOSSIP.hex() == "020000001200"


def test_an_acceptor_understands_what_a_dialler_says():
    encryption_untrusted(unframed(ENCRYPTION_NOISE_NN))

    assert endpoint_untrusted(unframed(ENDPOINT_GOSSIP)) is Endpoint.GOSSIP


@pytest.mark.parametrize("body", ["0a00", "0a021001", "18070a00", "0a808000", "0a000a00"])
def test_noise_is_understood_in_every_spelling(body):
    encryption_untrusted(bytes.fromhex(body))


@pytest.mark.parametrize("body", ["", "1200", "1807", "7b7c"])
def test_an_encryption_nobody_knows_is_refused(body):
    with pytest.raises(BadPreface, match="none that is known"):
        encryption_untrusted(bytes.fromhex(body))


@pytest.mark.parametrize("body", ["", "1a00", "1807"])
def test_an_endpoint_nobody_knows_is_refused(body):
    with pytest.raises(BadPreface, match="none that is known"):
        endpoint_untrusted(bytes.fromhex(body))


def test_the_consensus_network_is_told_apart_and_is_no_offence():
    assert endpoint_untrusted(bytes.fromhex("0a00")) is Endpoint.CONSENSUS


@pytest.mark.parametrize(
    ("body", "asked"),
    [("0a001200", Endpoint.GOSSIP), ("12000a00", Endpoint.CONSENSUS), ("180712001807", Endpoint.GOSSIP)],
)
def test_of_several_endpoints_the_last_one_counts(body, asked):
    assert endpoint_untrusted(bytes.fromhex(body)) is asked


@pytest.mark.parametrize("body", UNDECODABLE.values(), ids=UNDECODABLE)
def test_what_is_not_protobuf_is_refused(body):
    for read in (encryption_untrusted, endpoint_untrusted):
        with pytest.raises(BadPreface, match="not protobuf"):
            read(bytes.fromhex("12000a00" + body))


@pytest.mark.parametrize("read", [encryption_untrusted, endpoint_untrusted])
@settings(deadline=None)
@given(raw=st.binary(max_size=40))
def test_random_bytes_end_in_an_answer_or_a_peer_error(read, raw):
    try:
        asked = read(raw)
    except PeerError:
        return
    assert asked in (None, Endpoint.GOSSIP, Endpoint.CONSENSUS)
