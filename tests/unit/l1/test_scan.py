import contextlib

import pytest
import trio
from attestrio.errors import SourceError
from attestrio.l1 import BlockNumber
from attestrio.l1.errors import (
    BlockImpossible,
    BlockMissing,
    HeadWentBack,
    LogHashDiffers,
    RangeRefused,
    ReorgTooDeep,
)
from attestrio.l1.scan import LogScanner, ScanSettings
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_chain import WANTED, MemorySink, StubChain
from suite import examples

FIRST = BlockNumber(0)


def scanner_of(chain, sink, **more) -> LogScanner:
    return LogScanner(chain, WANTED, sink, ScanSettings(more.pop("first", FIRST), **more))


async def scan(scanner: LogScanner) -> None:
    while await scanner.advance():
        pass


@pytest.fixture
def chain():
    return StubChain()


@pytest.fixture
def sink():
    return MemorySink()


# --- what is delivered


async def test_every_log_comes_once_and_in_order(chain, sink):
    chain.mine(*[0, 3, 1, 0, 2] * 20)

    await scan(scanner_of(chain, sink, follow=4, window=7))

    assert sink.logs == chain.all_logs()
    assert len(sink.logs) == 120


async def test_a_restart_goes_on_where_the_last_transaction_ended(chain, sink):
    chain.mine(2, 2, 2)
    await scan(scanner_of(chain, sink))
    chain.mine(1, 1)

    again = scanner_of(chain, sink)
    await scan(again)

    assert sink.logs == chain.all_logs()
    assert again.scanned == chain.head
    assert sum(len(step.logs) for step in sink.told) == 8


async def test_blocks_before_the_first_are_not_asked_for(chain, sink):
    chain.mine(1, 1, 1, 1)

    await scan(scanner_of(chain, sink, first=BlockNumber(3)))

    assert sink.logs == chain.all_logs(first=3)


async def test_a_scan_stops_at_the_confirmations_and_at_the_tag(chain, sink):
    chain.mine(*[1] * 10)
    chain.safe_lag = 4
    safe = MemorySink()

    await scan(scanner_of(chain, sink, finality=3))
    await scan(scanner_of(chain, safe, finality="safe"))

    assert sink.logs == chain.all_logs(last=7)
    assert safe.logs == chain.all_logs(last=6)


async def test_a_chain_without_a_safe_block_is_waited_for(chain, sink):
    chain.safe_lag = 5

    assert not await scanner_of(chain, sink, finality="safe").advance()
    assert sink.told == []


async def test_a_block_with_more_logs_than_a_transaction_takes_comes_in_parts_that_survive_a_restart(chain, sink):
    chain.mine(1, 7, 2)

    def crash(written: bool) -> None:
        if written and len(sink.logs) == 6:
            raise RuntimeError("killed")

    sink.fail = crash
    with pytest.raises(RuntimeError):
        await scan(scanner_of(chain, sink, max_logs=3, follow=1, window=100))
    sink.fail = lambda written: None
    await scan(scanner_of(chain, sink, max_logs=3, follow=1, window=100))

    assert sink.logs == chain.all_logs()
    assert max(len(step.logs) for step in sink.told) == 3


async def test_a_sink_that_fails_before_or_after_its_write_gets_each_log_once(chain, sink):
    chain.mine(*[1] * 6)
    scanner, calls = scanner_of(chain, sink), []

    def fail(written: bool) -> None:
        calls.append(written)
        if len(calls) % 3 == 0:
            raise SourceError("the disk is slow")

    sink.fail = fail
    for _ in range(20):
        try:
            await scan(scanner)
        except SourceError:
            continue

    assert sink.logs == chain.all_logs()
    assert sum(len(step.logs) for step in sink.told) == 6


async def test_a_cursor_of_another_release_begins_anew_and_says_so(chain, sink):
    chain.mine(1, 1)
    await scan(scanner_of(chain, sink))
    sink.saved = b"\xff what is this"

    await scan(scanner_of(chain, sink))

    assert sink.logs == chain.all_logs()
    assert sink.told[-4].void_above == -1


# --- running


async def test_a_running_scanner_survives_outages_and_follows_the_head(chain, sink, nursery, autojump_clock):
    scanner = scanner_of(chain, sink, every_s=5.0)
    down = [True]

    def before(what: str) -> None:
        if down[0]:
            raise SourceError("down")

    chain.before = before
    nursery.start_soon(scanner.run)
    await trio.sleep(12.0)
    down[0] = False
    chain.mine(1, 1)
    await scanner.wait_scanned(2)

    assert trio.current_time() == 15.0
    assert sink.logs == chain.all_logs()
    chain.mine(1)
    scanner.wake()
    await scanner.wait_scanned(3)
    assert trio.current_time() == 15.0


# --- windows


async def test_windows_halve_when_refused_and_grow_again(chain, sink):
    chain.mine(*[1] * 300)
    chain.most_blocks = 40

    scanner = scanner_of(chain, sink, window=256, follow=2)
    await scan(scanner)
    spans = [
        int(b) - int(a) + 1 for a, b in (q.split()[1:] for q in chain.asked if q.startswith("logs ") and "of" not in q)
    ]

    assert spans[:4] == [256, 128, 64, 32]
    assert 40 in spans[4:]
    assert sink.logs == chain.all_logs()


