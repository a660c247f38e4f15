"""The vote record: what is signed, what is refused, and what a restart finds."""

import apsw
import pytest
import trio
from attestrio.errors import SafetyError, StorageUnusable
from attestrio.kit.blocking import in_thread, inline
from attestrio.kit.metrics import Metrics
from attestrio.protection import rows
from attestrio.protection.errors import MAX_AHEAD
from attestrio.protection.record import (
    BelowWatermark,
    DoubleVote,
    EpochClosed,
    KeyNotInHistory,
    NumberNotRecordable,
    NumberTooFarAhead,
    RecordClosed,
    RecordedVote,
    VoteHistory,
    VoteRecord,
    WrongEpochGenesis,
)
from attestrio.roles import BatchHash, BatchNumber
from protection_kit import CHAIN, GENESIS, KEY, OTHER_KEY, REVERTED, batch_of, opened

HASHES = {content: BatchHash(bytes([content]) * 32) for content in range(10)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "protection.db"


async def begin(record, genesis=GENESIS, fork=0, cause="start") -> int:
    return (await record.open_epoch(genesis, fork, cause)).id


# --- one hash for one number


@pytest.mark.parametrize("run_blocking", [inline, in_thread])
async def test_a_vote_is_valid_and_on_record_when_it_is_handed_out(path, run_blocking):
    async with opened(path, run_blocking=run_blocking) as record:
        vote = await record.sign(KEY, batch_of(7), epoch=await begin(record))

        vote.verify()
        assert (vote.batch, vote.key) == (batch_of(7), KEY.public())
        assert record.recorded(GENESIS, KEY.public(), BatchNumber(7)) == HASHES[1]
        assert record.recorded(GENESIS, KEY.public(), BatchNumber(8)) is None
        assert record.knows(batch_of(7), KEY.public())
        assert not record.knows(batch_of(7, content=2), KEY.public())


async def test_the_same_batch_again_gives_the_stored_signature(path):
    async with opened(path) as record:
        epoch = await begin(record)
        first = await record.sign(KEY, batch_of(7), epoch=epoch)

        assert await record.sign(KEY, batch_of(7), epoch=epoch) == first
    async with opened(path) as record:
        assert await record.sign(KEY, batch_of(7), epoch=epoch) == first


async def test_the_stored_signature_is_used_and_not_a_new_one(path):
    """A signature that another program made with other randomness is as good, and is the one that left."""
    async with opened(path) as record:
        epoch = await begin(record)
        await record.sign(KEY, batch_of(7), epoch=epoch)
    left = KEY.sign_batch(batch_of(8)).signature
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE votes SET signature = ?", (left.raw,))
    connection.close()

    async with opened(path) as record:
        vote = await record.sign(KEY, batch_of(7), epoch=epoch)

    assert vote.signature == left


async def test_another_hash_for_a_number_is_refused_and_both_are_named(path):
    async with opened(path) as record:
        epoch = await begin(record)
        await record.sign(KEY, batch_of(7), epoch=epoch)

        with pytest.raises(DoubleVote) as refused:
            await record.sign(KEY, batch_of(7, content=2), epoch=epoch)

    assert (refused.value.number, refused.value.recorded, refused.value.refused) == (7, HASHES[1], HASHES[2])
    assert HASHES[1].to_text() in str(refused.value)
    assert HASHES[2].to_text() in str(refused.value)
    assert isinstance(refused.value, SafetyError)
    assert refused.value.exit_code == 70


async def test_a_refusal_is_still_there_after_a_restart(path):
    async with opened(path, clock=lambda: 1234.5) as record:
        epoch = await begin(record)
        await record.sign(KEY, batch_of(7), epoch=epoch)
        with pytest.raises(DoubleVote):
            await record.sign(KEY, batch_of(7, content=2), epoch=epoch)

    async with opened(path) as record:
        (kept,) = record.refusals()

    assert (kept.rule, kept.number, kept.recorded, kept.refused) == ("double_vote", 7, HASHES[1], HASHES[2])
    assert (kept.at, kept.epoch, kept.attester, kept.genesis) == (1234.5, epoch, KEY.public(), GENESIS)


async def test_only_the_newest_refusals_are_kept(path, monkeypatch):
    monkeypatch.setattr(rows, "REFUSALS_KEPT", 3)
    async with opened(path) as record:
        for epoch in range(5, 10):
            with pytest.raises(EpochClosed):
                await record.sign(KEY, batch_of(7), epoch=epoch)

        assert [refusal.epoch for refusal in record.refusals()] == [7, 8, 9]


async def test_of_two_hashes_asked_for_together_one_is_signed(path):
    outcomes = []

    async def ask(record, content):
        try:
            outcomes.append((await record.sign(KEY, batch_of(7, content), epoch=1)).batch.hash)
        except DoubleVote as refused:
            outcomes.append(refused)

    async with opened(path) as record:
        await begin(record)
        async with trio.open_nursery() as nursery:
            for content in (1, 2):
                nursery.start_soon(ask, record, content)

    signed = [outcome for outcome in outcomes if isinstance(outcome, BatchHash)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, DoubleVote)]
    assert len(signed) == len(refused) == 1
    assert refused[0].recorded == signed[0]


