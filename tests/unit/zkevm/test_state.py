"""The flat state: a way back at every level, the same in memory and in SQLite."""

from __future__ import annotations

from contextlib import contextmanager

import apsw
import pytest
from attestrio.errors import StorageUnusable
from attestrio.kit.sqlite import open_database
from attestrio.zkevm.errors import NoSuchBlock
from attestrio.zkevm.smt import EMPTY
from attestrio.zkevm.state import BALANCE, BEFORE_GENESIS, CODE, NONCE, MemoryStore, State, Tip
from attestrio.zkevm.state_sqlite import STATE_SCHEMA, SqliteStore
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples

A, B = b"\x0a" * 20, b"\x0b" * 20
SCHEMA = (STATE_SCHEMA + "CREATE TABLE other (id INTEGER PRIMARY KEY);",)
APPLICATION = 0x7A6B


def database(path):
    return open_database(path, application_id=APPLICATION, schema=SCHEMA)


@contextmanager
def sqlite_state(path):
    connection = database(path)
    try:
        yield State(SqliteStore(connection, str(path)))
    finally:
        connection.close()


@pytest.fixture(params=["memory", "sqlite"])
def state(request, tmp_path):
    if request.param == "memory":
        yield State(MemoryStore())
    else:
        with sqlite_state(tmp_path / "state.sqlite") as state:
            yield state


def root(at):
    return bytes([at]) * 32


def three_blocks(state):
    """Block n: A has n wei, its slot 1 is n, and slot 10+n is set; block 1 brings code."""
    for number in range(3):
        state.add_balance(A, 1)
        state.set_storage(A, 1, number + 1)
        state.set_storage(A, 10 + number, 1)
        if number == 1:
            state.set_code(B, b"code")
        state.commit(root(number), number)


def test_an_empty_state_is_before_the_genesis_block(state):
    assert state.tip == BEFORE_GENESIS == Tip(-1, EMPTY, 0)
    assert state.oldest == -1
    assert (state.balance(A), state.nonce(A), state.code(A), state.storage(A, 2**256 - 1)) == (0, 0, b"", 0)


def test_what_is_written_is_read_at_once_and_after_the_block(state):
    state.add_balance(A, 2**128)
    state.set_nonce(A, 7)
    state.set_code(A, b"\x60\x00")
    state.set_storage(A, 2**256 - 1, 2**256 - 1)

    before = state.changes()
    state.commit(root(1), 5)

    assert before == {(A, BALANCE): 2**128, (A, NONCE): 7, (A, CODE): b"\x60\x00", (A, 2**256 - 1): 2**256 - 1}
    assert state.changes() == {}
    assert (state.balance(A), state.nonce(A), state.code(A)) == (2**128, 7, b"\x60\x00")
    assert state.storage(A, 2**256 - 1) == 2**256 - 1
    assert state.tip == Tip(0, root(1), 5)


def test_what_is_set_back_is_no_change(state):
    state.set_storage(A, 1, 5)
    state.commit(root(0), 0)

    state.set_storage(A, 1, 6)
    state.set_storage(A, 1, 5)
    state.set_storage(A, 2, 1)
    state.set_storage(A, 2, 0)

    assert state.changes() == {}


def test_a_call_that_fails_takes_back_what_it_has_changed_and_warmed(state):
    state.begin_tx()
    state.set_storage(A, 1, 1)
    state.warm(A)
    checkpoint = state.checkpoint()
    state.set_storage(A, 1, 2)
    state.set_code(B, b"code")
    state.warm(B)
    state.warm(A, 1)

    state.revert(checkpoint)

    assert (state.storage(A, 1), state.code(B)) == (1, b"")
    assert (state.is_warm(A), state.is_warm(B), state.is_warm(A, 1)) == (True, False, False)


def test_a_transaction_is_taken_back_and_those_before_it_stay(state):
    state.begin_tx()
    state.set_storage(A, 1, 1)
    state.begin_tx()
    state.set_storage(A, 1, 2)
    state.set_nonce(B, 1)

    state.take_back_tx()

    assert (state.storage(A, 1), state.nonce(B)) == (1, 0)


def test_a_transaction_begins_cold_and_knows_what_it_has_found(state):
    state.begin_tx()
    state.set_storage(A, 1, 1)
    state.warm(A)

    state.begin_tx()
    state.set_storage(A, 1, 2)
    state.set_storage(A, 1, 3)

    assert not state.is_warm(A)
    assert state.storage_before(A, 1) == 1
    assert state.storage_before(A, 2) == 0


def test_what_a_transaction_has_found_outlives_a_call_that_failed(state):
    state.set_storage(A, 1, 1)
    state.begin_tx()
    checkpoint = state.checkpoint()
    state.set_storage(A, 1, 2)

    state.revert(checkpoint)

    assert state.storage_before(A, 1) == state.storage(A, 1) == 1


def test_a_block_that_is_dropped_was_never_there(state):
    three_blocks(state)
    state.set_storage(A, 1, 99)

    state.drop_block()

    assert state.storage(A, 1) == 3
    assert state.changes() == {}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_state_goes_back_to_the_end_of_any_block(state, number):
    three_blocks(state)
    state.set_storage(A, 1, 99)

    tip = state.unwind_to(number)

    assert tip == state.tip == Tip(number, root(number), number)
    assert state.balance(A) == state.storage(A, 1) == number + 1
    assert [state.storage(A, 10 + at) for at in range(3)] == [int(at <= number) for at in range(3)]
    assert state.code(B) == (b"code" if number >= 1 else b"")
    assert state.oldest == 0


