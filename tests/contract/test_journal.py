"""What every journal promises. `restart` ends the journal like a stop of the node and opens it again.

Leases run on virtual time where the test moves the clock. A Redis server has its own: there everything takes a tenth of
the seconds written here, and what is read off the clock is compared with as much leeway as a busy machine needs.
"""

import itertools
from dataclasses import replace

import pytest
import trio
import trio.testing
from attestrio.journal import (
    Fence,
    Fenced,
    FencedOff,
    Item,
    ItemTooLarge,
    JournalClosed,
    Leadership,
    Leased,
    Limits,
    Put,
    SqliteJournal,
    TopicCount,
    TopicFull,
    Work,
)
from attestrio.journal.redis import RedisJournal
from attestrio.kit.blocking import inline
from redis_kit import RedisProcess, needs_redis

LIMITS = Limits(max_name=20, max_key=32, max_body=1_000, max_items=50, max_waiting=100)


UNIT_S = 0.1


class RealTime:
    """Stands where the clock stands that a test moves."""


class InUnits:
    """A journal whose seconds are shorter."""

    def __init__(self, journal, unit_s: float) -> None:
        self._journal, self._unit_s = journal, unit_s

    def __getattr__(self, name):
        return getattr(self._journal, name)

    async def lease(self, topic, owner, limit, for_s, **more):
        return await self._journal.lease(topic, owner, limit, for_s * self._unit_s, **more)

    async def release(self, topic, key, after_s=0.0, **more):
        return await self._journal.release(topic, key, after_s * self._unit_s, **more)

    async def wait(self, topic, at_most_s):
        return await self._journal.wait(topic, at_most_s * self._unit_s)

    async def prune(self, topic, older_than_s, *limit, **more):
        return await self._journal.prune(topic, older_than_s * self._unit_s, *limit, **more)

    async def listed(self, *asked, **more):
        found = await self._journal.listed(*asked, **more)
        return [replace(one, due_in_s=one.due_in_s / self._unit_s) for one in found]

    async def lead(self, name, owner, for_s):
        return await self._journal.lead(name, owner, for_s * self._unit_s)

    async def leader(self, name):
        found = await self._journal.leader(name)
        return found and replace(found, left_s=found.left_s / self._unit_s)


class Opener:
    """Opens journals of one kind in the test's nursery."""

    def __init__(self, place, clock, nursery) -> None:
        self.place, self.clock, self.nursery = place, clock, nursery

    async def __call__(self):
        if isinstance(self.place, tuple):
            journal = RedisJournal(*self.place, limits=LIMITS)
            await self.nursery.start(journal.run)
            return InUnits(journal, UNIT_S)
        journal = SqliteJournal(self.place, inline, limits=LIMITS, clock=trio.current_time)
        await self.nursery.start(journal.run)
        return journal

    async def restart(self, journal):
        await journal.close()
        return await self()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    server = RedisProcess(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=needs_redis)])
def place(request, tmp_path):
    """A file, or a server and the name of a journal that no other test has."""
    if request.param == "sqlite":
        return tmp_path / "journal.db"
    return request.getfixturevalue("redis_server").url, request.node.name


@pytest.fixture
def clock(place):
    return RealTime() if isinstance(place, tuple) else trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def opening(place, clock, nursery):
    return Opener(place, clock, nursery)


@pytest.fixture
async def journal(opening):
    return await opening()


async def sleep(clock, seconds: float) -> None:
    await trio.sleep(seconds * UNIT_S if isinstance(clock, RealTime) else seconds)


def since(clock):
    """Seconds from now on."""
    began = trio.current_time()
    return lambda: (trio.current_time() - began) / (UNIT_S if isinstance(clock, RealTime) else 1.0)


def about(clock, seconds: float):
    return pytest.approx(seconds, abs=2.5 if isinstance(clock, RealTime) else 1e-9)


def items(*names: str) -> list[Item]:
    return [Item(name.encode(), b"body of " + name.encode()) for name in names]


def names(leased) -> list[str]:
    return [one.key.decode() for one in leased]


# --- appending


