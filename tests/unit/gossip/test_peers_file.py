"""The list of peers in the data directory: whole, bounded, and never believed blindly."""

import json
import os
import stat

import pytest
from attestrio.gossip.peers import Direction, PeerInfo
from attestrio.gossip.peers_file import MAX_BYTES, PEERS, PeerList, PeersUnreadable, read_peers, write_peers
from attestrio.roles import NodeSecretKey
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

ME, A, B = (NodeSecretKey.from_bytes(bytes([index]) * 32).public() for index in (1, 2, 3))
TOLD = PeerList(
    1000.5,
    ME,
    "127.0.0.1:3054",
    (
        PeerInfo(A, Direction.OUTBOUND, "127.0.0.1:1", 900.0, 12_345, 678, 100.0),
        PeerInfo(B, Direction.INBOUND, "[::1]:50000", 990.25, 0, 1 << 40, 62.5),
    ),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / PEERS


def test_what_is_written_is_read(path):
    write_peers(path, TOLD)

    assert read_peers(path) == TOLD


def test_the_file_can_be_read_by_other_programs(path):
    write_peers(path, TOLD)

    assert json.loads(path.read_text()) == {
        "as_of": 1000.5,
        "node": ME.to_text(),
        "listening": "127.0.0.1:3054",
        "peers": [
            {
                "key": A.to_text(),
                "direction": "outbound",
                "address": "127.0.0.1:1",
                "since": 900.0,
                "received": 12345,
                "sent": 678,
                "score": 100.0,
            },
            {
                "key": B.to_text(),
                "direction": "inbound",
                "address": "[::1]:50000",
                "since": 990.25,
                "received": 0,
                "sent": 1099511627776,
                "score": 62.5,
            },
        ],
    }


def test_a_later_list_takes_the_place_of_an_earlier_one_and_nothing_else_is_left(path):
    write_peers(path, TOLD)
    write_peers(path, PeerList(1002.0, ME, "127.0.0.1:3054", ()))

    assert read_peers(path).peers == ()
    assert [one.name for one in path.parent.iterdir()] == [PEERS]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_list_that_cannot_be_written_leaves_the_former_one(path, monkeypatch):
    write_peers(path, TOLD)

    def full(self, target):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_peers(path, PeerList(1002.0, ME, "127.0.0.1:3054", ()))

    assert read_peers(path) == TOLD
    assert [one.name for one in path.parent.iterdir()] == [PEERS]


def test_a_node_that_has_written_nothing_has_no_list(path):
    assert read_peers(path) is None


def changed(**fields):
    """The file with other values in its first peer."""
    peer = {"key": A.to_text(), "direction": "inbound", "address": "a:1", "since": 1, "received": 1, "sent": 1}
    return {"as_of": 1.0, "node": ME.to_text(), "listening": "a:1", "peers": [peer | {"score": 1} | fields]}


BROKEN = {
    "empty": b"",
    "torn": json.dumps(changed()).encode()[:-3],
    "not text": b"\xff\xfe",
    "zeros": bytes(100),
    "list": b"[]",
    "nested": b"[" * 100_000,
    "no peers": b'{"as_of": 1}',
    "secret": json.dumps(changed(key=NodeSecretKey.from_bytes(b"\x01" * 32).to_text())).encode(),
    "no point": json.dumps(changed(key="node:public:ed25519:02" + "00" * 31)).encode(),
    "direction": json.dumps(changed(direction="sideways")).encode(),
    "escape": json.dumps(changed(address="\x1b[2J")).encode(),
    "long address": json.dumps(changed(address="a" * 301)).encode(),
    "negative": json.dumps(changed(received=-1)).encode(),
    "huge": json.dumps(changed(sent=1 << 63)).encode(),
    "score": json.dumps(changed(score=101)).encode(),
    "time": json.dumps(changed(since="now")).encode(),
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_and_not_repeated(path, raw):
    path.write_bytes(raw)

    with pytest.raises(PeersUnreadable) as caught:
        read_peers(path)

    said = f"{path} cannot be read (not what a node writes): a node that runs writes it anew, try again"
    assert (str(caught.value), caught.value.exit_code) == (said, 4)


def test_the_changed_file_would_be_read_if_nothing_were_wrong(path):
    path.write_text(json.dumps(changed()))

    assert read_peers(path).peers[0].key == A


@settings(max_examples=examples(50))
@given(st.binary(max_size=200))
def test_whatever_stands_in_the_file_ends_in_one_error(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "random-peers.json"
    path.write_bytes(raw)

    with pytest.raises(PeersUnreadable):
        read_peers(path)


def test_a_file_without_end_is_not_read(path):
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)

    with pytest.raises(PeersUnreadable, match=f"longer than {MAX_BYTES} bytes"):
        read_peers(path)


def test_what_is_no_file_is_not_waited_for(path):
    os.mkfifo(path)

    with pytest.raises(PeersUnreadable, match="not a regular file"):
        read_peers(path)