async def test_the_range_an_endpoint_says_it_takes_is_used(chain, sink):
    chain.mine(*[1] * 100)
    chain.most_blocks = 10
    chain.refusal = lambda span: RangeRefused("stub", -32005, "try [0x0, 0x9]", most=10)

    await scan(scanner_of(chain, sink, window=90, follow=2))

    assert [asked for asked in chain.asked if asked.startswith("logs")][:2] == ["logs 0 89", "logs 0 9"]
    assert sink.logs == chain.all_logs()


async def test_a_single_block_that_is_refused_is_asked_for_by_its_hash(chain, sink):
    chain.mine(*[1] * 20)
    chain.most_blocks = 0

    await scan(scanner_of(chain, sink, window=4, follow=2))

    assert sink.logs == chain.all_logs()


# --- reorgs


async def test_a_reorg_takes_back_what_is_gone_and_delivers_what_came_instead(chain, sink):
    chain.mine(1, 1, 1, 1)
    scanner = scanner_of(chain, sink)
    await scan(scanner)
    chain.reorg(2, 2, 0, 1)

    await scan(scanner)

    assert sink.logs == chain.all_logs()
    assert [step.void_above for step in sink.told if step.void_above is not None] == [2]


async def test_a_reorg_while_the_process_was_down_is_found(chain, sink):
    chain.mine(*[1] * 10)
    await scan(scanner_of(chain, sink))
    chain.reorg(5, *[1] * 5)

    await scan(scanner_of(chain, sink))

    assert sink.logs == chain.all_logs()
    assert [step.void_above for step in sink.told if step.void_above is not None] == [5]


async def test_a_reorg_within_the_confirmations_is_not_seen(chain, sink):
    chain.mine(*[1] * 10)
    scanner = scanner_of(chain, sink, finality=3)
    await scan(scanner)
    chain.reorg(3, *[2] * 5)

    await scan(scanner)

    assert sink.logs == chain.all_logs(last=9)
    assert all(step.void_above is None for step in sink.told)


async def test_a_reorg_deeper_than_what_is_remembered_stops_the_scan_and_nothing_is_delivered(chain, sink):
    chain.mine(*[1] * 20)
    scanner = scanner_of(chain, sink, remember=4)
    await scan(scanner)
    delivered = list(sink.logs)
    chain.reorg(10, *[1] * 12)

    for _ in range(3):
        with pytest.raises(ReorgTooDeep) as told:
            await scan(scanner)

    assert told.value.oldest.number == 17
    assert sink.logs == delivered


async def test_a_whole_short_chain_that_is_replaced_is_scanned_anew(chain, sink):
    chain.mine(1, 1)
    scanner = scanner_of(chain, sink)
    await scan(scanner)
    chain.reorg(3, 0, 2, 1, 1)

    await scan(scanner)

    assert sink.logs == chain.all_logs()
    assert sink.told[3].void_above == -1


async def test_a_reorg_between_two_answers_of_one_step_is_noticed(chain, sink):
    chain.mine(*[1] * 30)
    scanner = scanner_of(chain, sink, follow=2, window=100)

    def before(what: str) -> None:
        if what.startswith("logs"):  # the last header of the window has been given, its logs have not
            chain.before = lambda what: None
            chain.reorg(10, *[1] * 10)

    chain.before = before
    with pytest.raises(LogHashDiffers):
        await scan(scanner)
    await scan(scanner)

    assert sink.logs == chain.all_logs()


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
async def test_silence_about_the_old_chain_does_not_pass_for_silence_about_the_new_one(chain, sink, at):
    chain.mine(*[1] * 10, *[0] * 20)
    scanner = scanner_of(chain, sink, follow=2, window=8, remember=64)
    await scanner.advance()  # up to block 7
    asked = len(chain.asked)

    def before(what: str) -> None:
        if len(chain.asked) - asked == at:
            chain.before = lambda what: None
            chain.reorg(27, *[2] * 27)

    chain.before = before
    for _ in range(20):
        with contextlib.suppress(SourceError):
            await scan(scanner)

    assert sink.logs == chain.all_logs()


async def test_a_block_that_is_not_the_child_of_the_one_before_is_asked_for_again(chain, sink):
    chain.mine(1, 1)
    scanner = scanner_of(chain, sink)
    await scan(scanner)
    chain.mine(1, 1)

    def before(what: str) -> None:
        if what == "block 3":
            chain.before = lambda what: None
            chain.reorg(3, 1, 1, 1)

    chain.before = before
    with pytest.raises(BlockImpossible):
        await scan(scanner)
    await scan(scanner)

    assert sink.logs == chain.all_logs()


# --- heads and gaps