async def test_keys_and_chains_do_not_get_in_each_others_way(path):
    async with opened(path, keys=(KEY, OTHER_KEY)) as record:
        epoch = await begin(record)
        await record.sign(KEY, batch_of(7), epoch=epoch)
        other = await record.sign(OTHER_KEY, batch_of(7, content=2), epoch=epoch)
    async with opened(path, chain_id=CHAIN + 1) as elsewhere:
        there = await elsewhere.sign(KEY, batch_of(7, content=3), epoch=await begin(elsewhere))

    assert (other.batch.hash, there.batch.hash) == (HASHES[2], HASHES[3])


async def test_a_chain_id_of_64_bits_is_kept_whole(path):
    largest = 2**64 - 1
    async with opened(path, chain_id=largest) as record:
        await record.open_epoch(GENESIS, largest, "start")

        assert (record.current_epoch().chain_id, record.current_epoch().fork_number) == (largest, largest)


async def test_a_key_whose_history_is_not_here_does_not_sign(path):
    async with opened(path) as record:
        epoch = await begin(record)

        with pytest.raises(KeyNotInHistory):
            await record.sign(OTHER_KEY, batch_of(7), epoch=epoch)
        assert record.recorded(GENESIS, OTHER_KEY.public(), BatchNumber(7)) is None
        assert (record.knows_key(KEY.public()), record.knows_key(OTHER_KEY.public())) == (True, False)
        assert record.keys() == [KEY.public()]


@pytest.mark.parametrize("number", [2**63 - 1, 2**64 - 1])
async def test_a_number_no_column_holds_is_refused_by_name(path, number):
    async with opened(path) as record:
        epoch = await begin(record)
        await record.sign(KEY, batch_of(2**63 - 2), epoch=epoch)

        with pytest.raises(NumberNotRecordable):
            await record.sign(KEY, batch_of(number), epoch=epoch)
        assert record.refusals()[0].number == number
        assert record.recorded(GENESIS, KEY.public(), BatchNumber(number)) is None
        assert record.votes(GENESIS, KEY.public(), BatchNumber(number), 1) == []


# --- epochs


async def test_nothing_is_signed_before_an_epoch_is_open(path):
    async with opened(path) as record:
        assert record.current_epoch() is None
        with pytest.raises(EpochClosed) as refused:
            await record.sign(KEY, batch_of(7), epoch=1)

    assert (refused.value.epoch, refused.value.open_epoch) == (1, None)


async def test_nothing_is_signed_in_an_ended_epoch_not_even_again(path):
    async with opened(path) as record:
        ended = await begin(record)
        await record.sign(KEY, batch_of(7), epoch=ended)
        await begin(record, REVERTED, fork=1, cause="genesis_changed")

        for number in (7, 8):
            with pytest.raises(EpochClosed):
                await record.sign(KEY, batch_of(number), epoch=ended)


