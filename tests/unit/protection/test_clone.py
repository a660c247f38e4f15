"""A vote of our key that we did not make stops this node before its next signature, and nothing else does."""

import json
from functools import partial

import pytest
import trio
from attestrio.errors import SourceError, leaves
from attestrio.kit.blocking import inline
from attestrio.kit.sqlite import open_database
from attestrio.protection.clone import CloneGuard, CloneSeen, OwnVoteNotCompared, StillListening, take_over
from attestrio.protection.equivocation import EquivocationBook, read_proofs
from attestrio.protection.halt import Halted, refuse_if_halted, repair, reserve, write_halt
from attestrio.protection.hedged import ENTROPY, HedgedKey
from attestrio.protection.reader import open_record
from attestrio.protection.record import DoubleVote, RecordedVote, VoteHistory, VoteRecord
from attestrio.protection.schema import APPLICATION_ID, SCHEMA
from attestrio.protection.signer import ProtectedSigner
from attestrio.quorum import BadVoteSignature, WrongGenesis
from attestrio.quorum.watch import VotesWatch
from attestrio.quorum.witness import Witness
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    SignedBatch,
    WeightedAttester,
)
from attestrio.sim.disk import Faults, SimDisk

GENESIS, OTHER_GENESIS = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)
OURS, THEIRS = (AttesterSecretKey.from_bytes(bytes([index]) * 32) for index in (1, 2))
COMMITTEE = Committee([WeightedAttester(key.public(), 1) for key in (OURS, THEIRS)])
CHAIN = 270
LOW, HIGH = 0x10, 0xF0


def batch(number, fill=0xAB, genesis=GENESIS):
    return Batch(BatchNumber(number), BatchHash(bytes([fill]) * 32), genesis)


def vote(number, fill=0xAB, key=OURS, genesis=GENESIS):
    return key.sign_batch(batch(number, fill, genesis))


class Node:
    """A record, a guard over it, what peers' votes go into, and a signer: everything of a node that matters here."""

    def __init__(self, data_dir, *, halt=None, secret=OURS, listen_s=0.0, run_blocking=inline):
        self.data_dir = data_dir
        self.record = VoteRecord(data_dir / "protection.db", CHAIN, run_blocking, clock=lambda: 0.0)
        self.book = EquivocationBook(data_dir)
        self.guard = CloneGuard(
            self.record,
            OURS.public(),
            GENESIS,
            halt or partial(write_halt, data_dir, at=0.0),
            book=self.book,
            listen_s=listen_s,
        )
        witness = Witness(OURS.public(), self.guard.heard, self.book.conflict)
        self.votes = VotesWatch(COMMITTEE, GENESIS, None, witness)
        self.secret = secret

    async def sign(self, number, fill=0xAB):
        made = await self.signer.sign(batch(number, fill))
        self.votes.add([made])
        return made

    async def __aenter__(self):
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        await self._nursery.start(self.record.run)
        await self.record.add_key(OURS.public())
        epoch = self.record.current_epoch() or await self.record.open_epoch(GENESIS, 0, "start")
        self.signer = ProtectedSigner(self.record, self.secret, self.guard.check, epoch=epoch.id)
        return self

    async def __aexit__(self, *ended):
        self._nursery.cancel_scope.cancel()
        return await self._manager.__aexit__(*ended)


async def ended_by(node, after_s, heard):
    """What ends the process that hears `heard` after a while."""
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(node.guard.run)
            await trio.sleep(after_s)
            node.votes.add([heard])
    except* CloneSeen as group:
        (seen,) = leaves(group)
    return seen


def halt_note(data_dir):
    return json.loads((data_dir / "HALT").read_text())


# What halts