async def test_a_head_that_goes_back_is_waited_for_and_nothing_is_taken_back(chain, sink, autojump_clock):
    chain.mine(1, 1, 1, 1)
    scanner = scanner_of(chain, sink, patience_s=60.0)
    await scan(scanner)
    whole = list(chain.blocks)
    del chain.blocks[-2:]

    with pytest.raises(HeadWentBack) as told:
        await scan(scanner)
    await trio.sleep(59.0)
    with pytest.raises(HeadWentBack):
        await scan(scanner)
    chain.blocks[:] = whole
    await scan(scanner)

    assert (told.value.got, told.value.seen) == (2, 4)
    assert sink.logs == chain.all_logs()
    assert all(step.void_above is None for step in sink.told)


async def test_a_chain_that_stays_shorter_for_long_has_lost_its_blocks(chain, sink, autojump_clock):
    chain.mine(1, 1, 1, 1)
    scanner = scanner_of(chain, sink, patience_s=60.0)
    await scan(scanner)
    del chain.blocks[-2:]

    with pytest.raises(HeadWentBack):
        await scan(scanner)
    await trio.sleep(61.0)
    await scan(scanner)

    assert sink.logs == chain.all_logs()
    assert sink.told[-1].void_above == 2


async def test_a_shorter_chain_with_other_blocks_is_a_reorg_at_once(chain, sink):
    chain.mine(1, 1, 1, 1)
    scanner = scanner_of(chain, sink)
    await scan(scanner)
    chain.reorg(3, 2, 2)

    await scan(scanner)

    assert chain.head == 3
    assert sink.logs == chain.all_logs()


async def test_a_block_that_is_missing_below_the_head_is_not_skipped(chain, sink):
    chain.mine(1, 1, 1)
    scanner = scanner_of(chain, sink)
    honest = chain.block

    async def with_a_gap(at):
        return None if at == 2 else await honest(at)

    chain.block = with_a_gap
    with pytest.raises(BlockMissing) as told:
        await scan(scanner)
    chain.block = honest
    await scan(scanner)

    assert (told.value.number, told.value.head) == (2, 3)
    assert sink.logs == chain.all_logs()


# --- everything at once

ACTIONS = st.one_of(
    st.tuples(st.just("mine"), st.lists(st.integers(0, 5), min_size=1, max_size=8)),
    st.tuples(st.just("reorg"), st.integers(1, 6), st.lists(st.integers(0, 4), min_size=1, max_size=8)),
    st.tuples(st.just("steps"), st.integers(1, 6)),
    st.tuples(st.just("crash"), st.booleans()),
    st.tuples(st.just("refuse"), st.integers(1, 6)),
    st.tuples(st.just("fail"), st.integers(0, 5)),
    st.tuples(
        st.just("reorg inside"),
        st.integers(0, 5),
        st.integers(1, 6),
        st.lists(st.integers(0, 4), min_size=6, max_size=8),
    ),
)


class Killed(Exception):
    pass


class World:
    """One scan under test: applies actions one after the other."""

    def __init__(self, **more) -> None:
        self.chain, self.sink, self.more = StubChain(), MemorySink(), more
        self.scanner = scanner_of(self.chain, self.sink, **more)

    async def steps(self, count: int) -> None:
        for _ in range(count):
            try:
                if not await self.scanner.advance():
                    return
            except SourceError:
                pass
            except Killed:
                self.scanner = scanner_of(self.chain, self.sink, **self.more)
                self.sink.fail = lambda written: None

    async def do(self, action) -> None:
        match action:
            case ("mine", counts):
                self.chain.mine(*counts)
            case ("reorg", depth, counts):
                self.reorg(depth, counts)
            case ("steps", count):
                await self.steps(count)
            case ("crash", after):
                self.sink.fail = lambda written: self.kill(written is after)
                await self.steps(1)
            case ("refuse", most):
                self.chain.most_blocks = most
            case ("fail", at):
                self.at_answer(at, self.fail)
                await self.steps(3)
            case ("reorg inside", at, depth, counts):
                self.at_answer(at, lambda: self.reorg(depth, counts))
                await self.steps(3)

    def reorg(self, depth: int, counts) -> None:
        depth = min(depth, self.chain.head)
        self.chain.reorg(depth, *counts, *[1] * max(0, depth - len(counts)))

    def kill(self, now: bool) -> None:
        if now:
            raise Killed

    def fail(self) -> None:
        raise SourceError("down")

    def at_answer(self, number: int, then) -> None:
        left = [number]

        def before(what: str) -> None:
            left[0] -= 1
            if left[0] < 0:
                self.chain.before = lambda what: None
                then()

        self.chain.before = before


@settings(max_examples=examples(40))
@given(
    actions=st.lists(ACTIONS, max_size=20),
    follow=st.integers(1, 8),
    window=st.integers(1, 8),
    max_logs=st.integers(1, 6),
)
async def test_whatever_happens_the_sink_ends_with_the_logs_of_the_chain_once_each(actions, follow, window, max_logs):
    world = World(follow=follow, window=window, max_logs=max_logs, remember=1_000)

    for action in actions:
        await world.do(action)
    world.chain.before = lambda what: None
    world.sink.fail = lambda written: None
    await world.steps(1_000)

    assert world.sink.logs == world.chain.all_logs()
    assert world.scanner.scanned == world.chain.head
