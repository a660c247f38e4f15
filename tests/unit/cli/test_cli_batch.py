"""`attestrio batch`: what happened to a batch, out of the data directory of a node, an operator, an aggregator."""

import pytest
import trio
from attestrio.aggregator import rows as aggregator_rows
from attestrio.aggregator.rows import Answer, Attempt, OperatorKey, Phase, Signed, Task
from attestrio.duty import DutyLog, EndState, EpochOf, Reason, Step
from attestrio.duty.book import BOOK, DutyBook
from attestrio.journal import Item, Put, SqliteJournal
from attestrio.kit.blocking import inline
from attestrio.operator import rows as operator_rows
from attestrio.operator.rows import Ended, OnChain, Verdict
from attestrio.roles import BatchNumber
from cli_kit import GENESIS, SECRETS, batch

SEVEN, EIGHT = BatchNumber(7), BatchNumber(8)
IDENTIFIER, OTHER = b"\x01" * 32, b"\x02" * 32
NAMED = f"0x{IDENTIFIER.hex()}"
T0 = 1_782_050_612.0


class Clock:
    def __init__(self):
        self.now = T0

    def __call__(self):
        self.now += 0.25
        return self.now


def write_book(folder):
    """Batch 7 missed with one vote of three, batch 8 open; in epoch 2, after a batch 7 that was certified."""
    duty = DutyLog(Clock())

    async def write():
        book = DutyBook(folder / BOOK, duty, inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(book.run)
            for epoch in (1, 2):
                duty.begin_epoch(EpochOf(epoch, GENESIS.hash(), GENESIS.attesters, SECRETS[0].public()))
                duty.record(SEVEN, Step.TOLD)
                duty.heard([SECRETS[1].sign_batch(batch(7))])
                if epoch == 1:
                    duty.end(SEVEN, EndState.CERTIFIED)
            duty.record(SEVEN, Step.SIGNED, Reason.SUPERSEDED, "status moved to 8")
            duty.end(SEVEN, EndState.MISSED, Reason.SUPERSEDED)
            duty.record(EIGHT, Step.TOLD)
            await book.close()

    trio.run(write)
    return folder


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "node" / "data"
    folder.mkdir(parents=True)
    return write_book(folder)


def write_journal(path, put, work=None):
    async def write():
        journal = SqliteJournal(path, inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            topic, items = work or (operator_rows.DEAD, [])
            await journal.append(topic, items, put=put)
            await journal.close()

    trio.run(write)


@pytest.fixture
def operator_dir(tmp_path):
    """An operator that has refused one batch, and signed another that waits for its answer."""
    refused = Verdict(Ended.REFUSED, Reason.PROOF_INVALID, detail="entry 3, SP1", at=T0 + 2)
    signed = Verdict(Ended.SIGNED, Reason.OK, b"x" * 64, acknowledged=True, at=T0 + 1, acknowledged_at=T0 + 1.5)
    row = OnChain(b"r" * 32, b"s" * 20, 7, 0, "http://storage/x", seen_at=T0)
    put = [
        *(Put(operator_rows.CHAIN, one, operator_rows.pack(row)) for one in (IDENTIFIER, OTHER)),
        Put(operator_rows.VERDICTS, IDENTIFIER, operator_rows.pack(refused)),
        Put(operator_rows.VERDICTS, OTHER, operator_rows.pack(signed)),
    ]
    work = operator_rows.OUTBOX, [Item(operator_rows.key_of(OTHER, row, signed))]
    write_journal(tmp_path / "operator.db", put, work)
    return tmp_path


@pytest.fixture
def aggregator_dir(tmp_path):
    """An aggregator whose answer was sent with one signature of two."""
    answer = Answer(Phase.SENT, nonce=4, attempts=(Attempt(b"raw", b"\x0a" * 32, 2 * 10**9, T0 + 3),), updated=T0 + 3)
    operators = [bytes([byte]) * 32 for byte in (5, 6)]
    put = [
        Put(
            aggregator_rows.TASKS, IDENTIFIER,
            aggregator_rows.pack(Task(b"r" * 32, b"s" * 20, 7, b"h" * 32, 0, 1, "http://storage/x")),
        ),
        Put(aggregator_rows.ANSWERS, IDENTIFIER, aggregator_rows.pack(answer)),
        *(
            Put(aggregator_rows.KEYS, one, aggregator_rows.pack(OperatorKey(one[:20], b"1" * 64, b"2" * 128, 3)))
            for one in operators
        ),
        Put(
            aggregator_rows.SIGNATURES, aggregator_rows.signature_key(IDENTIFIER, operators[0]),
            aggregator_rows.pack(Signed(b"x" * 64, T0 + 1)),
        ),
    ]  # fmt: skip
    write_journal(tmp_path / "aggregator.db", put, (aggregator_rows.DEAD, []))
    return tmp_path


def test_explain_tells_why_a_batch_was_missed_and_by_whom(attestrio, data_dir):
    ended = attestrio("batch", "explain", "7", "--data-dir", data_dir)

    assert ended.code == 0
    assert ended.out.startswith("batch 7: missed\n")
    assert "status moved past the batch before this node could sign it. (status moved to 8)" in ended.out
    assert "  epoch  2, " in ended.out
    assert ended.out.count("\nmissed: ") == 2
    assert "(this node), weight 10" in ended.out


def test_explain_is_one_document_with_json(attestrio, data_dir):
    document = attestrio("batch", "explain", "7", "--data-dir", data_dir, "--json").document

    assert (document["number"], document["state"], document["reason"]) == (7, "missed", "superseded")
    assert [step["step"] for step in document["steps"]] == ["told", "signed"]
    assert [one["own"] for one in document["missed"]].count(True) == 1


def test_a_batch_of_an_earlier_epoch_can_be_asked_for(attestrio, data_dir):
    shown = attestrio("batch", "show", "7", "--epoch", "1", "--data-dir", data_dir)
    absent = attestrio("batch", "show", "8", "--epoch", "1", "--data-dir", data_dir, "--json")

    assert shown.out.startswith("batch 7: certified\n")
    assert (absent.code, absent.error["code"]) == (2, "batch_unknown")
    assert "not in epoch 1, but in 2" in absent.error["message"]


def test_list_counts_every_batch(attestrio, data_dir):
    ended = attestrio("batch", "list", "--data-dir", data_dir, "--json")
    people = attestrio("batch", "list", "--last", "2", "--data-dir", data_dir)

    assert [(one["number"], one["state"]) for one in ended.document["batches"]] == [
        (7, "certified"), (7, "missed"), (8, "open"),
    ]  # fmt: skip
    assert ended.document["counts"] == {"certified": 1, "missed": 1, "skipped": 0, "open": 1}
    assert len(people.out.splitlines()) == 3
    assert "missed  superseded  2 of 3 did not vote" in people.out
    assert people.out.splitlines()[-1] == "3 batches seen: 1 certified, 1 missed, 0 skipped, 1 open"


def test_the_configuration_says_where_to_look_and_what_keys_are_called(attestrio, data_dir):
    config = data_dir.parent / "node.toml"
    name = f"{SECRETS[1].public().to_text()} = bob"
    config.write_text(f'[node]\ndata_dir = "data"\n[web]\nbind = "127.0.0.1:0"\nnames = ["{name}"]\n')

    ended = attestrio("batch", "explain", "7", "--config", config)

    assert "vote    bob; weight 10, together 10" in ended.out


def test_a_batch_nobody_saw_is_refused_with_the_newest_known(attestrio, data_dir):
    ended = attestrio("batch", "explain", "99", "--data-dir", data_dir)

    assert ended.code == 2
    assert ended.err.endswith("the newest is batch 8 [batch_unknown]\n")


def test_batches_that_were_attested_while_the_node_was_down_are_listed_and_explained(attestrio, tmp_path):
    duty = DutyLog(Clock())

    async def write():
        book = DutyBook(tmp_path / BOOK, duty, inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(book.run)
            duty.begin_epoch(EpochOf(1, GENESIS.hash(), GENESIS.attesters, SECRETS[0].public()))
            duty.record(SEVEN, Step.TOLD)
            duty.record(SEVEN, Step.TOLD, Reason.NODE_STOPPED, "started again")
            duty.heard([SECRETS[1].sign_batch(batch(7))])
            duty.end(SEVEN, EndState.CERTIFIED)
            duty.record(BatchNumber(10), Step.TOLD)
            duty.heard([SECRETS[1].sign_batch(batch(10))])
            await book.close()

    trio.run(write)

    listed = attestrio("batch", "list", "--data-dir", tmp_path).out.splitlines()
    explained = attestrio("batch", "explain", "8", "--data-dir", tmp_path)

    assert listed[0].endswith("certified  2 of 3 did not vote, this node among them: node_stopped")
    assert listed[1] == "batches 8 to 9  not seen  node_stopped"
    assert listed[2].endswith("open  2 of 3 have not voted yet")
    assert explained.code == 0
    assert explained.out.startswith("batch 8: missed\n  why    The node did not run")
    assert "to do  See why the node was down" in explained.out


@pytest.mark.parametrize("text", ["-1", "x", "18446744073709551616", "0x" + "01" * 32], ids=str)
def test_what_is_no_number_is_refused(attestrio, data_dir, text):
    assert attestrio("batch", "show", "--data-dir", data_dir, "--", text).code == 2


def test_a_configuration_without_an_end_is_refused(attestrio):
    ended = attestrio("batch", "explain", "7", "-c", "/dev/zero")

    assert (ended.code, "longer than 1048576 bytes [bad_config]" in ended.err) == (2, True)


def test_a_folder_above_the_right_one_names_it(attestrio, data_dir):
    ended = attestrio("batch", "explain", "7", "--data-dir", data_dir.parent.parent)

    assert ended.code == 2
    assert f"try --data-dir {data_dir} [no_book]" in ended.err


def test_an_operators_batch_is_told_with_the_times_it_noted(attestrio, operator_dir):
    refused = attestrio("batch", "explain", NAMED, "--data-dir", operator_dir)
    waits = attestrio("batch", "explain", f"0x{OTHER.hex()}", "--data-dir", operator_dir)

    assert refused.out.startswith(f"batch {NAMED}: refused\n")
    assert "(entry 3, SP1)" in refused.out
    assert [" ".join(line.split()[:3]) for line in refused.out.splitlines()[-2:]] == ["+0.000 s told", "+2.000 s ended"]
    told = [" ".join(line.split()[:3]) for line in waits.out.splitlines()[-3:]]
    assert told == ["+1.000 s signed", "+1.500 s sent", "waits for the"]


def test_an_operators_configuration_finds_its_journal(attestrio, operator_dir):
    config = operator_dir / "operator.toml"
    config.write_text('[operator]\ndata_dir = "."\n[aggregator]\naddress = "127.0.0.1:1"\n')

    document = attestrio("batch", "show", NAMED, "-c", config, "--json").document

    assert (document["role"], document["state"], document["reason"]) == ("operator", "refused", "proof_invalid")


def test_an_aggregators_batch_names_who_signed_and_who_did_not(attestrio, aggregator_dir):
    config = aggregator_dir / "aggregator.toml"
    config.write_text('[aggregator]\ndata_dir = "."\n')

    by_folder = attestrio("batch", "explain", NAMED, "--data-dir", aggregator_dir)
    by_config = attestrio("batch", "explain", NAMED, "-c", config, "--json").document

    assert by_folder.out.startswith(f"batch {NAMED}: sent\n")
    assert "  signatures  1 of 2 operators" in by_folder.out
    assert "+2.000 s  sent  transaction 0x0a0a" in by_folder.out
    assert f"no signature of operator 0x{'06' * 8}, address 0x{'06' * 20}" in by_folder.out
    assert [one["operator_id"] for one in by_config["signed"]] == [f"0x{'05' * 32}"]
    assert by_config["missed"] == [f"0x{'06' * 32}"]


@pytest.mark.parametrize("folder", ["operator_dir", "aggregator_dir"])
def test_a_batch_that_an_aligned_journal_does_not_know_is_refused(attestrio, request, folder):
    place = request.getfixturevalue(folder)

    unknown = attestrio("batch", "explain", "0x" + "99" * 32, "--data-dir", place, "--json")
    number = attestrio("batch", "explain", "7", "--data-dir", place, "--json")

    assert (unknown.code, unknown.error["code"]) == (2, "batch_unknown")
    assert number.code == 2