async def test_work_is_leased_in_the_order_it_was_appended(journal, clock):
    await journal.append("jobs", items("b", "a"))
    await journal.append("jobs", items("c"))

    first = await journal.lease("jobs", "me", 2, 10.0)
    second = await journal.lease("jobs", "me", 2, 10.0)

    assert first == [Leased(b"b", b"body of b", 1), Leased(b"a", b"body of a", 1)]
    assert names(second) == ["c"]
    assert await journal.lease("jobs", "me", 2, 10.0) == []


async def test_the_same_key_again_is_ignored_whether_it_waits_or_is_done(journal, clock):
    assert await journal.append("jobs", items("a", "b", "a")) == 2
    assert await journal.append("jobs", [Item(b"a", b"another body")]) == 0
    await journal.ack("jobs", [b"b"])

    assert await journal.append("jobs", items("a", "b", "c")) == 1
    assert await journal.lease("jobs", "me", 9, 1.0) == [Leased(b"a", b"body of a", 1), Leased(b"c", b"body of c", 1)]


async def test_topics_know_nothing_of_each_other(journal, clock):
    await journal.append("jobs", items("a"))
    await journal.append("other", items("a"))
    await journal.ack("jobs", [b"a"])

    assert names(await journal.lease("other", "me", 9, 1.0)) == ["a"]
    assert await journal.count("jobs") == TopicCount(waiting=0, done=1)
    assert await journal.count("never used") == TopicCount(0, 0)


async def test_what_was_written_is_there_after_a_restart(opening, clock):
    journal = await opening()
    await journal.append("jobs", items("a", "b"), cursor=("chain", b"7"), put=[Put("verdicts", b"a", b"valid")])
    await journal.lease("jobs", "me", 1, 60.0)
    await journal.ack("jobs", [b"b"])

    journal = await opening.restart(journal)

    assert await journal.cursor("chain") == b"7"
    assert await journal.get("verdicts", b"a") == b"valid"
    assert await journal.count("jobs") == TopicCount(waiting=1, done=1)
    assert await journal.lease("jobs", "you", 9, 1.0) == []  # leased before the restart, and still
    assert await journal.append("jobs", items("a", "b")) == 0


# --- leases


async def test_a_lease_that_runs_out_gives_the_work_to_the_next_who_asks_oldest_first(journal, clock):
    await journal.append("jobs", items("a", "b"))
    await journal.lease("jobs", "me", 1, 10.0)

    await sleep(clock, 4.0)
    early = await journal.lease("jobs", "you", 9, 60.0)
    await journal.append("jobs", items("c"))
    await sleep(clock, 7.0)
    late = await journal.lease("jobs", "you", 9, 60.0)

    assert names(early) == ["b"]
    assert [(one.key, one.attempt) for one in late] == [(b"a", 2), (b"c", 1)]


async def test_work_may_be_acknowledged_after_its_lease_has_run_out(journal, clock):
    await journal.append("jobs", items("a"))
    await journal.lease("jobs", "slow", 1, 1.0)
    await sleep(clock, 2.0)

    assert await journal.ack("jobs", [b"a"]) == 1
    assert await journal.ack("jobs", [b"a"]) == 0
    assert await journal.lease("jobs", "you", 9, 1.0) == []


async def test_released_work_comes_back_when_it_is_due_and_in_its_old_place(journal, clock):
    await journal.append("jobs", items("a", "b"))
    await journal.lease("jobs", "me", 1, 60.0)

    assert await journal.release("jobs", b"a", after_s=5.0)
    assert names(await journal.lease("jobs", "me", 1, 0.0)) == ["b"]
    await sleep(clock, 5.0)

    assert names(await journal.lease("jobs", "me", 9, 60.0)) == ["a", "b"]
    assert not await journal.release("jobs", b"never appended")


async def test_work_that_nobody_leased_can_be_put_off_and_what_stands_before_it_cannot_tell(journal, clock):
    await journal.append("jobs", items("a", "b", "c"))

    assert await journal.release("jobs", b"b", after_s=5.0)
    now = await journal.lease("jobs", "me", 9, 60.0)
    await sleep(clock, 6.0)

    assert [(one.key, one.attempt) for one in now] == [(b"a", 1), (b"c", 1)]
    assert await journal.lease("jobs", "me", 9, 60.0) == [Leased(b"b", b"body of b", 1)]


