"""A Redis server is killed and started again in the middle of everything: nothing promised is lost or done twice."""

from contextlib import asynccontextmanager
from itertools import count

import pytest
import trio
from attestrio.journal import Fence, Fenced, FencedOff, Item, JournalAway, Put, TopicCount, Work, while_leading
from attestrio.journal.redis import RedisJournal
from redis_kit import needs_redis, redis
from suite import patient

pytestmark = needs_redis
__all__ = ["redis"]

PRODUCERS, EACH, KILLS = 4, 150, 6


@asynccontextmanager
async def clients(server, number, **options):
    """As many processes would have: each its own connections."""
    async with trio.open_nursery() as nursery:
        journals = [RedisJournal(server.url, "shared", timeout_s=1.0, **options) for _ in range(number)]
        for journal in journals:
            await nursery.start(journal.run)
        yield journals
        nursery.cancel_scope.cancel()


async def until_it_answers(call):
    """Asked again as long as the server is away, like everybody who has work to hand over."""
    while True:
        try:
            return await call()
        except JournalAway:
            await trio.sleep(0.01)


async def wait_until(holds):
    """What `holds` asks is on the server, which tells nobody: it is asked again and again."""
    while True:
        if await until_it_answers(holds):
            return
        await trio.sleep(0.02)


class Works:
    """Producers and consumers on several clients, and what they were promised."""

    def __init__(self) -> None:
        self.appended, self.ended, self.again = set(), set(), []

    async def produce(self, journal, who: int) -> None:
        for number in range(EACH):
            key = b"%d/%d" % (who, number)
            await until_it_answers(lambda key=key: journal.append("in", [Item(key, key * 9)], cursor=("c", key)))
            self.appended.add(key)
            await trio.sleep(0.001)

    async def consume(self, journal, owner: str) -> None:
        while True:
            ended_before = set(self.ended)
            for work in await until_it_answers(lambda: journal.lease("in", owner, 3, 0.5)):
                if work.key in ended_before:
                    self.again.append(work.key)
                await until_it_answers(lambda work=work: self._end(journal, work))
            await trio.sleep(0.001)

    async def _end(self, journal, work) -> None:
        await journal.ack("in", [work.key], append=[Work("out", [Item(work.key, work.body)])])
        self.ended.add(work.key)


async def all_done(journal) -> bool:
    return await journal.count("in") == TopicCount(0, PRODUCERS * EACH)


async def test_redis_killed_and_restarted_in_the_middle_loses_nothing_promised_and_does_nothing_twice(redis):
    redis.start()
    works = Works()
    with trio.fail_after(patient(60)):
        async with clients(redis, 2) as journals:
            async with trio.open_nursery() as consumers:
                async with trio.open_nursery() as producers:
                    for who in range(PRODUCERS):
                        producers.start_soon(works.produce, journals[who % 2], who)
                        consumers.start_soon(works.consume, journals[who % 2], f"consumer {who}")
                    for _ in range(KILLS):
                        await trio.sleep(0.15)
                        redis.kill()
                        await trio.sleep(0.05)
                        await trio.to_thread.run_sync(redis.start)
                await wait_until(lambda: all_done(journals[0]))
                consumers.cancel_scope.cancel()
            out = await journals[1].listed("out", 9_999)

    assert len(works.appended) == PRODUCERS * EACH
    assert works.again == []
    assert sorted(one.key for one in out) == sorted(works.appended)
    assert all(one.body == one.key * 9 for one in out)


async def test_what_was_confirmed_right_before_the_kill_is_there_right_after(redis):
    redis.start()
    numbers = count(1)
    async with clients(redis, 1) as (journal,):
        for _ in range(5):
            for _ in range(20):
                last = next(numbers)
                await until_it_answers(
                    lambda last=last: journal.append("jobs", [Item(b"%d" % last)], cursor=("c", b"%d" % last))
                )
            redis.kill()
            redis.start()

            assert await until_it_answers(lambda: journal.cursor("c")) == b"%d" % last
            assert await journal.count("jobs") == TopicCount(last, 0)


async def test_leases_and_the_lead_outlive_a_killed_server(redis):
    redis.start()
    async with clients(redis, 2) as (one, two):
        await one.append("jobs", [Item(b"a"), Item(b"b"), Item(b"c")])
        await one.lease("jobs", "one", 1, 60.0)
        await one.release("jobs", b"b", 60.0)
        fence = await one.lead("sender", "one", 60.0)
        redis.kill()
        redis.start()

        (leased,) = await until_it_answers(lambda: two.lease("jobs", "two", 9, 60.0))
        assert (leased.key, leased.attempt) == (b"c", 1)
        assert await two.lead("sender", "two", 60.0) is None
        assert await one.append("jobs", [Item(b"d")], fence=fence) == 1
        assert [(seen.owner, seen.attempt) for seen in await two.listed("jobs", 9)] == [
            ("one", 1), (None, 0), ("two", 1), (None, 0),
        ]  # fmt: skip


async def test_a_leader_that_was_paused_is_fenced_off_when_it_goes_on(redis):
    redis.start()
    led, has_taken_over = [], trio.Event()

    async def work(fence: Fence):
        led.append(fence)
        await Fenced(two, fence).put("t", b"k", b"of two")
        has_taken_over.set()
        await trio.sleep_forever()

    async with clients(redis, 2) as (one, two), trio.open_nursery() as nursery:
        paused = Fenced(one, await one.lead("sender", "one", 0.3))  # and it does not renew: it is not running
        await paused.put("t", b"k", b"of one")
        nursery.start_soon(lambda: while_leading(two, "sender", "two", work, for_s=30.0))
        with trio.fail_after(patient(10)):
            await has_taken_over.wait()

        with pytest.raises(FencedOff) as refused:
            await paused.append("jobs", [Item(b"late")], put=[Put("t", b"k", b"late")])
        assert await one.get("t", b"k") == b"of two"
        nursery.cancel_scope.cancel()

    assert (refused.value.fence.token, refused.value.newest) == (1, 2)
    assert led == [Fence("sender", 2)]


async def test_a_leader_stops_while_its_server_is_silent_and_begins_anew_when_it_answers(redis):
    redis.start()
    notes, news = [], trio.Condition()

    async def note(what) -> None:
        async with news:
            notes.append(what)
            news.notify_all()

    async def noted(number: int) -> None:
        async with news:
            while len(notes) < number:
                await news.wait()

    async def work(fence: Fence):
        await note(fence.token)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await note("ends")

    async with clients(redis, 1) as (journal,), trio.open_nursery() as nursery:
        nursery.start_soon(lambda: while_leading(journal, "sender", "me", work, for_s=0.6))
        with trio.fail_after(patient(20)):
            await noted(1)
            redis.pause()
            await noted(2)
            redis.resume()
            await noted(3)
        nursery.cancel_scope.cancel()

    assert notes[:3] == [1, "ends", 2]
