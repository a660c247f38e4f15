"""Row 10 of Aligned's list: one aggregator is paused, another takes over on the same Redis, the first comes back."""

import signal

import pytest
import trio
from aligned_kit import response_of, world_of
from anvil_kit import needs_anvil
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.errors import CallFailed
from attestrio.gorpc.messages import PROCESS_SIGNED_TASK_RESPONSE
from redis_kit import needs_redis, redis
from redis_watch import SCRIPTS, WRITES, Door, Monitor
from suite import patient

pytestmark = [*needs_anvil, needs_redis[-1]]
__all__ = ["redis"]

BLOCK_S = 0.3
LEAD_S = 1.5
LIMIT_S = patient(90.0)


@pytest.mark.parametrize("point", ["before_journal", "before_intent", "before_send"])
async def test_row_10_a_paused_one_that_comes_back_writes_nothing_and_sends_at_most_what_is_recorded(
    tmp_path, redis, point
):
    redis.start()
    with trio.fail_after(LIMIT_S):
        async with world_of(tmp_path, block_s=BLOCK_S) as world:
            doors, proxies, processes = [], [], []
            monitor = Monitor(redis.port)
            await world.nursery.start(monitor.run)
            for name in ("first", "second"):
                doors.append(Door(redis.port))
                await world.nursery.start(doors[-1].run)
                proxies.append(await world.proxy())
                more = {"journal": {"redis_url": f"redis://127.0.0.1:{doors[-1].port}/0", "lead_s": LEAD_S}}
                processes.append(await world.aggregator(chain_url=proxies[-1].url, name=name, more=more))
            first, second = processes
            await world.operators(4, first.address)
            await first.start(point, 3, signal.SIGSTOP)
            world.nursery.start_soon(world.mine_for_ever)
            await world.start()
            for number in range(8):
                await world.post(number)
            await first.until_paused(30)

            assert set(monitor.of(doors[0].ports)) & WRITES

            await second.start()
            for member in world.members:
                await member.line.move(second.port)
            await world.until_answered(30)
            seen, sent = len(monitor.commands), len(proxies[0].sent)
            first.resume()
            for number in range(8, 12):
                await world.post(number)
            refused = await told_by(first, world)
            await world.until_answered(30)
            await trio.sleep(2 * LEAD_S)
            await world.assert_answered_once_each()

            did = monitor.of(doors[0].ports, seen)
            assert set(did) & set(SCRIPTS), "the one that came back has not even asked"
            assert [name for name in did if name in WRITES] == []
            assert set(proxies[0].sent[sent:]) <= set(proxies[1].sent)
            assert refused.startswith("temporary: ")
            assert set(monitor.of(doors[1].ports, seen)) & WRITES, "who leads now has not written either"
            assert "the newest is " in first.said() or "is lost" in first.said()
            for process in processes:
                assert process.process.returncode is None


async def told_by(process, world):
    """The error text an operator gets there."""
    identifier, batch = next(reversed(world.posted.items()))
    client = GoRpcClient(process.address)
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        with pytest.raises(CallFailed) as refused:
            await client.call(PROCESS_SIGNED_TASK_RESPONSE, response_of(world.members[0], identifier, batch))
        nursery.cancel_scope.cancel()
    return refused.value.text
