"""Votes that are asked for together are answered as if they had been asked for one after the other."""

import tempfile
from pathlib import Path

import apsw
import pytest
from attestrio.kit.sqlite import open_database
from attestrio.protection import rows
from attestrio.protection.errors import MAX_AHEAD
from attestrio.protection.merge import merge
from attestrio.protection.record import DoubleVote, RecordedVote, SigningRefused, VoteHistory
from attestrio.protection.schema import APPLICATION_ID, SCHEMA
from attestrio.protection.voting import Ask, Voting
from attestrio.roles import AttesterSecretKey, BatchHash, BatchNumber, SignedBatch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from protection_kit import CHAIN, GENESIS, KEY, OTHER_KEY, REVERTED, batch_of
from suite import examples

UNKNOWN_KEY = AttesterSecretKey.from_bytes(b"\x07" * 32)
AT = 5.0


def database(path, *, epochs=2) -> apsw.Connection:
    """A record's file with two keys and some epochs of GENESIS."""
    connection = open_database(path, application_id=APPLICATION_ID, schema=SCHEMA)
    for key in (KEY, OTHER_KEY):
        rows.add_attester(connection, key.public(), "test", AT)
    for _ in range(epochs):
        rows.open_epoch(connection, CHAIN, GENESIS, 0, "start", "", AT)
    return connection


@pytest.fixture
def connection(tmp_path):
    connection = database(tmp_path / "protection.db")
    yield connection
    connection.close()


def asking(number, content=1, key=KEY, epoch=2, genesis=GENESIS) -> Ask:
    return Ask(key, batch_of(number, content, genesis), epoch, b"receipt")


def answered(connection, *asked) -> list[SignedBatch | SigningRefused]:
    """One round."""
    with connection:
        return [given.vote or given.refused for given in Voting(connection, CHAIN, asked, AT).answer()]


def on_record(connection) -> list[tuple]:
    return connection.execute("SELECT * FROM votes ORDER BY history, number").fetchall()


class Unsteady(AttesterSecretKey):
    """Signs everything differently each time, as a key that draws its nonces does."""

    made = 0

    def sign_batch(self, batch):
        Unsteady.made += 1
        vote = super().sign_batch(batch)
        raw = bytearray(vote.signature.raw)
        raw[1] = Unsteady.made
        return SignedBatch(batch, vote.key, type(vote.signature)(bytes(raw)))


# --- one round


def test_who_asks_for_the_same_in_one_round_gets_the_same_signature(connection):
    key = Unsteady(KEY.to_bytes())

    first, again = answered(connection, asking(7, key=key), asking(7, key=key))

    assert first == again
    assert answered(connection, asking(7, key=key)) == [first]
    assert len(on_record(connection)) == 1


def test_only_the_first_who_asks_counts_as_a_new_vote(connection):
    with connection:
        given = Voting(connection, CHAIN, [asking(7), asking(7), asking(8)], AT).answer()

    assert [answer.new for answer in given] == [True, False, True]


def test_of_two_hashes_in_one_round_the_first_is_signed_and_named_to_the_second(connection):
    signed, refused, other = answered(connection, asking(7, 1), asking(7, 2), asking(8, 2))

    assert isinstance(refused, DoubleVote)
    assert (refused.recorded, refused.refused) == (signed.batch.hash, batch_of(7, 2).hash)
    assert other.batch == batch_of(8, 2)
    assert [row[1] for row in on_record(connection)] == [7, 8]


def test_refused_votes_do_not_keep_the_others_of_their_round_from_being_signed(connection):
    answered(connection, asking(5))

    given = answered(
        connection,
        asking(6),
        asking(5, content=2),
        asking(7, epoch=1),
        asking(8, genesis=REVERTED),
        asking(9, key=UNKNOWN_KEY),
        asking(6 + MAX_AHEAD + 1),
        asking(2**63 - 1),
        asking(10),
    )

    assert [each.batch.number if isinstance(each, SignedBatch) else each.code for each in given] == [
        6, "double_vote", "epoch_closed", "wrong_epoch_genesis", "key_not_in_history", "number_too_far_ahead",
        "number_not_recordable", 10,
    ]  # fmt: skip
    assert [refusal.rule for refusal in rows.refusals(connection)] == [each.code for each in given[1:-1]]


