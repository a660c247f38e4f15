"""Which batch is asked of whom, and what happens when the answer is late, wrong or never comes."""

import pytest
from attestrio.gossip.fetch import BatchNotGiven, FetchQueue, FetchStatistics, WrongBatch
from attestrio.roles import BatchNumber, SyncBatch
from attestrio.store.api import MAX_NUMBER, StoreState
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

PEERS = ["anna", "ben", "carl", "dora"]


def state(first, last=None):
    return StoreState(BatchNumber(first), None if last is None else BatchNumber(last))


def batch(number):
    return SyncBatch(BatchNumber(number), (b"payload",), b"proof")


class Node:
    """A store that is always at once on disk, and the queue in front of it."""

    def __init__(self, *peers, last=None, announce=None, limit=20):
        self.has = state(0, last)
        self.queue = FetchQueue(self.has, self.has, limit)
        for peer in peers:
            self.queue.joined(peer)
            if announce is not None:
                self.queue.announced(peer, announce)

    def store_up_to(self, last):
        self.has = state(0, last)
        self.queue.moved(self.has, self.has)

    def store_ready(self):
        stored = []
        while (one := self.queue.ready()) is not None:
            stored.append(one.number)
            self.store_up_to(one.number)
        return stored

    def drop(self, peer):
        self.queue.left(peer)


# The network's own tests, as far as no wire is needed


def test_a_batch_is_asked_for_when_a_peer_announces_it_and_stored_when_it_comes():
    node = Node("anna")

    before = node.queue.take("anna")
    node.queue.announced("anna", state(0, 0))
    number = node.queue.take("anna")
    node.queue.arrived("anna", number, batch(0))
    stored = node.store_ready()

    assert before is None
    assert (number, stored) == (0, [0])
    assert node.queue.take("anna") is None, "it has no more"


def test_ten_batches_are_asked_of_four_connections_in_turn_before_any_is_answered():
    node = Node(*PEERS, announce=state(0, 9))

    asked = [(node.queue.take(PEERS[i % 4]), PEERS[i % 4]) for i in range(10)]

    assert asked == [(i, PEERS[i % 4]) for i in range(10)]
    assert [node.queue.take(peer) for peer in PEERS] == [None] * 4


@pytest.mark.parametrize(("answer", "error"), [(None, BatchNotGiven), (batch(1), WrongBatch)])
def test_a_bad_answer_ends_the_connection_and_the_batch_is_asked_of_another(answer, error):
    node = Node("anna", "ben", announce=state(0, 5))
    number = node.queue.take("anna")

    with pytest.raises(error):
        node.queue.arrived("anna", number, answer)
    meanwhile = node.queue.lowest()
    node.drop("anna")

    assert meanwhile == 1, "while it is asked for, nobody else is"
    assert node.queue.take("ben") == number == 0
    assert node.queue.ready() is None


def test_a_wrong_answer_says_what_came_and_what_was_asked_for():
    node = Node("anna", announce=state(0, 5))
    number = node.queue.take("anna")

    with pytest.raises(WrongBatch, match="batch 3 in answer to 0") as caught:
        node.queue.arrived("anna", number, batch(3))

    assert (caught.value.got, caught.value.want) == (3, 0)


def test_a_batch_that_four_peers_fail_to_give_is_asked_of_each_once():
    node = Node(*PEERS, announce=state(0, 0))
    asked = []

    for peer in PEERS:
        number = node.queue.take(peer)
        asked.append((peer, number))
        with pytest.raises(BatchNotGiven):
            node.queue.arrived(peer, number, None)
        node.drop(peer)

    assert asked == [(peer, 0) for peer in PEERS]
    assert node.queue.lowest() == 0, "and still wanted"


def test_a_store_that_jumps_ahead_is_followed():
    node = Node("anna", announce=state(0, 10))
    node.store_up_to(2)
    taken = [node.queue.take("anna") for _ in range(3)]

    node.store_up_to(7)
    after = [node.queue.take("anna") for _ in range(3)]

    assert (taken, after) == ([3, 4, 5], [8, 9, 10])


# The window


def test_at_most_twenty_batches_are_outstanding_and_a_slot_is_free_when_one_is_on_disk():
    node = Node("anna", announce=state(0, 1_000))
    taken = [node.queue.take("anna") for _ in range(20)]

    full = node.queue.take("anna")
    node.queue.moved(state(0, 4), state(0))
    queued = node.queue.take("anna")
    node.queue.moved(state(0, 4), state(0, 1))
    written = [node.queue.take("anna") for _ in range(3)]

    assert taken == list(range(20))
    assert (full, queued, written) == (None, None, [20, 21, None])


