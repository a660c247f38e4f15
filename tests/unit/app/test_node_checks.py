"""The checks of a node's readiness, each well and not well, and back."""

from types import SimpleNamespace

import pytest
from app_kit import KEY, genesis_of
from attestrio.app.parts import RunningNode
from attestrio.app.seen import Seen
from attestrio.app.web import NodePage
from attestrio.config import BatchesSection, L1Section, MainNodeSection, NodeConfig, NodeSection, ServeSection
from attestrio.duty import DutyLog, EndState, EpochOf, Step
from attestrio.duty.book import BOOK, DutyBook
from attestrio.errors import SourceError
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import BlockNumber
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.provider import L1Provider
from attestrio.protection.epochs import EpochCause
from attestrio.protection.pending import PendingRollback, write_pending
from attestrio.roles import AttesterSecretKey, BatchNumber
from attestrio.status.runner import PollOutcome, PollResult
from trio_util import AsyncValue

MEMBER = KEY.public()
STRANGER = AttesterSecretKey.from_bytes(b"\x08" * 32).public()
WELL = PollOutcome(PollResult.SAME, 0.1)


class Node:
    """A node without parts, and its page: the test says what runs, who is connected, and what a poll brought."""

    def __init__(self, folder, *, key=MEMBER, serve=None, peers=None, l1=None):
        config = NodeConfig(
            node=NodeSection(data_dir=str(folder)),
            main_node=MainNodeSection(url="http://h/"),
            serve=serve,
            l1=l1,
            batches=BatchesSection(check_l1=l1 is not None),
        )
        self.connected = AsyncValue(peers or 0)
        rules = SimpleNamespace(static_outbound={"one": "h:1", "two": "h:2"})
        network = None if peers is None else SimpleNamespace(rules=rules, connected=self.connected)
        self.duty = DutyLog(lambda: 100.0)
        self.epoch = AsyncValue(None)
        self.seen = Seen(self.duty, lambda: 100.0)
        self.metrics = Metrics()
        node = RunningNode(config, self.metrics, self.duty, self.epoch, AsyncValue(None), network)
        self.page = NodePage(node, self.seen, key, folder / BOOK, inline)

    def begin(self, genesis=None):
        self.epoch.value = SimpleNamespace(number=3, genesis=genesis or genesis_of())

    def check(self, name):
        """What it says now, on the page and as a series."""
        self.page.health.look()
        (found,) = [one for one in self.page.health.checks() if one.name == name]
        assert self.metrics.value("attestrio_check_ok", check=name) == float(found.ok)
        return found.ok, found.reason


def test_a_node_is_ready_while_an_epoch_runs(tmp_path):
    node = Node(tmp_path)
    before = node.check("epoch")
    node.begin()
    runs = node.check("epoch")
    node.epoch.value = None
    write_pending(tmp_path, PendingRollback(3, EpochCause.RESEQUENCED, "batch 9", "", 1, 0.0))
    waits = node.check("epoch")

    assert before == (False, "no epoch runs: the genesis is not known yet, or one has just ended")
    assert runs == (True, "epoch 3 runs")
    assert waits == (False, "epoch 3 ended (resequenced): `attestrio rollback apply` goes on")


def test_a_key_that_is_not_in_the_committee_is_not_ready_to_vote(tmp_path):
    member, stranger = Node(tmp_path), Node(tmp_path, key=STRANGER)
    without_epoch = member.check("committee")
    member.begin()
    stranger.begin()

    assert without_epoch == (False, "no epoch runs")
    assert member.check("committee") == (True, "the key of this node is in the committee")
    assert stranger.check("committee") == (
        False, "the key of this node is not in the committee: its votes would not count"
    )  # fmt: skip
    assert "committee" not in {one.name for one in Node(tmp_path, key=None).page.health.checks()}


def test_a_genesis_without_attesters_has_nobody_vote(tmp_path):
    node = Node(tmp_path)
    node.begin(SimpleNamespace(attesters=None))

    assert node.check("committee") == (False, "the genesis names no attesters, so nobody votes")


def test_a_node_without_any_peer_is_not_ready(tmp_path):
    node = Node(tmp_path, peers=0)
    alone = node.check("peers")
    node.connected.value = 1
    one = node.check("peers")
    node.connected.value = 0

    assert alone == (False, "no peer is connected; 2 are dialled")
    assert one == (True, "peers are connected")
    assert node.check("peers") == alone


