"""Whatever the chain does, the journal ends up with the tasks and keys of the chain that stays."""

import tempfile
from pathlib import Path

import pytest
import trio
from aligned_chain import (
    CONTRACTS,
    FEE_LIMIT,
    OPERATORS,
    OTHER_SENDER,
    AlignedChain,
    Away,
    Disturbed,
    batch,
    journal_at,
    junk,
    loaded,
    memory_of,
    root_of,
)
from attestrio.aggregator import rows
from attestrio.aggregator.rows import Place
from attestrio.aggregator.sink import LogSink
from attestrio.aggregator.surface import (
    BATCH_VERIFIED,
    NEW_BATCH_V2,
    NEW_BATCH_V3,
    NEW_PUBKEY_REGISTRATION,
    identifier_hash,
    wanted,
)
from attestrio.bls import g1_from_words_untrusted, operator_id
from attestrio.kit.blocking import inline
from attestrio.l1.api import Address, BlockNumber, Log
from attestrio.l1.scan import LogScanner, ScanSettings
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

ONE, ROOT = batch(1)
STRANGER = Address(b"\x99" * 20)


def scanner_of(state, chain, *, fetch=1_000, **more):
    sink = LogSink(state, chain, CONTRACTS, fetch, inline)
    return LogScanner(chain, wanted(CONTRACTS), sink, ScanSettings(BlockNumber(0), patience_s=0.0, **more))


async def scan(state, chain, **more):
    """Until nothing is left."""
    scanner = scanner_of(state, chain, **more)
    while await scanner.advance():
        pass


def truth(chain):
    """What the chain says: identifier → (created, hash of that block, block of the answer), operator id → block."""
    tasks, keys = {}, {}
    for block in chain.blocks:
        for log in block.logs:
            event = next(
                one
                for one in (NEW_BATCH_V2, NEW_BATCH_V3, BATCH_VERIFIED, NEW_PUBKEY_REGISTRATION)
                if one.topic == log.topics[0]
            )
            told = event.read_untrusted(log)
            if event is NEW_PUBKEY_REGISTRATION:
                keys[operator_id(g1_from_words_untrusted(*told["pubkeyG1"]))] = block.ref.number
                continue
            identifier = identifier_hash(told["batchMerkleRoot"], told["senderAddress"])
            if event is BATCH_VERIFIED:
                tasks[identifier] = (*tasks[identifier][:2], block.ref.number)
            else:
                tasks[identifier] = (block.ref.number, block.ref.hash, None)
    return tasks, keys


def known(state):
    """The same, as the aggregator has it."""
    tasks = {
        identifier: (task.created, task.created_hash, task.verified)
        for identifier, task in state.tasks.items()
        if not task.void
    }
    return tasks, {id: key.block for id, key in state.keys.items()}


# --- events


async def test_a_batch_its_answer_and_a_key_become_rows(tmp_path):
    chain = AlignedChain()
    chain.register(OPERATORS[0])
    chain.post(ROOT)
    chain.mine()
    chain.answer(ROOT)
    chain.mine()
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        await scan(state, chain)

        task = state.tasks[ONE]
        assert (task.created, task.index, task.verified, task.fee_limit) == (1, 1, 2, FEE_LIMIT)
        assert state.g1(OPERATORS[0].id) == OPERATORS[0].secret.public_g1()
        assert state.g2(OPERATORS[0].id) == OPERATORS[0].secret.public_g2()
        assert state.keys[OPERATORS[0].id].operator == OPERATORS[0].address
        assert (state.head.value, state.end) == (2, Place(2, 1))
        assert memory_of(await loaded(journal)) == memory_of(state)


@pytest.mark.parametrize("events", [(NEW_BATCH_V2, NEW_BATCH_V3), (NEW_BATCH_V3, NEW_BATCH_V2)])
async def test_both_versions_of_an_event_are_one_batch_with_a_fee_limit(tmp_path, events):
    chain = AlignedChain()
    for event in events:
        chain.post(ROOT, event=event)
    chain.mine()
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        await scan(state, chain)

        assert [task.fee_limit for task in state.tasks.values()] == [FEE_LIMIT]


async def test_row_12_two_senders_of_one_root_are_two_tasks(tmp_path):
    chain = AlignedChain()
    both = {chain.post(ROOT), chain.post(ROOT, sender=OTHER_SENDER)}
    chain.mine()
    chain.answer(ROOT, sender=OTHER_SENDER)
    chain.mine()
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        await scan(state, chain)

        assert set(state.tasks) == both
        assert [task.sender for task in state.tasks.values() if task.verified] == [OTHER_SENDER]


async def test_a_scanned_batch_ends_the_search_for_it(tmp_path):
    chain = AlignedChain()
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await scan(state, chain)
        await state.accept([junk(ONE, ROOT), junk(*batch(2))])
        chain.post(ROOT)
        chain.mine()

        await scan(state, chain)

        assert [one.key for one in await journal.listed(rows.UNKNOWN, 10)] == [state.claims[batch(2)[0]].key]
        assert state.orphans == {b"\x01" * 32: 1}