def test_a_number_that_is_queued_by_another_route_is_withdrawn():
    node = Node("anna", "ben", announce=state(0, 9))
    node.queue.take("anna")

    node.store_up_to(3)

    assert node.queue.take("ben") == 4
    node.queue.arrived("anna", BatchNumber(0), batch(0))
    assert node.queue.statistics() == FetchStatistics(waiting=19, asked=1, arrived=0, peers=2)


def test_a_withdrawn_call_that_fails_brings_nothing_back():
    node = Node("anna", "ben", announce=state(0, 9))
    node.queue.take("anna")
    node.store_up_to(3)

    node.drop("anna")

    assert node.queue.take("ben") == 4


def test_a_store_that_begins_elsewhere_is_asked_for_from_there():
    queue = FetchQueue(state(100), state(100), limit=2)
    queue.joined("anna")
    queue.announced("anna", state(0, 200))

    assert [queue.take("anna") for _ in range(3)] == [100, 101, None]


def test_no_number_is_wanted_that_no_store_can_hold():
    node = Node("anna", last=MAX_NUMBER - 1, announce=state(0, 2**64 - 1))

    last, none = node.queue.take("anna"), node.queue.take("anna")
    node.queue.arrived("anna", last, batch(MAX_NUMBER))
    node.store_ready()

    assert (last, none) == (MAX_NUMBER, None)
    assert node.queue.lowest() is None


def test_no_number_is_wanted_that_the_main_node_has_not_named():
    node = Node("anna", announce=state(0, 2**64 - 1))

    node.queue.named(None)
    before = node.queue.take("anna")
    node.queue.named(BatchNumber(1))
    named = [node.queue.take("anna") for _ in range(3)]
    node.queue.named(BatchNumber(2))
    later = [node.queue.take("anna") for _ in range(2)]

    assert before is None
    assert named == [0, 1, None]
    assert later == [2, None]
    assert node.queue.statistics().waiting == 0


def test_a_queue_without_slots_is_refused():
    with pytest.raises(ValueError, match="must be at least 1"):
        FetchQueue(state(0), state(0), limit=0)


# What peers have


def test_a_peer_is_only_asked_for_what_it_announced_last():
    node = Node("anna", announce=state(0, 9))

    node.queue.announced("anna", state(3, 9))
    pruned = node.queue.take("anna")
    node.queue.announced("anna", state(0))
    empty = node.queue.take("anna")
    node.queue.announced("anna", state(0, 0))

    assert (pruned, empty) == (None, None)
    assert (node.queue.take("anna"), node.queue.take("anna")) == (0, None)


def test_higher_batches_wait_while_the_lowest_is_not_to_be_had():
    node = Node("anna", "ben")
    node.queue.announced("anna", state(1, 9))

    waits = node.queue.take("anna")
    node.queue.announced("ben", state(0, 0))
    found = node.queue.take("ben")

    assert (waits, found) == (None, 0)
    assert node.queue.take("anna") == 1


def test_a_peer_that_comes_back_starts_without_a_range():
    node = Node("anna", announce=state(0, 9))

    node.drop("anna")
    node.queue.joined("anna")

    assert node.queue.take("anna") is None


@pytest.mark.parametrize(
    "call",
    [
        lambda queue: queue.announced("nobody", state(0, 1)),
        lambda queue: queue.take("nobody"),
        lambda queue: queue.left("nobody"),
        lambda queue: queue.arrived("nobody", BatchNumber(0), batch(0)),
        lambda queue: queue.arrived("anna", BatchNumber(5), batch(5)),
    ],
    ids=["announced", "take", "left", "arrived", "arrived unasked"],
)
def test_a_connection_that_never_joined_or_was_not_asked_is_a_bug_of_ours(call):
    node = Node("anna", announce=state(0, 9))

    with pytest.raises(KeyError):
        call(node.queue)


# What has arrived


def test_batches_that_arrive_out_of_order_are_stored_in_order():
    node = Node(*PEERS, announce=state(0, 3))
    for peer in PEERS:
        node.queue.take(peer)

    stored = []
    for number in (2, 1, 0, 3):
        node.queue.arrived(PEERS[number], BatchNumber(number), batch(number))
        stored.append(node.store_ready())

    assert stored == [[], [], [0, 1, 2], [3]]


def test_what_has_arrived_stays_when_its_peer_leaves_and_is_not_asked_for_again():
    node = Node("anna", "ben", announce=state(0, 3))
    node.queue.take("ben")
    number = node.queue.take("anna")
    node.queue.arrived("anna", number, batch(1))

    node.drop("anna")

    assert node.queue.take("ben") == 2
    node.queue.arrived("ben", BatchNumber(0), batch(0))
    assert node.store_ready() == [0, 1]