@pytest.mark.parametrize("floor", [0, 100], ids=["counted", "below the floor"])
@pytest.mark.parametrize("fill", [LOW, 0xAB, HIGH])
@pytest.mark.parametrize("number", [4, 5, 2**63, 2**64 - 1])
async def test_vote_that_is_not_on_record_stops_the_next_signature(tmp_path, number, fill, floor):
    async with Node(tmp_path) as node:
        await node.sign(3)
        node.votes.raise_floor(floor)
        node.votes.add([vote(number, fill)])

        with pytest.raises(CloneSeen) as caught:
            await node.sign(6)

        assert caught.value.exit_code == 70
        assert caught.value.heard == vote(number, fill)
        assert node.record.recorded(GENESIS, OURS.public(), BatchNumber(6)) is None
        with pytest.raises(Halted, match="another node signs with our key"):
            refuse_if_halted(tmp_path)


@pytest.mark.parametrize("fill", [LOW, HIGH])
async def test_other_hash_than_recorded_halts_with_both_votes_as_evidence(tmp_path, fill):
    async with Node(tmp_path) as node:
        ours = await node.sign(5)
        node.votes.add([vote(5, fill)])

        evidence = halt_note(tmp_path)["evidence"]
        assert SignedBatch.from_json(evidence["heard"]) == vote(5, fill)
        assert SignedBatch.from_json(evidence["recorded"]["vote"]) == ours
        ((_, proof),) = read_proofs(node.book.folder)
        assert {proof.first, proof.second} == {ours, vote(5, fill)}
        assert isinstance(node.guard.clone, CloneSeen)


async def test_the_process_ends_with_what_was_seen(tmp_path, autojump_clock):
    async with Node(tmp_path) as node:
        seen = await ended_by(node, 1.0, vote(4))

        assert str(seen).startswith("batch 4: another node signs with our key")
        assert trio.current_time() == 1.0


async def test_vote_being_recorded_when_the_clone_is_heard_stays_on_record_and_does_not_leave(tmp_path):
    coming = []

    async def while_others_talk(fn):
        if coming:
            node.votes.add([coming.pop()])
        return await inline(fn)

    async with Node(tmp_path, run_blocking=while_others_talk) as node:
        coming.append(vote(5, HIGH))

        with pytest.raises(CloneSeen):
            await node.sign(5)

        assert node.votes.votes() == [vote(5, HIGH)]
        assert node.record.recorded(GENESIS, OURS.public(), BatchNumber(5)) == batch(5).hash


