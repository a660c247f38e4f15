"""The journal on a server does what the journal in a file does, whatever is asked of both, one after the other."""

import itertools

import pytest
import trio
from attestrio.journal import Fence, Item, ItemTooLarge, Limits, Put, SqliteJournal, TopicFull, Work
from attestrio.journal.api import FencedOff
from attestrio.journal.redis import RedisJournal
from attestrio.kit.blocking import inline
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_kit import RedisProcess, needs_redis
from suite import examples

pytestmark = needs_redis

LIMITS = Limits(max_items=8, max_waiting=6)
numbers = itertools.count()

topics = st.sampled_from(["jobs", "dead"])
keys = st.sampled_from([b"", b"a", b"b", b"c", b"d", b"\xff"])
owners = st.sampled_from(["me", "you"])
for_s = st.sampled_from([-1.0, 600.0])  # due again at once, or never within the test
many = st.lists(keys, max_size=4)
items = st.lists(st.builds(Item, keys, st.binary(max_size=3)), max_size=4)
puts = st.lists(st.builds(Put, st.just("t"), keys, st.none() | st.binary(max_size=3)), max_size=2)
cursors = st.none() | st.tuples(st.just("c"), st.binary(max_size=2))
fences = st.none() | st.builds(Fence, st.just("sender"), st.integers(0, 3))
works = st.lists(st.builds(Work, topics, items), max_size=2)
beside = {"put": puts, "fence": fences}


def call(name, *arguments, **named):
    return st.tuples(st.just(name), st.tuples(*arguments), st.fixed_dictionaries(named))


CALLS = st.one_of(
    call("append", topics, items, cursor=cursors, **beside),
    call("ack", topics, many, append=works, cursor=cursors, **beside),
    call("move", topics, many, topics, **beside),
    call("lease", topics, owners, st.integers(1, 3), for_s, fence=fences),
    call("release", topics, keys, for_s, fence=fences),
    call("abandon", owners, fence=fences),
    call("prune", topics, st.sampled_from([-1.0, 600.0]), st.integers(1, 3), fence=fences),
    call("put", st.just("t"), keys, st.none() | st.binary(max_size=3), fence=fences),
    call("lead", st.just("sender"), owners, for_s),
    call("resign", st.builds(Fence, st.just("sender"), st.integers(1, 3))),
    call("knows", topics, keys),
    call("wait", topics, st.just(0.05)),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RedisProcess(tmp_path_factory.mktemp("redis"), appendfsync="no")
    server.start()
    yield server
    server.kill()


async def answer(journal, asked):
    name, arguments, named = asked
    try:
        return await getattr(journal, name)(*arguments, **named)
    except (FencedOff, TopicFull, ItemTooLarge) as exc:
        return type(exc), str(exc)


async def everything(journal):
    """All that can be read, without what the clock has to do with."""
    for topic in ("jobs", "dead"):
        for one in await journal.listed(topic, 99):
            yield topic, one.key, one.body, one.attempt, one.owner, one.due_in_s > 0
        yield await journal.count(topic)
    yield await journal.cursor("c")
    yield await journal.scan("t", 99)
    leader = await journal.leader("sender")
    yield leader and (leader.owner, leader.token, leader.left_s > 0)


@settings(max_examples=examples(60))
@given(asked=st.lists(CALLS, min_size=5, max_size=40))
async def test_both_answer_the_same_and_hold_the_same(tmp_path_factory, server, asked):
    number = next(numbers)
    file = SqliteJournal(tmp_path_factory.getbasetemp() / f"same{number}.db", inline, limits=LIMITS)
    shared = RedisJournal(server.url, f"same{number}", limits=LIMITS, allow_volatile=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(file.run)
        await nursery.start(shared.run)

        for each in asked:
            assert await answer(shared, each) == await answer(file, each), each
            assert [one async for one in everything(shared)] == [one async for one in everything(file)], each

        await file.close()
        await shared.close()
