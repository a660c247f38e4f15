"""The one line that `systemctl status` shows of each role."""

from types import SimpleNamespace

import pytest
from attestrio.aggregator.desk import Absent
from attestrio.aggregator.runner import Serving
from attestrio.app import RunningNode
from attestrio.app.aggregator import RunningAggregator
from attestrio.app.operator import RunningOperator
from attestrio.app.sequencer import RunningSequencer
from attestrio.cli.standing import aggregator_line, node_line, operator_line, sequencer_line
from attestrio.config import NodeConfig
from attestrio.duty import DutyLog
from attestrio.journal import SqliteJournal
from attestrio.kit.metrics import Metrics
from attestrio.operator.metrics import OperatorMetrics
from attestrio.operator.progress import Progress, Watermark
from attestrio.operator.state import OperatorState
from attestrio.sequencer.shared import Head, SharedChain
from trio_util import AsyncValue


def test_a_node_without_an_epoch_says_what_it_waits_for():
    node = RunningNode(NodeConfig(), Metrics(), DutyLog(lambda: 0.0), AsyncValue(None), AsyncValue(None))

    assert node_line(node) == "waits for a genesis"


@pytest.mark.parametrize(
    ("wanted", "peers", "line"),
    [
        (None, None, "epoch 2: no batch is named yet"),
        (7, None, "epoch 2: batch 7 is to be attested"),
        (7, ["a", "b"], "epoch 2: batch 7 is to be attested, 2 peers"),
    ],
)
def test_a_node_says_which_batch_is_wanted_and_how_many_peers_it_has(wanted, peers, line):
    status = SimpleNamespace(status=SimpleNamespace(next_batch=wanted))
    network = None if peers is None else SimpleNamespace(peers=peers)
    epoch = AsyncValue(SimpleNamespace(number=2, status=status))

    assert (
        node_line(RunningNode(NodeConfig(), Metrics(), DutyLog(lambda: 0.0), epoch, AsyncValue(None), network)) == line
    )


def test_an_operator_says_what_is_left(tmp_path):
    metrics = Metrics()
    state = OperatorState(SqliteJournal(tmp_path / "journal.db"), OperatorMetrics(metrics))
    state.progress = Progress(Watermark(120))
    state.progress.opened(b"a", Watermark(101, 3))
    state.progress.opened(b"b", Watermark(110))

    line = operator_line(RunningOperator(state, metrics, None))

    assert line == "2 batches unfinished, all before block 101 are done"


@pytest.mark.parametrize(("core", "line"), [(None, "stands by: not the leader"), (object(), "leads")])
def test_an_aggregator_says_whether_it_leads(core, line):
    serving = Serving("127.0.0.1:8090", AsyncValue(core), lambda: Absent.NOT_THE_LEADER)
    running = RunningAggregator("127.0.0.1:8090", serving, Metrics(), None)

    assert aggregator_line(running) == line


class ChainAt(SharedChain):
    def __init__(self, head):
        self._head = AsyncValue(head)


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (Head(7, 31, b""), "batch 7, block 31"),
        (Head(7, 31, b"", "L1 rolled back"), "batch 7, block 31; nothing is built: L1 rolled back"),
    ],
)
def test_a_sequencer_says_where_its_chain_is_and_why_it_stands_still(head, line):
    running = RunningSequencer(ChainAt(head), "127.0.0.1:6900", None, Metrics(), None)

    assert sequencer_line(running) == line
