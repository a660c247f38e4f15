"""The watch over the register: nobody misses a vote, and large lists count as small ones do."""

import threading
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
import trio.testing
from attestrio.kit.blocking import in_thread, inline
from attestrio.quorum import BadVoteSignature, DuplicateEntry, VoteRegister, VotesAdded, VotesRefused, WrongGenesis
from attestrio.quorum.verify import Verifier
from attestrio.quorum.watch import VotesWatch
from hypothesis import given, settings
from hypothesis import strategies as st
from quorum_kit import GENESIS, KEYS, OTHER_GENESIS, STRANGER, batch, committee, forged, vote
from suite import examples, patient

COMMITTEE = committee()


def watch_with(*votes, verifier=None):
    watch = VotesWatch(COMMITTEE, GENESIS, verifier)
    watch.add(votes)
    return watch


def small_chunks(run_blocking=inline, *, workers=2):
    return Verifier(run_blocking, workers=workers, thread_chunk=2, threads_from=0)


# Waiting


async def test_newer_votes_are_there_at_once_when_they_came_before_the_wait():
    watch = watch_with(vote(KEYS[0], 5))

    votes, mark = await watch.wait_newer(0)

    assert votes == [vote(KEYS[0], 5)]
    assert mark == watch.version


async def test_wait_for_newer_votes_ends_with_the_next_vote_and_not_with_a_floor(nursery, autojump_clock):
    watch = watch_with(vote(KEYS[0], 5))
    _, mark = watch.newer_than(0)
    got = []

    async def peer():
        got.extend((await watch.wait_newer(mark))[0])

    nursery.start_soon(peer)
    await trio.testing.wait_all_tasks_blocked()
    watch.raise_floor(2)
    watch.add([vote(KEYS[0], 5)])
    await trio.testing.wait_all_tasks_blocked()
    before = list(got)
    watch.add([vote(KEYS[1], 5)])
    await trio.testing.wait_all_tasks_blocked()

    assert before == []
    assert got == [vote(KEYS[1], 5)]


async def test_quorum_is_announced_with_the_vote_that_reaches_it(nursery):
    watch = watch_with(*[vote(key, 5) for key in KEYS[:8]])
    found = []

    async def finder():
        found.append(await watch.wait_quorum())

    nursery.start_soon(finder)
    await trio.testing.wait_all_tasks_blocked()
    before = list(found)
    watch.add([vote(KEYS[8], 5)])
    await trio.testing.wait_all_tasks_blocked()

    assert before == []
    assert [certificate.batch for certificate in found] == [batch(5)]


async def test_who_passes_the_last_quorum_waits_for_the_next_one(nursery):
    watch = watch_with(*[vote(key, 5) for key in KEYS])
    found = []

    async def finder():
        found.append((await watch.wait_quorum(after=batch(5))).batch)

    nursery.start_soon(finder)
    await trio.testing.wait_all_tasks_blocked()
    before = list(found)
    watch.add([vote(key, 6) for key in KEYS])
    await trio.testing.wait_all_tasks_blocked()

    assert before == []
    assert found == [batch(6)]


def told_lists():
    """A hook for `on_list`, and what it was told: votes in the list, votes counted, why the rest was refused."""
    told = []
    return told, lambda listed, added, refused: told.append((listed, added.added, refused and refused.code))


@pytest.mark.parametrize("many", [False, True], ids=["add", "add_many"])
async def test_each_list_is_told_of_once_with_what_counted_and_what_was_wrong(many):
    told, on_list = told_lists()
    watch = VotesWatch(COMMITTEE, GENESIS, on_list=on_list)

    async def push(*votes):
        if many:
            await watch.add_many(iter(votes))
        else:
            watch.add(iter(votes))

    await push(vote(KEYS[0], 5), vote(KEYS[1], 5))
    await push(vote(KEYS[0], 5), vote(KEYS[2], 5), vote(STRANGER, 5))
    with pytest.raises(BadVoteSignature):
        await push(vote(KEYS[3], 5), forged(KEYS[4], 5), vote(KEYS[5], 5))
    with pytest.raises(WrongGenesis):
        await push(vote(KEYS[4], 5), vote(KEYS[5], 5, genesis=OTHER_GENESIS))

    assert told == [(2, 2, None), (3, 1, None), (3, 1, "vote_bad_signature"), (2, 1, "vote_wrong_genesis")]


