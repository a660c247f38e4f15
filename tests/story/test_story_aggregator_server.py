"""Operators at an aggregator's server in virtual time: rows 7, 8 and 18 of Aligned's acceptance list, A5, A6 and A14.

Streams are in memory, and the chain counts who asks it: nothing that an operator sends may cause that.
"""

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio
import trio.testing
from attestrio.aggregator import rows
from attestrio.aggregator.desk import Absent, Desk
from attestrio.aggregator.intake import Intake
from attestrio.aggregator.metrics import AggregatorMetrics
from attestrio.aggregator.recording import Recording
from attestrio.aggregator.rows import OperatorKey, Task
from attestrio.aggregator.server import LIMITS, Visitor
from attestrio.aggregator.server_metrics import ServerMetrics
from attestrio.aggregator.snapshot import Snapshots
from attestrio.aggregator.state import AggregatorState
from attestrio.aggregator.surface import Contracts, identifier_hash
from attestrio.aggregator.verifying import Verifying
from attestrio.bls import SecretKey, encode_g1, encode_g2, operator_id, to_limbs
from attestrio.errors import SourceError
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.errors import CallFailed
from attestrio.gorpc.handling import Peer
from attestrio.gorpc.messages import PROCESS_SIGNED_TASK_RESPONSE, Point, SignedTaskResponse
from attestrio.gorpc.server import Connection
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from attestrio.l1.api import Address

SENDER = b"\xb0" * 20
CONTRACTS = Contracts(*(Address(bytes([one]) * 20) for one in range(1, 5)))
RETRY_S = 0.2


class SilentChain:
    """Nobody may ask it anything."""

    def __getattr__(self, name):
        raise AssertionError(f"the chain was asked: {name}")


def root_of(number):
    return number.to_bytes(32, "big")


def identifier_of(number):
    return identifier_hash(root_of(number), SENDER)


class Key:
    """What makes an operator."""

    def __init__(self, number):
        self.secret = SecretKey(5_000 + number)
        self.id = operator_id(self.secret.public_g1())
        self.row = OperatorKey(
            number.to_bytes(20, "big"), encode_g1(self.secret.public_g1()), encode_g2(self.secret.public_g2()), 1
        )

    def response(self, number, *, signed=None):
        point = Point(*to_limbs(self.secret.sign(signed or identifier_of(number))))
        return SignedTaskResponse(root_of(number), SENDER, identifier_of(number), point, self.id)


@dataclass(frozen=True)
class Term:
    state: AggregatorState
    snapshots: Snapshots


class Place:
    """An aggregator's server, without its sockets."""

    def __init__(self, journal, nursery):
        self.journal, self._nursery = journal, nursery
        self.metrics = Metrics()
        self._counted = ServerMetrics(self.metrics)
        self.desk = Desk()
        self.waited = []
        verifying, recording = Verifying(inline, self._counted), Recording(self._counted)
        self._intake = Intake(self.desk, verifying, recording, AggregatorMetrics(self.metrics))
        nursery.start_soon(verifying.run)
        nursery.start_soon(recording.run)

    async def term(self, keys, tasks=()):
        """What whoever leads does first."""
        state = AggregatorState(self.journal, AggregatorMetrics(self.metrics), clock=trio.current_time)
        await state.load({"chain": "31337"})

        def make(change):
            for key in keys:
                change.registered(key.id, key.row)
            for task in tasks:
                change.found(task)

        await state.commit(make, scanned=100)
        self.desk.core.value = Term(state, Snapshots(SilentChain(), CONTRACTS))
        return state

    async def dial(self, host):
        """A stream to the server, from that host."""
        ours, theirs = trio.testing.memory_stream_pair()
        handlers = Visitor(Peer(f"{host}:1"), self._intake, self._counted).handlers()
        methods = {one.method.name: replace(one, answered=self.waited.append) for one in handlers}
        self._nursery.start_soon(Connection(theirs, methods, LIMITS).run)
        return ours

    def value(self, name, **labels):
        return self.metrics.value(f"attestrio_aggregator_{name}", **labels)