async def test_after_a_revert_the_same_number_may_have_another_hash(path):
    async with opened(path) as record:
        await record.sign(KEY, batch_of(7), epoch=await begin(record))
        epoch = await begin(record, REVERTED, fork=1, cause="genesis_changed")

        vote = await record.sign(KEY, batch_of(7, 2, REVERTED), epoch=epoch)

    assert vote.batch.hash == HASHES[2]


async def test_a_new_epoch_under_the_same_genesis_never_permits_a_second_hash(path):
    async with opened(path) as record:
        first = await record.sign(KEY, batch_of(7), epoch=await begin(record))
        epoch = await begin(record, cause="moved_backwards")

        with pytest.raises(DoubleVote):
            await record.sign(KEY, batch_of(7, content=2), epoch=epoch)
        assert await record.sign(KEY, batch_of(7), epoch=epoch) == first


async def test_a_batch_of_another_genesis_than_the_epochs_is_refused(path):
    async with opened(path) as record:
        epoch = await begin(record)

        with pytest.raises(WrongEpochGenesis) as refused:
            await record.sign(KEY, batch_of(7, genesis=REVERTED), epoch=epoch)

    assert (refused.value.got, refused.value.want) == (REVERTED, GENESIS)


async def test_epochs_are_listed_with_why_they_began(path):
    async with opened(path, clock=lambda: 99.0) as record:
        await record.open_epoch(GENESIS, 0, "start")
        last = await record.open_epoch(REVERTED, 1, "genesis_changed", "batch 7 reverted")
    async with opened(path) as record:
        epochs, current = record.epochs(), record.current_epoch()

    assert [(epoch.id, epoch.cause) for epoch in epochs] == [(1, "start"), (2, "genesis_changed")]
    assert current == last == epochs[-1]
    assert (last.chain_id, last.genesis, last.fork_number, last.detail, last.at) == (
        CHAIN, REVERTED, 1, "batch 7 reverted", 99.0,
    )  # fmt: skip


# --- pruning


async def test_pruning_keeps_the_newest_and_refuses_what_it_forgot(path):
    async with opened(path, keys=(KEY, OTHER_KEY)) as record:
        epoch = await begin(record)
        for number in range(10):
            await record.sign(KEY, batch_of(number), epoch=epoch)
        await record.sign(OTHER_KEY, batch_of(3), epoch=epoch)

        assert await record.prune(keep=4) == 6
        assert await record.prune(keep=4) == 0

        assert record.watermark(GENESIS, KEY.public()) == 5
        assert record.watermark(GENESIS, OTHER_KEY.public()) is None
        assert [vote.number for vote in record.votes(GENESIS, KEY.public(), BatchNumber(0), 99)] == [6, 7, 8, 9]
        for content in (1, 2):
            with pytest.raises(BelowWatermark) as refused:
                await record.sign(KEY, batch_of(5, content), epoch=epoch)
        assert (refused.value.number, refused.value.watermark) == (5, 5)
        with pytest.raises(DoubleVote):
            await record.sign(KEY, batch_of(6, content=2), epoch=epoch)


async def test_a_call_to_prune_removes_a_bounded_number_of_votes(path):
    async with opened(path) as record:
        epoch = await begin(record)
        for number in range(10):
            await record.sign(KEY, batch_of(number), epoch=epoch)

        gone = await record._write(lambda connection: rows.prune(connection, 2, at_most=5))

        assert (gone, record.watermark(GENESIS, KEY.public())) == (5, 4)
        assert await record.prune(keep=2) == 3


async def test_the_newest_vote_cannot_be_pruned(path):
    async with opened(path) as record:
        with pytest.raises(ValueError, match="keep 0"):
            await record.prune(keep=0)


async def test_numbers_far_away_do_not_keep_the_near_ones_from_being_signed(path):
    far = 2**60
    async with opened(path) as record:
        epoch = await begin(record)
        await record.sign(KEY, batch_of(5), epoch=epoch)
        for number in range(far, far + 5):
            with pytest.raises(NumberTooFarAhead) as refused:
                await record.sign(KEY, batch_of(number), epoch=epoch)
        await record.prune(keep=4)

        (await record.sign(KEY, batch_of(6), epoch=epoch)).verify()

        assert (refused.value.newest, refused.value.limit) == (5, MAX_AHEAD)
        assert [refusal.rule for refusal in record.refusals()] == ["number_too_far_ahead"] * 5