async def test_work_that_is_due_is_found_behind_much_that_is_leased(journal, clock):
    for start in range(0, 100, 50):
        await journal.append("jobs", items(*(f"{n:02}" for n in range(start, start + 50))))
        await journal.lease("jobs", "me", 50, 600.0)
    await journal.release("jobs", b"97")
    await journal.release("jobs", b"42")

    assert names(await journal.lease("jobs", "you", 1, 600.0)) == ["42"]
    assert names(await journal.lease("jobs", "you", 1, 600.0)) == ["97"]
    assert await journal.lease("jobs", "you", 1, 600.0) == []


async def test_who_restarts_gets_its_own_work_back_at_once(journal, clock):
    await journal.append("jobs", items("a", "b", "c"))
    await journal.lease("jobs", "me", 2, 600.0)
    await journal.lease("jobs", "you", 1, 600.0)

    assert await journal.abandon("me") == 2

    assert names(await journal.lease("jobs", "me", 9, 60.0)) == ["a", "b"]


async def test_two_who_ask_at_once_never_get_the_same_work(journal, clock):
    await journal.append("jobs", items(*"abcdefgh"))
    got = []

    async def take(owner: str) -> None:
        got.append(names(await journal.lease("jobs", owner, 2, 60.0)))

    async with trio.open_nursery() as takers:
        for owner in ("p", "q", "r", "s"):
            takers.start_soon(take, owner)

    assert sorted(itertools.chain(*got)) == list("abcdefgh")


async def test_who_restarts_does_not_get_early_what_was_put_off(journal, clock):
    await journal.append("jobs", items("a", "b"))
    await journal.lease("jobs", "me", 9, 600.0)
    await journal.release("jobs", b"a", after_s=600.0)

    assert await journal.abandon("me") == 1
    assert await journal.abandon("never seen") == 0

    assert await journal.lease("jobs", "me", 9, 60.0) == [Leased(b"b", b"body of b", 2)]


# --- acknowledging


async def test_an_acknowledgement_moves_work_and_cursor_and_state_in_one_transaction(journal, clock):
    await journal.append("download", items("a"))
    await journal.lease("download", "me", 1, 60.0)

    await journal.ack(
        "download",
        [b"a"],
        append=[Work("verify", items("a")), Work("log", items("x"))],
        cursor=("done", b"1"),
        put=[Put("sizes", b"a", b"9")],
    )

    assert await journal.count("download") == TopicCount(0, 1)
    assert names(await journal.lease("verify", "me", 9, 1.0)) == ["a"]
    assert names(await journal.lease("log", "me", 9, 1.0)) == ["x"]
    assert (await journal.cursor("done"), await journal.get("sizes", b"a")) == (b"1", b"9")


async def test_an_acknowledgement_that_cannot_be_written_whole_changes_nothing(journal, clock):
    await journal.append("download", items("a"), cursor=("done", b"0"))
    for start in range(0, 100, 50):
        await journal.append("verify", items(*(f"old {n}" for n in range(start, start + 50))))

    with pytest.raises(TopicFull) as refused:
        await journal.ack("download", [b"a"], append=[Work("verify", items("a"))], cursor=("done", b"1"))

    assert (refused.value.waiting, refused.value.limit) == (101, 100)
    assert await journal.count("download") == TopicCount(1, 0)
    assert await journal.cursor("done") == b"0"
    assert not await journal.knows("verify", b"a")


async def test_an_append_repeated_because_nobody_knows_whether_it_arrived_is_harmless(journal, clock):
    for _ in range(2):
        await journal.ack("download", [b"a"], append=[Work("verify", items("a"))], cursor=("done", b"1"))

    assert names(await journal.lease("verify", "me", 9, 1.0)) == ["a"]


async def test_moved_work_keeps_its_body_and_is_due_at_once(journal, clock):
    await journal.append("jobs", items("a", "b"))
    await journal.release("jobs", b"a", after_s=600.0)

    assert await journal.move("jobs", [b"a", b"unknown", b"a"], "dead", put=[Put("why", b"a", b"bad")]) == 1

    assert await journal.lease("dead", "me", 9, 1.0) == [Leased(b"a", b"body of a", 1)]
    assert names(await journal.lease("jobs", "me", 9, 1.0)) == ["b"]
    assert await journal.get("why", b"a") == b"bad"


