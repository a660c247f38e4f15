"""What every batch store promises. `restart` ends the store like a stop of the node and opens it again."""

import pytest
import trio
import trio.testing
from attestrio.errors import SafetyError, SourceError
from attestrio.kit.blocking import in_thread, inline
from attestrio.roles import AttesterSecretKey, Batch, BatchHash, BatchNumber, BatchQC, GenesisHash, SyncBatch
from attestrio.store import (
    BatchConflict,
    BatchNumberTooLarge,
    MemoryBatchStore,
    OtherGenesis,
    QCConflict,
    SqliteBatchStore,
    StoreClosed,
    StoreState,
)
from attestrio.store.queue import CACHE_BATCHES, MAX_UNWRITTEN

GENESIS = GenesisHash(b"\x01" * 32)
OTHER_GENESIS = GenesisHash(b"\x02" * 32)
KEYS = [AttesterSecretKey.from_bytes(bytes([n]) * 32) for n in (1, 2, 3)]


def to_sign(number, content=0, genesis=GENESIS) -> Batch:
    return Batch(BatchNumber(number), BatchHash(bytes([content]) * 32), genesis)


def certificate(number, content=0, genesis=GENESIS, signers=3) -> BatchQC:
    batch = to_sign(number, content, genesis)
    return BatchQC(batch, {key.public(): key.sign_batch(batch).signature for key in KEYS[:signers]})


def synced(number, payload=b"payload") -> SyncBatch:
    return SyncBatch(BatchNumber(number), (payload, b""), b"proof")


def range_of(first, last=None) -> StoreState:
    return StoreState(BatchNumber(first), None if last is None else BatchNumber(last))


class Opener:
    """Opens stores of one kind in the test's nursery."""

    def __init__(self, kind: str, path, nursery) -> None:
        self.kind, self.path, self.nursery = kind, path, nursery

    def make(self, first_batch=0, next_rule="gap"):
        if self.kind == "memory":
            return MemoryBatchStore(GENESIS, BatchNumber(first_batch), next_rule)
        run_blocking = inline if self.kind == "sqlite" else in_thread
        return SqliteBatchStore(self.path, GENESIS, BatchNumber(first_batch), next_rule, run_blocking)

    async def __call__(self, first_batch=0, next_rule="gap"):
        store = self.make(first_batch, next_rule)
        await self.nursery.start(store.run)
        return store

    async def restart(self, store, first_batch=0, next_rule="gap"):
        """A memory store forgets, so it goes on as it is: what holds after a restart holds without one."""
        if self.kind == "memory":
            return store
        await store.close()
        return await self(first_batch, next_rule)


@pytest.fixture(params=["memory", "sqlite", "sqlite-threads"])
def opening(request, tmp_path, nursery):
    return Opener(request.param, tmp_path / "store.db", nursery)


async def chain_of(store, first, last) -> None:
    for number in range(first, last + 1):
        await store.put_batch_to_sign(to_sign(number))


# --- ranges, queue, reads (3.1, 3.2)


async def test_a_new_store_is_empty_and_begins_where_it_is_told(opening):
    store = await opening(first_batch=5)

    assert store.persisted == store.queued == range_of(5)
    assert await store.batch(BatchNumber(5)) is None
    assert await store.batch_to_sign(BatchNumber(5)) is None
    assert await store.qc(BatchNumber(5)) is None
    assert await store.last_qc() is None
    assert await store.qcs(BatchNumber(0), 10) == ()


async def test_queued_batches_become_persisted_and_can_be_read(opening):
    store = await opening(first_batch=1)
    batches = [synced(number, bytes([number])) for number in range(1, 6)]

    for batch in batches:
        await store.queue_batch(batch)
    await store.wait_until_persisted(BatchNumber(5))
    store = await opening.restart(store, first_batch=1)

    assert store.persisted == store.queued == range_of(1, 5)
    assert [await store.batch(batch.number) for batch in batches] == batches
    assert await store.batch(BatchNumber(0)) is None
    assert await store.batch(BatchNumber(6)) is None


