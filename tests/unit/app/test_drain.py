"""What is written into outlives who writes: it ends with what it holds written out, or when the grace is over."""

import logging

import pytest
import trio
import trio.testing
from attestrio.app.drain import Grace, draining
from attestrio.errors import StorageUnusable, leaves


class SlowWriter:
    """Takes `each_s` for each thing it was given; `fails` is raised at the second."""

    def __init__(self, each_s=1.0, fails=None):
        self.each_s, self.fails, self.written = each_s, fails, []
        self._send, self._receive = trio.open_memory_channel(100)
        self.ended = trio.Event()

    def give(self, *things):
        for thing in things:
            self._send.send_nowait(thing)

    async def run(self, *, task_status):
        task_status.started()
        try:
            async for thing in self._receive:
                await trio.sleep(self.each_s)
                if self.written and self.fails:
                    raise self.fails
                self.written.append(thing)
        finally:
            self.ended.set()

    async def close(self):
        self._send.close()
        await self.ended.wait()


async def node(writers, grace, *, task_status=trio.TASK_STATUS_IGNORED):
    """One writer inside the other, and a body that goes on for ever."""
    outer, inner = writers
    async with draining(outer, grace, "outer"), draining(inner, grace, "inner"), trio.open_nursery() as base:
        base.start_soon(grace.run)
        task_status.started()
        await trio.sleep_forever()


async def stopped(writers, grace_s):
    """Start a node, stop it from outside at once; how long it took to end."""
    async with trio.open_nursery() as nursery:
        await nursery.start(node, writers, Grace(grace_s))
        began = trio.current_time()
        nursery.cancel_scope.cancel()
    return trio.current_time() - began


async def test_what_was_given_before_the_stop_is_written(autojump_clock):
    outer, inner = SlowWriter(), SlowWriter()
    outer.give("a", "b")
    inner.give("c")

    took_s = await stopped((outer, inner), 5.0)

    assert (outer.written, inner.written) == (["a", "b"], ["c"])
    assert took_s == 2.0  # both go on while the inner one is waited for


async def test_all_writers_share_one_grace_and_what_is_not_done_by_then_is_cut_off(autojump_clock, caplog):
    caplog.set_level(logging.WARNING, "attestrio.app")
    outer, inner = SlowWriter(each_s=2.0), SlowWriter(each_s=2.0)
    for writer in (outer, inner):
        writer.give("a", "b", "c")

    took_s = await stopped((outer, inner), 5.0)

    assert (outer.written, inner.written) == (["a", "b"], ["a", "b"])
    assert took_s == 5.0
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["inner", "outer"]


async def test_a_writer_that_ends_while_the_node_goes_on_has_the_grace_to_itself(autojump_clock):
    grace = Grace(5.0)
    times = []

    for _ in range(2):
        writer = SlowWriter(each_s=3.0)
        async with draining(writer, grace, "store"):
            writer.give("a")
            began = trio.current_time()
        times.append(trio.current_time() - began)
        assert writer.written == ["a"]

    assert times == [3.0, 3.0]


async def test_a_writer_that_fails_ends_the_body(autojump_clock):
    writer = SlowWriter(fails=StorageUnusable("the disk is full"))
    writer.give("a", "b")

    with pytest.raises(BaseExceptionGroup) as raised:
        async with draining(writer, Grace(5.0), "store"):
            await trio.sleep_forever()

    assert [type(error) for error in leaves(raised.value)] == [StorageUnusable]
    assert trio.current_time() == 2.0