async def test_halt_that_cannot_be_written_stops_signing_all_the_same(tmp_path, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    async with Node(tmp_path, halt=full) as node:
        node.votes.add([vote(4)])

        with pytest.raises(CloneSeen):
            await node.sign(5)
        assert "HALT not written" in caplog.text


async def test_the_first_one_seen_is_the_one_told(tmp_path):
    async with Node(tmp_path) as node:
        node.votes.add([vote(4)])
        node.votes.add([vote(5)])

        assert halt_note(tmp_path)["sentence"].startswith("batch 4:")


# What does not


async def test_own_votes_that_come_back_are_harmless_also_after_a_restart(tmp_path):
    async with Node(tmp_path) as node:
        for number in (3, 4, 5):
            await node.sign(number)
        for number in (3, 4, 5):
            node.votes.add([vote(number)])
    async with Node(tmp_path) as node:
        node.votes.raise_floor(4)
        for number in (3, 4, 5):
            node.votes.add([vote(number)])

        await node.sign(6)

        assert not (tmp_path / "HALT").exists()


@pytest.mark.parametrize("fill", [LOW, 0xAB])
async def test_vote_the_record_has_forgotten_is_harmless(tmp_path, fill):
    async with Node(tmp_path) as node:
        for number in range(10):
            await node.sign(number)
        await node.record.prune(3)

        node.votes.add([vote(2, fill)])
        node.votes.add([vote(6)])

        assert node.guard.clone is None


async def test_junk_under_our_key_is_harmless(tmp_path):
    junk = [SignedBatch(batch(number), OURS.public(), vote(number + 50).signature) for number in range(1, 20)]
    async with Node(tmp_path) as node:
        node.votes.raise_floor(10)
        for one in junk:
            if one.batch.number < 10:
                node.votes.add([one])
            else:
                with pytest.raises(BadVoteSignature):
                    node.votes.add([one])

        assert node.guard.clone is None


async def test_votes_of_another_genesis_are_harmless(tmp_path):
    async with Node(tmp_path) as node:
        with pytest.raises(WrongGenesis):
            node.votes.add([vote(4, genesis=OTHER_GENESIS)])
        node.guard.heard(vote(4, genesis=OTHER_GENESIS))  # one that was on its way when the epoch ended

        assert node.guard.clone is None


async def test_others_may_vote_for_what_they_like(tmp_path):
    async with Node(tmp_path) as node:
        node.votes.add([vote(4, HIGH, THEIRS)])
        node.votes.add([vote(4, LOW, THEIRS)])

        assert node.guard.clone is None
        assert len(list(read_proofs(node.book.folder))) == 1


async def test_imported_votes_are_ours_also_two_for_one_number(tmp_path):
    async with Node(tmp_path) as node:
        two = tuple(RecordedVote(BatchNumber(4), batch(4, fill).hash) for fill in (LOW, HIGH))
        await node.record.merge([VoteHistory(GENESIS, OURS.public(), None, two)])

        node.votes.add([vote(4, LOW)])
        node.votes.add([vote(4, HIGH)])

        assert node.guard.clone is None
        node.votes.add([vote(4, 0x77)])
        assert node.guard.clone is not None


async def test_vote_heard_while_the_record_is_closed_is_no_error_of_who_brought_it(tmp_path, caplog):
    node = Node(tmp_path)

    node.votes.add([vote(4)])

    assert "not compared" in caplog.text


async def test_nothing_is_signed_after_a_vote_that_could_not_be_compared(tmp_path):
    async with Node(tmp_path) as node:
        read, node.record._reader = node.record._reader, None
        node.votes.add([vote(4)])
        node.record._reader = read

        for _ in range(2):
            with pytest.raises(OwnVoteNotCompared, match="batch 4"):
                await node.sign(5)
        assert node.record.recorded(GENESIS, OURS.public(), BatchNumber(5)) is None
        node.votes.add([vote(6)])
        assert node.guard.clone.heard == vote(6)
    repair(tmp_path, ack=True)
    async with Node(tmp_path) as node:
        node.votes.add([vote(4)])
        assert node.guard.clone.heard == vote(4)


# Listening first


async def test_nothing_is_signed_before_a_clone_would_have_been_heard(tmp_path, autojump_clock):
    async with Node(tmp_path, listen_s=5.0) as node:
        with pytest.raises(StillListening, match="not connected yet"):
            await node.sign(5)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.guard.run)
            await trio.sleep(4.9)
            with pytest.raises(SourceError, match=r"0\.1 s to go"):  # so the attester asks again
                await node.sign(5)
            await trio.sleep(0.1)

            made = await node.sign(5)

            nursery.cancel_scope.cancel()
        assert made == vote(5)


async def test_clone_heard_while_listening_leaves_no_signature_at_all(tmp_path, autojump_clock):
    async with Node(tmp_path, listen_s=5.0) as node:
        await ended_by(node, 1.0, vote(4))

        with pytest.raises(CloneSeen):
            await node.sign(5)
        assert node.record.votes(GENESIS, OURS.public(), BatchNumber(0), 10) == []


# After the operator has acknowledged


async def test_acknowledged_vote_does_not_halt_again_and_is_not_contradicted(tmp_path):
    async with Node(tmp_path) as node:
        node.votes.add([vote(4, HIGH)])
    repair(tmp_path, ack=True)

    async with Node(tmp_path) as node:
        taken = [await take_over(node.record, OURS.public(), tmp_path) for _ in range(2)]
        node.votes.add([vote(4, HIGH)])

        assert taken == [1, 0]
        assert node.guard.clone is None
        with pytest.raises(DoubleVote):
            await node.sign(4, LOW)
        assert (await node.signer.sign(batch(4, HIGH))) == vote(4, HIGH)