async def test_a_batch_waits_for_the_ones_before_it(opening, nursery):
    store = await opening()

    for number in (2, 1, 0):
        nursery.start_soon(store.queue_batch, synced(number))
    state = await store.wait_until_queued(BatchNumber(2))

    assert state == range_of(0, 2)


async def test_the_first_of_two_batches_with_one_number_stays(opening):
    store = await opening()
    await store.queue_batch(synced(0, b"first"))

    await store.queue_batch(synced(0, b"second"))
    await store.wait_until_persisted(BatchNumber(0))
    await store.queue_batch(synced(0, b"third"))
    store = await opening.restart(store)

    assert await store.batch(BatchNumber(0)) == synced(0, b"first")
    assert store.queued == range_of(0, 0)


async def test_batches_that_left_the_cache_are_read_from_the_store(opening):
    store = await opening()
    count = 3 * CACHE_BATCHES

    for number in range(count):
        await store.queue_batch(synced(number, bytes([number])))
    await store.wait_until_persisted(BatchNumber(count - 1))

    for number in range(count):
        assert await store.batch(BatchNumber(number)) == synced(number, bytes([number]))


async def test_waiting_for_a_number_below_the_range_returns_at_once(opening, autojump_clock):
    if opening.kind == "sqlite-threads":
        opening.kind = "sqlite"  # virtual time
    store = await opening(first_batch=10)

    with trio.fail_after(1):
        assert await store.wait_until_persisted(BatchNumber(3)) == range_of(10)
        assert await store.wait_until_queued(BatchNumber(3)) == range_of(10)
    with trio.move_on_after(1) as scope:
        await store.wait_until_persisted(BatchNumber(10))
    assert scope.cancelled_caught


async def test_waiters_that_leave_disturb_nobody(opening):
    store = await opening()
    async with trio.open_nursery() as leaving:
        for number in range(5):
            leaving.start_soon(store.wait_until_persisted, BatchNumber(number))
            leaving.start_soon(store.wait_until_queued, BatchNumber(number))
            leaving.start_soon(store.wait_held_changed, range_of(0))
            leaving.start_soon(store.wait_moved, range_of(0), range_of(0))
            leaving.start_soon(store.persist_qc, certificate(number))
            leaving.start_soon(store.queue_batch, synced(number + 1))
        await trio.testing.wait_all_tasks_blocked()
        leaving.cancel_scope.cancel()

    await store.put_batch_to_sign(to_sign(0))

    assert await store.wait_until_persisted(BatchNumber(0)) == range_of(0, 0)
    assert await store.qc(BatchNumber(0)) is None
    assert store.queued == range_of(0, 0)


async def test_every_call_is_a_point_where_one_can_be_cancelled(opening):
    store = await opening()
    await chain_of(store, 0, 0)
    zero = BatchNumber(0)

    for call in (
        lambda: store.batch(zero),
        lambda: store.batch_to_sign(zero),
        lambda: store.qc(zero),
        lambda: store.last_qc(),
        lambda: store.qcs(zero, 0),
        lambda: store.next_batch_to_attest(),
        lambda: store.wait_until_persisted(zero),
        lambda: store.wait_until_queued(zero),
        lambda: store.wait_held_changed(range_of(0)),
        lambda: store.wait_moved(range_of(0), range_of(0)),
        lambda: store.queue_batch(synced(0)),
        lambda: store.put_batch_to_sign(to_sign(1)),
        lambda: store.persist_qc(certificate(0)),
    ):
        with trio.CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught

    assert await store.batch_to_sign(BatchNumber(1)) is None
    assert await store.qc(zero) is None


# --- the batch to sign


async def test_a_batch_to_sign_is_kept_and_counts_as_persisted(opening):
    store = await opening()

    await store.put_batch_to_sign(to_sign(0, 7))
    await store.put_batch_to_sign(to_sign(1, 8))
    await store.put_batch_to_sign(to_sign(0, 7))
    store = await opening.restart(store)

    assert store.persisted == range_of(0, 1)
    assert await store.batch_to_sign(BatchNumber(0)) == to_sign(0, 7)
    assert await store.batch_to_sign(BatchNumber(1)) == to_sign(1, 8)
    assert await store.batch_to_sign(BatchNumber(2)) is None


