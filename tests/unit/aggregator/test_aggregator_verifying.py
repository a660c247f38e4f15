"""Every signature gets its verdict, and junk costs nobody but its sender."""

import hashlib
from collections import Counter

import pytest
import trio
import trio.testing
from aligned_chain import OPERATORS, batch
from attestrio.aggregator.server_metrics import ServerMetrics
from attestrio.aggregator.state import Accepted
from attestrio.aggregator.turns import Turns
from attestrio.aggregator.verifying import JUNK_PAUSE_S, PROVEN_BATCHES, STRANGERS_GROUP, Candidate, Lane, Verifying
from attestrio.bls import encode_g1
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

# --- turns


def all_of(turns, most=1):
    found = []
    while (group := turns.take(most)) is not None:
        found.append(group)
    return found


def test_hosts_take_turns_and_their_connections_do():
    turns = Turns(lambda _: True)
    for host, connection, item in ["a1x", "a1y", "a2z", "b1p", "b1q"]:
        turns.add(host, connection, item.encode(), item)

    assert [items[0] for _, items in all_of(turns)] == ["x", "p", "z", "q", "y"]
    assert not turns


def test_items_of_the_same_batch_go_along_and_lose_their_turn():
    turns = Turns(lambda _: True)
    for host, batch_, item in [("a", b"1", "x"), ("b", b"2", "y"), ("c", b"1", "z"), ("d", b"1", "w")]:
        turns.add(host, host, batch_, item)

    assert all_of(turns, most=2) == [(b"1", ["x", "z"]), (b"2", ["y"]), (b"1", ["w"])]


def test_what_nobody_wants_any_more_is_dropped():
    gone = {"x", "z"}
    turns = Turns(lambda item: item not in gone)
    for item in "xyzw":
        turns.add("host", "connection", b"1", item)

    assert all_of(turns, most=9) == [(b"1", ["y", "w"])]


def test_one_connection_leaves_in_its_order_and_what_was_taken_along_stays_taken():
    turns = Turns(lambda _: True)
    for connection, batch_, item in [("x", b"1", "a"), ("y", b"2", "b"), ("y", b"1", "c"), ("y", b"3", "d")]:
        turns.add("host", connection, batch_, item)
    assert turns.take(2) == (b"1", ["a", "c"])

    assert turns.leave("host", "y") == [(b"2", "b"), (b"3", "d")]

    assert not turns
    assert turns.leave("host", "y") == turns.leave("elsewhere", "y") == []
    assert turns.take(9) is None


@settings(max_examples=examples(60))
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.sampled_from([b"1", b"2", b"3"])), max_size=40),
    st.integers(1, 5),
)
def test_everything_is_taken_once_and_with_its_batch(added, most):
    turns = Turns(lambda _: True)
    items = [(number, *one) for number, one in enumerate(added)]
    for item in items:
        _, host, connection, batch_ = item
        turns.add(host, (host, connection), batch_, item)

    groups = all_of(turns, most)

    assert Counter(item for _, group in groups for item in group) == Counter(items)
    assert all(len(group) <= most for _, group in groups)
    assert all(item[3] == batch_ for batch_, group in groups for item in group)


# --- verdicts

HONEST, OTHER = OPERATORS[0], OPERATORS[1]


def candidate(operator, number, *, signed=None, by=None):
    """An operator's signature of a batch, or of something else, or by somebody else."""
    identifier, root = batch(number)
    signature = (by or operator).secret.sign(signed or identifier)
    return Candidate(Accepted(identifier, root, b"\xb0" * 20, operator.id, encode_g1(signature)), signature)


def junk(operator, number, which):
    return candidate(operator, number, signed=hashlib.sha256(b"%d" % which).digest())


class Bench:
    """Verifying that notes what it did, when, and who heard of it."""

    def __init__(self):
        self.metrics = Metrics()
        self.groups = 0
        self.heard = []
        self.verifying = Verifying(self._counted, ServerMetrics(self.metrics))

    async def _counted(self, fn):
        self.groups += 1
        return await inline(fn)

    async def check(self, name, operator, candidate, lane):
        good = await self.verifying.check(candidate, operator.secret.public_g2(), lane)
        self.heard.append((name, good))

    async def check_all(self, *asked):
        """(name, operator, candidate, lane), all waiting before the first is looked at."""
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as asking:
                for one in asked:
                    asking.start_soon(self.check, *one)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(self.verifying.run)
            nursery.cancel_scope.cancel()

    def value(self, name, **labels):
        return self.metrics.value(f"attestrio_aggregator_{name}", **labels)


async def test_the_good_and_the_bad_of_one_group_are_told_apart(autojump_clock):
    bench, lane = Bench(), Lane("host", proven=True)

    await bench.check_all(
        *[(one.number, one, candidate(one, 1), lane) for one in OPERATORS[:5]],
        ("bad", OPERATORS[5], junk(OPERATORS[5], 1, 0), lane),
        ("of another batch", OPERATORS[6], candidate(OPERATORS[6], 1, signed=batch(2)[0]), lane),
        ("of another operator", OPERATORS[7], candidate(OPERATORS[7], 1, by=HONEST), lane),
    )

    assert bench.groups == 1
    assert {name for name, good in bench.heard if good} == {1, 2, 3, 4, 5}
    assert bench.value("verified_signatures", result="bad") == 3