def test_a_batch_stays_ready_until_the_store_has_it():
    node = Node("anna", announce=state(0, 3))
    number = node.queue.take("anna")
    node.queue.arrived("anna", number, batch(0))

    again = [node.queue.ready(), node.queue.ready()]
    node.store_up_to(0)

    assert again == [batch(0)] * 2
    assert node.queue.ready() is None


class Fetching(RuleBasedStateMachine):
    """Anything may happen in any order; beside the queue stands what it has to be true to."""

    peers = st.sampled_from(PEERS)

    @initialize(limit=st.integers(2, 8), first=st.integers(0, 3))
    def start(self, limit, first):
        self.limit, self.first = limit, first
        self.queued = self.persisted = first  # the next number of each
        self.asked: dict[tuple[str, int], None] = {}
        self.arrived: set[int] = set()
        self.ranges: dict[str, StoreState] = {}
        self.queue = FetchQueue(state(first), state(first), limit)
        for peer in PEERS[:3]:
            self.joins_or_leaves(peer)
            self.announces(peer, -1, 300)

    def tell(self):
        self.queue.moved(self.range_to(self.queued), self.range_to(self.persisted))
        self.arrived = {number for number in self.arrived if number >= self.queued}

    def range_to(self, after):
        return state(self.first, after - 1 if after > self.first else None)

    @rule(peer=peers)
    def joins_or_leaves(self, peer):
        if peer in self.ranges:
            self.queue.left(peer)
            del self.ranges[peer]
            self.asked = {call: None for call in self.asked if call[0] != peer}
        else:
            self.queue.joined(peer)
            self.ranges[peer] = state(0)

    @rule(peer=peers, ahead=st.integers(-3, 2), length=st.sampled_from([0, 1, 5, 300]))
    def announces(self, peer, ahead, length):
        if peer in self.ranges:
            first = max(0, self.queued + ahead)
            self.ranges[peer] = state(first, first + length - 1 if length else None)
            self.queue.announced(peer, self.ranges[peer])

    @rule(peers=st.lists(peers, min_size=1, max_size=6))
    def take_in_turn(self, peers):
        for peer in peers:
            if peer in self.ranges:
                self.takes(peer)

    def takes(self, peer):
        lowest = min(self.waiting(), default=None)

        number = self.queue.take(peer)

        wanted = lowest is not None and self.ranges[peer].contains(lowest)
        assert number == (lowest if wanted else None)
        if number is not None:
            self.asked[peer, number] = None

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answers(self, data):
        for peer, number in data.draw(st.lists(st.sampled_from(list(self.asked)), min_size=1, unique=True)):
            self.queue.arrived(peer, BatchNumber(number), batch(number))
            del self.asked[peer, number]
            if number in self.window():
                self.arrived.add(number)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), nothing=st.booleans())
    def answers_badly(self, data, nothing):
        peer, number = data.draw(st.sampled_from(list(self.asked)))
        with pytest.raises(BatchNotGiven if nothing else WrongBatch):
            self.queue.arrived(peer, BatchNumber(number), None if nothing else batch(number + 1))
        self.joins_or_leaves(peer)

    @rule()
    def the_store_takes_what_is_ready(self):
        one = self.queue.ready()
        assert (one is not None) == (self.queued in self.arrived)
        if one is not None:
            assert one.number == self.queued
            self.queued += 1
            self.tell()

    @rule(left=st.integers(0, 3))
    def the_disk_catches_up(self, left):
        self.persisted = max(self.persisted, self.queued - left)
        self.tell()

    @rule(by=st.integers(1, 2))
    def batches_come_by_another_route(self, by):
        self.queued += by
        self.tell()

    @rule(by=st.integers(1, 3))
    def the_store_jumps(self, by):
        self.persisted += by
        self.queued = max(self.queued, self.persisted)
        self.tell()

    def window(self):
        return range(self.queued, self.persisted + self.limit)

    def waiting(self):
        taken = {number for _, number in self.asked} | self.arrived
        return [number for number in self.window() if number not in taken]

    @invariant()
    def every_wanted_number_is_in_one_place_and_none_is_lost(self):
        lowest = self.queue.lowest()
        told = self.queue.statistics()

        assert lowest == min(self.waiting(), default=None)
        assert told == FetchStatistics(len(self.waiting()), len(self.asked), len(self.arrived), len(self.ranges))

    @invariant()
    def no_number_is_asked_of_two(self):
        numbers = [number for _, number in self.asked]
        assert len(numbers) == len(set(numbers))
        assert self.arrived.isdisjoint(numbers)

    @invariant()
    def no_more_than_the_limit_is_outstanding(self):
        outstanding = [number for _, number in self.asked if number >= self.queued]
        assert len(outstanding) + len(self.arrived) <= self.limit


Fetching.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestFetching = pytest.mark.slow(Fetching.TestCase)
