"""The pages of operators, aggregators and sequencers: what they read, how often, and what makes them not ready."""

import httpx
import pytest
import trio
import trio.testing
from attestrio.aggregator.desk import Absent
from attestrio.aggregator.runner import Serving
from attestrio.app.aggregator_config import AggregatorConfig
from attestrio.app.aligned_pages import aggregator_page, leads, operator_page, operator_sections
from attestrio.app.operator_config import OperatorConfig
from attestrio.app.page import PROBLEM, READ_S, RolePage, Sections, l1_answers, origin_of, served_page
from attestrio.app.sequencer_config import SequencerConfig
from attestrio.app.sequencer_page import SequencerSeen, sequencer_page
from attestrio.duty import Reason
from attestrio.errors import SourceError
from attestrio.gorpc.client import GoRpcClient
from attestrio.journal import Item, Put, SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.provider import L1Provider
from attestrio.operator import rows
from attestrio.operator.rows import Ended, OnChain, Verdict
from attestrio.resequence.report import Progress, Report
from attestrio.sequencer.shared import Head, SharedChain
from attestrio.web.api import FactView
from trio_util import AsyncValue


class Away(SourceError):
    """A journal that does not answer."""

    code = "away_for_this_test"


class Read:
    """Sections that are counted; an exception is raised instead."""

    def __init__(self):
        self.count, self.error = 0, None

    async def __call__(self):
        await trio.lowlevel.checkpoint()
        self.count += 1
        if self.error is not None:
            raise self.error
        return Sections(facts=[FactView(name="read", value=str(self.count))])


def facts(view):
    return {fact.name: fact.value for fact in view.facts}


async def test_a_journal_is_read_every_five_seconds_and_not_for_every_look(autojump_clock):
    read = Read()
    page = RolePage("operator", Metrics(), read)

    for _ in range(20):
        await page.document()
        await trio.sleep(READ_S / 10)

    assert read.count == 2


async def test_what_tells_of_itself_is_read_at_once(autojump_clock):
    read, now = Read(), [0]
    page = RolePage("sequencer", Metrics(), read, changed=lambda: now[0])
    await page.document()

    now[0] = 1
    view = await page.document()

    assert facts(view) == {"read": "2"}


async def test_a_journal_that_is_away_leaves_what_was_read_before_and_says_so(autojump_clock):
    read = Read()
    page = RolePage("aggregator", Metrics(), read)
    await page.document()

    read.error = Away("gone")
    await trio.sleep(READ_S)
    await page.document()
    await trio.sleep(READ_S)
    away = await page.document()
    read.error = None
    await trio.sleep(READ_S)
    back = await page.document()

    assert facts(away) == {"read": "1", PROBLEM: Away.code}
    assert facts(back) == {"read": "4"}


async def test_a_page_is_given_by_the_names_that_the_configuration_has_and_by_no_other():
    page = RolePage("operator", Metrics(), Read())

    async with served_page(page, Metrics(), "127.0.0.1:0", ["status.example"]) as url, httpx.AsyncClient() as client:
        answers = [
            (await client.get(f"{url}/status.json", headers={"host": host})).status_code
            for host in ("status.example", "127.0.0.1", "rebound.example")
        ]

    assert answers == [200, 200, 403]


@pytest.mark.parametrize("config", [OperatorConfig, AggregatorConfig, SequencerConfig])
def test_a_name_that_is_none_is_refused_with_the_rest_of_the_configuration(config):
    section = type(getattr(config(), config.__struct_fields__[0]))

    with pytest.raises(ValueError, match="no name of a host"):
        section(metrics_hosts=("http://status.example",))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://user:pass@rpc.example/v3/0123456789abcdef?key=x#y", "https://rpc.example"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("nonsense", "nonsense"),
    ],
)
def test_of_an_address_the_page_shows_no_path_in_which_a_key_may_stand(url, origin):
    assert origin_of(url) == origin


async def test_an_operator_shows_its_journal_and_is_not_ready_without_its_aggregator(tmp_path):
    journal = SqliteJournal(tmp_path / "operator.db", inline)
    chain = L1Provider([Endpoint("http://127.0.0.1:9", 17_000)])

    async with trio.open_nursery() as nursery, chain:
        await nursery.start(journal.run)
        page = operator_page(Metrics(), journal, chain, GoRpcClient("127.0.0.1:9"), key="0x01", name="one")
        view = await page.document()
        nursery.cancel_scope.cancel()

    assert (view.node.role, view.node.name, view.node.key) == ("operator", "one", "0x01")
    assert facts(view) == {"aggregator": "127.0.0.1:9", "known before": "nothing is scanned yet"}
    assert [(queue.name, queue.waiting) for queue in view.queues] == [
        ("to be verified", 0),
        ("to be answered on the chain", 0),
        ("never taken", 0),
    ]
    assert view.l1.chain_id == 17_000
    assert [(check.name, check.ok) for check in page.health.checks()] == [("l1", True), ("aggregator", False)]


