"""What a Redis server must be to keep a journal, and what is heard of one that is away, full or frozen."""

import subprocess
import sys

import pytest
import trio
import trio.testing
from attestrio.journal import Item, JournalAway, JournalClosed, Put, TopicCount
from attestrio.journal.redis import RedisJournal, RedisNotDurable, RedisUnusable
from redis_kit import needs_redis, redis
from suite import patient

pytestmark = needs_redis
__all__ = ["redis"]


async def until_it_answers(call):
    with trio.fail_after(patient(20)):
        while True:
            try:
                return await call()
            except JournalAway:
                await trio.sleep(0.02)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"appendonly": "no"}, ("appendonly", "no", "yes")),
        ({"appendfsync": "everysec"}, ("appendfsync", "everysec", "always")),
        ({"no-appendfsync-on-rewrite": "yes"}, ("no-appendfsync-on-rewrite", "yes", "no")),
        ({"maxmemory-policy": "allkeys-lru"}, ("maxmemory-policy", "allkeys-lru", "noeviction")),
    ],
    ids=["no log", "synced later", "not synced at times", "evicts"],
)
async def test_a_server_that_could_forget_what_it_confirmed_is_refused_unless_that_is_allowed(
    redis, nursery, settings, named
):
    redis.start(**settings)

    with pytest.RaisesGroup(RedisNotDurable, flatten_subgroups=True) as refused:
        await RedisJournal(redis.url, "test").run()

    (told,) = refused.value.exceptions
    while isinstance(told, ExceptionGroup):
        (told,) = told.exceptions
    assert (told.setting, told.got, told.want) == named
    assert f"127.0.0.1:{redis.port}/0" in str(told)
    allowed = RedisJournal(redis.url, "test", allow_volatile=True)
    await nursery.start(allowed.run)
    assert await allowed.append("jobs", [Item(b"a")]) == 1


async def test_a_wrong_password_is_told_in_a_sentence_without_it(redis):
    redis.start(requirepass="right")
    url = redis.url.replace("://", "://:wrong@")

    with pytest.RaisesGroup(RedisUnusable, flatten_subgroups=True) as refused:
        await RedisJournal(url, "test").run()

    (told,) = refused.value.exceptions
    assert "wrong@" not in repr(told)
    assert f"127.0.0.1:{redis.port}" in str(told)


async def test_a_password_in_the_url_is_used(redis, nursery):
    redis.start(requirepass="right")
    journal = RedisJournal(redis.url.replace("://", "://:right@"), "test")
    await nursery.start(journal.run)

    assert await journal.append("jobs", [Item(b"a")]) == 1


async def test_a_journal_of_a_later_release_is_left_alone(redis, nursery):
    redis.start()
    journal = RedisJournal(redis.url, "test")
    await nursery.start(journal.run)
    await journal.close()
    command = ["redis-cli", "-p", str(redis.port), "SET", "{attestrio:test}:format", "2"]
    await trio.run_process(command, capture_stdout=True)

    with pytest.RaisesGroup(RedisUnusable, flatten_subgroups=True):
        await RedisJournal(redis.url, "test").run()


async def test_a_server_that_is_not_there_yet_stops_nobody_from_starting(redis, nursery):
    journal = RedisJournal(redis.url, "test")
    await nursery.start(journal.run)

    with pytest.raises(JournalAway) as away:
        await journal.append("jobs", [Item(b"a")])
    redis.start()

    assert away.value.where == f"127.0.0.1:{redis.port}/0"
    assert await until_it_answers(lambda: journal.append("jobs", [Item(b"a")])) == 1