async def test_support_for_a_number_is_the_largest_for_one_hash():
    watch = watch_with(
        *[vote(key, 5) for key in KEYS[:3]], *[vote(key, 5, fill=0xCD) for key in KEYS[3:8]], vote(KEYS[8], 6)
    )

    assert [watch.support_for(number) for number in (4, 5, 6)] == [0, 5, 1]


async def test_votes_before_a_bad_one_are_announced():
    watch = VotesWatch(COMMITTEE, GENESIS)

    with pytest.raises(BadVoteSignature):
        watch.add([vote(KEYS[0], 5), forged(KEYS[1], 5)])

    with trio.fail_after(patient(1)):
        votes, _ = await watch.wait_newer(0)
    assert votes == [vote(KEYS[0], 5)]


LISTS_OF_BOTH_SIZES = pytest.mark.parametrize(
    "verifier",
    [lambda: Verifier(threads_from=1_000), lambda: Verifier(in_thread, threads_from=1)],
    ids=["checked inline", "checked in threads"],
)


@LISTS_OF_BOTH_SIZES
async def test_list_that_makes_a_quorum_wakes_who_waits_for_one(nursery, verifier):
    watch = VotesWatch(COMMITTEE, GENESIS, verifier())
    found = []

    async def finder():
        found.append(await watch.wait_quorum())
        done.set()

    done = trio.Event()
    nursery.start_soon(finder)
    await trio.testing.wait_all_tasks_blocked()
    await watch.add_many([vote(key, 5) for key in KEYS])

    with trio.fail_after(patient(5)):
        await done.wait()
    assert [certificate.batch for certificate in found] == [batch(5)]


@LISTS_OF_BOTH_SIZES
async def test_list_wakes_who_waits_for_newer_votes(nursery, verifier):
    watch = VotesWatch(COMMITTEE, GENESIS, verifier())
    got = []

    async def peer():
        got.extend((await watch.wait_newer(0))[0])
        done.set()

    done = trio.Event()
    nursery.start_soon(peer)
    await trio.testing.wait_all_tasks_blocked()
    await watch.add_many([vote(key, 5) for key in KEYS[:3]])

    with trio.fail_after(patient(5)):
        await done.wait()
    assert got == [vote(key, 5) for key in KEYS[:3]]


def test_floor_of_a_watch_never_sinks():
    watch = watch_with(vote(KEYS[0], 5))

    watch.raise_floor(5)
    watch.raise_floor(3)

    assert watch.min_batch_number == 5
    assert watch.support(batch(5)) == 1


@pytest.mark.parametrize("call", ["wait_newer", "wait_quorum", "add_many"])
async def test_every_wait_is_a_cancel_point_even_when_the_answer_is_there(call):
    watch = watch_with(*[vote(key, 5) for key in KEYS])
    waits = {
        "wait_newer": partial(watch.wait_newer, 0),
        "wait_quorum": watch.wait_quorum,
        "add_many": partial(watch.add_many, []),
    }

    with trio.testing.assert_checkpoints():
        await waits[call]()


# Large lists


@pytest.mark.parametrize("run_blocking", [inline, in_thread])
@pytest.mark.parametrize("workers", [1, 2, 3])
async def test_large_lists_count_as_small_ones(run_blocking, workers):
    votes = [vote(key, 5 + i % 2) for i, key in enumerate(KEYS)]
    many = VotesWatch(COMMITTEE, GENESIS, small_chunks(run_blocking, workers=workers))

    added = await many.add_many([*votes, vote(STRANGER, 5)])

    assert added == VotesAdded(10, 10, 6)
    assert many.votes() == votes


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (forged(KEYS[3], 5), BadVoteSignature),
        (vote(KEYS[0], 6), DuplicateEntry),
        (vote(STRANGER, 5, genesis=OTHER_GENESIS), WrongGenesis),
    ],
    ids=["bad signature", "duplicate", "other genesis"],
)
async def test_a_bad_entry_of_a_large_list_leaves_those_before_it(bad, error):
    watch = VotesWatch(COMMITTEE, GENESIS, small_chunks())

    with pytest.raises(error) as raised:
        await watch.add_many([*[vote(key, 5) for key in KEYS[:3]], bad, *[vote(key, 5) for key in KEYS[4:]]])

    assert raised.value.added == VotesAdded(3, 3, 5)
    assert watch.votes() == [vote(key, 5) for key in KEYS[:3]]


