"""One of several works at a time, and who was away begins anew. On virtual time; the journal is one file in memory."""

from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
from attestrio.errors import SafetyError
from attestrio.journal import Fence, FencedOff, JournalAway, SqliteJournal, while_leading
from attestrio.kit.blocking import inline
from attestrio.kit.events import NAMED
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples


class Server:
    """A journal that several processes share; `away` makes it silent for those who are named."""

    def __init__(self, journal) -> None:
        self.journal, self.away = journal, set()

    def seen_by(self, who: str):
        return Seen(self, who)


class Seen:
    """What one process has of the server."""

    def __init__(self, server: Server, who: str) -> None:
        self.server, self.who = server, who

    async def _ask(self, call, *args):
        await trio.lowlevel.checkpoint()
        if self.who in self.server.away:
            raise JournalAway("the server", "no answer")
        return await call(*args)

    async def lead(self, *args):
        return await self._ask(self.server.journal.lead, *args)

    async def resign(self, *args):
        return await self._ask(self.server.journal.resign, *args)


class Working:
    """What is run under a lead: notes when it begins and ends."""

    def __init__(self, who: str, notes: list, first=()) -> None:
        self.who, self.notes, self.first = who, notes, list(first)

    async def __call__(self, fence):
        self.notes.append((trio.current_time(), self.who, fence.token))
        try:
            if self.first:
                raise self.first.pop(0)
            await trio.sleep_forever()
        finally:
            self.notes.append((trio.current_time(), self.who, "ends"))


