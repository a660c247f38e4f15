"""A process of any role takes what its start left out of the collector's sight: else each full collection walks it."""

import gc
from functools import partial

import pytest
import trio
import trio.testing
from attestrio.aggregator.desk import Absent
from attestrio.aggregator.runner import Serving
from attestrio.app.aggregator import RunningAggregator
from attestrio.app.operator import RunningOperator
from attestrio.app.parts import RunningNode
from attestrio.app.sequencer import RunningSequencer
from attestrio.app.sequencer_config import SequencerConfig
from attestrio.cli import aggregator, operator, run, sequencer
from attestrio.cli.output import Output
from attestrio.config import NodeConfig
from attestrio.duty import DutyLog
from attestrio.kit.metrics import Metrics
from trio_util import AsyncValue

SERVING = Serving("127.0.0.1:8090", AsyncValue(None), lambda: Absent.STARTING)
RUNNING = {
    run: RunningNode(NodeConfig(), Metrics(), DutyLog(lambda: 0.0), AsyncValue(None), AsyncValue(None)),
    operator: RunningOperator(None, Metrics(), None),
    aggregator: RunningAggregator(SERVING.address, SERVING, Metrics(), None),
    sequencer: RunningSequencer(None, "127.0.0.1:6900", None, Metrics(), None),
}


@pytest.fixture
def thawed():
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("role", RUNNING, ids=lambda role: role.__name__)
async def test_what_a_start_left_is_walked_by_no_collection(role, thawed, monkeypatch):
    async def started(*_, task_status, **__):
        task_status.started(RUNNING[role])
        await trio.sleep_forever()

    monkeypatch.setattr("attestrio.cli.sequencer.run_sequencer", started)
    logged = partial(role.run_logged, started, "data")
    if role is sequencer:
        logged = partial(role.run_logged, SequencerConfig(), resequence=False, output=Output())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(logged)
        await trio.testing.wait_all_tasks_blocked()
        frozen = gc.get_freeze_count()
        nursery.cancel_scope.cancel()

    assert frozen > 0