async def test_a_batch_further_on_begins_the_range_anew(opening):
    store = await opening()
    await chain_of(store, 0, 2)

    await store.put_batch_to_sign(to_sign(9))
    store = await opening.restart(store)

    assert store.persisted == store.queued == range_of(9, 9)
    assert await store.batch_to_sign(BatchNumber(1)) == to_sign(1)


@pytest.mark.parametrize("number", [3, 5, 8], ids=["below", "at", "above"])
async def test_the_first_batch_of_an_empty_store_may_lie_anywhere(opening, number):
    store = await opening(first_batch=5)

    await store.put_batch_to_sign(to_sign(number))
    store = await opening.restart(store, first_batch=5)

    assert store.persisted == store.queued == range_of(number, number)


async def test_a_hash_that_comes_late_for_an_older_batch_leaves_the_range(opening):
    store = await opening()
    for number in range(3):
        await store.queue_batch(synced(number))
    await store.wait_until_persisted(BatchNumber(2))
    assert await store.batch_to_sign(BatchNumber(1)) is None

    await store.put_batch_to_sign(to_sign(1))

    assert store.persisted == range_of(0, 2)
    assert await store.batch_to_sign(BatchNumber(1)) == to_sign(1)


async def test_another_hash_for_a_number_is_refused_and_the_first_stays(opening):
    store = await opening()
    await store.put_batch_to_sign(to_sign(0, 1))

    store = await opening.restart(store)
    with pytest.raises(BatchConflict, match="batch 0") as caught:
        await store.put_batch_to_sign(to_sign(0, 2))

    assert isinstance(caught.value, SafetyError)
    assert (caught.value.got, caught.value.stored) == (to_sign(0, 2).hash, to_sign(0, 1).hash)
    assert await store.batch_to_sign(BatchNumber(0)) == to_sign(0, 1)


async def test_a_hash_that_contradicts_a_certificate_is_refused(opening):
    store = await opening()
    await store.queue_batch(synced(0))
    await store.persist_qc(certificate(0, 1))

    with pytest.raises(QCConflict):
        await store.put_batch_to_sign(to_sign(0, 2))

    assert await store.batch_to_sign(BatchNumber(0)) is None


async def test_what_belongs_to_another_genesis_is_refused(opening):
    store = await opening()
    await chain_of(store, 0, 0)

    with pytest.raises(OtherGenesis):
        await store.put_batch_to_sign(to_sign(1, genesis=OTHER_GENESIS))
    with pytest.raises(OtherGenesis):
        await store.persist_qc(certificate(0, genesis=OTHER_GENESIS))

    assert store.persisted == range_of(0, 0)
    assert await store.qc(BatchNumber(0)) is None


async def test_a_number_no_store_can_hold_is_refused(opening):
    store = await opening()
    huge = 2**63

    for call in (
        lambda: store.put_batch_to_sign(to_sign(huge)),
        lambda: store.persist_qc(certificate(huge)),
        lambda: store.queue_batch(synced(huge)),
    ):
        with pytest.raises(BatchNumberTooLarge):
            await call()

    for read in (store.batch_to_sign, store.qc, store.batch):
        assert await read(BatchNumber(2**64 - 1)) is None
    assert await store.qcs(BatchNumber(2**64 - 1), 5) == ()
    assert store.persisted == range_of(0)


async def test_the_highest_number_a_store_can_hold_is_held(opening):
    store = await opening()
    highest = 2**63 - 2

    await store.put_batch_to_sign(to_sign(highest))
    await store.persist_qc(certificate(highest))

    assert store.persisted == range_of(highest, highest)
    assert await store.qcs(BatchNumber(0), 5) == (certificate(highest),)
    assert not store.persisted.contains(highest + 1)


# --- queued follows persisted