async def test_small_lists_never_go_to_a_thread():
    here = threading.get_ident()
    seen = set()

    async def noting(fn):
        seen.add(threading.get_ident())
        return await in_thread(fn)

    watch = VotesWatch(COMMITTEE, GENESIS, Verifier(noting))
    await watch.add_many([vote(key, 5) for key in KEYS])

    assert seen <= {here}
    assert watch.support(batch(5)) == 10


@dataclass
class Gates:
    """A `RunBlocking` whose calls wait until the test lets them go, in any order. Sorted by what is checked."""

    waiting: dict[str, trio.Event] = field(default_factory=dict)
    calls: int = 0

    async def __call__(self, fn):
        self.calls += 1
        name = f"{fn.args} {self.calls:03}"
        gate = self.waiting[name] = trio.Event()
        try:
            await gate.wait()
        finally:
            self.waiting.pop(name, None)
        return fn()

    def let_go(self, index):
        names = sorted(self.waiting)
        self.waiting.pop(names[index % len(names)]).set()

    def let_go_of(self, signed):
        (name,) = [name for name in self.waiting if repr(signed) in name]
        self.waiting.pop(name).set()


async def test_chunks_are_taken_in_the_order_of_the_list_whichever_is_checked_first(nursery):
    gates = Gates()
    watch = VotesWatch(COMMITTEE, GENESIS, small_chunks(gates))
    nursery.start_soon(watch.add_many, [vote(key, 5) for key in KEYS[:4]])
    await trio.testing.wait_all_tasks_blocked()

    gates.let_go_of(vote(KEYS[2], 5))
    await trio.testing.wait_all_tasks_blocked()
    after_second = watch.votes()
    gates.let_go_of(vote(KEYS[0], 5))
    await trio.testing.wait_all_tasks_blocked()

    assert after_second == []
    assert watch.votes() == [vote(key, 5) for key in KEYS[:4]]


async def test_one_chunk_more_than_workers_is_out_at_a_time_whoever_asks(nursery):
    gates = Gates()
    watch = VotesWatch(COMMITTEE, GENESIS, small_chunks(gates, workers=2))

    for number in (5, 6, 7):
        nursery.start_soon(watch.add_many, [vote(key, number) for key in KEYS])
    await trio.testing.wait_all_tasks_blocked()

    assert len(gates.waiting) == 3
    nursery.cancel_scope.cancel()


async def test_a_few_votes_do_not_queue_behind_the_thousands_of_another_peer(nursery):
    gates = Gates()
    verifier = Verifier(gates, workers=1, thread_chunk=2, threads_from=5)
    watch = VotesWatch(COMMITTEE, GENESIS, verifier)
    for number in (5, 6):
        nursery.start_soon(watch.add_many, [vote(key, number) for key in KEYS])
    await trio.testing.wait_all_tasks_blocked()

    added = await watch.add_many([vote(KEYS[0], 9)])

    assert added == VotesAdded(1, 1, 9)
    nursery.cancel_scope.cancel()


async def test_vote_that_became_old_while_it_was_checked_is_ignored(nursery):
    gates = Gates()
    watch = VotesWatch(COMMITTEE, GENESIS, small_chunks(gates))
    results = []

    async def push():
        results.append(await watch.add_many([forged(KEYS[0], 5), vote(KEYS[1], 5)]))

    nursery.start_soon(push)
    await trio.testing.wait_all_tasks_blocked()
    watch.add([vote(KEYS[0], 6)])
    gates.let_go(0)
    await trio.testing.wait_all_tasks_blocked()

    assert results == [VotesAdded(1, 1, 5)]
    assert watch.votes() == [vote(KEYS[0], 6), vote(KEYS[1], 5)]


