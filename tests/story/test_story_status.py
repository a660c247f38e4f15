"""Stories of the status, in virtual time: what an outage, a late start, a jump, a lagging replica and a fork look like.

The main node is a script of (seconds, answer); each answer holds until the next. Polls are 5 s apart, at 0, 5, 10, ...
"""

import pytest
import trio
from attestrio.errors import SourceError
from attestrio.roles import Batch, BatchHash, BatchNumber, BatchQC, GenesisHash
from attestrio.status import (
    AttestationStatus,
    AttestationStatusRunner,
    AttestationStatusWatch,
    GenesisChanged,
    LocalAttestationStatusClient,
    MovedBackwards,
)
from attestrio.store.memory import MemoryBatchStore

GENESIS, FORK = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)
DOWN = SourceError("connection refused")


class MainNode:
    """Answers by the clock. A number is a status of GENESIS, None "not known yet", an error is raised."""

    def __init__(self, *script):
        self.script, self.calls = script, 0

    async def attestation_status(self):
        await trio.lowlevel.checkpoint()
        self.calls += 1
        answer = [answer for since, answer in self.script if since <= trio.current_time()][-1]
        if isinstance(answer, Exception):
            raise answer
        return AttestationStatus(GENESIS, BatchNumber(answer)) if isinstance(answer, int) else answer


class Node:
    def __init__(self, main_node, **options):
        self.watch, self.heard = AttestationStatusWatch(GENESIS), []
        self.runner = AttestationStatusRunner(main_node, self.watch, every_s=5.0, **options)

    async def listen(self):
        async for status in self.watch.subscribe():
            if status.next_batch is not None:  # whether it sees the empty start is the scheduler's choice
                self.heard.append((trio.current_time(), status.next_batch))

    async def live(self):
        """Run runner and listener until one of them ends; a story that never does fails."""
        with trio.fail_after(1_000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.listen)
                nursery.start_soon(self.runner.run)


async def test_an_outage_changes_nothing_and_ends_with_the_next_poll(autojump_clock):
    main_node = MainNode((0, 7), (8, DOWN), (61, 8))
    node = Node(main_node)

    with trio.move_on_after(66):
        await node.live()

    assert node.heard == [(0.0, 7), (65.0, 8)]
    assert main_node.calls == 14  # every 5 s, before, during and after: no backoff


async def test_a_main_node_that_starts_late_is_awaited(autojump_clock):
    node = Node(MainNode((0, DOWN), (12, None), (28, 0)))

    with trio.move_on_after(60):
        await node.live()

    assert node.heard == [(30.0, 0)]


async def test_a_jump_is_followed_to_the_newest_number(autojump_clock):
    node = Node(MainNode((0, 7), (11, 9), (14, 20), (17, 21)))

    with trio.move_on_after(60):
        await node.live()

    assert node.heard == [(0.0, 7), (15.0, 20), (20.0, 21)]


async def test_a_lagging_replica_is_not_believed_and_does_no_harm(autojump_clock):
    node = Node(MainNode((0, 7), (3, 8), (8, 7), (23, 8), (28, 6), (43, 9)), stale_grace_s=20.0)

    with trio.move_on_after(60):
        await node.live()

    assert node.heard == [(0.0, 7), (5.0, 8), (45.0, 9)]


async def test_a_main_node_that_stays_behind_ends_the_epoch_after_the_grace(autojump_clock):
    node = Node(MainNode((0, 7), (8, 5)), stale_grace_s=20.0)

    with pytest.RaisesGroup(MovedBackwards):
        await node.live()

    assert trio.current_time() == 30.0  # first lower answer at 10
    assert node.watch.status == AttestationStatus(GENESIS, BatchNumber(7))


async def test_another_genesis_ends_the_epoch_at_the_next_poll(autojump_clock):
    node = Node(MainNode((0, 7), (8, AttestationStatus(FORK, BatchNumber(7)))), stale_grace_s=1e9)

    with pytest.RaisesGroup(pytest.RaisesExc(GenesisChanged, match="genesis changed")):
        await node.live()

    assert trio.current_time() == 10.0
    assert node.heard == [(0.0, 7)]


async def test_the_upstream_runner_test_in_its_own_words(nursery, autojump_clock):
    """None after init; the first value notified is 1; a genesis that changes fails the scope."""
    main_node = MainNode((0, None), (0.1, 1), (0.2, 2), (0.3, 3), (0.4, AttestationStatus(FORK, BatchNumber(4))))
    watch = AttestationStatusWatch(GENESIS)
    statuses = watch.subscribe()
    initially = (await anext(statuses)).next_batch

    async def run():
        with pytest.raises(GenesisChanged, match="genesis changed"):
            await AttestationStatusRunner(main_node, watch, every_s=0.1).run()

    nursery.start_soon(run)
    notified = [(await anext(statuses)).next_batch for _ in range(3)]

    assert initially is None
    assert notified == [1, 2, 3]


async def test_a_main_node_over_its_own_store_moves_on_with_each_certificate(nursery, autojump_clock):
    store, watch, heard = MemoryBatchStore(GENESIS, BatchNumber(3)), AttestationStatusWatch(GENESIS), []
    await nursery.start(store.run)
    nursery.start_soon(AttestationStatusRunner(LocalAttestationStatusClient(store, GENESIS), watch, every_s=1.0).run)

    async def certify():
        for number in (3, 4):
            batch = Batch(BatchNumber(number), BatchHash(bytes([number]) * 32), GENESIS)
            await trio.sleep(1.4)
            await store.put_batch_to_sign(batch)
            await store.persist_qc(BatchQC(batch, {}))

    nursery.start_soon(certify)
    async for status in watch.subscribe():
        if status.next_batch is not None:
            heard.append((trio.current_time(), status.next_batch))
        if status.next_batch == 5:
            break

    assert heard == [(0.0, 3), (2.0, 4), (3.0, 5)]
