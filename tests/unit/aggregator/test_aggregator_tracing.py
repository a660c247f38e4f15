"""What is told of batches as they come, are signed, answered and end."""

from contextlib import asynccontextmanager

import msgspec
import trio
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.rows import Answer, Attempt, Phase, Task
from attestrio.aggregator.state import Accepted, AggregatorState
from attestrio.aggregator.surface import identifier_hash
from attestrio.aggregator.tracing import Tracing
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics

ROOT, SENDER = b"\x11" * 32, b"\x22" * 20
BATCH = identifier_hash(ROOT, SENDER)
TASK = Task(ROOT, SENDER, 5, b"\x05" * 32, 0, 10**16, "pointer")


class Notebook:
    """In the place of `Telemetry`: writes down what it is told."""

    def __init__(self, on=True):
        self.on = on
        self.told = []

    def __getattr__(self, name):
        return lambda root, *more: self.told.append((name, *more))


@asynccontextmanager
async def world(path, ready, notebook, *, before=None):
    journal = SqliteJournal(path / "aggregator.db", inline, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        state = AggregatorState(journal, AggregatorMetrics(Metrics()), clock=trio.current_time)
        await state.load({})
        if before is not None:
            await before(state)
        nursery.start_soon(Tracing(state, ready, notebook).run)
        await trio.sleep(0.5)
        yield state
        nursery.cancel_scope.cancel()


def signature(operator):
    return Accepted(BATCH, ROOT, SENDER, bytes([operator]) * 32, bytes([operator]) * 64)


def attempt(number):
    return Attempt(b"raw", bytes([number]) * 32, 10 * number, 0.0)


async def test_a_batch_is_told_of_from_its_beginning_to_its_end_each_thing_once(tmp_path, autojump_clock):
    ready, notebook = set(), Notebook()
    async with world(tmp_path, ready, notebook) as state:
        await state.accept([signature(1)])
        await trio.sleep(3.0)
        orphan = list(notebook.told)

        await state.add_tasks([TASK])
        await trio.sleep(3.0)
        await state.accept([signature(2), signature(3)])
        ready.add(BATCH)
        await trio.sleep(3.0)
        await state.set_answer(BATCH, Answer(Phase.SENT, nonce=1, attempts=(attempt(1),)))
        await trio.sleep(3.0)
        await state.set_answer(BATCH, Answer(Phase.REPLACED, nonce=1, attempts=(attempt(1), attempt(2))))
        await trio.sleep(3.0)
        await state.add_tasks([msgspec.structs.replace(TASK, verified=9)])
        await trio.sleep(3.0)

    assert orphan == []
    assert notebook.told == [
        ("task_begun",),
        ("operator_answered", b"\x01" * 32),
        ("operator_answered", b"\x02" * 32),
        ("operator_answered", b"\x03" * 32),
        ("quorum_reached",),
        ("price_chosen", 10),
        ("answer_sent", b"\x01" * 32, 10),
        ("price_chosen", 20),
        ("answer_sent", b"\x02" * 32, 20),
        ("task_ended",),
    ]


async def test_a_batch_that_begins_and_ends_between_two_looks_is_told_of_whole(tmp_path, autojump_clock):
    notebook = Notebook()
    async with world(tmp_path, set(), notebook) as state:
        await state.add_tasks([msgspec.structs.replace(TASK, verified=9)])
        await trio.sleep(5.0)

    assert notebook.told == [("task_begun",), ("task_ended",)]


async def test_what_the_leader_before_has_told_is_not_told_again(tmp_path, autojump_clock):
    async def before(state):
        await state.add_tasks([TASK])
        await state.accept([signature(1)])

    notebook = Notebook()
    async with world(tmp_path, set(), notebook, before=before) as state:
        await trio.sleep(3.0)
        await state.accept([signature(2)])
        await trio.sleep(3.0)

    assert notebook.told == [("operator_answered", b"\x02" * 32)]


async def test_why_an_answer_is_parked_is_told_once_for_each_reason(tmp_path, autojump_clock):
    notebook = Notebook()
    async with world(tmp_path, set(), notebook) as state:
        await state.add_tasks([TASK])
        await state.set_answer(BATCH, Answer(Phase.PARKED, "price_too_high"))
        await trio.sleep(3.0)
        await state.set_answer(BATCH, Answer(Phase.PARKED, "price_too_high", "180 gwei"))
        await trio.sleep(3.0)
        await state.set_answer(BATCH, Answer(Phase.PARKED, "batcher_without_funds"))
        await trio.sleep(3.0)

    assert [one for one in notebook.told if one[0] == "task_failed"] == [
        ("task_failed", "price_too_high"),
        ("task_failed", "batcher_without_funds"),
    ]


async def test_a_batch_whose_answer_a_reorg_takes_back_is_followed_again(tmp_path, autojump_clock):
    notebook = Notebook()
    async with world(tmp_path, set(), notebook) as state:
        await state.add_tasks([msgspec.structs.replace(TASK, verified=9)])
        await trio.sleep(3.0)
        await state.commit(lambda change: change.undo_above(8))
        await trio.sleep(3.0)
        await state.commit(lambda change: change.verified(BATCH, 10))
        await trio.sleep(3.0)

    assert notebook.told == [("task_begun",), ("task_ended",), ("task_ended",)]


async def test_without_telemetry_nobody_looks(tmp_path, autojump_clock):
    notebook = Notebook(on=False)
    async with world(tmp_path, set(), notebook) as state:
        await state.add_tasks([TASK])
        await trio.sleep(60.0)

    assert notebook.told == []