async def test_events_of_another_contract_are_no_tasks_and_no_keys(tmp_path):
    """With several addresses in one filter, each contract could emit the other's events."""
    chain = AlignedChain()
    chain.post(ROOT, address=CONTRACTS.key_registry)
    chain.register(OPERATORS[0], address=CONTRACTS.manager)
    chain.post(root_of(2), address=STRANGER)
    chain.mine()
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        await scan(state, chain)

        assert (state.tasks, state.keys) == ({}, {})


async def test_what_cannot_be_read_is_dropped_and_the_rest_goes_on(tmp_path):
    chain = AlignedChain()
    chain.post(ROOT)
    chain.register(OPERATORS[0])
    chain.mine()
    block = chain.blocks[-1]
    no_point = NEW_PUBKEY_REGISTRATION.emitted(
        operator=b"\x01" * 20, pubkeyG1=(1, 3), pubkeyG2=((1, 2), (3, 4))
    )  # not on the curve
    for topics, data, address in (
        (*no_point, CONTRACTS.key_registry),
        ((NEW_BATCH_V3.topic, root_of(3)), b"\xff" * 64, CONTRACTS.manager),
        ((BATCH_VERIFIED.topic,), b"", CONTRACTS.manager),
    ):
        block.logs.append(Log(address, topics, data, block.ref, len(block.logs), block.logs[0].transaction))
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        await scan(state, chain)

        assert (set(state.tasks), set(state.keys)) == ({ONE}, {OPERATORS[0].id})
        assert state.metrics.events_dropped._value.get() == 3


async def test_a_new_key_wakes_whoever_waits_for_one(tmp_path):
    chain = AlignedChain()
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        await state.accept([junk(ONE, ROOT)])
        state.take_touched()
        chain.register(OPERATORS[0])
        chain.mine()

        await scan(state, chain)

        assert state.take_touched() == {ONE}


# --- where it begins


async def test_row_13_a_first_start_takes_keys_from_the_beginning_and_tasks_of_the_range(tmp_path):
    chain = AlignedChain()
    chain.register(OPERATORS[0])
    old = chain.post(root_of(1))
    chain.mine(5)
    new = chain.post(root_of(2))
    chain.mine(3)
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)

        await scan(state, chain, fetch=3)
        await state.accept([junk(old, root_of(1))])

        assert (set(state.tasks), set(state.keys), state.first) == ({new}, {OPERATORS[0].id}, 5)
        assert set(state.claims) == {old}


async def test_what_is_posted_while_the_aggregator_is_down_is_taken_up_however_long_it_takes(tmp_path):
    chain = AlignedChain()
    async with journal_at(tmp_path) as journal:
        await scan(await loaded(journal), chain, fetch=3)
        posted = chain.post(ROOT)
        chain.mine(50)
        state = await loaded(journal)

        await scan(state, chain, fetch=3)

        assert set(state.tasks) == {posted}


async def test_a_chain_that_is_away_at_the_first_start_decides_nothing(tmp_path):
    chain = AlignedChain()
    chain.mine(9)

    def away(_):
        raise Away("nobody there")

    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        chain.fault = away
        with pytest.raises(Away):
            await scan(state, chain, fetch=3)
        assert state.first is None
        chain.fault = None

        await scan(state, chain, fetch=3)

        assert state.first == 6


# --- reorgs


async def test_row_16a_a_batch_that_moves_has_the_block_it_moved_to(tmp_path):
    chain = AlignedChain()
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        chain.post(ROOT)
        chain.mine(3)
        await scan(state, chain)
        await state.accept([junk(ONE, ROOT)])
        chain.reorg(3)
        chain.mine()
        chain.post(ROOT)
        chain.mine(3)

        await scan(state, chain)

        assert (state.tasks[ONE].created, state.tasks[ONE].created_hash) == (2, chain.blocks[2].ref.hash)
        assert (state.is_live(ONE), state.claims, +state.orphans) == (True, {}, {})
        assert set(state.signed) == {ONE}


async def test_row_16b_a_batch_that_is_gone_is_searched_for_and_found_when_it_is_posted_again(tmp_path):
    chain = AlignedChain()
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        chain.post(ROOT)
        chain.mine(3)
        await scan(state, chain)
        await state.accept([junk(ONE, ROOT)])
        chain.reorg(3)
        chain.mine(5)

        await scan(state, chain)
        assert (state.is_live(ONE), set(state.claims)) == (False, {ONE})
        chain.post(ROOT)
        chain.mine()
        await scan(state, chain)

        assert (state.is_live(ONE), state.claims, set(state.signed)) == (True, {}, {ONE})


