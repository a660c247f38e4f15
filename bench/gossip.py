"""The network's speed: a stream of large answers, certificates over a full mesh, one vote more among 10,000.

(a) Answers of 64 kB through Noise, mux and RPC over loopback TCP; and batches of that size from the store of one whole
    node into that of another. The floor is a bare loop: the same bytes, ChaCha20-Poly1305 in frames of the same size,
    over a trio TCP stream.
(b) 4, 7 and 19 nodes in one process and one thread: from the status change to the certificate stored on the last node.
    `_network.py` says what a node is. With the default rates a certificate is asked for every two seconds, and the
    three networks take turns within them. Floor: a recover of every vote on every other node, between the rounds.
(c) One new vote with 10,000 in the register: update, quorum, and what is to be sent to each of 50 peers. In recovers.

Rounds and their floors are interleaved. A certificate takes what the machine gives at that moment, so the ratio to the
floor stands beside the milliseconds. Exit 1 if a target is missed.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from statistics import median, quantiles

import trio
import trio.testing
from _floor import (
    GENESIS,
    Figure,
    arguments,
    batch,
    committee_of,
    cpu,
    middle,
    recover_floor,
    report,
    secrets,
    slices,
    votes_off_the_wire,
)
from _network import LIFTED, LIMIT_S, Network, genesis_of, on_network
from attestrio.gossip.limiter import UNLIMITED
from attestrio.gossip.noise import MAX_PLAINTEXT, CipherState, NoiseReceiver, NoiseSender
from attestrio.gossip.outbox import Outbox
from attestrio.gossip.rpc.calls import Calls, Request, Response
from attestrio.gossip.rpc.get_batch import GET_BATCH
from attestrio.gossip.votes_wire import VoteCodec
from attestrio.gossip.wire import Wire
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import AttesterSecretKey, BatchNumber, Committee, SignedBatch, SyncBatch
from attestrio.store.memory import MemoryBatchStore

MESSAGE = 64 * 1024
SIZES = (4, 7, 19)
PERIOD_S = 2.0  # between two certificates with the default rates
QUIET_S = 0.02  # nothing to do for so long: answers and forwards are through
TICK_MS = 500.0  # after which the default rate gives a permit back: who waits for one takes this long
PEERS = 50


# (a) a stream


@asynccontextmanager
async def tcp_pair() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    there = await trio.open_tcp_stream(*listener.socket.getsockname()[:2])
    here = await listener.accept()
    async with listener, there, here:
        yield there, here


async def bare_stream(messages: int) -> float:
    """CPU seconds for `messages` of 64 kB, sealed, sent, received and opened by a loop that does nothing else."""
    payload = bytes(MESSAGE)
    seal, opened = CipherState(bytes(32)), CipherState(bytes(32))
    left = messages * MESSAGE

    async def send() -> None:
        for _ in range(messages):
            for start in range(0, MESSAGE, MAX_PLAINTEXT):
                sealed = seal.encrypt(payload[start : start + MAX_PLAINTEXT])
                await there.send_all(len(sealed).to_bytes(2, "little") + sealed)

    async def receive() -> None:
        nonlocal left
        got = bytearray()
        while left:
            got += await here.receive_some(1 << 16)
            while len(got) >= 2 and len(got) >= (end := 2 + int.from_bytes(got[:2], "little")):
                left -= len(opened.decrypt(bytes(got[2:end])))
                del got[:end]

    async with tcp_pair() as (there, here):
        began = time.thread_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(receive)
        return time.thread_time() - began


async def layered_stream(messages: int) -> float:
    """CPU seconds for as many answers of that size, through `Wire`, Noise, mux and RPC, and nothing above them."""
    spec = replace(GET_BATCH, rate=UNLIMITED)
    payload, asked, answered = bytes(MESSAGE), 0, 0
    keys = CipherState(bytes(32)), CipherState(bytes(32))

    async def run(wire: Wire, forth: CipherState, back: CipherState, serves: bool) -> None:
        nonlocal asked, answered
        sender, receiver = NoiseSender(forth), NoiseReceiver(back)
        methods = {spec.capability: spec}
        calls = Calls.build(methods if serves else {}, {} if serves else methods, 0.0)
        while True:
            if not serves:
                while asked < messages and calls.ready(spec):
                    calls.call(spec, b"", 0.0)
                    asked += 1
            if sealed := sender.seal(calls.take_output()):
                taken = wire.send_nowait(sealed)
                if taken < len(sealed):
                    await wire.send(memoryview(sealed)[taken:])
            if answered == messages:
                nursery.cancel_scope.cancel()
            receiver.feed(await wire.receive())
            while plain := receiver.read():
                for event in calls.feed(plain, 0.0):
                    if isinstance(event, Request):
                        calls.respond(event.stream, payload, 0.0)
                    else:
                        assert isinstance(event, Response)
                        answered += len(event.body) == MESSAGE

    async with tcp_pair() as (there, here):
        began = time.thread_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, Wire(there, ""), keys[0], CipherState(bytes(32)), True)
            nursery.start_soon(run, Wire(here, ""), keys[1], CipherState(bytes(32)), False)
        return time.thread_time() - began


async def node_stream(messages: int) -> float:
    """CPU seconds for as many batches of that size, from the store of one node into that of another."""
    genesis = genesis_of(None)
    full, empty = MemoryBatchStore(genesis.hash()), MemoryBatchStore(genesis.hash())
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        for store in (full, empty):
            await nursery.start(store.run)
        for number in range(messages):
            await full.queue_batch(SyncBatch(BatchNumber(number), (bytes(MESSAGE),), b"proof"))
        here, address = await stack.enter_async_context(on_network(0, genesis, full, None, rates=LIFTED))
        await stack.enter_async_context(on_network(1, genesis, empty, None, {here.key: address}, LIFTED))
        await here.connected.wait_value(1)
        began = time.thread_time()
        with trio.fail_after(LIMIT_S):
            await empty.wait_until_queued(BatchNumber(messages - 1))
        took = time.thread_time() - began
        nursery.cancel_scope.cancel()
        return took


def stream_figures(rounds: int, messages: int) -> list[Figure]:
    kinds = (bare_stream, layered_stream, node_stream)
    took = [[trio.run(kind, messages) for kind in kinds] for _ in range(rounds)]
    speeds = [messages * MESSAGE / 1e6 / median(column) for column in zip(*took, strict=True)]
    layered, nodes = (median(row[0] / row[at] for row in took) for at in (1, 2))
    return [
        Figure("64 kB answers through mux and RPC / bare AEAD loop", layered, "", 0.6),
        Figure("64 kB answers through mux and RPC", speeds[1], "MB/s"),
        Figure("the bare AEAD loop over trio TCP", speeds[0], "MB/s"),
        Figure("64 kB batches from store to store / bare AEAD loop", nodes, ""),
        Figure("64 kB batches from store to store", speeds[2], "MB/s"),
    ]


# (b) certificates


@dataclass(slots=True)
class Rounds:
    """What was measured of one network: wall and CPU milliseconds of each round, CPU milliseconds of each floor."""

    network: Network
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    recovers: Callable[[], None] = field(init=False)

    def __post_init__(self) -> None:
        size = self.network.size
        votes = [key.sign_batch(batch(1)) for key in secrets(size)]
        self.recovers = recover_floor([vote for at in range(size) for vote in votes[:at] + votes[at + 1 :]])

    async def measure(self) -> None:
        began = time.thread_time()
        self.wall.append(await self.network.certify() * 1e3)
        self.cpu.append((time.thread_time() - began) * 1e3)
        await trio.testing.wait_all_tasks_blocked(QUIET_S)
        self.floor.append(cpu(self.recovers) * 1e3)

    def p99(self) -> float:
        """Of few rounds, the slowest."""
        return quantiles(self.wall, n=100)[98] if len(self.wall) >= 100 else max(self.wall)

    def figures(self, p50_ms: float | None, p99_ms: float | None) -> list[Figure]:
        rates = "limits lifted" if self.network.lifted else "default limits"
        name = f"{self.network.size} nodes, {rates}"
        ratio = median(mine / floor for mine, floor in zip(self.cpu, self.floor, strict=True))
        return [
            Figure(f"{name}, p50", median(self.wall), "ms", p50_ms, at_least=False),
            Figure(f"{name}, p99 of {len(self.wall)}", self.p99(), "ms", p99_ms, at_least=False),
            Figure(f"{name}, CPU / recover floor", ratio, "x"),
            Figure(f"{name}, the recover floor", median(self.floor), "ms"),
        ]


def freeze() -> None:
    """The collector leaves alone what is there by now: 19 nodes in one heap make it look at 19 times as much."""
    gc.collect()
    gc.freeze()


async def lifted(rounds: int) -> list[Figure]:
    """One network after the other, as fast as it goes."""
    figures = []
    for size in SIZES:
        async with Network(size, True, rounds + 3).up() as network:
            for _ in range(3):
                await network.certify()
                await trio.testing.wait_all_tasks_blocked(QUIET_S)
            freeze()
            measured = Rounds(network)
            for _ in range(rounds):
                await measured.measure()
        figures += measured.figures(30.0 if size == 19 else None, None)
    return figures


async def default(rounds: int) -> list[Figure]:
    """All networks side by side, each at its own part of the two seconds."""
    async with AsyncExitStack() as stack:
        networks = [await stack.enter_async_context(Network(size, False, rounds).up()) for size in SIZES]
        everything = [Rounds(network) for network in networks]
        freeze()
        began = trio.current_time() + PERIOD_S  # permits that the first words took have come back by then
        for at in range(rounds):
            for place, measured in enumerate(everything):
                await trio.sleep_until(began + (at + place / len(SIZES)) * PERIOD_S)
                await measured.measure()
    return [figure for measured in everything for figure in measured.figures(None, TICK_MS / 2)]


# (c) one vote more


def one_more(committee: Committee, keys: Sequence[AttesterSecretKey], full: Sequence[SignedBatch]) -> float:
    """One vote more into a full register, in recovers: update, quorum, and the next push for each of `PEERS`.

    Members go on to the next batch one by one.
    """
    votes, codec = VotesWatch(committee, GENESIS), VoteCodec()
    votes.add(full)
    outboxes = [Outbox(votes, codec, committee) for _ in range(PEERS)]
    for outbox in outboxes:
        while outbox.next_push():
            pass
    floor_s = ours_s = 0.0

    def step(vote: SignedBatch) -> None:
        votes.add([vote])
        assert votes.agreed is not None
        for outbox in outboxes:
            assert outbox.next_push() is not None

    for vote in votes_off_the_wire([key.sign_batch(batch(2)) for key in keys]):
        floor_s += cpu(recover_floor([vote]))
        ours_s += cpu(lambda vote=vote: step(vote))
    return ours_s / floor_s


async def wake_ups(committee: Committee, full: Sequence[SignedBatch], waiters: int) -> float:
    """CPU seconds of a vote for `waiters` tasks in `wait_newer` more, without the vote itself."""
    votes = VotesWatch(committee, GENESIS)

    async def wait() -> None:
        mark = 0
        while True:
            _, mark = await votes.wait_newer(mark)

    async def add_all() -> float:
        took = 0.0
        for one in slices(full, 1):
            began = time.thread_time()
            votes.add(one)
            added = time.thread_time()
            await trio.testing.wait_all_tasks_blocked()
            took += time.thread_time() - added
            assert added > began
        return took / len(full)

    async with trio.open_nursery() as nursery:
        without = await add_all()
        votes = VotesWatch(committee, GENESIS)
        for _ in range(waiters):
            nursery.start_soon(wait)
        with_all = await add_all()
        nursery.cancel_scope.cancel()
    return with_all - without


def vote_figures(rounds: int, size: int) -> list[Figure]:
    keys = secrets(size)
    full = [key.sign_batch(batch(1)) for key in keys]
    committee = committee_of(keys)
    some = keys[: max(50, size // 50)]
    ratio = middle(rounds, lambda: one_more(committee, some, full))
    recover_s = cpu(recover_floor(full[:1000])) / len(full[:1000])
    woken = {waiters: trio.run(wake_ups, committee, full[:200], waiters) / recover_s for waiters in (1, PEERS)}
    return [
        Figure(f"one vote more into {size:,}, with {PEERS} peers", ratio, "recovers", 3.0, at_least=False),
        Figure("waking the task that serves all peers", woken[1], "recovers"),
        Figure(f"waking {PEERS} tasks, if each had its own", woken[PEERS], "recovers"),
        Figure("the recover floor", recover_s * 1e6, "µs"),
    ]


def main() -> int:
    args = arguments(__doc__.splitlines()[0])
    quick = args.quick
    figures = stream_figures(3 if quick else args.rounds, 100 if quick else 400)
    figures += trio.run(lifted, 5 if quick else 20 * args.rounds)
    figures += trio.run(default, 2 if quick else 2 * args.rounds)
    figures += vote_figures(3 if quick else args.rounds, 1_000 if quick else 10_000)
    return report("gossip", figures, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