async def test_batches_stored_by_another_way_are_told_to_peers(opening):
    store = await opening()
    await chain_of(store, 0, 3)

    assert store.queued == range_of(0, 3)
    assert await store.wait_until_queued(BatchNumber(3)) == range_of(0, 3)
    await store.queue_batch(synced(2))  # an old number: nothing to do
    await store.queue_batch(synced(4))
    assert await store.wait_until_persisted(BatchNumber(4)) == range_of(0, 4)


async def test_a_waiting_batch_that_was_overtaken_is_let_go(opening, nursery):
    store = await opening()
    done = trio.Event()

    async def queue_five():
        await store.queue_batch(synced(5))
        done.set()

    nursery.start_soon(queue_five)
    await trio.testing.wait_all_tasks_blocked()
    await store.put_batch_to_sign(to_sign(7))
    await done.wait()

    assert store.queued == range_of(7, 7)
    assert await store.batch(BatchNumber(5)) is None
    assert await store.batch(BatchNumber(7)) is None  # only its hash is known


async def test_a_payload_taken_before_its_hash_is_not_lost(opening):
    store = await opening()

    await store.queue_batch(synced(0))
    await store.put_batch_to_sign(to_sign(0))
    await store.put_batch_to_sign(to_sign(1))
    store = await opening.restart(store)

    assert store.queued == range_of(0, 1)
    assert await store.batch(BatchNumber(0)) == synced(0)
    assert await store.batch(BatchNumber(1)) is None  # only its hash is known


# --- what can be given to others


async def all_of(store, held) -> list:
    """The batches of a range, in order; None for one that cannot be given."""
    return [await store.batch(BatchNumber(number)) for number in range(held.first, held.next())]


async def test_a_batch_can_be_given_to_others_as_soon_as_it_is_queued(opening):
    store = await opening(first_batch=3)
    assert store.held == range_of(3)

    for number in range(3, 3 + MAX_UNWRITTEN):
        await store.queue_batch(synced(number))
        assert store.held == range_of(3, number)
        assert await store.batch(BatchNumber(number)) == synced(number)

    assert await all_of(store, store.held) == [synced(number) for number in range(3, 3 + MAX_UNWRITTEN)]


async def test_what_can_be_given_to_others_is_the_same_after_a_restart(opening):
    store = await opening(first_batch=3)
    last = 3 + 3 * CACHE_BATCHES
    for number in range(3, last + 1):
        await store.queue_batch(synced(number))

    store = await opening.restart(store, first_batch=3)

    assert store.held == range_of(3, last)
    assert await all_of(store, store.held) == [synced(number) for number in range(3, last + 1)]


@pytest.mark.parametrize("number", [3, 9], ids=["extends", "begins-anew"])
async def test_a_batch_known_only_by_its_hash_is_not_offered_nor_what_lies_below_it(opening, number):
    store = await opening()
    for whole in range(3):
        await store.queue_batch(synced(whole))
    await store.wait_until_persisted(BatchNumber(2))

    await store.put_batch_to_sign(to_sign(number))
    assert store.held == range_of(number + 1)
    store = await opening.restart(store)

    assert store.held == range_of(number + 1)
    assert await store.batch(BatchNumber(number)) is None


async def test_whole_batches_above_one_known_only_by_its_hash_are_offered_again(opening):
    store = await opening()
    await store.queue_batch(synced(0))
    await store.wait_until_persisted(BatchNumber(0))
    await store.put_batch_to_sign(to_sign(1))

    for number in (2, 3):
        await store.queue_batch(synced(number))
    assert store.held == range_of(2, 3)
    store = await opening.restart(store)

    assert store.held == range_of(2, 3)
    assert store.queued == range_of(0, 3)
    assert await all_of(store, store.held) == [synced(2), synced(3)]


