import threading

import pytest
import trio
from attestrio.kit.blocking import in_thread, inline


@pytest.mark.parametrize("run_blocking", [in_thread, inline])
async def test_the_result_and_the_exception_of_the_call_come_back(run_blocking):
    def fail() -> None:
        raise ZeroDivisionError

    assert await run_blocking(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        await run_blocking(fail)


async def test_a_thread_leaves_the_loop_free_and_inline_stays_on_it():
    here = threading.get_ident()

    assert await in_thread(threading.get_ident) != here
    assert await inline(threading.get_ident) == here


@pytest.mark.parametrize("run_blocking", [in_thread, inline])
async def test_a_call_cancelled_before_it_starts_is_never_run(run_blocking):
    ran = []

    with trio.CancelScope() as scope:
        scope.cancel()
        await run_blocking(lambda: ran.append(1))

    assert scope.cancelled_caught
    assert ran == []


async def test_a_cancelled_thread_is_waited_for_and_its_result_kept():
    started, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    results = []

    def work() -> str:
        token.run_sync_soon(started.set)
        assert go_on.wait(5)
        return "done"

    async def caller(scope: trio.CancelScope) -> None:
        with scope:
            results.append(await in_thread(work))

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(caller, scope)
        await started.wait()
        scope.cancel()
        go_on.set()

    assert results == ["done"]
