"""What an operator does about bad batches, absent data, reorgs, and a crash at any moment."""

import httpx
import pytest
import trio
from attestrio.duty import Reason
from attestrio.journal import SqliteJournal
from attestrio.kit.http import AnswerTooLate
from attestrio.operator import rows
from attestrio.operator.batch import ProvingSystem
from attestrio.operator.commands import Answer, Command
from attestrio.operator.download import DownloadSettings
from attestrio.operator.rows import Ended
from attestrio.operator.runner import tidy
from attestrio.operator.settings import WorkSettings
from attestrio.operator.verify import RecordedVerifier
from attestrio.roles.keccak import keccak256
from operator_world import answered, batch_of, ended, good, watermark, world_of

PATIENT = WorkSettings(retry_first_s=5.0, retry_cap_s=60.0, horizon_blocks=100)
HASTY = DownloadSettings(retries=())


async def test_a_bad_proof_is_recorded_and_never_signed(tmp_path, autojump_clock):
    verifier = RecordedVerifier({keccak256(b"bad"): False}, otherwise=True)
    async with world_of(tmp_path, verifier=verifier) as world:
        bad, fine = world.post(b"good", b"bad"), world.post(b"good")
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 2)
            await trio.sleep(1.0)
            verdict = await state.verdict(bad)
            assert (verdict.ended, verdict.reason, verdict.signature) == (Ended.REFUSED, Reason.PROOF_INVALID, b"")
            assert verdict.detail == "entry 1, SP1"
            assert world.aggregator.signed() == [fine]
            asked = len(world.verified)
            world.chain.mine()
            await trio.sleep(10.0)
            assert await watermark(state) == world.chain.head + 1

        async with world.operator():
            await trio.sleep(100.0)
        assert len(world.verified) == asked


async def test_a_disabled_verifier_is_not_asked(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        world.chain.disabled = 1 << ProvingSystem.SP1
        batch = world.post(b"proof")
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 1)

            assert (await state.verdict(batch)).reason is Reason.VERIFIER_DISABLED
            assert world.verified == []


async def test_a_batch_whose_data_is_away_holds_the_watermark_and_nobody_up(tmp_path, autojump_clock):
    async with world_of(tmp_path, work=PATIENT, download=HASTY) as world:
        late = world.post(b"late")
        world.chain.mine()
        (path,) = world.storage.answers
        raw = world.storage.answers.pop(path)
        others = [world.post(b"%d" % number) for number in range(5)]
        world.chain.mine(3)

        async with world.operator() as state:
            await ended(state, 5)
            await trio.sleep(200.0)
            assert set(world.aggregator.signed()) == set(others)
            assert await watermark(state) == 1
            world.storage.answers[path] = raw
            await ended(state, 6)

            assert (await state.verdict(late)).ended is Ended.SIGNED
            assert await watermark(state) == world.chain.head + 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda: httpx.Response(500), "http_status"),
        (lambda: answered(b"data", **{"x-none": "1"}), "length_missing"),
        (lambda: answered(b"", **{"content-length": str((256 << 20) + 1)}), "answer_too_large"),
        (lambda: answered(batch_of(b"another")), "root_differs"),
        (lambda: answered(b"\x81\xa1aa" + b"\x81" * 1000), "batch_too_large"),
        (lambda: answered(b"<html>"), "batch_unreadable"),
    ],
)
async def test_data_that_cannot_be_used_is_missed_at_the_horizon_with_its_reason(
    tmp_path, autojump_clock, answer, code
):
    async with world_of(tmp_path, work=PATIENT, download=HASTY) as world:
        batch = world.post(b"proof")
        world.chain.mine()
        for path in world.storage.answers:
            world.storage.answers[path] = answer

        async with world.operator() as state:
            await trio.sleep(300.0)
            assert await watermark(state) == 1
            assert world.metrics.value("attestrio_operator_failures", code=code) > 3
            world.chain.mine(200)
            await ended(state, 1)
            await trio.sleep(10.0)

            verdict = await state.verdict(batch)
            assert (verdict.ended, verdict.reason) == (Ended.MISSED, Reason.DATA_UNAVAILABLE)
            assert world.verified == []
            assert await watermark(state) == world.chain.head + 1