async def test_a6_calls_with_the_same_signature_share_one_verification(autojump_clock):
    bench = Bench()

    await bench.check_all(*[(name, HONEST, candidate(HONEST, 1), Lane(f"host {name}")) for name in range(5)])

    assert sorted(bench.heard) == [(name, True) for name in range(5)]
    assert bench.value("verified_signatures", result="good") == 1
    assert bench.value("joined_calls") == 4


async def test_a14_junk_that_came_first_does_not_speak_for_the_honest_signature(autojump_clock):
    bench = Bench()

    await bench.check_all(
        ("junk", HONEST, junk(HONEST, 1, 0), Lane("stranger")), ("honest", HONEST, candidate(HONEST, 1), Lane("home"))
    )

    assert sorted(bench.heard) == [("honest", True), ("junk", False)]


async def test_the_same_junk_is_paid_for_once(autojump_clock):
    bench, lane = Bench(), Lane("host")

    for _ in range(3):
        await bench.check_all(("junk", HONEST, junk(HONEST, 1, 0), lane))

    assert bench.heard == [("junk", False)] * 3
    assert bench.groups == 1


async def test_who_stops_waiting_is_not_verified_for(autojump_clock):
    bench = Bench()
    with trio.move_on_after(1):
        await bench.check("gone", HONEST, candidate(HONEST, 1), Lane("host"))

    await bench.check_all(("here", OTHER, candidate(OTHER, 1), Lane("host")))

    assert bench.heard == [("here", True)]
    assert bench.value("verified_signatures", result="good") == 1


async def test_one_of_two_who_wait_may_leave(autojump_clock):
    bench = Bench()

    async def impatient():
        with trio.move_on_after(1):
            await bench.check("gone", HONEST, candidate(HONEST, 1), Lane("host"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        nursery.start_soon(bench.check, "here", HONEST, candidate(HONEST, 1), Lane("host"))
        await trio.sleep(2)
        nursery.start_soon(bench.verifying.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert bench.heard == [("here", True)]


async def test_a_good_signature_makes_a_connection_proven_and_a_bad_one_a_stranger(autojump_clock):
    bench, lane = Bench(), Lane("host")

    await bench.check_all(("good", HONEST, candidate(HONEST, 1), lane))
    assert lane.proven
    await bench.check_all(("bad", HONEST, junk(HONEST, 1, 0), lane))
    assert not lane.proven


async def test_after_an_absence_batches_with_few_signatures_each_are_verified_several_at_a_time(autojump_clock):
    bench, lane = Bench(), Lane("host", proven=True)

    await bench.check_all(*[(number, HONEST, candidate(HONEST, number), lane) for number in range(2 * PROVEN_BATCHES)])

    assert bench.groups == 2
    assert [good for _, good in bench.heard] == [True] * 2 * PROVEN_BATCHES


async def test_what_waits_of_a_connection_goes_on_with_its_first_good_signature(autojump_clock):
    bench, new = Bench(), Lane("new")

    await bench.check_all(*[(number, HONEST, candidate(HONEST, number), new) for number in range(1 + PROVEN_BATCHES)])

    assert bench.groups == 2
    assert [good for _, good in bench.heard] == [True] * (1 + PROVEN_BATCHES)


async def test_what_waits_of_a_connection_stays_where_it_is_after_a_bad_signature(autojump_clock):
    bench, new = Bench(), Lane("new")
    asked = [("junk", HONEST, junk(HONEST, number, 0), new) for number in range(3)]

    await bench.check_all(*asked)

    assert bench.groups == 3
    assert trio.current_time() >= 2 * JUNK_PAUSE_S


@pytest.mark.slow  # it verifies 280 bad signatures
async def test_a14_proven_connections_do_not_wait_behind_junk(autojump_clock):
    bench = Bench()
    lanes = [Lane(f"evil {number % 7}") for number in range(28)]
    flood = [
        ("junk", HONEST, junk(HONEST, number, which), lane)
        for number, lane in enumerate(lanes)
        for which in range(10 * number, 10 * number + 10)
    ]
    home = Lane("home", proven=True)

    await bench.check_all(*flood, *[("honest", HONEST, candidate(HONEST, number), home) for number in range(3)])

    heard = [name for name, _ in bench.heard]
    last = max(index for index, name in enumerate(heard) if name == "honest")
    assert heard[: last + 1].count("junk") <= 2 * STRANGERS_GROUP
    assert len(heard) == 283


@pytest.mark.slow  # 200 of them
async def test_an_honest_stranger_is_heard_among_any_number_of_calls_of_one_other_host(autojump_clock):
    bench = Bench()
    flood = [("junk", HONEST, junk(HONEST, 1, which), Lane("evil")) for which in range(200)]

    await bench.check_all(*flood, ("honest", OTHER, candidate(OTHER, 2), Lane("new")))

    assert ("honest", True) in bench.heard[: 2 * STRANGERS_GROUP + 1]


async def test_after_junk_strangers_wait_and_nobody_else_does(autojump_clock):
    bench = Bench()
    flood = [("junk", HONEST, junk(HONEST, 1, which), Lane("evil")) for which in range(80)]

    await bench.check_all(*flood)

    assert trio.current_time() > 70 * JUNK_PAUSE_S