async def test_an_operator_shows_what_it_is_at_what_it_refused_and_what_it_signed_last(tmp_path):
    one, two, three, four = (bytes([number]) * 32 for number in range(1, 5))
    on_chain = OnChain(b"r" * 32, b"s" * 20, 7, 0, "http://storage/x")
    verdicts = {
        two: Verdict(Ended.SIGNED, Reason.OK, at=50.0), three: Verdict(Ended.SIGNED, Reason.OK, at=60.0),
        four: Verdict(Ended.REFUSED, Reason.PROOF_INVALID, at=55.0),
    }  # fmt: skip
    journal = SqliteJournal(tmp_path / "operator.db", inline)

    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        put = [Put(rows.VERDICTS, key, rows.pack(verdict)) for key, verdict in verdicts.items()]
        await journal.append(rows.WORK, [Item(rows.key_of(one, on_chain, None))], put=put)
        await journal.append(rows.OUTBOX, [Item(rows.key_of(two, on_chain, None))])
        await journal.lease(rows.WORK, "test", 1, 60.0)
        sections = await operator_sections(journal, L1Provider([Endpoint("http://127.0.0.1:9", 1)]), "a:1", 0)
        nursery.cancel_scope.cancel()

    assert [(row.batch[2:4], row.state, row.due_in_s, row.at) for row in sections.tasks.rows] == [
        ("01", "at verification now", None, None),
        ("02", "waits for the chain", 0, None),
        ("04", "refused", None, 55.0),
        ("03", "signed", None, 60.0),
    ]
    assert sections.l1.finality == "newest block"


async def test_an_aggregator_is_ready_when_it_leads_and_when_it_stands_by_and_not_when_it_could_not_take_over(tmp_path):
    journal = SqliteJournal(tmp_path / "aggregator.db", inline)
    serving, core, absent = AsyncValue(None), AsyncValue(None), Absent.STARTING
    found = []

    async with L1Provider([Endpoint("http://127.0.0.1:9", 17_000)]) as chain, trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        page = aggregator_page(Metrics(), journal, chain, serving, key="0xab", behind=2)
        found.append((page.health.ready, ""))
        serving.value = Serving("127.0.0.1:8090", core, lambda: absent)
        for absent in Absent:
            page.health.look()
            found.append((page.health.ready, absent.value))
        core.value = object()
        page.health.look()
        found.append((page.health.ready, "leads"))
        view = await page.document()
        nursery.cancel_scope.cancel()

    assert [why for ready, why in found if ready] == [Absent.NOT_THE_LEADER.value, "leads"]
    assert len(found) == 2 + len(Absent)
    assert (view.node.listening, view.node.key) == ("127.0.0.1:8090", "0xab")
    assert facts(view) == {"leads": "this process", "operators known": "0"}
    assert view.l1.finality == "2 blocks below the newest"
    assert view.tasks.rows == []


def test_a_standby_says_that_it_is_one():
    standby = leads(Serving("127.0.0.1:8090", AsyncValue(None), lambda: Absent.NOT_THE_LEADER))

    assert standby.ok
    assert standby.reason.startswith("standby: another process leads")


async def test_ethereum_that_does_not_answer_makes_a_role_not_ready_by_a_code_without_its_address():
    async with L1Provider([Endpoint("http://127.0.0.1:9/secret-path", 1)], schedule=()) as chain:
        unasked = l1_answers(chain)()
        with pytest.raises(SourceError):
            await chain.block("latest")
        asked = l1_answers(chain)()

    assert unasked.ok
    assert not asked.ok
    assert "unreachable" in asked.reason
    assert "secret-path" not in asked.reason


class Chain:
    """As much of a sequencer's chain as its page looks at."""

    def __init__(self):
        self.head = Head(40, 400, b"\x01")


async def test_a_sequencer_shows_its_head_and_how_far_a_resequencing_has_got():
    seen = SequencerSeen(Chain())
    page = sequencer_page(Metrics(), seen, has_l1=False)
    before = await page.document()

    seen.progress = Progress(old_batch=44, new_batch=43, blocks=40, of_blocks=100)
    page.health.look()
    during, ready = await page.document(), page.health.ready
    seen.report = Report(kept_batch=40, old_batches=10, old_blocks=100, new_batches=11, new_blocks=100)
    page.health.look()
    after = await page.document()

    assert (before.chain.batch, before.chain.block, before.chain.hash) == (40, 400, "0x01")
    assert (before.chain.block_at, before.chain.stream_entries, before.queues) == (None, None, [])
    assert before.resequence is None
    assert (during.resequence.phase, during.resequence.at, ready) == ("building", 44, False)
    assert (during.resequence.done, during.resequence.total) == (40, 100)
    assert (after.resequence.phase, after.resequence.first, after.resequence.last) == ("done", 41, 50)
    assert after.ready


async def test_a_sequencer_that_halted_says_why_and_is_not_ready():
    chain = Chain()
    page = sequencer_page(Metrics(), SequencerSeen(chain), has_l1=False)

    chain.head = Head(40, 400, b"\x01", "L1 rolled back batch 39")
    page.health.look()
    view = await page.document()

    assert view.chain.halted == "L1 rolled back batch 39"
    assert [check.reason for check in view.checks] == ["nothing is built: L1 rolled back batch 39"]


async def test_a_sequencer_shows_when_its_newest_block_came_and_what_waits_to_get_into_one(nursery):
    class Growing(SharedChain):
        def grow(self, block):
            self._head.value = Head(block, block, block.to_bytes(1, "big"))

    chain, wall = Growing(None), [100.0]
    seen = SequencerSeen(chain, pool=[b"tx"] * 3, pool_limit=5_000, entries=lambda: 77, now=lambda: wall[0])
    page = sequencer_page(Metrics(), seen, has_l1=False)
    nursery.start_soon(seen.follow)
    await trio.testing.wait_all_tasks_blocked()

    chain.grow(7)
    await trio.testing.wait_all_tasks_blocked()
    kept = await page.document()
    wall[0] = 130.0
    chain.grow(8)
    await trio.testing.wait_all_tasks_blocked()
    built = await page.document()

    assert kept.chain.block_at is None  # it stood on the disk
    assert (built.chain.block, built.chain.block_at, built.chain.stream_entries) == (8, 130.0, 77)
    assert [(queue.name, queue.waiting, queue.limit) for queue in built.queues] == [("transactions", 3, 5_000)]