# --- looking


async def test_waiting_ends_when_work_is_appended_released_or_its_lease_runs_out(journal, nursery, clock):
    woken, now = [], since(clock)

    async def watch() -> None:
        while True:
            assert await journal.wait("jobs", 600.0)
            woken.append(now())
            await journal.lease("jobs", "me", 9, 10.0)

    nursery.start_soon(watch)
    await sleep(clock, 3.0)
    await journal.append("jobs", items("a"))
    await sleep(clock, 4.0)
    await journal.release("jobs", b"a", after_s=1.0)
    await sleep(clock, 14.0)

    assert woken == [about(clock, 3.0), about(clock, 8.0), about(clock, 18.0)]


async def test_waiting_for_nothing_ends_after_its_time(journal, clock):
    await journal.append("other", items("a"))
    now = since(clock)

    assert not await journal.wait("jobs", 5.0)
    assert now() == about(clock, 5.0)


async def test_waiting_work_can_be_listed_page_by_page(journal, clock):
    await journal.append("jobs", items("a", "b", "c"))
    await journal.lease("jobs", "me", 1, 10.0)
    await journal.ack("jobs", [b"b"])

    (first,) = await journal.listed("jobs", 1)
    (second,) = await journal.listed("jobs", 9, after=first.position)

    assert (first.key, first.attempt, first.owner, first.due_in_s) == (b"a", 1, "me", about(clock, 10.0))
    assert (second.key, second.attempt, second.owner) == (b"c", 0, None)
    assert second.due_in_s <= 0
    await sleep(clock, 10.0)
    assert (await journal.listed("jobs", 1))[0].owner is None


async def test_shared_state_is_read_back_in_the_order_of_its_keys(journal, clock):
    for key in (b"b", b"a", b"", b"c"):
        await journal.put("table", key, b"value of " + key)
    await journal.put("table", b"b", b"new")
    await journal.put("table", b"c", None)
    await journal.put("another", b"z", b"")

    assert await journal.scan("table", 2) == [(b"", b"value of "), (b"a", b"value of a")]
    assert await journal.scan("table", 9, after=b"a") == [(b"b", b"new")]
    assert await journal.get("table", b"c") is None
    assert await journal.get("another", b"z") == b""
    assert await journal.cursor("never set") is None


async def test_pruned_keys_are_forgotten_and_waiting_ones_never(journal, clock):
    await journal.append("jobs", items("a", "b", "c", "d"))
    await journal.ack("jobs", [b"a", b"b"])
    await sleep(clock, 10.0)
    await journal.ack("jobs", [b"c"])

    assert await journal.prune("jobs", older_than_s=6.0, limit=1) == 1
    assert await journal.prune("jobs", older_than_s=6.0) == 1
    assert await journal.prune("jobs", older_than_s=6.0) == 0

    assert await journal.count("jobs") == TopicCount(waiting=1, done=1)
    assert await journal.append("jobs", items("a", "c", "d")) == 1


# --- leading


async def test_one_leads_and_keeps_the_lead_as_long_as_it_renews(journal, clock):
    assert await journal.leader("sender") is None

    first = await journal.lead("sender", "me", 10.0)
    await sleep(clock, 6.0)
    refused = await journal.lead("sender", "you", 10.0)
    renewed = await journal.lead("sender", "me", 10.0)
    await sleep(clock, 6.0)

    assert first == renewed == Fence("sender", 1)
    assert refused is None
    assert await journal.lead("sender", "you", 10.0) is None
    assert await journal.leader("sender") == Leadership("me", 1, about(clock, 4.0))


async def test_a_lead_that_runs_out_passes_to_the_next_who_asks_under_a_larger_token(journal, clock):
    await journal.lead("sender", "me", 4.0)
    await sleep(clock, 8.0)
    lapsed = await journal.leader("sender")

    assert (lapsed.owner, lapsed.left_s) == ("me", about(clock, -4.0))
    assert await journal.lead("sender", "you", 20.0) == Fence("sender", 2)
    assert await journal.lead("sender", "me", 20.0) is None