async def test_row_16c_an_answer_that_is_gone_makes_the_task_open_again(tmp_path):
    chain = AlignedChain()
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        chain.post(ROOT)
        chain.mine(2)
        chain.answer(ROOT)
        chain.mine(2)
        await scan(state, chain)
        await state.accept([junk(ONE, ROOT)])
        assert not state.tasks[ONE].is_open
        state.take_touched()
        chain.reorg(2)
        chain.mine(3)

        await scan(state, chain)

        assert state.tasks[ONE].is_open
        assert state.take_touched() == {ONE}


async def test_a_registration_that_is_gone_is_no_key(tmp_path):
    chain = AlignedChain()
    async with journal_at(tmp_path) as journal:
        state = await loaded(journal)
        chain.register(OPERATORS[0])
        chain.mine(2)
        await scan(state, chain)
        chain.reorg(2)
        chain.mine(3)

        await scan(state, chain)

        assert state.keys == {}
        with pytest.raises(KeyError):
            state.g2(OPERATORS[0].id)


async def test_a_step_whose_outcome_is_unknown_is_settled_by_the_next_term(tmp_path):
    chain = AlignedChain()
    chain.post(ROOT)
    chain.mine(2)
    async with journal_at(tmp_path) as inner:
        journal = Disturbed(inner)
        state = await loaded(journal)
        await state.begin_at(0)

        async def lost(_):
            raise Away("the answer was lost")

        journal.after = lost
        with pytest.raises(Away):
            await scan(state, chain)
        again = await loaded(inner)
        await scan(again, chain)

        assert known(again) == truth(chain)


NUMBERS = st.integers(1, 3)
HISTORIES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["post", "post_v2", "post_other", "answer"]), NUMBERS),
        st.tuples(st.just("register"), st.integers(0, 2)),
        st.tuples(st.just("mine"), st.integers(1, 3)),
        st.tuples(st.just("reorg"), st.integers(1, 4)),
        st.tuples(st.just("scan"), st.integers(1, 6)),
        st.tuples(st.sampled_from(["found", "sign"]), NUMBERS),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=40,
)


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(history=HISTORIES, follow=st.sampled_from([1, 16]), max_logs=st.sampled_from([1, 2, 100]))
def test_any_history_ends_with_the_tasks_and_keys_of_the_final_chain(history, follow, max_logs):
    async def play():
        with tempfile.TemporaryDirectory() as folder:
            async with journal_at(Path(folder)) as journal:
                await History(journal, {"follow": follow, "max_logs": max_logs}).play(history)

    trio.run(play)


class History:
    """A chain and an aggregator, taken through what a list says."""

    def __init__(self, journal, scanning):
        self.journal, self.scanning = journal, scanning
        self.chain = AlignedChain()
        self.pending = set()

    async def play(self, history):
        await self.restart()
        for action, value in history:
            await self.act(action, value)
        self.chain.mine(5)  # the chain goes on: what is scanned is not above it any more
        await self.act("scan", 10_000)

        state = self.state
        assert known(state) == truth(self.chain)
        missing = {identifier for identifier in state.signed if not state.is_live(identifier)}
        void = {identifier for identifier, task in state.tasks.items() if task.void}
        assert set(state.claims) == missing | void
        assert memory_of(await loaded(self.journal)) == memory_of(state)

    async def restart(self):
        self.state = await loaded(self.journal)
        self.scanner = scanner_of(self.state, self.chain, **self.scanning)

    async def act(self, action, value):
        chain, (tasks, keys) = self.chain, truth(self.chain)
        match action:
            case "post" | "post_v2" | "post_other":
                sender = {"sender": OTHER_SENDER} if action == "post_other" else {}
                identifier, root = batch(value, **sender)
                if identifier not in tasks and identifier not in self.pending:
                    event = NEW_BATCH_V2 if action == "post_v2" else NEW_BATCH_V3
                    self.pending.add(chain.post(root, event=event, **sender))
            case "answer":
                identifier, root = batch(value)
                if identifier in tasks and tasks[identifier][2] is None and ("answer", value) not in self.pending:
                    self.pending.add(("answer", value))
                    chain.answer(root)
            case "register":
                if OPERATORS[value].id not in keys and OPERATORS[value].id not in self.pending:
                    self.pending.add(OPERATORS[value].id)
                    chain.register(OPERATORS[value])
            case "mine":
                self.pending.clear()
                chain.mine(value)
            case "reorg":
                if not self.pending:
                    chain.reorg(min(value, chain.head))
            case "scan":
                for _ in range(value):
                    if not await self.scanner.advance():
                        break
            case "found":
                identifier, root = batch(value)
                task = chain.task(root)
                if task is not None and identifier in self.state.claims:
                    await self.state.add_tasks([task])
            case "sign":
                await self.state.accept([junk(*batch(value))])
            case "restart":
                await self.restart()
