"""Rows 2 to 7 of Aligned's list: killed, away while batches pile up, back. One story, told once, then looked at."""

from dataclasses import dataclass, field
from statistics import median

import pytest
import trio
from aligned_kit import response_of, world_of
from anvil_kit import needs_anvil
from attestrio.aggregator import rows
from attestrio.aggregator.surface import GET_OPERATOR_STATE
from attestrio.bls import g1_from_bytes_untrusted, verify
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.messages import PROCESS_SIGNED_TASK_RESPONSE
from suite import patient

pytestmark = needs_anvil

OPERATORS, BATCHES, NEW = 8, 60, 8
BLOCK_S = 0.5
TRIES = 10  # what upstream's operators do before they give up
UNDER_WAY = 16 + 16  # of an operator's outbox, and of the sender
POLL_S = 0.2
CALLS_EACH, CALLS_A_POLL = 12, 6  # of any method, for a batch and for a look at the head; 8 and 4 are usual
LIMIT_S = patient(110.0)
DUPLICATES_S = 0.05


@dataclass
class Seen:
    """What happened, in the order of the story."""

    old: set = field(default_factory=set)
    """Identifiers of the batches that were posted while nobody was there."""
    waiting_before: list = field(default_factory=list)
    """The outboxes once everybody has signed, and again before the start."""
    waiting_after: list = field(default_factory=list)
    dials: list = field(default_factory=list)
    """Of each operator while nobody was there."""
    connections: int = 0
    samples: list = field(default_factory=list)
    """How many of the old ones had no answer, again and again."""
    took_s: float = 0.0
    answers: dict = field(default_factory=dict)
    """Identifier → block of the answer."""
    created: dict = field(default_factory=dict)
    """Identifier → block it was posted in."""
    events: int = 0
    transactions: list = field(default_factory=list)
    queries: list = field(default_factory=list)
    snapshots: dict = field(default_factory=dict)
    """Block → how often the operators of it were read."""
    rounds: float = 0.0
    calls: dict = field(default_factory=dict)
    """By method, how often."""
    acknowledged: set = field(default_factory=set)
    signatures: dict = field(default_factory=dict)
    bad: list = field(default_factory=list)
    duplicates_s: list = field(default_factory=list)
    verified_before: float = 0.0
    verified_after: float = 0.0


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return trio.run(story, tmp_path_factory.mktemp("outage"))


async def story(folder):
    seen = Seen()
    with trio.fail_after(LIMIT_S):
        async with world_of(folder, block_s=BLOCK_S) as world:
            proxy = await world.proxy()
            aggregator = await world.aggregator(chain_url=proxy.url)
            await world.operators(OPERATORS, aggregator.address)
            await aggregator.start()
            world.nursery.start_soon(world.mine_for_ever)
            await world.start()
            await world.post(0)
            await world.until_answered(30)
            await aggregator.kill()
            await away(world, seen)
            proxy.forget()
            seen.samples.append(len(seen.old & await world.pending()))
            await aggregator.start()
            await back(world, seen, aggregator)
            await look(world, seen, aggregator, proxy)
            await repeat(world, seen, aggregator)
    return seen


async def away(world, seen):
    """Batches pile up; the operators sign, and find nobody."""
    dials = [one.line.dials for one in world.members]
    for number in range(1, BATCHES + 1):
        seen.old.update(await world.post(number))
        await trio.sleep(BLOCK_S / 5)
    await world.until_signed(60)
    seen.waiting_before = [await one.outbox() for one in world.members]

    async def tired():
        return all(one.line.dials - before > TRIES for one, before in zip(world.members, dials, strict=True))

    await world.until(tired, 30)
    await trio.sleep(TRIES * BLOCK_S / 2)
    seen.waiting_after = [await one.outbox() for one in world.members]
    seen.dials = [one.line.dials - before for one, before in zip(world.members, dials, strict=True)]


async def back(world, seen, aggregator):
    """The old ones go, and new ones come."""
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sample, world, seen)
        for number in range(BATCHES + 1, BATCHES + NEW + 1):
            await world.post(number)
            await trio.sleep(2 * BLOCK_S)
        await world.until_answered(60)
        nursery.cancel_scope.cancel()
    seen.connections = aggregator.connections()
    seen.took_s = trio.current_time() - began


async def sample(world, seen):
    while True:
        seen.samples.append(len(seen.old & await world.pending()))
        await trio.sleep(0.25)