async def test_who_resigns_lets_the_next_lead_at_once_and_its_token_is_spent(journal, clock):
    fence = await journal.lead("sender", "me", 60.0)

    await journal.resign(fence)

    assert await journal.leader("sender") is None
    with pytest.raises(FencedOff) as refused:
        await journal.put("t", b"k", b"late", fence=fence)
    assert (refused.value.fence, refused.value.newest) == (fence, 1)
    assert await journal.lead("sender", "me", 60.0) == Fence("sender", 2)
    await journal.resign(fence)
    assert (await journal.leader("sender")).token == 2


async def test_leads_know_nothing_of_each_other(journal, clock):
    await journal.lead("sender", "me", 60.0)

    assert await journal.lead("collector", "you", 60.0) == Fence("collector", 1)


async def test_a_lead_outlives_a_restart_of_the_journal(opening, clock):
    journal = await opening()
    fence = await journal.lead("sender", "me", 60.0)

    journal = await opening.restart(journal)

    assert await journal.lead("sender", "you", 60.0) is None
    assert await journal.lead("sender", "me", 60.0) == fence


async def test_a_lead_that_has_run_out_still_writes_while_nobody_else_has_taken_it(journal, clock):
    fence = await journal.lead("sender", "me", 1.0)
    await sleep(clock, 3.0)

    assert await journal.append("jobs", items("a"), put=[Put("t", b"k", b"v")], fence=fence) == 1