async def test_a_number_may_be_as_far_ahead_as_the_limit_and_the_first_one_anywhere(path):
    first = 2**40
    async with opened(path) as record:
        epoch = await begin(record)
        await record.sign(KEY, batch_of(first), epoch=epoch)

        await record.sign(KEY, batch_of(first + MAX_AHEAD), epoch=epoch)
        with pytest.raises(NumberTooFarAhead):
            await record.sign(KEY, batch_of(first + 2 * MAX_AHEAD + 1), epoch=epoch)
        (await record.sign(KEY, batch_of(first - 1), epoch=epoch)).verify()


async def test_a_chain_that_is_far_ahead_is_followed_after_a_watermark_was_imported(path):
    far = 2**40
    async with opened(path) as record:
        epoch = await begin(record)
        await record.sign(KEY, batch_of(5), epoch=epoch)
        with pytest.raises(NumberTooFarAhead, match="protection import"):
            await record.sign(KEY, batch_of(far), epoch=epoch)

        await record.merge([history(low=far - 1)])

        (await record.sign(KEY, batch_of(far), epoch=epoch)).verify()
        with pytest.raises(BelowWatermark):
            await record.sign(KEY, batch_of(5, content=2), epoch=epoch)


# --- two records become one


def history(*votes, low=None) -> VoteHistory:
    told = tuple(RecordedVote(BatchNumber(number), HASHES[content]) for number, content in votes)
    return VoteHistory(GENESIS, KEY.public(), None if low is None else BatchNumber(low), told)


async def test_what_another_record_signed_is_not_signed_otherwise_here(path):
    async with opened(path, keys=()) as record:
        assert await record.merge([history((7, 1), (8, 1), low=3)]) == (2, 0)
        epoch = await begin(record)

        with pytest.raises(DoubleVote):
            await record.sign(KEY, batch_of(7, content=2), epoch=epoch)
        with pytest.raises(BelowWatermark):
            await record.sign(KEY, batch_of(3), epoch=epoch)
        (await record.sign(KEY, batch_of(8), epoch=epoch)).verify()  # known by its hash alone until now


async def test_a_number_with_two_hashes_is_never_signed_again(path):
    async with opened(path) as record:
        epoch = await begin(record)
        await record.sign(KEY, batch_of(7), epoch=epoch)

        assert await record.merge([history((7, 2))]) == (0, 1)

        for content in (1, 2, 3):
            with pytest.raises(DoubleVote):
                await record.sign(KEY, batch_of(7, content), epoch=epoch)
        assert record.knows(batch_of(7, content=2), KEY.public())
        told = record.votes(GENESIS, KEY.public(), BatchNumber(0), 9)
        assert [(vote.number, vote.hash) for vote in told] == [(7, HASHES[1]), (7, HASHES[2])]


async def test_below_a_watermark_only_what_both_records_know_may_leave_again(path):
    async with opened(path) as record:
        epoch = await begin(record)
        for number in (1, 2, 3, 4, 5, 6):
            await record.sign(KEY, batch_of(number), epoch=epoch)
        await record.prune(keep=4)  # 1 and 2 are forgotten

        await record.merge([history((1, 2), (4, 1), low=4)])

        for number, content in ((1, 1), (1, 2), (3, 1)):  # pruned here, or perhaps otherwise signed there
            with pytest.raises(BelowWatermark):
                await record.sign(KEY, batch_of(number, content), epoch=epoch)
        for number in (4, 5, 6):
            (await record.sign(KEY, batch_of(number), epoch=epoch)).verify()
        assert record.watermark(GENESIS, KEY.public()) == 4


