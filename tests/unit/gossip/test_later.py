"""What can wait is said when a node has nothing else to do, and is said in the end."""

import trio
from attestrio.gossip.later import WITHIN_S, Later


class Told:
    """Somebody with something to say; what it notes down is `note()` at that moment."""

    def __init__(self, note):
        self.times = []
        self._note = note

    def catch_up(self):
        self.times.append(self._note())


async def test_what_is_put_off_twice_is_said_once_and_only_when_others_have_done_their_work(nursery, autojump_clock):
    later, steps = Later(), []
    told = Told(lambda: len(steps))
    nursery.start_soon(later.run)

    async def work():
        for step in range(100):
            steps.append(step)
            await trio.lowlevel.checkpoint()

    nursery.start_soon(work)
    later.add(told)
    later.add(told)
    await trio.sleep(1)

    assert told.times == [100]


async def test_what_comes_after_the_rest_has_a_turn_of_its_own(nursery, autojump_clock):
    later = Later()
    told = Told(trio.current_time)
    nursery.start_soon(later.run)

    for _ in range(3):
        later.add(told)
        await trio.sleep(1)

    assert told.times == [0.0, 1.0, 2.0]


async def test_a_node_that_never_comes_to_rest_speaks_all_the_same(nursery, mock_clock):
    later, stop = Later(), trio.Event()
    told = Told(trio.current_time)
    nursery.start_soon(later.run)
    later.add(told)

    async def never_rests():
        while not stop.is_set():
            await trio.lowlevel.checkpoint()

    nursery.start_soon(never_rests)
    for _ in range(100):
        await trio.lowlevel.checkpoint()
    before = list(told.times)
    mock_clock.jump(WITHIN_S)
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    stop.set()

    assert before == []
    assert told.times == [WITHIN_S]