WRITES = {
    "append": lambda journal, fence: journal.append("jobs", items("b"), cursor=("c", b"2"), fence=fence),
    "lease": lambda journal, fence: journal.lease("jobs", "late", 9, 60.0, fence=fence),
    "ack": lambda journal, fence: journal.ack("jobs", [b"a"], append=[Work("next", items("a"))], fence=fence),
    "release": lambda journal, fence: journal.release("jobs", b"a", 60.0, fence=fence),
    "abandon": lambda journal, fence: journal.abandon("me", fence=fence),
    "move": lambda journal, fence: journal.move("jobs", [b"a"], "next", put=[Put("t", b"k", b"2")], fence=fence),
    "put": lambda journal, fence: journal.put("t", b"k", b"2", fence=fence),
    "prune": lambda journal, fence: journal.prune("done", 0.0, fence=fence),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_who_led_before_can_write_nothing_any_more(journal, write, clock):
    await journal.append("done", items("x"))
    await journal.ack("done", [b"x"])
    await journal.append("jobs", items("a"), cursor=("c", b"1"), put=[Put("t", b"k", b"1")])
    await journal.lease("jobs", "me", 1, 600.0)
    old = await journal.lead("sender", "me", 1.0)
    await sleep(clock, 3.0)
    new = await journal.lead("sender", "you", 600.0)

    with pytest.raises(FencedOff) as refused:
        await write(journal, old)

    assert (refused.value.fence.token, refused.value.newest) == (1, 2)
    assert await journal.count("jobs") == TopicCount(1, 0)
    assert await journal.count("next") == TopicCount(0, 0)
    assert await journal.count("done") == TopicCount(0, 1)
    assert (await journal.cursor("c"), await journal.get("t", b"k")) == (b"1", b"1")
    (listed,) = await journal.listed("jobs", 9)
    assert (listed.owner, listed.attempt) == ("me", 1)
    await write(journal, new)


async def test_a_fence_of_a_lead_that_nobody_ever_took_is_refused(journal, clock):
    with pytest.raises(FencedOff):
        await journal.append("jobs", items("a"), fence=Fence("sender", 0))
    with pytest.raises(FencedOff):
        await journal.append("jobs", items("a"), fence=Fence("sender", 1))

    assert not await journal.knows("jobs", b"a")


async def test_a_fenced_journal_carries_the_lead_in_every_write_and_reads_like_the_one_below(journal, clock):
    await journal.append("done", items("x"))
    await journal.ack("done", [b"x"])
    fenced = Fenced(journal, await journal.lead("sender", "me", 1.0))
    await fenced.append("jobs", items("a"), cursor=("c", b"1"), put=[Put("t", b"k", b"1")])
    await sleep(clock, 3.0)
    new = await fenced.lead("sender", "you", 600.0)

    for write in WRITES.values():
        with pytest.raises(FencedOff):
            await write(fenced, None)
        await write(fenced, new)
    await fenced.resign(new)

    assert await fenced.leader("sender") is None
    assert await fenced.wait("next", 1.0)
    assert await fenced.count("jobs") == await journal.count("jobs")
    assert [one.key for one in await fenced.listed("next", 9)] == [b"a"]
    assert await fenced.knows("jobs", b"a")
    assert (await fenced.cursor("c"), await fenced.get("t", b"k"), await fenced.scan("t", 9)) == (
        b"2", b"2", [(b"k", b"2")],
    )  # fmt: skip


# --- bounds


@pytest.mark.parametrize(
    ("topic", "item", "cursor", "put"),
    [
        ("t" * 21, Item(b"k"), None, ()),
        ("jobs", Item(b"k" * 33), None, ()),
        ("jobs", Item(b"k", b"b" * 1_001), None, ()),
        ("jobs", Item(b"k"), ("c", b"v" * 1_001), ()),
        ("jobs", Item(b"k"), None, [Put("t" * 21, b"k", b"")]),
        ("jobs", Item(b"k"), None, [Put("t", b"k" * 33, b"")]),
        ("jobs", Item(b"k"), None, [Put("t", b"k", b"v" * 1_001)]),
        ("jobs", Item(b"k"), None, [Put("t", b"k", b"")] * 50),
    ],
    ids=["topic", "key", "body", "cursor", "table", "state key", "value", "number"],
)
async def test_what_is_too_large_is_refused_whole(journal, topic, item, cursor, put, clock):
    with pytest.raises(ItemTooLarge) as refused:
        await journal.append(topic, [item], cursor=cursor, put=put)

    assert refused.value.size > refused.value.limit
    assert await journal.count(topic) == TopicCount(0, 0)
    assert await journal.scan("t", 9) == []


async def test_a_full_topic_takes_work_again_when_some_is_done(journal, clock):
    for start in range(0, 100, 50):
        await journal.append("jobs", items(*(str(n) for n in range(start, start + 50))), cursor=("c", b"old"))

    with pytest.raises(TopicFull):
        await journal.append("jobs", items("one more"), cursor=("c", b"new"))
    assert await journal.append("jobs", items("0", "99"), cursor=("c", b"known")) == 0
    await journal.ack("jobs", [b"5"])

    assert await journal.cursor("c") == b"known"
    assert await journal.append("jobs", items("one more")) == 1


async def test_work_that_ends_makes_room_for_what_follows_from_it_in_the_same_topic(journal, clock):
    for start in range(0, 100, 50):
        await journal.append("jobs", items(*(str(n) for n in range(start, start + 50))))

    assert await journal.ack("jobs", [b"5", b"5"], append=[Work("jobs", items("one more", "5"))]) == 1
    with pytest.raises(TopicFull):
        await journal.ack("jobs", [b"6", b"6"], append=[Work("jobs", items("two", "three"))])

    assert await journal.count("jobs") == TopicCount(waiting=100, done=1)


async def test_keys_bodies_and_names_are_any_bytes_and_any_text(journal, clock):
    every, name = bytes(range(32)), "ünï code {a}:* "
    pairs = [(b"", b""), (every, every), (b"\xff\x00\n", b"\xff" * 900)]

    await journal.append(name, [Item(*pair) for pair in pairs], put=[Put(name, key, body) for key, body in pairs])

    assert [(one.key, one.body) for one in await journal.lease(name, name, 9, 60.0)] == pairs
    assert await journal.scan(name, 9) == sorted(pairs)
    assert await journal.abandon(name) == 3
    assert await journal.ack(name, [key for key, _ in pairs]) == 3


async def test_a_closed_journal_says_so(opening, clock):
    journal = await opening()
    await journal.close()

    with pytest.raises(JournalClosed):
        await journal.append("jobs", items("a"))
    with pytest.raises(JournalClosed):
        await journal.wait("jobs", 1.0)