async def look(world, seen, aggregator, proxy):
    seen.calls, seen.queries = proxy.calls.copy(), list(proxy.queries)
    function = f"0x{GET_OPERATOR_STATE.selector.hex()}"
    seen.snapshots = {data: count for (_, data, _), count in proxy.reads.items() if data.startswith(function)}
    readings = await aggregator.metrics()
    seen.rounds = readings.value("aggregator_recovery_rounds_total")
    answers = await world.answers()
    seen.events, seen.answers = len(answers), dict(answers)
    seen.transactions = await world.transactions()
    for identifier, batch in world.posted.items():
        seen.created[identifier] = (await world.manager.task(batch.root, batch.sender)).created
    seen.acknowledged = {(one, member.id) for member in world.members for one in member.line.acknowledged}
    seen.signatures = await aggregator.table(rows.SIGNATURES)
    keys = {member.id: member.secret.public_g2() for member in world.members}
    for key, raw in seen.signatures.items():
        point = g1_from_bytes_untrusted(rows.unpack(raw, rows.Signed).point)
        if not verify(rows.identifier_of(key), point, keys[rows.operator_of(key)]):
            seen.bad.append(key)


async def repeat(world, seen, aggregator):
    """Every signature once more, by connections of their own; how long each answer takes."""
    responses = [response_of(member, *one) for member in world.members for one in world.posted.items()]
    seen.verified_before = (await aggregator.metrics()).value("aggregator_verified_signatures_total")
    client = GoRpcClient(aggregator.address)
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        for response in responses:
            began = trio.current_time()
            assert await client.call(PROCESS_SIGNED_TASK_RESPONSE, response) == 0
            seen.duplicates_s.append(trio.current_time() - began)
        nursery.cancel_scope.cancel()
    seen.verified_after = (await aggregator.metrics()).value("aggregator_verified_signatures_total")


def test_row_2_while_nobody_is_there_every_response_waits_and_no_operator_ends(seen):
    assert len(seen.old) == BATCHES
    assert seen.waiting_before == [seen.old] * OPERATORS
    assert seen.connections == OPERATORS  # one each, after however many attempts


def test_row_3_more_tries_than_upstream_makes_change_nothing(seen):
    assert min(seen.dials) > TRIES
    assert seen.waiting_after == [seen.old] * OPERATORS


def test_row_4_all_old_and_all_new_batches_are_answered_the_old_ones_in_their_order(seen):
    assert len(seen.answers) == 1 + BATCHES + NEW
    assert seen.samples[0] == BATCHES
    assert seen.samples == sorted(seen.samples, reverse=True)
    assert seen.samples[-1] == 0
    new = seen.created.keys() - seen.old
    assert max(seen.answers[one] - seen.created[one] for one in new) <= 30
    sent = [identifier for _, _, identifier in seen.transactions if identifier in seen.old]
    blocks = sorted(seen.created[one] for one in sent)
    for at, identifier in enumerate(sent):  # not further from their place than what is under way at the same time
        assert blocks[max(at - UNDER_WAY, 0)] <= seen.created[identifier] <= blocks[min(at + UNDER_WAY, BATCHES - 1)]


def test_row_5_what_the_chain_is_asked_does_not_grow_with_the_operators(seen):
    scans, polls = 1, seen.took_s / POLL_S + 1
    assert len(seen.queries) <= scans + seen.rounds + polls
    assert seen.rounds <= BATCHES + NEW
    assert set(seen.snapshots.values()) == {1}
    assert len(seen.snapshots) <= len({seen.created[one] for one in seen.answers})
    assert sum(seen.calls.values()) <= (BATCHES + NEW) * CALLS_EACH + polls * CALLS_A_POLL


def test_row_6_one_event_and_one_transaction_for_each_batch_and_no_nonce_left_out(seen):
    assert seen.events == len(seen.answers)
    assert [nonce for nonce, _, _ in seen.transactions] == list(range(len(seen.transactions)))
    assert all(succeeded for _, succeeded, _ in seen.transactions)
    assert sorted(one for _, _, one in seen.transactions if one is not None) == sorted(seen.answers)


def test_row_7_each_signature_is_one_row_and_verified_once_and_a_duplicate_costs_nothing(seen):
    rows_of = {(rows.identifier_of(key), rows.operator_of(key)) for key in seen.signatures}
    assert seen.acknowledged <= rows_of
    assert len(rows_of) == (1 + BATCHES + NEW) * OPERATORS
    assert seen.bad == []
    assert seen.verified_before == (BATCHES + NEW) * OPERATORS  # since the start
    assert seen.verified_after == seen.verified_before
    assert median(seen.duplicates_s) < DUPLICATES_S