@asynccontextmanager
async def shared(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.db", inline, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield Server(journal)
        nursery.cancel_scope.cancel()


async def lead(server: Server, who: str, working, life="", *, task_status=trio.TASK_STATUS_IGNORED):
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await while_leading(server.seen_by(who), "work", who + life, working)


async def test_the_second_begins_as_soon_as_the_first_has_gone(tmp_path, autojump_clock):
    notes = []
    async with shared(tmp_path) as server, trio.open_nursery() as nursery:
        first = await nursery.start(lead, server, "a", Working("a", notes))
        await trio.sleep(1)
        await nursery.start(lead, server, "b", Working("b", notes))
        await trio.sleep(99)
        first.cancel()
        await trio.sleep(5)
        nursery.cancel_scope.cancel()

    assert notes[:2] == [(0, "a", 1), (100, "a", "ends")]
    assert notes[2][1:] == ("b", 2)
    assert 100 <= notes[2][0] <= 102


async def test_who_cannot_renew_stops_before_another_may_begin(tmp_path, autojump_clock, caplog):
    caplog.set_level("INFO", "attestrio")
    notes = []
    async with shared(tmp_path) as server, trio.open_nursery() as nursery:
        await nursery.start(lead, server, "a", Working("a", notes))
        await trio.sleep(1)
        await nursery.start(lead, server, "b", Working("b", notes))
        await trio.sleep(99)
        server.away.add("a")
        await trio.sleep(100)
        server.away.clear()
        await trio.sleep(100)
        nursery.cancel_scope.cancel()

    (_, ended, began) = notes[:3]
    assert ended[1:] == ("a", "ends")
    assert began[1:] == ("b", 2)
    assert 106 < ended[0] <= began[0] < 113
    assert notes[3:] == [(300, "b", "ends")]
    named = [getattr(record, NAMED)["name"] for record in caplog.records if hasattr(record, NAMED)]
    assert named == ["lead_taken", "lead_lost", "lead_taken"]


async def test_who_gets_no_lead_hears_whether_another_has_it_or_the_journal_is_away(tmp_path, autojump_clock):
    heard = []
    async with shared(tmp_path) as server, trio.open_nursery() as nursery:
        await nursery.start(lead, server, "a", Working("a", []))
        await trio.sleep(1)
        standby = partial(while_leading, server.seen_by("b"), "work", "b", Working("b", []), on_none=heard.append)
        nursery.start_soon(standby)
        await trio.sleep(20)
        before = set(heard)
        server.away.add("b")
        await trio.sleep(20)
        nursery.cancel_scope.cancel()

    assert before == {True}
    assert heard[-1] is False


async def test_a_leader_alone_goes_on_when_the_journal_was_away_for_less_than_its_lead(tmp_path, autojump_clock):
    notes = []
    async with shared(tmp_path) as server, trio.open_nursery() as nursery:
        await nursery.start(lead, server, "a", Working("a", notes))
        for _ in range(10):
            await trio.sleep(10)
            server.away.add("a")
            await trio.sleep(5)
            server.away.clear()
        nursery.cancel_scope.cancel()

    assert notes == [(0, "a", 1), (150, "a", "ends")]


async def test_who_comes_back_begins_anew_under_a_larger_token_also_when_nobody_else_led(tmp_path, autojump_clock):
    notes = []
    async with shared(tmp_path) as server, trio.open_nursery() as nursery:
        await nursery.start(lead, server, "a", Working("a", notes))
        await trio.sleep(100)
        server.away.add("a")
        await trio.sleep(100)
        server.away.clear()
        await trio.sleep(100)
        nursery.cancel_scope.cancel()

    assert [note[1:] for note in notes] == [("a", 1), ("a", "ends"), ("a", 2), ("a", "ends")]
    assert 200 <= notes[2][0] <= 202


@pytest.mark.parametrize("grouped", [False, True])
async def test_work_that_was_fenced_off_or_lost_the_journal_begins_anew_a_little_later_each_time(
    tmp_path, grouped, autojump_clock
):
    notes = []
    faults = [JournalAway("the server", "gone"), FencedOff(Fence("work", 7), 8), JournalAway("the server", "gone")]
    wrapped = [ExceptionGroup("in tasks", [fault]) for fault in faults] if grouped else faults
    async with shared(tmp_path) as server, trio.open_nursery() as nursery:
        await nursery.start(lead, server, "a", Working("a", notes, wrapped))
        await trio.sleep(60)
        nursery.cancel_scope.cancel()

    begun = [(at, token) for at, _, token in notes if token != "ends"]
    assert begun == [(0, 1), (pytest.approx(0.2), 2), (pytest.approx(0.7), 3), (pytest.approx(1.7), 4)]


async def test_any_other_error_of_the_work_comes_out_and_the_lead_is_free(tmp_path, autojump_clock):
    async with shared(tmp_path) as server:
        with pytest.RaisesGroup(SafetyError, flatten_subgroups=True):
            await lead(server, "a", Working("a", [], [SafetyError("two answers")]))

        assert await server.journal.leader("work") is None


async def test_giving_up_the_lead_to_a_journal_that_is_away_takes_no_time(tmp_path, autojump_clock):
    async with shared(tmp_path) as server, trio.open_nursery() as nursery:
        leader = await nursery.start(lead, server, "a", Working("a", []))
        await trio.sleep(1)
        server.away.add("a")
        leader.cancel()
        await trio.sleep(3)

        assert (await server.journal.leader("work")).owner == "a"
        assert trio.current_time() == 4


@pytest.mark.slow
@settings(max_examples=examples(25))
@given(
    faults=st.lists(
        st.tuples(st.floats(0.1, 12.0), st.sampled_from("abc"), st.sampled_from(["away", "back", "gone"])), max_size=20
    )
)
def test_whatever_happens_to_them_two_never_work_at_once_and_one_works_in_the_end(tmp_path_factory, faults):
    notes = []

    async def main() -> None:
        async with shared(tmp_path_factory.mktemp("lead")) as server, trio.open_nursery() as nursery:
            lives = {who: await nursery.start(lead, server, who, Working(who, notes), "") for who in "abc"}
            for number, (wait_s, who, what) in enumerate(faults):
                await trio.sleep(wait_s)
                if what == "away":
                    server.away.add(who)
                elif what == "back":
                    server.away.discard(who)
                else:  # another process takes its place, with a life of its own
                    lives[who].cancel()
                    lives[who] = await nursery.start(lead, server, who, Working(who, notes), f" {number}")
            server.away.clear()
            await trio.sleep(30)
            assert notes[-1][2] != "ends"
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    working = None
    for _, who, what in notes:
        assert working == (who if what == "ends" else None)
        working = None if what == "ends" else who
    tokens = [what for _, _, what in notes if what != "ends"]
    assert tokens == sorted(set(tokens))