def test_how_far_ahead_a_number_may_be_counts_from_the_votes_of_the_round_too(connection):
    answered(connection, asking(0))

    given = answered(connection, asking(MAX_AHEAD), asking(2 * MAX_AHEAD), asking(3 * MAX_AHEAD + 1))

    assert [isinstance(each, SignedBatch) for each in given] == [True, True, False]


def test_a_vote_that_was_imported_without_its_signature_is_signed_once_for_all_who_ask(connection):
    key = Unsteady(KEY.to_bytes())
    told = RecordedVote(BatchNumber(7), BatchHash(b"\x01" * 32))
    merge(connection, CHAIN, VoteHistory(GENESIS, KEY.public(), None, (told,)), AT, "import")

    first, again, refused = answered(connection, asking(7, key=key), asking(7, key=key), asking(7, 2, key=key))

    assert first == again
    assert isinstance(refused, DoubleVote)
    assert answered(connection, asking(7, key=key)) == [first]


def test_a_round_of_new_votes_reads_the_record_as_often_as_one_vote(connection):
    read = []
    answered(connection, asking(0))
    connection.exec_trace = lambda _cursor, sql, _bindings: read.append(sql) or True

    answered(connection, asking(1))
    for_one = sum("SELECT" in sql for sql in read)
    read.clear()
    answered(connection, *(asking(number) for number in range(2, 102)))

    assert sum("SELECT" in sql for sql in read) == for_one


def test_a_round_of_stored_votes_reads_them_together(connection):
    read = []
    stored = [asking(number, key=key) for number in range(50) for key in (KEY, OTHER_KEY)]
    given = answered(connection, *stored)
    connection.exec_trace = lambda _cursor, sql, _bindings: read.append(sql) or True

    assert answered(connection, *stored) == given
    assert sum("FROM votes WHERE" in sql and "IN (" in sql for sql in read) == 2


def test_a_vote_is_never_replaced(connection):
    """What the checks should have missed the table refuses."""
    answered(connection, asking(7))
    signature = KEY.sign_batch(batch_of(7, 2)).signature.raw

    with pytest.raises(apsw.ConstraintError), connection:
        rows.insert_votes(connection, [rows.NewVote(1, 7, b"\x02" * 32, signature, 2, AT, None)])


# --- any round

numbers = st.integers(0, 4) | st.sampled_from([MAX_AHEAD + 3, 2**63 - 2, 2**63 - 1, 2**64 - 1])
asks = st.builds(
    asking,
    number=numbers,
    content=st.integers(1, 2),
    key=st.sampled_from([KEY, KEY, OTHER_KEY, UNKNOWN_KEY]),
    epoch=st.sampled_from([2, 2, 2, 1, 3]),
    genesis=st.sampled_from([GENESIS, GENESIS, GENESIS, REVERTED]),
)
imported = st.dictionaries(st.integers(0, 4), st.sets(st.integers(1, 2), min_size=1), max_size=3)


@pytest.mark.slow
@settings(max_examples=examples(150), deadline=None)
@given(
    rounds=st.lists(st.lists(asks, min_size=1, max_size=8), min_size=1, max_size=3),
    known=imported,
    low=st.none() | st.integers(0, 3),
)
def test_a_round_ends_as_if_everybody_had_asked_alone(rounds, known, low):
    history = VoteHistory(
        GENESIS,
        KEY.public(),
        None if low is None else BatchNumber(low),
        tuple(
            RecordedVote(BatchNumber(number), BatchHash(bytes([content]) * 32))
            for number, contents in sorted(known.items())
            for content in sorted(contents)
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        together, alone = database(Path(folder) / "together.db"), database(Path(folder) / "alone.db")
        for each in (together, alone):
            merge(each, CHAIN, history, AT, "import")
        for asked in rounds:
            given = answered(together, *asked)
            expected = [answered(alone, ask)[0] for ask in asked]
            assert [told(each) for each in given] == [told(each) for each in expected]
            event(f"{sum(isinstance(each, SignedBatch) for each in given)} of {len(given)} signed")
        for table in ("votes", "histories", "attesters", "refusals"):
            sql = f"SELECT * FROM {table}"
            assert sorted(together.execute(sql).fetchall(), key=repr) == sorted(
                alone.execute(sql).fetchall(), key=repr
            ), table
        together.close()
        alone.close()


def told(given):
    return given if isinstance(given, SignedBatch) else (given.code, str(given))