async def test_a_merge_never_lowers_a_watermark_and_repeating_it_changes_nothing(path):
    async with opened(path) as record:
        await record.merge([history((9, 1), low=8)])
        before = record.histories(), record.votes(GENESIS, KEY.public(), BatchNumber(0), 9)

        assert await record.merge([history((9, 1), low=2)]) == (0, 0)

        assert (record.histories(), record.votes(GENESIS, KEY.public(), BatchNumber(0), 9)) == before


# --- life


async def test_before_and_after_its_run_nothing_is_answered(path):
    record = VoteRecord(path, CHAIN, inline)
    for _ in range(2):
        with pytest.raises(RecordClosed):
            await record.sign(KEY, batch_of(1), epoch=1)
        with pytest.raises(RecordClosed):
            record.current_epoch()
        async with trio.open_nursery() as nursery:
            if record.statistics().batches == 0:
                await nursery.start(record.run)
                await begin(record)
                await record.close()


async def test_closing_finishes_the_votes_that_were_asked_for(path):
    asked, signed = [], []

    async def ask(record, number):
        asked.append(number)
        signed.append((await record.sign(KEY, batch_of(number), epoch=1)).batch.number)

    async with opened(path) as record:
        await begin(record)
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(ask, record, number)
            while len(asked) < 5:
                await trio.lowlevel.checkpoint()
            await record.close()

    assert sorted(signed) == [0, 1, 2, 3, 4]


async def test_a_caller_that_leaves_takes_nobody_elses_vote_with_it(path):
    async with opened(path, run_blocking=in_thread) as record:
        await begin(record)
        signed = []

        async def ask(number):
            signed.append((await record.sign(KEY, batch_of(number), epoch=1)).batch.number)

        async with trio.open_nursery() as nursery:
            for number in (1, 2):
                nursery.start_soon(ask, number)
            with trio.CancelScope() as leaving:
                leaving.cancel()
                await record.sign(KEY, batch_of(3), epoch=1)

        assert leaving.cancelled_caught
        assert sorted(signed) == [1, 2]
        (await record.sign(KEY, batch_of(3), epoch=1)).verify()


async def test_votes_asked_for_together_share_a_transaction(path):
    async with opened(path) as record:
        await begin(record)
        before = record.statistics().batches

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(lambda number=number: record.sign(KEY, batch_of(number), epoch=1))

        assert record.statistics().batches - before <= 2


async def test_a_disk_that_fails_at_the_commit_lets_no_vote_out(path, monkeypatch):
    disk = FailingSync()
    record = VoteRecord(path, CHAIN, inline, vfs=disk.NAME)
    with pytest.RaisesGroup(StorageUnusable, allow_unwrapped=True, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(record.run)
            await record.add_key(KEY.public())
            epoch = await begin(record)
            disk.broken = True
            with pytest.raises(StorageUnusable):
                await record.sign(KEY, batch_of(7), epoch=epoch)


class FailingSync(apsw.VFS):
    """The system's disk, until `broken`: then nothing can be flushed."""

    NAME = "failing-sync"

    def __init__(self):
        self.broken = False
        super().__init__(self.NAME, "")

    def xOpen(self, name, flags):
        return _FailingFile(self, name, flags)


class _FailingFile(apsw.VFSFile):
    def __init__(self, disk, name, flags):
        self.disk = disk
        super().__init__("", name, flags)

    def xSync(self, flags):
        if self.disk.broken:
            raise apsw.IOError("the disk is broken")
        super().xSync(flags)


async def test_metrics_count_what_went_on_record_and_what_was_refused(path):
    metrics = Metrics()
    async with opened(path, metrics=metrics) as record:
        epoch = await begin(record)
        for content in (1, 1, 2):
            try:
                await record.sign(KEY, batch_of(7, content), epoch=epoch)
            except DoubleVote:
                continue

    assert metrics.value("attestrio_votes_recorded_total") == 1
    assert metrics.value("attestrio_protection_refused_total", rule="double_vote") == 1
    assert metrics.value("attestrio_protection_refused_total", rule="below_watermark") == 0
    assert metrics.value("attestrio_protection_commit_seconds_count") == 3
