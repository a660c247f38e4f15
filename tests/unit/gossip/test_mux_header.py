from __future__ import annotations

import pytest
from attestrio.gossip.errors import BadMux
from attestrio.gossip.mux.header import END_MASK, ID_MASK, KIND_MASK, End, Header, Kind, header_untrusted


def test_the_masks_partition_the_16_bits():
    assert KIND_MASK | END_MASK | ID_MASK == 0xFFFF
    assert KIND_MASK + END_MASK + ID_MASK == 0xFFFF


def test_every_header_is_read_back_or_refused():
    refused = 0
    for bits in range(1 << 16):
        raw = bits.to_bytes(2, "little")
        if bits >> 14 == 3:
            with pytest.raises(BadMux):
                header_untrusted(raw)
            refused += 1
        else:
            assert header_untrusted(raw).encode() == raw

    assert refused == 1 << 14


@pytest.mark.parametrize(
    ("kind", "end", "stream", "raw"),
    [
        (Kind.OPEN, End.CONNECT, 3, "0320"),
        (Kind.OPEN, End.ACCEPT, 3, "0300"),
        (Kind.DATA, End.ACCEPT, 3, "0340"),
        (Kind.DATA, End.CONNECT, 3, "0360"),
        (Kind.CLOSE, End.ACCEPT, 14, "0e80"),
        (Kind.CLOSE, End.CONNECT, 14, "0ea0"),
    ],
)
def test_headers_are_the_bytes_of_the_network(kind, end, stream, raw):
    header = Header(kind, end, stream)

    assert header.encode().hex() == raw
    assert header_untrusted(bytes.fromhex(raw)) == header


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x00\x00\x00"])
def test_anything_but_two_bytes_is_no_header(raw):
    with pytest.raises(BadMux):
        header_untrusted(raw)


def test_each_end_is_the_other_of_the_other():
    assert [end.other for end in (End.ACCEPT, End.CONNECT)] == [End.CONNECT, End.ACCEPT]