@pytest.mark.parametrize("written", [False, True], ids=["queued", "written"])
async def test_the_hash_of_a_batch_that_is_here_whole_takes_nothing_away(opening, written):
    store = await opening()
    for number in range(3):
        await store.queue_batch(synced(number))
    if written:
        await store.wait_until_persisted(BatchNumber(2))

    for number in range(3):
        await store.put_batch_to_sign(to_sign(number))
    assert store.held == range_of(0, 2)
    store = await opening.restart(store)

    assert store.held == range_of(0, 2)
    assert await all_of(store, store.held) == [synced(0), synced(1), synced(2)]


async def test_a_range_that_begins_anew_inside_the_queue_keeps_what_is_above(opening):
    store = await opening()
    for number in range(5):
        await store.queue_batch(synced(number))

    await store.put_batch_to_sign(to_sign(3))  # before or after they are written, as it comes

    assert store.held == range_of(store.queued.first, 4)
    assert None not in await all_of(store, store.held)
    store = await opening.restart(store)
    assert store.held == range_of(store.queued.first, 4)
    assert None not in await all_of(store, store.held)


async def test_what_was_queued_above_a_store_that_begins_lower_is_offered_once_it_can_be_given(opening):
    store = await opening(first_batch=5)
    for number in (5, 6):
        await store.queue_batch(synced(number))
    await store.put_batch_to_sign(to_sign(3))  # in a store that has written 5 and 6, a hash that comes late

    assert store.held in (range_of(4), range_of(5, 6))
    store = await opening.restart(store, first_batch=5)

    assert store.queued.contains(6)
    assert store.held == range_of(5, 6)
    assert await all_of(store, store.held) == [synced(5), synced(6)]


async def test_who_waits_for_something_new_to_offer_is_told_at_once_and_then_at_each_change(opening, nursery):
    store = await opening()
    heard = []

    async def announce():
        seen = range_of(7)  # another state than the present one
        while True:
            seen = await store.wait_held_changed(seen)
            heard.append(seen)

    nursery.start_soon(announce)
    await trio.testing.wait_all_tasks_blocked()
    await store.queue_batch(synced(0))
    await trio.testing.wait_all_tasks_blocked()
    await store.wait_until_persisted(BatchNumber(0))
    await store.put_batch_to_sign(to_sign(0))  # nothing new for others
    await trio.testing.wait_all_tasks_blocked()
    await store.put_batch_to_sign(to_sign(1))
    await trio.testing.wait_all_tasks_blocked()

    assert heard == [range_of(0), range_of(0, 0), range_of(2)]


async def test_who_waits_for_the_store_to_move_hears_of_the_queue_and_of_the_disk(opening):
    store = await opening()
    moves = [(store.queued, store.persisted)]

    async def follow():
        while not store.persisted.contains(1):
            await store.wait_moved(*moves[-1])
            moves.append((store.queued, store.persisted))

    async with trio.open_nursery() as following:
        following.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        await store.queue_batch(synced(0))
        await store.wait_until_persisted(BatchNumber(0))
        await store.put_batch_to_sign(to_sign(1))

    assert moves[0] == (range_of(0), range_of(0))
    assert moves[-1] == (range_of(0, 1), range_of(0, 1))
    assert len(moves) == len(set(moves)) > 1


async def test_who_has_not_seen_the_last_move_of_the_store_does_not_wait(opening):
    store = await opening()
    await chain_of(store, 0, 1)
    now = range_of(0, 1)

    await store.wait_moved(range_of(0, 0), now)
    await store.wait_moved(now, range_of(0, 0))
    with trio.move_on_after(0) as scope:
        await trio.lowlevel.checkpoint()
        await store.wait_moved(now, now)

    assert scope.cancelled_caught


# --- certificates (3.2, 3.3, the checklist of 2.9)


async def test_a_certificate_is_kept_and_the_last_one_is_the_highest(opening):
    store = await opening()
    await chain_of(store, 0, 4)

    for number in (1, 4, 0):
        await store.persist_qc(certificate(number))
    store = await opening.restart(store)

    assert await store.qc(BatchNumber(1)) == certificate(1)
    assert await store.qc(BatchNumber(2)) is None
    assert await store.last_qc() == certificate(4)