@pytest.mark.parametrize("asked_meanwhile", [True, False])
async def test_a_server_that_comes_back_less_durable_than_it_was_ends_the_journal(redis, asked_meanwhile):
    redis.start()

    with pytest.RaisesGroup(RedisNotDurable, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            journal = RedisJournal(redis.url, "test")
            await nursery.start(journal.run)
            redis.kill()
            if asked_meanwhile:
                with pytest.raises(JournalAway):
                    await journal.count("jobs")
            redis.start(appendfsync="no")
            await until_it_answers(lambda: journal.count("jobs"))
            await trio.sleep_forever()


async def test_a_frozen_server_is_told_within_the_time_of_a_call_and_used_again_when_it_thaws(redis, nursery):
    redis.start()
    journal = RedisJournal(redis.url, "test", timeout_s=0.3)
    await nursery.start(journal.run)
    redis.pause()
    began = trio.current_time()

    with pytest.raises(JournalAway, match=r"0\.3 s"):
        await journal.append("jobs", [Item(b"a")])
    took = trio.current_time() - began
    redis.resume()

    assert took < 2.0
    await until_it_answers(lambda: journal.append("jobs", [Item(b"a")]))
    assert await journal.count("jobs") == TopicCount(1, 0)


async def test_a_server_that_freezes_again_and_again_leaves_the_journal_usable(redis, nursery):
    redis.start()
    journal = RedisJournal(redis.url, "test", timeout_s=0.1)
    await nursery.start(journal.run)

    for number in range(5):
        redis.pause()
        for _ in range(5):
            with trio.move_on_after(0.03):  # callers that leave before there is an answer
                await until_it_answers(lambda: journal.count("jobs"))
        redis.resume()
        await until_it_answers(lambda number=number: journal.append("jobs", [Item(b"%d" % number)]))

    assert await until_it_answers(lambda: journal.count("jobs")) == TopicCount(5, 0)


async def test_a_full_server_keeps_what_it_has_refuses_whole_transactions_and_takes_them_again_later(redis, nursery):
    redis.start()
    journal = RedisJournal(redis.url, "test")
    await nursery.start(journal.run)
    await journal.append("jobs", [Item(b"a")], cursor=("c", b"1"))
    await configure(redis, "maxmemory", "1mb")

    with pytest.raises(JournalAway, match="OOM"):
        await journal.append("jobs", [Item(b"b")], cursor=("c", b"2"), put=[Put("t", b"k", b"v")])

    assert await journal.cursor("c") == b"1"
    assert await journal.count("jobs") == TopicCount(1, 0)
    await configure(redis, "maxmemory", "0")
    assert await journal.append("jobs", [Item(b"b")], cursor=("c", b"2")) == 1


async def test_a_server_that_became_a_replica_is_away_until_it_takes_writes_again(redis, nursery):
    redis.start()
    journal = RedisJournal(redis.url, "test")
    await nursery.start(journal.run)
    await journal.append("jobs", [Item(b"a")])
    await command(redis, "REPLICAOF", "127.0.0.1", "1")

    with pytest.raises(JournalAway):
        await journal.append("jobs", [Item(b"b")])
    await command(redis, "REPLICAOF", "NO", "ONE")

    assert await until_it_answers(lambda: journal.append("jobs", [Item(b"b")])) == 1


async def test_two_names_on_one_server_are_two_journals(redis, nursery):
    redis.start()
    one, two = RedisJournal(redis.url, "one"), RedisJournal(redis.url, "two")
    await nursery.start(one.run)
    await nursery.start(two.run)

    await one.append("jobs", [Item(b"a")], put=[Put("t", b"k", b"v")])

    assert await two.count("jobs") == TopicCount(0, 0)
    assert await two.get("t", b"k") is None


async def test_who_waits_is_woken_by_what_another_process_appends(redis, nursery):
    redis.start()
    one, two = RedisJournal(redis.url, "test"), RedisJournal(redis.url, "test")
    await nursery.start(one.run)
    await nursery.start(two.run)
    woken = trio.Event()

    async def wait() -> None:
        assert await two.wait("jobs", 30.0)
        woken.set()

    nursery.start_soon(wait)
    await trio.sleep(0.05)
    await one.append("jobs", [Item(b"a")])

    with trio.fail_after(patient(5)):
        await woken.wait()


async def test_closing_finishes_what_was_asked_for(redis, nursery):
    redis.start()
    journal = RedisJournal(redis.url, "test")
    await nursery.start(journal.run)

    redis.pause()
    async with trio.open_nursery() as callers:
        for number in range(50):
            callers.start_soon(journal.append, "jobs", [Item(b"%d" % number)])
        await trio.testing.wait_all_tasks_blocked()
        callers.start_soon(journal.close)
        await trio.testing.wait_all_tasks_blocked()
        redis.resume()
    again = RedisJournal(redis.url, "test")
    await nursery.start(again.run)

    assert await again.count("jobs") == TopicCount(50, 0)
    with pytest.raises(JournalClosed):
        await journal.count("jobs")


async def test_a_script_that_the_server_has_forgotten_is_sent_again(redis, nursery):
    redis.start()
    journal = RedisJournal(redis.url, "test")
    await nursery.start(journal.run)
    await journal.append("jobs", [Item(b"a")])
    await command(redis, "SCRIPT", "FLUSH")

    assert await journal.append("jobs", [Item(b"b")]) == 1


async def command(redis, *words):
    await trio.run_process(["redis-cli", "-p", str(redis.port), *words], capture_stdout=True)


async def configure(redis, setting, value):
    await command(redis, "CONFIG", "SET", setting, value)


@pytest.mark.parametrize(
    "url", ["redis://", "http://127.0.0.1", "unix:///run/redis.sock", "redis://127.0.0.1:port", ""]
)
def test_a_url_of_something_else_is_refused_with_how_to_write_it(url):
    with pytest.raises(RedisUnusable) as refused:
        RedisJournal(url, "test")

    assert "port" in str(refused.value)


def test_without_the_library_the_extra_is_named_in_one_sentence():
    program = (
        "import sys; sys.modules['coredis'] = None\n"
        "from attestrio.errors import MissingExtra\n"
        "try:\n    from attestrio.journal.redis import RedisJournal\n"
        "except MissingExtra as exc:\n    print(exc)\n"
    )

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert "pip install 'attestrio[redis]'" in told