def test_it_goes_on_from_where_it_went_back_to(state):
    three_blocks(state)
    state.unwind_to(0)

    state.set_storage(A, 1, 50)
    state.commit(root(9), 4)

    assert state.tip == Tip(1, root(9), 4)
    assert state.unwind_to(0) == Tip(0, root(0), 0)
    assert state.storage(A, 1) == 1


@pytest.mark.parametrize("number", [-1, 3])
def test_there_is_no_way_to_a_block_that_never_was(state, number):
    three_blocks(state)

    with pytest.raises(NoSuchBlock) as refused:
        state.unwind_to(number)

    assert (refused.value.oldest, refused.value.newest) == (0, 2)
    assert state.storage(A, 1) == 3


def test_history_that_is_forgotten_is_no_way_back(state):
    three_blocks(state)

    state.forget_before(1)

    assert state.oldest == 1
    with pytest.raises(NoSuchBlock):
        state.unwind_to(0)
    assert state.unwind_to(1) == Tip(1, root(1), 1)
    assert state.storage(A, 1) == 2


def fail_after(state, work):
    def failing():
        with state.transaction() as connection:
            work(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()


def next_block(state):
    state.set_storage(A, 1, 99)
    state.commit(root(7), 7)


def test_a_transaction_that_fails_leaves_the_state_as_it_was(state):
    three_blocks(state)

    fail_after(state, lambda _: next_block(state))

    assert state.tip == Tip(2, root(2), 2)
    assert state.storage(A, 1) == 3
    assert state.changes() == {}


def test_going_back_is_undone_as_well_when_a_transaction_fails(state):
    three_blocks(state)

    def work(_connection):
        next_block(state)
        state.unwind_to(0)
        next_block(state)
        state.forget_before(1)

    fail_after(state, work)

    assert (state.tip, state.oldest, state.storage(A, 1)) == (Tip(2, root(2), 2), 0, 3)
    assert state.unwind_to(1).number == 1
    assert state.storage(A, 1) == 2


def test_a_transaction_in_a_transaction_ends_with_the_outer_one(state):
    three_blocks(state)

    def work(_connection):
        with state.transaction():
            next_block(state)

    fail_after(state, work)

    assert state.tip.number == 2


def test_what_is_on_disk_is_there_after_a_restart(tmp_path):
    path = tmp_path / "state.sqlite"
    with sqlite_state(path) as state:
        three_blocks(state)
        state.set_storage(A, 1, 99)

    with sqlite_state(path) as state:
        found = state.tip, state.storage(A, 1), state.code(B)
        state.unwind_to(0)
        back = state.tip, state.storage(A, 1), state.code(B)

    assert found == (Tip(2, root(2), 2), 3, b"code")
    assert back == (Tip(0, root(0), 0), 1, b"")


def test_rows_of_others_are_written_with_the_block_or_not_at_all(tmp_path):
    with sqlite_state(tmp_path / "state.sqlite") as state:
        with state.transaction() as connection:
            next_block(state)
            connection.execute("INSERT INTO other VALUES (1)")

        def work(connection):
            next_block(state)
            connection.execute("INSERT INTO other VALUES (2)")

        fail_after(state, work)
        rows = list(connection.execute("SELECT id FROM other"))

    assert rows == [(1,)]
    assert state.tip.number == 0


ADDRESSES = st.sampled_from([A, B])
FIELDS = st.sampled_from([BALANCE, NONCE, CODE, 0, 1, 2**256 - 1])
WRITES = st.tuples(st.just("write"), ADDRESSES, FIELDS, st.integers(0, 3))
STEPS = st.one_of(
    WRITES, st.just(("commit",)), st.just(("drop",)), st.tuples(st.just("unwind"), st.integers(0, 6)),
    st.just(("begin",)), st.just(("back",)),
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(steps=st.lists(STEPS, max_size=40))
def test_both_forms_are_a_stack_of_copies_of_the_whole_state(steps, tmp_path_factory):
    model, ends, tx = {}, [], {}
    path = tmp_path_factory.mktemp("state") / "state.sqlite"
    with sqlite_state(path) as on_disk:
        states = [State(MemoryStore()), on_disk]
        for step in [("commit",), *steps]:
            match step:
                case ("write", address, field, number):
                    value = bytes(number) if field == CODE else number
                    model[address, field] = value
                    for state in states:
                        state.set((address, field), value)
                case ("commit",):
                    ends.append(dict(model))
                    tx = dict(model)
                    for state in states:
                        state.commit(root(len(ends)), 0)
                case ("begin",):
                    tx = dict(model)
                    for state in states:
                        state.begin_tx()
                case ("back",):
                    model = dict(tx)
                    for state in states:
                        state.take_back_tx()
                case ("drop",):
                    model, tx = dict(ends[-1]), dict(ends[-1])
                    for state in states:
                        state.drop_block()
                case ("unwind", number) if number < len(ends):
                    del ends[number + 1 :]
                    model, tx = dict(ends[-1]), dict(ends[-1])
                    for state in states:
                        state.unwind_to(number)
            for state in states:
                assert {key: state.get(key) for key in model} == model
                assert state.tip.number == len(ends) - 1
                wanted = {key: value for key, value in model.items() if ends[-1].get(key, type(value)()) != value}
                assert state.changes() == wanted


def test_an_error_of_the_disk_is_one_of_storage(tmp_path):
    def failing(state):
        with state.transaction():
            next_block(state)
            raise apsw.FullError("no room")

    with sqlite_state(tmp_path / "state.sqlite") as state:
        with pytest.raises(StorageUnusable):
            failing(state)

        assert state.tip == BEFORE_GENESIS