async def test_cancelled_list_leaves_whole_chunks(nursery):
    gates = Gates()
    watch = VotesWatch(COMMITTEE, GENESIS, small_chunks(gates, workers=1))
    with trio.CancelScope() as scope:
        nursery.start_soon(cancel_after_one_chunk, gates, scope)
        await watch.add_many([vote(key, 5) for key in KEYS])

    assert scope.cancelled_caught
    assert watch.votes() == [vote(key, 5) for key in KEYS[:2]]


async def cancel_after_one_chunk(gates, scope):
    await trio.testing.wait_all_tasks_blocked()
    gates.let_go_of(vote(KEYS[0], 5))
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


# Any interleaving is some order of whole chunks

GOOD = {(i, n, fill): vote(KEYS[i], n, fill) for i in range(4) for n in range(4) for fill in (0x10, 0x20)}
BAD = {(i, n): forged(KEYS[i], n) for i in range(4) for n in range(4)}
ENTRY = st.one_of(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0x10, 0x20])).map(GOOD.__getitem__),
    st.tuples(st.integers(0, 3), st.integers(0, 3)).map(BAD.__getitem__),
)
LISTS = st.lists(ENTRY, max_size=4, unique_by=lambda signed: signed.key)
ACTION = st.one_of(st.tuples(st.just("floor"), st.integers(0, 4)), st.tuples(st.just("add"), ENTRY))
ACTIONS = st.lists(ACTION, max_size=2)


def outcome_of(call):
    """What a call answered, as something to compare."""
    try:
        return call()
    except VotesRefused as refused:
        return type(refused), refused.added


def merges(sequences):
    """Every way to interleave the sequences, each in its own order."""
    if not any(sequences):
        yield []
    for i, sequence in enumerate(sequences):
        if sequence:
            rest = [*sequences[:i], sequence[1:], *sequences[i + 1 :]]
            for tail in merges(rest):
                yield [(i, sequence[0]), *tail]


def played(order, lists, actions):
    """The state and the answers when chunks and actions come one after the other in `order`."""
    register = VoteRegister()
    answers = {i: VotesAdded() for i in range(len(lists))}
    for i, item in order:
        if i == len(lists):
            act(register.set_min_batch_number, register, actions[item])
        elif isinstance(answers[i], VotesAdded):
            answer = outcome_of(lambda item=item: register.update(COMMITTEE, GENESIS, item))
            more = answer if isinstance(answer, VotesAdded) else answer[1]
            total = answers[i] + more
            answers[i] = total if isinstance(answer, VotesAdded) else (answer[0], total)
    return register.min_batch_number, register.newer_than(0)[0], answers


def act(set_floor, register, action):
    kind, value = action
    if kind == "floor":
        if value > register.min_batch_number:
            set_floor(value)
    else:
        outcome_of(lambda: register.update(COMMITTEE, GENESIS, [value]))


@settings(deadline=None, max_examples=examples(60))
@given(st.tuples(LISTS, LISTS), ACTIONS, st.lists(st.integers(0, 5), max_size=12), st.integers(1, 2))
async def test_any_interleaving_of_lists_equals_some_order_of_their_chunks(lists, actions, choices, workers):
    gates = Gates()
    watch = VotesWatch(COMMITTEE, GENESIS, small_chunks(gates, workers=workers))
    answers, pending, choose = {}, list(range(len(actions))), iter(choices)

    async def push(i, votes):
        try:
            answers[i] = await watch.add_many(votes)
        except VotesRefused as refused:
            answers[i] = type(refused), refused.added

    async with trio.open_nursery() as nursery:
        for i, votes in enumerate(lists):
            nursery.start_soon(push, i, votes)
        await trio.testing.wait_all_tasks_blocked()
        while pending or gates.waiting:
            choice = next(choose, 0) % (len(gates.waiting) + bool(pending))
            if choice < len(gates.waiting):
                gates.let_go(choice)
            else:
                kind, value = actions[pending.pop(0)]
                if kind == "floor":
                    watch.raise_floor(value)
                else:
                    outcome_of(lambda value=value: watch.add([value]))
            await trio.testing.wait_all_tasks_blocked()

    chunks = [[votes[start : start + 2] for start in range(0, len(votes), 2)] for votes in lists]
    state = watch.min_batch_number, watch.votes(), answers
    orders = merges([*chunks, list(range(len(actions)))])
    assert any(played(order, lists, actions) == state for order in orders)