class Silent(httpx.AsyncByteStream):
    async def __aiter__(self):
        await trio.sleep_forever()
        yield b""


async def test_batches_that_fail_again_and_again_leave_room_for_new_ones(tmp_path, autojump_clock):
    keen = WorkSettings(batches=2, retry_first_s=1.0, retry_cap_s=1.0)
    async with world_of(tmp_path, work=keen) as world:
        for number in range(10):
            root, url = world.storage.put(batch_of(b"%d" % number))
            world.storage.answers[httpx.URL(url).path] = lambda: httpx.Response(
                200, headers={"content-length": "9"}, stream=Silent()
            )
            world.chain.post(root, url)
        world.chain.mine()

        async with world.operator() as state:
            await trio.sleep(1000.0)
            new = world.post(b"new")
            world.chain.mine()
            await trio.sleep(100.0)

            assert (await state.verdict(new)).ended is Ended.SIGNED
            asked = set(world.storage.asked)
            assert len(asked) == 11  # and each of the others has had its turn


async def test_a_pointer_that_is_none_is_missed_at_once(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        batch = world.chain.post(b"\x05" * 32, "ipfs://nowhere")
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 1)

            assert (await state.verdict(batch)).ended is Ended.MISSED


async def test_a_verifier_that_fails_gives_no_verdict(tmp_path, autojump_clock):
    async with world_of(tmp_path, verifier=RecordedVerifier(), work=PATIENT) as world:
        batch = world.post(b"proof")
        world.chain.mine()

        async with world.operator() as state:
            await trio.sleep(300.0)
            assert await state.verdict(batch) is None
            world.verifier.answers[keccak256(b"proof")] = True
            await ended(state, 1)

            assert (await state.verdict(batch)).ended is Ended.SIGNED


async def test_a_log_that_the_contract_knows_nothing_of_is_not_worked_on(tmp_path, autojump_clock):
    async with world_of(tmp_path, work=PATIENT) as world:
        batch = world.post(b"proof")
        world.chain.mine()
        state_of = world.chain.blocks[-1].tasks
        told = state_of.pop(batch)

        async with world.operator() as state:
            await trio.sleep(60.0)
            assert world.storage.asked == []
            assert world.metrics.value("attestrio_operator_failures", code="task_differs") >= 3
            state_of[batch] = told
            await ended(state, 1)

            assert (await state.verdict(batch)).ended is Ended.SIGNED