@asynccontextmanager
async def aggregator(path):
    journal = SqliteJournal(path / "aggregator.db", inline, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield Place(journal, nursery)
        nursery.cancel_scope.cancel()


class Operator:
    """One that sends everything it has signed, again and again, whatever it hears, over one connection at a time."""

    def __init__(self, place, host, responses):
        self._place, self._host, self._responses = place, host, responses
        self.heard = [None] * len(responses)
        self.calls = 0

    async def run(self):
        while True:
            client = GoRpcClient("aggregator:1", dial=lambda *_: self._place.dial(self._host))
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(client.run)
                    nursery.start_soon(self._send_for_ever, client)
            except* SourceError:  # hung up on
                pass
            await trio.sleep(RETRY_S)

    async def _send_for_ever(self, client):
        while True:
            async with trio.open_nursery() as nursery:
                for index in range(len(self._responses)):
                    nursery.start_soon(self._send, client, index)
                nursery.start_soon(trio.sleep, RETRY_S)

    async def _send(self, client, index):
        self.calls += 1
        try:
            self.heard[index] = await client.call(PROCESS_SIGNED_TASK_RESPONSE, self._responses[index])
        except CallFailed as exc:
            self.heard[index] = exc.text


@pytest.fixture
def keys():
    return [Key(number) for number in range(8)]


@pytest.mark.slow  # 7,000 calls
async def test_row_8_a_flood_of_retries_is_one_verification_and_one_row_each(autojump_clock, tmp_path, keys):
    batches = range(1, 13)
    async with aggregator(tmp_path) as place:
        state = await place.term(keys, [task(number) for number in batches if number % 2])
        async with trio.open_nursery() as nursery:
            operators = [
                Operator(place, f"10.0.0.{index}", [key.response(number) for number in batches])
                for index, key in enumerate(keys)
            ]
            for one in operators:
                nursery.start_soon(one.run)
            await trio.sleep(15)
            nursery.cancel_scope.cancel()

        assert sum(one.calls for one in operators) > 7_000
        assert all(one.heard == [0] * len(batches) for one in operators)
        assert len(await place.journal.scan(rows.SIGNATURES, 1_000)) == 8 * len(batches)
        assert {identifier: len(signed) for identifier, signed in state.signed.items()} == {
            identifier_of(number): 8 for number in batches
        }
        assert place.value("verified_signatures", result="good") == 8 * len(batches)
        assert max(place.waited) < 1.0


def task(number):
    return Task(root_of(number), SENDER, 5, b"h" * 32, 0, 10**16, "http://data")


def all_kinds_of_junk(keys, foreign):
    good = keys[0].response(1)
    return [
        replace(good, batch_identifier_hash=bytes(32)),
        replace(good, sender_address=b"\xcc" * 20),
        replace(good, signature=None),
        replace(good, signature=Point((0,) * 4, (0,) * 4)),
        replace(good, signature=Point(((1 << 64) - 1,) * 4, good.signature.y)),
        replace(good, signature=Point(good.signature.y, good.signature.x)),
        foreign.response(1),
        *[key.response(number, signed=bytes([number]) * 32) for key in keys for number in (1, 2)],
    ]


@pytest.mark.slow  # it verifies what junk there is
async def test_row_18_junk_of_every_kind_causes_no_chain_read_and_costs_honest_operators_nothing(
    autojump_clock, tmp_path, keys
):
    async with aggregator(tmp_path) as place:
        state = await place.term(keys)
        async with trio.open_nursery() as nursery:
            evil = [Operator(place, "6.6.6.6", all_kinds_of_junk(keys, Key(99))) for _ in range(3)]
            honest = [
                Operator(place, f"10.0.0.{index}", [key.response(number) for number in (1, 2)])
                for index, key in enumerate(keys)
            ]
            for one in [*evil, *honest]:
                nursery.start_soon(one.run)
            await trio.sleep(3)
            nursery.cancel_scope.cancel()

        assert all(one.heard == [0, 0] for one in honest)
        assert {identifier: len(signed) for identifier, signed in state.signed.items()} == {
            identifier_of(1): 8, identifier_of(2): 8,
        }  # fmt: skip
        assert set().union(*[one.heard for one in evil]) - {None} == {
            "permanent: bad signature", "permanent: bad batch identifier", "invalid response: nil signature",
            "temporary: operator not known yet",
        }  # fmt: skip
        assert place.value("hung_up") > 3
        assert max(place.waited) < 1.0


@pytest.mark.slow  # terms, one after the other
async def test_a5_a9_an_outage_of_the_core_loses_nothing_that_was_acknowledged(autojump_clock, tmp_path, keys):
    async with aggregator(tmp_path) as place:
        operators = [Operator(place, f"10.0.0.{index}", [key.response(1)]) for index, key in enumerate(keys)]
        async with trio.open_nursery() as nursery:
            for one in operators:
                nursery.start_soon(one.run)
            await trio.sleep(1)
            before = {one.heard[0] for one in operators}
            await place.term(keys[:4])
            await trio.sleep(1)
            half = [one.heard[0] for one in operators]
            place.desk.shut(Absent.STORE_AWAY)
            await trio.sleep(1)
            away = {one.heard[0] for one in operators}
            state = await place.term(keys)
            kept = set(state.signed[identifier_of(1)])
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

        assert before == {"temporary: starting"}
        assert half == [0] * 4 + ["temporary: operator not known yet"] * 4
        assert away == {"temporary: the store does not answer"}
        assert kept == {key.id for key in keys[:4]}
        assert set(state.signed[identifier_of(1)]) == {key.id for key in keys}
        assert place.value("verified_signatures", result="good") == 8