async def test_acknowledged_contradiction_is_never_signed_again(tmp_path):
    async with Node(tmp_path) as node:
        await node.sign(4, LOW)
        node.votes.add([vote(4, HIGH)])
    repair(tmp_path, ack=True)

    async with Node(tmp_path) as node:
        assert await take_over(node.record, OURS.public(), tmp_path) == 1
        for fill in (LOW, HIGH):
            node.votes.add([vote(4, fill)])
            with pytest.raises(DoubleVote):
                await node.signer.sign(batch(4, fill))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b'{"code":"clone_seen","sentence":"","evidence":{},"at":0}', b"null", b"[" * 5000],
)
async def test_note_that_cannot_be_read_is_passed_over(tmp_path, content, caplog):
    (tmp_path / "HALT.20260101T000000Z").write_bytes(content)

    async with Node(tmp_path) as node:
        assert await take_over(node.record, OURS.public(), tmp_path) == 0
    assert "is not read" in caplog.text


async def test_note_with_another_vote_than_the_one_that_was_signed_is_passed_over(tmp_path):
    async with Node(tmp_path) as node:
        node.votes.add([vote(4, HIGH)])
        kept = repair(tmp_path, ack=True)
        note = json.loads(kept.read_text())
        note["evidence"]["heard"] = SignedBatch(batch(5), OURS.public(), vote(4).signature).to_json()
        kept.write_text(json.dumps(note))

        assert await take_over(node.record, OURS.public(), tmp_path) == 0


# Signatures that tell processes apart


def test_hedged_signatures_are_valid_and_differ_between_processes_only():
    one, other = (HedgedKey.of(OURS, bytes([fill]) * ENTROPY) for fill in (1, 2))

    votes = [key.sign_batch(batch(5)) for key in (one, one, other, OURS)]

    for made in votes:
        made.verify()
    assert votes[0] == votes[1]
    assert len({made.signature for made in votes}) == 3
    assert one == OURS


@pytest.mark.parametrize("size", [0, ENTROPY - 1, ENTROPY + 1])
def test_hedged_key_wants_all_of_its_entropy(size):
    with pytest.raises(ValueError, match="32 bytes"):
        HedgedKey.of(OURS, bytes(size))


async def test_clone_that_votes_for_the_same_batch_is_told_from_an_echo(tmp_path):
    ours, theirs = (HedgedKey.of(OURS, bytes([fill]) * ENTROPY) for fill in (1, 2))
    async with Node(tmp_path, secret=ours) as node:
        made = await node.sign(5)
        node.votes.add([made])
        before = node.guard.clone

        node.votes.add([theirs.sign_batch(batch(5))])

        assert before is None
        with pytest.raises(CloneSeen, match="signed by another process"):
            await node.sign(6)


async def test_signature_on_record_stays_the_same_in_the_next_process(tmp_path):
    first, second = (HedgedKey.of(OURS, bytes([fill]) * ENTROPY) for fill in (1, 2))
    async with Node(tmp_path, secret=first) as node:
        made = await node.sign(5)
    async with Node(tmp_path, secret=second) as node:
        again = await node.sign(5)

        assert again == made
        assert node.guard.clone is None


# The same hash, signed twice


async def halted_by_a_clone_with_the_same_hash(data_dir, ours, theirs):
    async with Node(data_dir, secret=ours) as node:
        await node.sign(5)
        node.votes.add([theirs.sign_batch(batch(5))])
    repair(data_dir, ack=True)


async def test_acknowledged_clone_with_the_same_hash_does_not_halt_again(tmp_path):
    ours, theirs = (HedgedKey.of(OURS, bytes([fill]) * ENTROPY) for fill in (1, 2))
    await halted_by_a_clone_with_the_same_hash(tmp_path, ours, theirs)

    for _ in range(2):
        async with Node(tmp_path, secret=ours) as node:
            await take_over(node.record, OURS.public(), tmp_path)
            node.guard.heard(ours.sign_batch(batch(5)))
            node.guard.heard(theirs.sign_batch(batch(5)))

            assert (await node.sign(5)) == ours.sign_batch(batch(5))
            assert node.guard.clone is None
    assert not (tmp_path / "HALT").exists()


