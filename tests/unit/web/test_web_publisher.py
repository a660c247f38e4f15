"""One document for all who look: at most four a second, none while nobody looks."""

from itertools import pairwise

import msgspec
import trio
from attestrio.errors import StorageUnusable
from attestrio.web.api import StatusView
from attestrio.web.publisher import EVERY_S, LOOK_S, Publisher
from web_kit import Scripted, Wall


def text_of(document):
    return msgspec.json.decode(document.raw, type=StatusView).log[0].text


async def test_a_thousand_questions_at_once_cost_one_document(autojump_clock):
    source = Scripted()
    publisher = Publisher(source, Wall())
    answers = []

    async def ask():
        answers.append(await publisher.current())

    async with trio.open_nursery() as nursery:
        for _ in range(1_000):
            nursery.start_soon(ask)

    assert source.made == 1
    assert {answer.version for answer in answers} == {1}


async def test_a_document_that_says_the_same_keeps_its_version_and_time(autojump_clock):
    source, wall = Scripted(), Wall(100.0)
    publisher = Publisher(source, wall)

    first = await publisher.current()
    wall.now = 200.0
    await trio.sleep(EVERY_S)
    same = await publisher.current()
    source.say("two")
    await trio.sleep(EVERY_S)
    other = await publisher.current()

    assert same is first
    assert (other.version, text_of(other)) == (2, "two")
    assert msgspec.json.decode(other.raw, type=StatusView).as_of == 200.0


async def test_nothing_is_made_while_nobody_looks(nursery, autojump_clock):
    source = Scripted()
    publisher = Publisher(source, Wall())
    nursery.start_soon(publisher.run)

    await trio.sleep(60.0)

    assert source.made == 0


async def test_a_reader_hears_of_news_at_most_four_times_a_second(nursery, autojump_clock):
    source = Scripted()
    publisher = Publisher(source, Wall())
    nursery.start_soon(publisher.run)
    times, version = [], 0

    async def talk():
        while True:
            source.say(f"news at {trio.current_time()}")
            await trio.sleep(0.01)

    nursery.start_soon(talk)
    with publisher.reading():
        while len(times) < 5:
            document = await publisher.next(version, 10.0)
            version = document.version
            times.append(trio.current_time())

    assert min(later - earlier for earlier, later in pairwise(times)) >= EVERY_S - 1e-9
    assert times[-1] <= 5 * 2 * EVERY_S


async def test_what_changes_without_telling_is_found_all_the_same(nursery, autojump_clock):
    source = Scripted()
    publisher = Publisher(source, Wall())
    nursery.start_soon(publisher.run)

    with publisher.reading():
        first = await publisher.next(0, 10.0)
        source.say("bytes of a peer", tell=False)
        began = trio.current_time()
        second = await publisher.next(first.version, 10.0)

    assert text_of(second) == "bytes of a peer"
    assert trio.current_time() - began <= LOOK_S + EVERY_S


async def test_a_document_that_cannot_be_made_leaves_the_last_one_and_is_tried_again(nursery, autojump_clock, caplog):
    source = Scripted()
    publisher = Publisher(source, Wall())
    nursery.start_soon(publisher.run)
    document = source.document

    async def unread():
        raise StorageUnusable("the disk is away")

    with publisher.reading():
        first = await publisher.next(0, 10.0)
        source.document = unread
        source.say("two")
        nothing = await publisher.next(first.version, 30.0)
        source.document = document
        second = await publisher.next(first.version, 10.0)

    assert nothing is None
    assert text_of(second) == "two"
    said = [record.getMessage() for record in caplog.records]
    assert 1 <= len(said) <= 4
    assert "the disk is away" in said[0]


async def test_who_waits_in_vain_is_told_so(nursery, autojump_clock):
    publisher = Publisher(Scripted(), Wall())
    document = await publisher.current()

    assert await publisher.next(document.version, 5.0) is None
    assert trio.current_time() == 5.0


async def test_readers_are_let_go_when_the_server_ends(nursery, autojump_clock):
    publisher = Publisher(Scripted(), Wall())
    document = await publisher.current()
    answers = []

    async def read():
        answers.append(await publisher.next(document.version, 1_000.0))

    async with trio.open_nursery() as server:
        server.start_soon(publisher.run)
        nursery.start_soon(read)
        await trio.sleep(1.0)
        server.cancel_scope.cancel()
    await trio.sleep(0.1)

    assert publisher.closing
    assert answers == [None]
    assert trio.current_time() < 2.0