async def test_certificates_are_listed_from_a_number_on_and_no_more_than_asked(opening):
    store = await opening()
    await chain_of(store, 0, 9)
    for number in (0, 1, 5, 7, 9):
        await store.persist_qc(certificate(number))

    listed = await store.qcs(BatchNumber(1), 3)

    assert [qc.batch.number for qc in listed] == [1, 5, 7]
    assert await store.qcs(BatchNumber(8), 3) == (certificate(9),)
    assert await store.qcs(BatchNumber(0), 0) == ()


async def test_numbers_with_a_certificate_are_listed_from_one_on_and_no_more_than_asked(opening):
    store = await opening()
    for number in range(6):
        await store.put_batch_to_sign(to_sign(number))
    for number in (5, 1, 3):
        await store.persist_qc(certificate(number))

    assert await store.certified(BatchNumber(0), 10) == (1, 3, 5)
    assert await store.certified(BatchNumber(2), 10) == (3, 5)
    assert await store.certified(BatchNumber(0), 2) == (1, 3)
    assert await store.certified(BatchNumber(6), 10) == await store.certified(BatchNumber((1 << 64) - 1), 10) == ()


async def test_a_second_certificate_for_a_batch_is_ignored_and_the_first_kept(opening):
    store = await opening()
    await chain_of(store, 0, 0)
    await store.persist_qc(certificate(0, signers=3))

    await store.persist_qc(certificate(0, signers=2))
    store = await opening.restart(store)

    assert await store.qc(BatchNumber(0)) == certificate(0, signers=3)


async def test_a_certificate_for_another_hash_than_ours_is_refused(opening):
    store = await opening()
    await store.put_batch_to_sign(to_sign(0, 1))

    with pytest.raises(QCConflict, match="batch 0") as caught:
        await store.persist_qc(certificate(0, 2))

    assert isinstance(caught.value, SafetyError)
    assert await store.qc(BatchNumber(0)) is None
    assert await store.next_batch_to_attest() == 0


async def test_two_certificates_that_contradict_each_other_raise_an_alarm(opening):
    store = await opening()
    await store.queue_batch(synced(0))
    await store.persist_qc(certificate(0, 1))

    with pytest.raises(QCConflict):
        await store.persist_qc(certificate(0, 2))

    assert await store.qc(BatchNumber(0)) == certificate(0, 1)


async def test_a_certificate_waits_for_its_batch_and_blocks_no_other(opening, nursery):
    store = await opening()
    await chain_of(store, 0, 0)
    done = trio.Event()

    async def early():
        await store.persist_qc(certificate(2))
        done.set()

    nursery.start_soon(early)
    await trio.testing.wait_all_tasks_blocked()
    await store.persist_qc(certificate(0))
    assert not done.is_set()
    assert await store.qc(BatchNumber(2)) is None

    await chain_of(store, 1, 2)
    await done.wait()
    assert await store.qc(BatchNumber(2)) == certificate(2)


async def test_a_certificate_is_there_for_good_when_the_call_returns(opening):
    store = await opening()
    await chain_of(store, 0, 20)

    async with trio.open_nursery() as many:
        for number in range(21):
            many.start_soon(store.persist_qc, certificate(number))

    assert [qc.batch.number for qc in await store.qcs(BatchNumber(0), 100)] == list(range(21))


# --- which batch is next (5.2, 3.3)


@pytest.mark.parametrize("rule", ["gap", "max"])
@pytest.mark.parametrize(
    ("first_batch", "stored", "want", "pruned"),
    [
        (0, None, 0, False),  # a fresh main node: the first batch is the next to be made
        (4, None, 4, False),
        (4, (2, 6), 4, False),  # it exists
        (4, (2, 3), 4, False),  # it is the one being made
        (4, (2, 2), None, False),  # not made yet
        (4, (5, 6), None, True),  # pruned before anything was certified
    ],
    ids=["fresh-0", "fresh-4", "sealed", "open", "not-made-yet", "pruned"],
)
async def test_attestation_begins_at_the_first_batch(opening, rule, first_batch, stored, want, pruned):
    store = await opening(first_batch, rule)
    if stored is not None:
        await chain_of(store, *stored)
    store = await opening.restart(store, first_batch, rule)

    assert await store.next_batch_to_attest() == want
    assert store.pruned_first_batch is pruned


