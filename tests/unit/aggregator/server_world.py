"""The server's parts without sockets, in virtual time: operators reach them over streams in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import trio
import trio.testing
from aligned_chain import CONTRACTS, OPERATORS, SENDER, AlignedChain, batch, journal_at, loaded
from attestrio.aggregator.desk import Desk
from attestrio.aggregator.intake import Intake
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.recording import Recording
from attestrio.aggregator.rows import OperatorKey, Task
from attestrio.aggregator.server import LIMITS, Visitor
from attestrio.aggregator.server_metrics import ServerMetrics
from attestrio.aggregator.snapshot import Snapshots
from attestrio.aggregator.state import AggregatorState
from attestrio.aggregator.verifying import Verifying
from attestrio.bls import encode_g1, encode_g2, to_limbs
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.errors import CallFailed, ConnectionLost
from attestrio.gorpc.handling import Peer
from attestrio.gorpc.messages import PROCESS_SIGNED_TASK_RESPONSE, Point, SignedTaskResponse
from attestrio.gorpc.server import Connection
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics


def response_of(operator, number, *, sender=SENDER, signed=None, **changes):
    """What an operator sends for a batch; `signed`: of which identifier the signature is instead."""
    identifier, root = batch(number, sender)
    point = Point(*to_limbs(operator.secret.sign(signed or identifier)))
    return replace(SignedTaskResponse(root, sender, identifier, point, operator.id), **changes)


def key_of(operator, block=0):
    secret = operator.secret
    return OperatorKey(operator.address, encode_g1(secret.public_g1()), encode_g2(secret.public_g2()), block)


def task_of(number, **more):
    _, root = batch(number)
    return Task(root, SENDER, 5, b"h" * 32, 0, 10**16, "http://data", **more)


@dataclass(frozen=True)
class Term:
    """A core, as the desk knows it."""

    state: AggregatorState
    snapshots: Snapshots


@dataclass
class Office:
    """Everything behind the listener."""

    chain: AlignedChain
    journal: object
    nursery: trio.Nursery
    metrics: Metrics = field(default_factory=Metrics)
    groups: list = field(default_factory=list)
    """When each group was verified."""

    def __post_init__(self):
        counted = ServerMetrics(self.metrics)
        self.desk = Desk()
        self.verifying = Verifying(self.counted, counted)
        self.recording = Recording(counted)
        self.intake = Intake(self.desk, self.verifying, self.recording, AggregatorMetrics(self.metrics))
        self._counted = counted

    async def counted(self, fn):
        self.groups.append(trio.current_time())
        return await inline(fn)

    async def term(self, operators=OPERATORS, settings=None, journal=None):
        """A new term, which the desk is open for."""
        state = await loaded(journal or self.journal, settings, self.metrics)

        def register(change):
            for one in operators:
                change.registered(one.id, key_of(one))

        await state.commit(register, scanned=100)
        self.desk.core.value = Term(state, Snapshots(self.chain, CONTRACTS))
        return state

    async def client(self, host="10.0.0.1"):
        """A connected operator; its connection may end."""

        async def dial(name, port):
            ours, theirs = trio.testing.memory_stream_pair()
            handlers = Visitor(Peer(f"{host}:1234"), self.intake, self._counted).handlers()
            connection = Connection(theirs, {one.method.name: one for one in handlers}, LIMITS)
            self.nursery.start_soon(connection.run)
            return ours

        client = GoRpcClient("aggregator:8090", dial=dial)
        await self.nursery.start(self._run, client)
        return client

    async def _run(self, client, task_status):
        with suppress(ConnectionLost):
            await client.run(task_status=task_status)

    def counts(self, name, **labels):
        return self.metrics.value(f"attestrio_aggregator_{name}", **labels)

    def results(self):
        """How many signatures had which end."""
        docs = ("accepted", "duplicate", "finished", "bad_signature", "not_in_quorum", "bad_identifier", "unreadable",
                "unknown_operator", "orphans_full", "temporary")  # fmt: skip
        found = {name: int(self.counts("signatures", result=name)) for name in docs}
        return {name: number for name, number in found.items() if number}


@asynccontextmanager
async def office(path, chain=None):
    async with journal_at(path) as journal, trio.open_nursery() as nursery:
        made = Office(chain or AlignedChain(), journal, nursery)
        nursery.start_soon(made.verifying.run)
        nursery.start_soon(made.recording.run)
        yield made
        nursery.cancel_scope.cancel()


async def told(client, response):
    """The reply, or the error text."""
    try:
        return await client.call(PROCESS_SIGNED_TASK_RESPONSE, response)
    except CallFailed as exc:
        return exc.text