async def test_a_batch_that_has_its_answer_is_not_verified(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        batch = world.post(b"proof")
        world.chain.mine()
        root = world.chain.blocks[-1].logs[0].topics[1]
        world.chain.answer(root)
        world.chain.mine()

        async with world.operator() as state:
            await ended(state, 1)

            verdict = await state.verdict(batch)
            assert (verdict.ended, verdict.reason) == (Ended.SKIPPED, Reason.ANSWERED_BY_OTHERS)
            assert (world.verified, world.storage.asked) == ([], [])


async def test_a_chain_that_does_not_answer_costs_nothing_but_time(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        batch = world.post(b"proof")
        world.chain.mine()
        world.chain.fault = AnswerTooLate("stub", 1.0)

        async with world.operator() as state:
            await trio.sleep(300.0)
            world.chain.fault = None
            await ended(state, 1)
            await trio.sleep(1.0)

            assert world.aggregator.signed() == [batch]


async def test_a_reorg_that_moves_a_batch_keeps_its_signature(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        world.chain.mine(20)
        batch = world.post(b"proof")
        world.chain.mine(2)

        async with world.operator() as state:
            await ended(state, 1)
            before = await state.batch(batch)
            world.chain.reorg(2)
            world.chain.mine()
            world.post(b"proof")
            world.chain.mine(3)
            await trio.sleep(600.0)

            after = await state.batch(batch)
            assert after.row.created == before.row.created + 1
            assert after.verdict.signature == before.verdict.signature
            assert len(world.verified) == 1
            assert {response for _, response in world.aggregator.got} == {world.aggregator.got[0][1]}


async def test_a_batch_that_a_reorg_takes_away_is_done_when_it_comes_back(tmp_path, autojump_clock):
    async with world_of(tmp_path, work=PATIENT, download=HASTY) as world:
        world.chain.mine(20)
        batch = world.post(b"proof")
        world.chain.mine()
        (path,) = world.storage.answers
        raw = world.storage.answers.pop(path)

        async with world.operator() as state:
            await trio.sleep(20.0)
            world.chain.reorg(1)
            world.chain.mine(3)
            await trio.sleep(100.0)
            assert (await state.batch(batch)).row.void
            assert await watermark(state) == world.chain.head + 1  # nothing on the chain is left to be done
            world.storage.answers[path] = raw
            world.post(b"proof")
            world.chain.mine(2)
            await ended(state, 1)
            await trio.sleep(10.0)

            assert world.aggregator.signed() == [batch]
            assert await watermark(state) == world.chain.head + 1


async def test_an_answer_that_a_reorg_takes_back_is_given_again_without_verifying_again(tmp_path, autojump_clock):
    async with world_of(tmp_path) as world:
        world.chain.mine(20)
        batch = world.post(b"proof")
        world.chain.mine()
        root = world.chain.blocks[-1].logs[0].topics[1]

        async with world.operator() as state:
            await ended(state, 1)
            world.chain.answer(root)
            world.chain.mine()
            await trio.sleep(10.0)
            assert (await state.journal.count(rows.OUTBOX)).waiting == 0
            world.chain.reorg(1)
            world.chain.mine(2)
            await trio.sleep(20.0)

            assert (await state.journal.count(rows.OUTBOX)).waiting == 1
            assert world.aggregator.signed() == [batch, batch]
            assert len(world.verified) == 1


async def test_commands_retry_and_drop(tmp_path, autojump_clock):
    async with world_of(tmp_path, work=PATIENT, download=HASTY) as world:
        batch = world.post(b"proof")
        world.chain.mine()
        (path,) = world.storage.answers
        raw = world.storage.answers.pop(path)

        async with world.operator() as state:

            async def told(verb):
                await state.journal.put(rows.COMMANDS, b"key", rows.pack(Command(verb, batch)))
                await trio.sleep(2.0)
                return rows.unpack(await state.journal.get(rows.ANSWERS, b"key"), Answer)

            await trio.sleep(20.0)
            assert (await told("retry")).text == "it is verified at once"
            assert (await told("drop")).text == "it is given up"
            assert (await state.verdict(batch)).reason is Reason.DROPPED
            assert not (await told("drop")).done
            world.storage.answers[path] = raw
            assert (await told("retry")).text == "it is verified again"
            await trio.sleep(2.0)
            assert world.aggregator.signed() == [batch]
            assert (await told("retry")).text == "its response is sent at once"
            assert (await told("drop")).text == "it is given up"
            await trio.sleep(310.0)
            assert len(world.aggregator.got) == 2
            assert len(world.verified) == 1


class Killed(BaseException):
    """The process ends here."""


def dying_journal(at, written, counts):
    """A journal that dies at its n-th transaction, before or after it is on the disk."""

    class Dying(SqliteJournal):
        async def _write(self, job, fence=None):
            counts["writes"] += 1
            last = counts["writes"] == at
            if last and not written:
                raise Killed
            result = await super()._write(job, fence)
            if last:
                raise Killed
            return result

    return Dying


async def run_until(world, done):
    """The operator until it is done, or has died: whether it died."""
    died = False
    try:
        with trio.move_on_after(1000.0):
            async with world.operator() as state:
                await done()
                assert state
    except BaseExceptionGroup as group:
        mine, rest = group.split(Killed)
        if mine is None or rest is not None:
            raise
        died = True
    return died


@pytest.mark.slow
@pytest.mark.parametrize("written", [False, True], ids=["before it is written", "once it is written"])
async def test_a_crash_at_any_transaction_doubles_and_loses_nothing(tmp_path, autojump_clock, written):
    at = dead_runs = 0
    while True:
        at += 1
        counts = {"writes": 0}
        async with world_of(tmp_path / f"{at}", journal_kind=dying_journal(at, written, counts)) as world:
            (tmp_path / f"{at}").mkdir()
            posted = {world.post(b"%d" % number) for number in range(3)}
            world.chain.mine(3)

            async def done(aggregator=world.aggregator, posted=posted):
                await aggregator.count.wait_value(lambda _: set(aggregator.signed()) >= posted)

            died = await run_until(world, done)
            seen = len(world.verified)
            signed = dict(world.aggregator.got and {r.batch_identifier_hash: r for _, r in world.aggregator.got})
            world.journal_kind = SqliteJournal
            kept = await verdicts(world)
            await run_until(world, done)

            again = [proof for proof in world.verified[seen:] if proof in world.verified[:seen]]
            assert set(world.aggregator.signed()) >= posted
            assert all(good(response) for _, response in world.aggregator.got)
            assert len({response for _, response in world.aggregator.got}) == 3  # sent again: the same bytes
            assert signed.keys() <= kept  # nothing leaves that is not on the disk
            assert len(world.verified) - len(again) == 3
            assert len(again) <= len(posted - kept)  # only those whose verdict was not on the disk
            dead_runs += died
        if not died:
            break

    assert dead_runs > 12


async def verdicts(world):
    """Identifier hashes of the verdicts that a dead operator left."""
    journal = SqliteJournal(world.path, run_blocking=trio_inline)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        found = {key for key, _ in await journal.scan(rows.VERDICTS, 100)}
        await journal.close()
    return found


async def trio_inline(fn):
    await trio.lowlevel.checkpoint()
    return fn()


async def test_what_ended_long_ago_is_forgotten_and_what_waits_is_not(tmp_path, autojump_clock):
    async with world_of(tmp_path, work=PATIENT, download=HASTY) as world:
        old, waits = world.post(b"old"), world.post(b"waits")
        world.storage.answers.popitem()
        world.chain.mine(10)

        async with world.operator() as state:
            await ended(state, 1)
            await trio.sleep(10.0)
            await tidy(state, keep_blocks=5)
            assert await state.batch(old) is None
            assert await state.batch(waits) is not None

            assert await state.verdict(old) is None
            assert world.aggregator.signed() == [old]


async def test_a_batch_whose_verifier_never_answers_is_missed_at_the_horizon(tmp_path, autojump_clock):
    async with world_of(tmp_path, verifier=RecordedVerifier(), work=PATIENT) as world:
        batch = world.post(b"proof")
        world.chain.mine()

        async with world.operator() as state:
            await trio.sleep(30.0)
            world.chain.mine(200)
            await ended(state, 1)

            verdict = await state.verdict(batch)
            assert (verdict.ended, verdict.reason) == (Ended.MISSED, Reason.VERIFIER_FAILED)


async def test_a_batch_that_a_reorg_takes_away_for_good_is_skipped_at_the_horizon(tmp_path, autojump_clock):
    async with world_of(tmp_path, work=PATIENT, download=HASTY) as world:
        world.chain.mine(20)
        batch = world.post(b"proof")
        world.chain.mine()
        world.storage.answers.clear()

        async with world.operator() as state:
            await trio.sleep(20.0)
            world.chain.reorg(1)
            world.chain.mine(200)
            await ended(state, 1)

            verdict = await state.verdict(batch)
            assert (verdict.ended, verdict.reason) == (Ended.SKIPPED, Reason.REORGED_AWAY)