@pytest.mark.parametrize(("rule", "want"), [("gap", 3), ("max", 7)])
async def test_a_batch_passed_over_is_asked_for_again_only_by_the_gap_rule(opening, rule, want):
    store = await opening(2, rule)
    await chain_of(store, 2, 8)
    for number in (2, 4, 6):
        await store.persist_qc(certificate(number))
    store = await opening.restart(store, 2, rule)

    assert await store.next_batch_to_attest() == want


async def test_closing_a_gap_leads_to_the_next_gap(opening):
    store = await opening(2)
    await chain_of(store, 2, 8)
    asked = []

    for number in (4, 5, 2, 3, 7, 6, 8):
        await store.persist_qc(certificate(number))
        asked.append(await store.next_batch_to_attest())

    assert asked == [2, 2, 3, 6, 6, 8, 9]
    store = await opening.restart(store, 2)
    assert await store.next_batch_to_attest() == 9


@pytest.mark.parametrize("rule", ["gap", "max"])
async def test_the_batch_after_the_last_certificate_is_asked_for_before_it_is_made(opening, rule):
    store = await opening(0, rule)
    await chain_of(store, 0, 0)
    await store.persist_qc(certificate(0))

    assert await store.next_batch_to_attest() == 1


async def test_gaps_below_a_range_that_began_anew_are_left_behind(opening):
    store = await opening(0)
    await chain_of(store, 0, 3)
    for number in (0, 2):
        await store.persist_qc(certificate(number))
    await chain_of(store, 10, 12)
    assert await store.next_batch_to_attest() == 10

    for number in (10, 11):
        await store.persist_qc(certificate(number))
    store = await opening.restart(store)

    assert await store.next_batch_to_attest() == 12
    assert not store.pruned_first_batch


async def test_certificates_below_the_first_batch_do_not_move_it(opening):
    store = await opening(5)
    await chain_of(store, 3, 9)
    for number in (3, 4):
        await store.persist_qc(certificate(number))

    assert await store.next_batch_to_attest() == 5


# --- life


async def test_closing_writes_what_is_queued(opening):
    store = await opening()
    for number in range(5):
        await store.queue_batch(synced(number))

    await store.close()

    assert store.persisted == range_of(0, 4)
    with pytest.raises(StoreClosed):
        await store.queue_batch(synced(5))


async def test_a_closed_store_says_so(opening):
    store = await opening()
    await chain_of(store, 0, 0)
    await store.close()
    await store.close()

    for call in (
        lambda: store.batch_to_sign(BatchNumber(0)),
        lambda: store.put_batch_to_sign(to_sign(1)),
        lambda: store.persist_qc(certificate(0)),
        lambda: store.next_batch_to_attest(),
    ):
        with pytest.raises(SourceError):
            await call()


async def test_a_cancelled_store_lets_go_of_who_waits_in_it(opening):
    store = opening.make()
    ended = []

    async def queue(number):
        with pytest.raises(StoreClosed):
            await store.queue_batch(synced(number))
        ended.append(number)

    async with trio.open_nursery() as callers, trio.open_nursery() as life:
        await life.start(store.run)
        callers.start_soon(queue, 5)
        await trio.testing.wait_all_tasks_blocked()
        life.cancel_scope.cancel()

    assert ended == [5]


async def test_a_hundred_batches_pass_through_a_bounded_queue(opening):
    store = await opening()

    async with trio.open_nursery() as many:
        for number in range(5 * MAX_UNWRITTEN):
            many.start_soon(store.queue_batch, synced(number))
    await store.wait_until_persisted(BatchNumber(5 * MAX_UNWRITTEN - 1))

    assert store.persisted == range_of(0, 5 * MAX_UNWRITTEN - 1)