async def test_what_an_acknowledged_clone_signs_next_halts_again(tmp_path):
    ours, theirs = (HedgedKey.of(OURS, bytes([fill]) * ENTROPY) for fill in (1, 2))
    await halted_by_a_clone_with_the_same_hash(tmp_path, ours, theirs)

    async with Node(tmp_path, secret=ours) as node:
        await take_over(node.record, OURS.public(), tmp_path)
        await node.sign(6)
        node.votes.add([theirs.sign_batch(batch(5))])
        before = node.guard.clone
        node.votes.add([theirs.sign_batch(batch(6))])

        assert before is None
        assert node.guard.clone.heard.batch.number == 6


async def test_vote_imported_without_signature_and_signed_again_may_come_back_as_it_was(tmp_path):
    before, now = (HedgedKey.of(OURS, bytes([fill]) * ENTROPY) for fill in (1, 2))
    async with Node(tmp_path, secret=now) as node:
        unsigned = RecordedVote(BatchNumber(5), batch(5).hash)
        await node.record.merge([VoteHistory(GENESIS, OURS.public(), None, (unsigned,))])
        await node.sign(5)

        node.guard.heard(before.sign_batch(batch(5)))

        assert node.guard.clone is None
        node.guard.heard(before.sign_batch(batch(5, HIGH)))
        assert node.guard.clone is not None


async def test_history_of_a_shared_hash_is_told_to_the_next_record(tmp_path):
    ours, theirs = (HedgedKey.of(OURS, bytes([fill]) * ENTROPY) for fill in (1, 2))
    await halted_by_a_clone_with_the_same_hash(tmp_path, ours, theirs)
    async with Node(tmp_path, secret=ours) as node:
        await take_over(node.record, OURS.public(), tmp_path)
        await node.sign(6)
        with open_record(tmp_path / "protection.db") as reader:
            told = reader.export(CHAIN)

    (tmp_path / "next").mkdir()
    async with Node(tmp_path / "next") as node:
        await node.record.merge(told.histories)
        node.guard.heard(theirs.sign_batch(batch(5)))
        node.guard.heard(ours.sign_batch(batch(6)))

        assert node.guard.clone is None
        node.guard.heard(theirs.sign_batch(batch(6)))
        assert node.guard.clone is not None


async def test_record_of_the_first_version_is_read_and_taken_over(tmp_path):
    ours = HedgedKey.of(OURS, bytes([1]) * ENTROPY)
    connection = open_database(tmp_path / "protection.db", application_id=APPLICATION_ID, schema=SCHEMA[:1])
    connection.execute("INSERT INTO attesters VALUES (?, 0, '')", (OURS.public().raw,))
    connection.execute("INSERT INTO histories VALUES (1, ?, ?, ?, NULL)", (str(CHAIN), GENESIS.raw, OURS.public().raw))
    for number, signature in ((4, None), (5, ours.sign_batch(batch(5)).signature.raw)):
        connection.execute(
            "INSERT INTO votes VALUES (1, ?, ?, NULL, ?, NULL, 0, NULL)", (number, batch(number).hash.raw, signature)
        )
    connection.close()

    with open_record(tmp_path / "protection.db") as reader:
        exported = reader.export(CHAIN).histories
    async with Node(tmp_path) as node:
        await node.sign(4)
        node.guard.heard(ours.sign_batch(batch(4)))
        before = node.guard.clone
        node.guard.heard(vote(5))

        assert [int(one.number) for one in exported[0].votes] == [4, 5]
        assert before is None
        assert node.guard.clone.heard == vote(5)


async def test_clone_heard_on_a_full_disk_stops_the_next_start_too(tmp_path):
    disk = SimDisk(tmp_path)
    reserve(tmp_path, disk)
    disk.faults = Faults(full_at=0)

    async with Node(tmp_path, halt=partial(write_halt, tmp_path, disk=disk)) as node:
        node.votes.add([vote(4)])

    with pytest.raises(Halted, match="the disk could not take the reason"):
        refuse_if_halted(tmp_path)
    repair(tmp_path, ack=True)
    async with Node(tmp_path) as node:
        assert await take_over(node.record, OURS.public(), tmp_path) == 0
