"""`attestrio peers`: who is connected, in lines that fit a terminal, and what is said where nobody can know."""

import time

import pytest
from attestrio.cli.peers import lines, size, span
from attestrio.gossip.peers import Direction, PeerInfo
from attestrio.gossip.peers_file import PEERS, PeerList, write_peers
from attestrio.kit.datadir import DataDir
from attestrio.roles import NodeSecretKey

ME, A, B = (NodeSecretKey.from_bytes(bytes([index]) * 32).public() for index in (1, 2, 3))


def told(as_of, *peers):
    return PeerList(as_of, ME, "127.0.0.1:3054", peers)


def peer(key=A, direction=Direction.OUTBOUND, address="127.0.0.1:1", since=0.0, received=0, sent=0, score=100.0):
    return PeerInfo(key, direction, address, since, received, sent, score)


@pytest.fixture
def running(tmp_path):
    """A data directory that somebody holds, as a node that runs does."""
    with DataDir.open(tmp_path / "data") as held:
        yield held.path


def test_a_line_for_each_peer_and_how_old_the_list_is(attestrio, running):
    now = time.time()
    write_peers(
        running / PEERS,
        told(
            now - 3,
            peer(since=now - 3 - 7300, received=1_234_567, sent=999),
            peer(B, Direction.INBOUND, "10.0.0.1:50000", since=now - 8, score=62.5),
        ),
    )

    ended = attestrio("peers", "--data-dir", running)

    assert (ended.code, ended.err) == (0, "")
    first, *table, last = ended.out.splitlines()
    assert first == f"node {ME.to_bytes().hex()[:10]}...{ME.to_bytes().hex()[-11:]}, listening on 127.0.0.1:3054"
    assert [line.split() for line in table] == [
        ["peer", "way", "up", "received", "sent", "score", "address"],
        [brief(A), "out", "2", "h", "1.2", "MB", "999", "B", "100", "127.0.0.1:1"],
        [brief(B), "in", "5", "s", "0", "B", "0", "B", "62", "10.0.0.1:50000"],
    ]
    assert last in ("1 in, 1 out; as of 3 s ago", "1 in, 1 out; as of 4 s ago")


def brief(key):
    text = key.to_bytes().hex()
    return f"{text[:10]}...{text[-11:]}"


def test_json_has_whole_keys_and_plain_numbers(attestrio, running):
    now = time.time()
    write_peers(running / PEERS, told(now, peer(since=now - 60, received=5, sent=6, score=97.5)))

    ended = attestrio("peers", "--data-dir", running, "--json")

    document = ended.document
    assert 0 <= document.pop("age_s") < 30
    assert document == {
        "as_of": now,
        "stale": False,
        "node": ME.to_text(),
        "listening": "127.0.0.1:3054",
        "peers": [
            {
                "key": A.to_text(),
                "direction": "outbound",
                "address": "127.0.0.1:1",
                "since": now - 60,
                "received": 5,
                "sent": 6,
                "score": 97.5,
            }
        ],
    }


def test_the_data_directory_of_the_configuration_is_looked_at(attestrio, running):
    write_peers(running / PEERS, told(time.time()))

    ended = attestrio("peers", "--set", f"node.data_dir={running}")

    assert (ended.code, len(ended.out.splitlines())) == (0, 2)
    assert ended.out.splitlines()[1].startswith("no peers; as of ")


def test_a_list_that_is_no_longer_written_is_shown_and_said_to_be_old(attestrio, running):
    write_peers(running / PEERS, told(time.time() - 120, peer()))

    text, as_json = attestrio("peers", "--data-dir", running), attestrio("peers", "--data-dir", running, "--json")

    assert (text.code, as_json.code) == (0, 0)
    assert text.out.splitlines()[-2:] == [
        "0 in, 1 out; as of 2 min ago",
        "silent since then: the node hangs, its disk is full, or it has no [gossip] now",
    ]
    assert as_json.document["stale"] is True


def test_a_clock_that_was_set_back_is_no_reason_for_a_negative_age(attestrio, running):
    write_peers(running / PEERS, told(time.time() + 1000, peer(since=time.time() + 5000)))

    ended = attestrio("peers", "--data-dir", running)

    assert ended.out.splitlines()[-1] == "0 in, 1 out; as of 0 s ago"
    assert " 0 s " in ended.out.splitlines()[2]


def test_a_node_that_does_not_run_has_no_peers(attestrio, tmp_path):
    with DataDir.open(tmp_path / "data") as held:
        write_peers(held / PEERS, told(time.time(), peer()))

    ended = attestrio("peers", "--data-dir", tmp_path / "data")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"attestrio: no node runs in {tmp_path}/data: it has no peers [node_not_running]\n"


@pytest.mark.parametrize("foreign", [False, True], ids=["absent", "foreign"])
def test_looking_makes_nothing(attestrio, tmp_path, foreign):
    folder = tmp_path / "data"
    if foreign:
        folder.mkdir()
        (folder / "something").touch()
    before = sorted(tmp_path.rglob("*"))

    ended = attestrio("peers", "--data-dir", folder, "--json")

    assert (ended.code, ended.error["code"]) == (2, "node_not_running")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_node_without_gossip_is_told_apart(attestrio, running):
    ended = attestrio("peers", "--data-dir", running)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"attestrio: the node in {running} keeps no list of peers: it has no section [gossip], or began just now"
        " [no_peers_kept]\n"
    )


def test_a_broken_list_is_one_sentence_and_exit_4(attestrio, running):
    (running / PEERS).write_text("{")

    ended = attestrio("peers", "--data-dir", running)

    assert (ended.code, ended.out) == (4, "")
    assert ended.err == (
        f"attestrio: {running / PEERS} cannot be read (not what a node writes): a node that runs writes it anew,"
        " try again [peers_unreadable]\n"
    )


def test_a_list_of_ordinary_peers_fits_80_columns_and_is_wider_where_there_is_room():
    worst = peer(address="255.255.255.255:65535", since=0.0, received=99_900, sent=99_900_000)
    shown = told(3599.0, worst, peer(B, Direction.INBOUND))

    narrow, wide = list(lines(shown, 4000.0, 80)), list(lines(shown, 4000.0, 120))

    assert max(map(len, narrow)) <= 80
    assert {line.index("score") for line in narrow if "score" in line} != {
        line.index("score") for line in wide if "score" in line
    }
    starts = [line.index(mark) for line, mark in zip(narrow[1:4], ("address", "255.", "127."), strict=True)]
    assert len(set(starts)) == 1


def test_a_long_address_stands_last_and_shifts_nothing():
    name = "a-very-long-name-of-a-host.somewhere.example.org:3054"

    with_name = list(lines(told(0.0, peer(address=name), peer(B)), 0.0, 80))

    assert with_name[2].endswith(name)
    assert with_name[2].index(name) == with_name[3].index("127.0.0.1")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (5 * 10**12, "5.0 TB"),
        (10**16, "10000 TB"),
    ],
)
def test_bytes_are_short(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86_399, "23 h"), (864_000, "10 d")],
)
def test_times_are_in_one_unit(seconds, text):
    assert span(seconds) == text