@pytest.mark.parametrize(
    ("outcome", "ok"),
    [
        (PollOutcome(PollResult.MOVED, 0.1), True),
        (PollOutcome(PollResult.SAME, 0.1), True),
        (PollOutcome(PollResult.LOWER, 0.1), True),
        (PollOutcome(PollResult.UNKNOWN, 0.1), False),
        (PollOutcome(PollResult.FAILED, 0.1, "unreachable"), False),
        (PollOutcome(PollResult.REFUSED, 0.1, "genesis_changed"), False),
    ],
    ids=lambda value: value.result if isinstance(value, PollOutcome) else "",
)
@pytest.mark.parametrize(("serve", "name"), [(None, "main_node"), (ServeSection(), "status")])
def test_readiness_follows_the_last_poll_and_names_its_code(tmp_path, outcome, ok, serve, name):
    node = Node(tmp_path, serve=serve)
    node.begin()
    node.seen.polled(outcome, None)

    found = node.check(name)
    node.seen.polled(WELL, None)

    assert found[0] is ok
    assert outcome.code in found[1]
    assert node.check(name)[0]


async def test_a_batch_that_memory_has_forgotten_is_read_from_the_book(tmp_path, nursery):
    earlier, now = DutyLog(lambda: 100.0), Node(tmp_path)
    book = DutyBook(tmp_path / BOOK, earlier, inline, group_s=0.0)
    await nursery.start(book.run)
    earlier.begin_epoch(EpochOf(1, genesis_of().hash(), genesis_of().attesters, KEY.public()))
    earlier.record(BatchNumber(7), Step.TOLD)
    earlier.end(BatchNumber(7), EndState.CERTIFIED)
    await book.close()

    found = await now.page.batch(7)

    assert (found.number, found.state, [one.step for one in found.steps]) == (7, "certified", ["told"])
    assert await now.page.batch(8) is None


def test_a_main_node_that_shows_no_genesis_is_told_from_one_that_was_not_asked(tmp_path):
    node = Node(tmp_path)

    said = [node.check("main_node")[1]]
    for code in ("unreachable", ""):
        node.seen.without_genesis(code)
        said.append(node.check("main_node")[1])
    node.seen.began(None)
    said.append(node.check("main_node")[1])

    assert said == [
        "the main node was not asked yet",
        "the main node gave no usable answer: unreachable",
        "the main node has no genesis yet",
        "the main node was not asked yet",
    ]


# --- Ethereum


async def test_a_node_shows_ethereum_as_far_as_it_is_final_and_none_where_it_has_no_part_in_it(tmp_path):
    with_l1, without = Node(tmp_path, l1=L1Section(rpc_urls=("http://127.0.0.1:9",), finality="safe")), Node(tmp_path)
    unasked = with_l1.check("l1")

    async with L1Provider([Endpoint("http://127.0.0.1:9", 7)], schedule=()) as chain:
        with_l1.page.chain = chain
        chain.head = BlockNumber(41)
        final = (await with_l1.page.document()).l1
        with pytest.raises(SourceError):
            await chain.block("safe")
        away = (await with_l1.page.document()).l1

    assert (final.chain_id, final.head, final.cursor, final.finality, final.problem) == (7, 41, 42, "safe", "")
    assert (away.head, away.cursor, away.problem) == (41, None, "unreachable")
    assert unasked == (True, "Ethereum was not asked yet")
    assert with_l1.check("l1")[0] is False
    assert (await without.page.document()).l1 is None


# --- what was last


def test_a_certificate_of_an_older_batch_does_not_take_the_place_of_the_newest():
    clock = [100.0]
    seen = Seen(DutyLog(lambda: clock[0]), lambda: clock[0])
    seen.stored(BatchNumber(9))
    clock[0] = 200.0

    seen.stored(BatchNumber(7))

    assert (seen.certified, seen.certified_at) == (9, 100.0)


def test_a_new_epoch_begins_with_the_certificates_of_its_store_and_nothing_signed():
    seen = Seen(DutyLog(lambda: 100.0), lambda: 100.0)
    seen.polled(WELL, None)
    seen.voted(BatchNumber(9))
    seen.stored(BatchNumber(9))

    seen.began(BatchNumber(4))

    assert (seen.certified, seen.certified_at, seen.signed, seen.poll) == (4, None, None, None)
