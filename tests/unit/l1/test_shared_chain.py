import pytest
import trio
import trio.testing
from attestrio.errors import SourceError
from attestrio.l1 import BlockNumber, SharedChain, SingleFlight
from stub_chain import ADDRESS, WANTED, StubChain


async def test_many_who_want_the_same_logs_make_one_query(autojump_clock):
    chain = StubChain()
    chain.mine(2, 1)
    shared, got = SharedChain(chain), []

    async def want() -> None:
        got.append(await shared.logs(WANTED, BlockNumber(0), BlockNumber(2)))

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(want)

    assert chain.asked == ["logs 0 2"]
    assert got == [chain.all_logs()] * 30
    await shared.logs(WANTED, BlockNumber(0), BlockNumber(2))
    assert len(chain.asked) == 2  # nothing is kept


async def test_different_questions_are_different_queries(autojump_clock):
    chain = StubChain()
    chain.mine(1)
    shared = SharedChain(chain)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.block, "latest")
        nursery.start_soon(shared.block, BlockNumber(1))
        nursery.start_soon(shared.logs_of, WANTED, chain.blocks[1].header.ref)
        nursery.start_soon(shared.call, ADDRESS, b"1", "latest")
        nursery.start_soon(shared.call, ADDRESS, b"2", "latest")

    assert len(chain.asked) == 5
    assert shared.chain_id == chain.chain_id


async def test_when_the_one_who_asks_is_cancelled_the_next_asks(autojump_clock):
    flights, calls, got = SingleFlight(), [], []

    async def slow() -> int:
        calls.append(trio.current_time())
        await trio.sleep(5.0)
        return len(calls)

    async def impatient() -> None:
        with trio.move_on_after(2.0):
            await flights.do("key", slow)

    async def patient() -> None:
        got.append(await flights.do("key", slow))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            nursery.start_soon(patient)

    assert calls == [0.0, 2.0]
    assert got == [2, 2, 2]


async def test_a_failure_is_shared_and_the_next_question_is_new(autojump_clock):
    flights, calls, failed = SingleFlight(), [], []

    async def fail() -> None:
        calls.append(1)
        await trio.sleep(1.0)
        raise SourceError("down")

    async def want() -> None:
        try:
            await flights.do("key", fail)
        except SourceError as exc:
            failed.append(str(exc))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(want)

    assert failed == ["down"] * 4
    assert len(calls) == 1
    with pytest.raises(SourceError):
        await flights.do("key", fail)
