"""Receipts: on disk before the vote leaves, whole after any crash, and no byte altered without being named."""

import errno
import json
import re
from hashlib import sha256
from pathlib import Path

import pytest
import trio
import trio.testing
from attestrio.errors import SafetyError, SourceError, StorageUnusable
from attestrio.kit.blocking import in_thread, inline
from attestrio.kit.disk import RealDisk
from attestrio.protection import receipt_tail
from attestrio.protection.receipts import (
    BadReceipt,
    Circumstances,
    CommitteeBrief,
    Receipt,
    ReceiptedSigner,
    ReceiptLine,
    ReceiptLog,
    ReceiptsAltered,
    ReceiptsClosed,
    RuleAnswer,
    UpstreamAnswer,
    line_untrusted,
    read_receipts,
    verify_receipts,
)
from attestrio.protection.signer import ProtectedSigner
from attestrio.roles import Committee, SignedBatch, WeightedAttester
from attestrio.sim.disk import Faults, SimDisk
from attestrio.sim.disk_model import Survival
from hypothesis import given, settings
from hypothesis import strategies as st
from protection_kit import GENESIS, KEY, OTHER_KEY, batch_of, opened
from suite import examples

COMMITTEE = Committee([WeightedAttester(KEY.public(), 10), WeightedAttester(OTHER_KEY.public(), 30)])
ZEROS = bytes(32)


def receipt(number, answer="batch known"):
    return Receipt(
        KEY.sign_batch(batch_of(number)),
        1,
        CommitteeBrief.of(COMMITTEE),
        (UpstreamAnswer("http://main", answer),),
        (RuleAnswer("record", "ok"), RuleAnswer("guard", "ok")),
    )


def lines(count, *, synced=None):
    """Lines as a log of single appends writes them; `synced` fixes what each says was on disk."""
    made, head = [], ZEROS
    for seq in range(1, count + 1):
        told = seq - 1 if synced is None else synced
        line, head = ReceiptLine(seq, head, told, 1_700_000_000_000 + seq, receipt(seq)).encode()
        made.append(line)
    return made


class Disk:
    """A scripted disk: what is done to it is noted, and fails where `faults` has an OSError for it."""

    def __init__(self, content=b""):
        self.synced = self.content = content
        self.operations = []
        self.faults = {}

    def open(self, path):
        return DiskFile(self)

    def sync_folder(self, folder):
        self.act("sync_folder")

    def act(self, what):
        self.operations.append(what)
        fault = self.faults.get(what)
        if fault is not None:
            raise fault


class DiskFile:
    def __init__(self, disk):
        self.disk = disk

    def size(self):
        return len(self.disk.content)

    def read(self, offset, size):
        return self.disk.content[offset : offset + size]

    def append(self, data):
        self.disk.content += data
        self.disk.act("append")

    def truncate(self, size):
        self.disk.content = self.disk.content[:size]
        self.disk.act("truncate")

    def sync(self):
        self.disk.act("sync")
        self.disk.synced = self.disk.content

    def close(self):
        self.disk.act("close")


async def opened_log(nursery, disk, run_blocking=inline):
    log = ReceiptLog("receipts.log", disk, run_blocking, clock=lambda: 1_700_000_000.0)
    await nursery.start(log.run)
    return log


async def refusal_of(disk):
    """With what a log on this disk refuses to start."""
    with pytest.raises(StorageUnusable) as caught:
        await ReceiptLog("receipts.log", disk, inline).run()
    return caught.value


# --- lines


def test_a_line_is_canonical_and_its_hash_covers_all_but_itself():
    line, head = ReceiptLine(7, b"\x11" * 32, 6, 1_732_165_505_123, receipt(41, "ß\n")).encode()

    found = json.loads(line)
    told = found.pop("hash")
    assert told == head.hex() == sha256(json.dumps(found, separators=(",", ":")).encode()).hexdigest()
    assert list(found) == [
        "seq", "prev", "synced", "at", "epoch", "batch", "attester", "upstream", "committee", "rules", "signature"
    ]  # fmt: skip
    assert found["batch"]["number"] == "41"
    assert found["committee"] | {"hash": ""} == {"hash": "", "members": 2, "weight": "40", "threshold": "33"}
    assert line_untrusted(line[:-1]).receipt == receipt(41, "ß\n")


def test_the_committee_is_named_by_keys_and_weights_in_order():
    members = b"".join(member.key.raw + member.weight.to_bytes(8, "big") for member in COMMITTEE)

    assert CommitteeBrief.of(COMMITTEE) == CommitteeBrief(sha256(members).digest(), 2, 40, 33)


def test_long_answers_are_cut_and_the_longest_receipt_fits_a_line():
    answers = tuple(UpstreamAnswer("\U0001f600" * 999, "\U0001f600" * 999) for _ in range(99))
    rules = tuple(RuleAnswer("\U0001f600" * 999, "\U0001f600" * 999) for _ in range(99))

    line, _ = ReceiptLine(
        1, ZEROS, 0, 0, Receipt(receipt(1).vote, 1, CommitteeBrief.of(COMMITTEE), answers, rules)
    ).encode()

    assert 700_000 < len(line) < 1 << 20
    assert line_untrusted(line[:-1]).encode()[0] == line


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"seq":1', b'{"seq":01'), (b'{"seq":1', b'{"seq":1.0'), (b'{"seq":1', b'{"seq":true'),
        (b'"epoch":1', b'"epoch": 1'), (b'"rules":[', b'"rules":{'), (b'"name":"http://main"', b'"name":["http://main"]'),
        (b'"number":"1"', b'"number":"-1"'), (b'"number":"1"', b'"number":1'), (b'"members":2', b'"members":2,"x":3'),
        (b'"epoch":1', b'"epoch":NaN'), (b"batch:keccak256:01", b"batch:keccak256:0"), (b"signature:secp256k1:", b""),
        (b'"epoch":1', b'"epoch":1,"epoch":1'), (b'"prev":"00', b'"prev":"0 0'), (b'{"seq":1', b"[" * 99_999),
    ],
)  # fmt: skip
def test_what_is_not_canonical_is_no_receipt(old, new):
    line = lines(1)[0][:-1]
    assert old in line

    with pytest.raises(BadReceipt):
        line_untrusted(line.replace(old, new, 1))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_receipt_or_a_bad_receipt(raw):
    with pytest.raises(BadReceipt):
        line_untrusted(raw)


# --- the log


async def test_what_is_appended_is_on_disk_and_verifies(nursery, tmp_path):
    log = ReceiptLog(tmp_path / "receipts.log", RealDisk(), in_thread)
    await nursery.start(log.run)

    heads = [await log.append(receipt(number)) for number in (7, 8, 9)]
    await log.close()

    verdict = verify_receipts(tmp_path / "receipts.log")
    assert verdict.ok
    assert (verdict.receipts, verdict.head, verdict.torn) == (3, log.head, 0)
    assert verdict.size == (tmp_path / "receipts.log").stat().st_size
    assert [(made.receipt, head) for made, head in read_receipts(tmp_path / "receipts.log")] == [
        (receipt(number), head) for number, head in zip((7, 8, 9), heads, strict=True)
    ]


async def test_a_log_goes_on_where_it_ended(nursery):
    disk = Disk()
    for number in range(3):
        log = await opened_log(nursery, disk)
        await log.append(receipt(number))
        await log.close()

    log = await opened_log(nursery, disk)
    assert (log.length, log.head) == (3, line_hash(disk.content.splitlines()[-1]))
    await log.close()
    assert [line_untrusted(line).seq for line in disk.content.splitlines()] == [1, 2, 3]


def line_hash(line):
    return bytes.fromhex(json.loads(line)["hash"])


async def test_one_sync_serves_all_who_wait(nursery):
    disk = Disk()
    entered, gate = trio.Event(), trio.Event()

    async def slow(fn):
        if fn.__class__.__name__ == "partial":
            entered.set()
            await gate.wait()
        return fn()

    log = await opened_log(nursery, disk, slow)
    async with trio.open_nursery() as callers:
        callers.start_soon(log.append, receipt(0))
        await entered.wait()
        for number in range(1, 40):
            callers.start_soon(log.append, receipt(number))
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    await log.close()

    assert disk.operations == ["sync", "sync_folder", "append", "sync", "append", "sync", "close"]
    assert [line_untrusted(line).synced for line in disk.content.splitlines()] == [0] + [1] * 39


async def test_a_long_group_is_written_in_parts_that_a_start_can_read(nursery, monkeypatch):
    monkeypatch.setattr("attestrio.protection.receipt_file.MAX_GROUP_BYTES", 2_500)
    disk = Disk()
    log = await opened_log(nursery, disk)

    async with trio.open_nursery() as callers:
        for number in range(5):
            callers.start_soon(log.append, receipt(number))
    await log.close()

    assert [line_untrusted(line).synced for line in disk.content.splitlines()] == [0, 0, 2, 2, 4]
    assert disk.operations.count("sync") == 4


async def test_who_leaves_before_its_turn_is_not_written(nursery):
    disk = Disk()
    entered, gate = trio.Event(), trio.Event()

    async def slow(fn):
        if fn.__class__.__name__ == "partial":
            entered.set()
            await gate.wait()
        return fn()

    log = await opened_log(nursery, disk, slow)
    async with trio.open_nursery() as callers:
        callers.start_soon(log.append, receipt(1))
        await entered.wait()
        with trio.move_on_after(0):
            await log.append(receipt(2))
        gate.set()
    await log.close()

    assert [line_untrusted(line).receipt for line in disk.content.splitlines()] == [receipt(1)]


async def test_a_log_that_does_not_run_takes_nothing(nursery):
    log = ReceiptLog("receipts.log", Disk(), inline)
    with pytest.raises(ReceiptsClosed):
        await log.append(receipt(1))

    await nursery.start(log.run)
    await log.close()

    with pytest.raises(ReceiptsClosed):
        await log.append(receipt(1))
    assert issubclass(ReceiptsClosed, SourceError)


@pytest.mark.parametrize(
    ("what", "number", "code"),
    [
        ("append", errno.ENOSPC, "storage_full"),
        ("sync", errno.EIO, "storage_failed"),
        ("append", errno.EIO, "storage_failed"),
    ],
)
async def test_a_disk_that_fails_ends_the_log_and_everybody_hears_of_it(what, number, code):
    disk, heard = Disk(), []
    log = ReceiptLog("receipts.log", disk, inline)

    async def append(number):
        with pytest.raises(StorageUnusable) as caught:
            await log.append(receipt(number))
        heard.append(caught.value.code)

    async def run(task_status):
        with pytest.raises(StorageUnusable) as caught:
            await log.run(task_status=task_status)
        heard.append(caught.value.code)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        disk.faults[what] = OSError(number, "fault")
        for index in range(5):
            nursery.start_soon(append, index)
    await append(6)

    assert heard == [code] * 7
    assert disk.operations[-1] == "close"


async def test_cancelled_in_the_middle_nobody_waits_for_ever(autojump_clock):
    disk, heard = Disk(), []

    async def never(fn):
        if fn.__class__.__name__ == "partial":
            await trio.sleep_forever()
        return fn()

    log = ReceiptLog("receipts.log", disk, never)

    async def append(number):
        with pytest.raises(ReceiptsClosed):
            await log.append(receipt(number))
        heard.append(number)

    async with trio.open_nursery() as nursery, trio.open_nursery() as life:
        await life.start(log.run)
        for number in range(3):
            nursery.start_soon(append, number)
        await trio.testing.wait_all_tasks_blocked()
        life.cancel_scope.cancel()

    assert sorted(heard) == [0, 1, 2]


# --- what a crash leaves


@pytest.mark.parametrize("left", [1, 8, 100, 400, -1])
async def test_a_torn_last_line_is_cut_off_and_the_log_goes_on(nursery, left):
    *whole, last = lines(4)
    disk = Disk(b"".join(whole) + last[:left])

    log = await opened_log(nursery, disk)
    assert log.length == 3
    assert disk.content == b"".join(whole)
    await log.append(receipt(9))
    await log.close()

    assert [line_untrusted(line).seq for line in disk.content.splitlines()] == [1, 2, 3, 4]


async def test_a_group_torn_in_its_middle_is_cut_off_from_there(nursery):
    """Sectors of one write reach the disk in any order."""
    group = lines(5, synced=1)
    broken = bytes(len(group[2]))
    disk = Disk(b"".join([group[0], group[1], broken, group[3], group[4]]))

    log = await opened_log(nursery, disk)
    await log.close()

    assert disk.content == b"".join(group[:2])


async def test_a_receipt_that_had_been_synced_is_not_cut_off(nursery):
    made = lines(5)
    made[2] = made[2].replace(b"batch known", b"batch hidden")
    before = b"".join(made)
    disk = Disk(before)

    refused = await refusal_of(disk)

    assert isinstance(refused, ReceiptsAltered)
    assert refused.exit_code == 4
    assert (refused.fault.seq, refused.fault.offset) == (3, len(made[0] + made[1]))
    assert disk.content == before


async def test_a_start_reads_the_end_only(nursery):
    reads = []

    class Counting(DiskFile):
        def read(self, offset, size):
            reads.append(size)
            return super().read(offset, size)

    disk = Disk(b"".join(lines(400)))
    disk.open = lambda path: Counting(disk)

    log = await opened_log(nursery, disk)
    await log.close()

    assert log.length == 400
    assert reads == [receipt_tail.WINDOWS[0]]
    assert disk.operations == ["sync", "sync_folder", "close"]


async def test_a_group_longer_than_the_first_look_is_read_whole(nursery):
    group = lines(60, synced=0)
    disk = Disk(b"".join([*group[:5], bytes(len(group[5])), *group[6:]]))

    log = await opened_log(nursery, disk)
    await log.close()

    assert log.length == 5


async def test_a_file_in_which_nothing_is_a_receipt_is_refused_when_it_is_long(nursery, monkeypatch):
    monkeypatch.setattr("attestrio.protection.receipt_file.WINDOWS", (100, 1_000))

    refused = await refusal_of(Disk(b"some other program's log\n" * 100))

    assert refused.code == "receipts_altered"
    assert "no receipt can be made out in the last 1000 bytes" in str(refused)


async def append_groups(disk, groups, acknowledged):
    """A process that lives until the disk is dead."""
    async with trio.open_nursery() as nursery:
        log = ReceiptLog(disk.folder / "receipts.log", disk, inline)
        await nursery.start(log.run)

        async def append(number):
            acknowledged.append(await log.append(receipt(number)))

        for group, size in enumerate(groups):
            async with trio.open_nursery() as callers:
                for index in range(size):
                    callers.start_soon(append, 100 * group + index)
        await log.close()


def run_until_dead(disk, groups, acknowledged):
    try:
        trio.run(append_groups, disk, groups, acknowledged)
    except BaseExceptionGroup as group:
        if group.split(StorageUnusable)[1] is not None:
            raise
    except StorageUnusable:
        pass


@pytest.mark.slow
@settings(max_examples=examples(500), deadline=None)
@given(
    seed=st.integers(0, 2**32),
    groups=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    crash_at=st.integers(0, 14),
    again_at=st.none() | st.integers(0, 6),
    survival=st.sampled_from(list(Survival)),
)
def test_no_acknowledged_receipt_is_lost_in_any_crash(tmp_path_factory, seed, groups, crash_at, again_at, survival):
    """The power goes at any write or sync, and perhaps again while the log is repaired; then it goes on."""
    folder, acknowledged = tmp_path_factory.mktemp("disk"), []
    (folder / "0").mkdir()
    disk = SimDisk(folder / "0", seed, Faults(crash_at=crash_at))
    run_until_dead(disk, groups, acknowledged)
    if again_at is not None:
        disk = SimDisk.surviving(disk.after_crash(survival), folder / "1", seed, Faults(crash_at=again_at))
        run_until_dead(disk, groups, acknowledged)
    disk = SimDisk.surviving(disk.after_crash(survival), folder / "2", seed)

    trio.run(append_groups, disk, [1, 2], acknowledged)

    verdict = verify_receipts(folder / "2" / "receipts.log")
    found = {head for _, head in read_receipts(folder / "2" / "receipts.log")}
    assert (verdict.fault, verdict.torn) == (None, 0)
    assert set(acknowledged) <= found


def test_without_its_syncs_the_log_would_lose_receipts(tmp_path):
    """That the test above can fail."""
    lost = 0
    for seed in range(20):
        folder, acknowledged = tmp_path / str(seed), []
        folder.mkdir()
        disk = SimDisk(folder, seed, Faults(ignore_syncs_of={"receipts.log"}))
        trio.run(append_groups, disk, [2, 2], acknowledged)
        left = disk.crash(tmp_path / f"{seed}-after", Survival.REORDERED)
        try:
            trio.run(append_groups, left, [1], [])
        except* ReceiptsAltered:
            lost += 1
        else:
            lost += not set(acknowledged) <= {head for _, head in read_receipts(left.folder / "receipts.log")}

    assert lost > 0


# --- verified by somebody else


def altered(path, raw):
    path.write_bytes(raw)
    return verify_receipts(path).fault


def test_an_empty_log_proves_nothing_and_is_sound(tmp_path):
    (tmp_path / "log").touch()

    assert verify_receipts(tmp_path / "log").ok
    assert verify_receipts(tmp_path / "log", head=ZEROS).ok
    assert not verify_receipts(tmp_path / "log", head=b"\x01" * 32).ok


SOUND = b"".join(lines(4))


@pytest.mark.slow
@settings(max_examples=examples(500), deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path_factory, at, bit):
    raw = bytearray(SOUND)
    raw[at] ^= 1 << bit

    fault = altered(tmp_path_factory.getbasetemp() / "flipped", bytes(raw))

    assert fault is not None
    assert (fault.offset, fault.exact) == (at, True)
    assert fault.seq == SOUND[:at].count(b"\n") + 1


@pytest.mark.slow
@settings(max_examples=examples(100), deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.integers(0x20, 0x7E))
def test_another_character_is_found_wherever_it_is(tmp_path_factory, at, byte):
    raw = SOUND[:at] + bytes((byte,)) + SOUND[at + 1 :]

    fault = altered(tmp_path_factory.getbasetemp() / "character", raw)

    assert fault is None if raw == SOUND else (fault.offset, fault.exact) == (at, True)


def test_every_newline_that_is_gone_or_new_is_found(tmp_path):
    for at, byte in enumerate(SOUND):
        if byte == 0x0A or at % 97 == 0:
            raw = SOUND[:at] + (b"x" if byte == 0x0A else b"\n") + SOUND[at + 1 :]

            fault = altered(tmp_path / "log", raw)

            assert (fault.offset, fault.exact) == (at, True)


def test_of_several_altered_bytes_the_line_is_named(tmp_path):
    first = len(lines(1)[0])
    raw = SOUND[:first] + SOUND[first:].replace(b"batch known", b"batch hidde", 1).replace(b'"ok"', b'"no"', 1)

    fault = altered(tmp_path / "log", raw)

    assert (fault.seq, fault.offset, fault.exact) == (2, first, False)
    assert fault.end == first + len(lines(2)[1]) - 1


def forged(made, at, old, new):
    """The log with one line written anew, its hash included."""
    body = made[at].replace(old, new, 1)[:-76] + b"}"
    digest = sha256(body).hexdigest().encode()
    return [*made[:at], body[:-1] + b',"hash":"' + digest + b'"}\n', *made[at + 1 :]]


def test_a_line_written_anew_with_its_hash_is_named_by_the_line_after(tmp_path):
    made = lines(4)
    raw = b"".join(forged(made, 1, b"batch known", b"batch knowM"))

    fault = altered(tmp_path / "log", raw)

    assert (fault.seq, fault.offset, fault.exact) == (2, raw.index(b"knowM") + 4, True)
    assert fault.problem == "it was replaced: the receipt after it was written after another"


def test_a_vote_that_the_key_did_not_sign_is_named(tmp_path):
    """The chain is recomputed by the forger from there to the end; the signature is not theirs to make."""
    made, head, at = [], ZEROS, 0
    for seq in (1, 2, 3):
        one = receipt(seq)
        if seq == 2:
            one = Receipt(SignedBatch(batch_of(2, content=9), KEY.public(), one.vote.signature), 1, one.committee)
            at = len(b"".join(made))
        line, head = ReceiptLine(seq, head, seq - 1, 0, one).encode()
        made.append(line)

    fault = altered(tmp_path / "log", b"".join(made))

    assert (fault.seq, fault.offset, fault.exact) == (2, at, False)
    assert "bad signature" in fault.problem


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_line_is_named(tmp_path, gone):
    made = lines(4)

    fault = altered(tmp_path / "log", b"".join(made[:gone] + made[gone + 1 :]))

    assert (fault.seq, fault.offset) == (gone + 1, len(b"".join(made[:gone])))
    assert fault.problem.startswith(f"receipt {gone + 2} stands here: receipts are missing")


def test_lines_missing_at_the_end_are_noticed_only_with_a_hash_from_elsewhere(tmp_path):
    made = lines(4)
    (tmp_path / "log").write_bytes(b"".join(made[:3]))

    assert verify_receipts(tmp_path / "log").ok
    assert verify_receipts(tmp_path / "log", head=line_hash(made[1])).ok
    assert verify_receipts(tmp_path / "log", head=line_hash(made[3])).fault.offset == len(b"".join(made[:3]))


def test_a_torn_end_is_told_apart_from_an_altered_one(tmp_path):
    made = lines(3)
    (tmp_path / "log").write_bytes(b"".join(made)[:-10])

    verdict = verify_receipts(tmp_path / "log")

    assert (verdict.ok, verdict.receipts, verdict.torn) == (True, 2, len(made[2]) - 10)
    assert verdict.size == len(made[0] + made[1])


def test_a_line_without_end_is_a_fault_and_not_read_into_memory(tmp_path):
    fault = altered(tmp_path / "log", SOUND + b"x" * (3 << 20))

    assert (fault.seq, fault.offset) == (5, len(SOUND))


def test_a_log_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(StorageUnusable) as caught:
        verify_receipts(tmp_path / "nowhere")

    assert caught.value.code == "storage_unwritable"


# --- the signer


class Signed:
    """A signer that notes when it is asked."""

    def __init__(self, record):
        self.record = record

    async def sign(self, batch):
        self.record.append("signed")
        return KEY.sign_batch(batch)


async def test_a_vote_leaves_after_its_receipt(nursery):
    happened, disk = [], Disk()
    disk.operations = happened
    log = await opened_log(nursery, disk)
    happened.clear()

    def context(batch):
        happened.append(f"asked about {batch.number}")
        return Circumstances(3, COMMITTEE, (UpstreamAnswer("http://main", "yes"),), (RuleAnswer("record", "ok"),))

    vote = await ReceiptedSigner(Signed(happened), log, context).sign(batch_of(7))
    happened.append("left")
    await log.close()

    assert happened == ["asked about 7", "signed", "append", "sync", "left", "close"]
    (line,) = disk.synced.splitlines()
    made = line_untrusted(line).receipt
    assert (made.vote, made.epoch, made.upstream[0].answer) == (vote, 3, "yes")


async def test_a_vote_without_receipt_does_not_leave(nursery):
    log = ReceiptLog("receipts.log", Disk(), inline)

    with pytest.raises(ReceiptsClosed):
        await ReceiptedSigner(Signed([]), log, lambda batch: Circumstances(1, COMMITTEE)).sign(batch_of(7))


async def test_a_vote_stopped_while_its_receipt_is_written_does_not_leave(nursery):
    log = await opened_log(nursery, Disk())
    stopped = SafetyError("halted")

    def check():
        raise stopped

    with pytest.raises(SafetyError) as caught:
        await ReceiptedSigner(Signed([]), log, lambda batch: Circumstances(1, COMMITTEE), check).sign(batch_of(7))
    await log.close()

    assert caught.value is stopped


async def test_a_vote_whose_receipt_was_lost_gets_one_when_it_is_asked_for_again(tmp_path):
    """Power goes between the record and the receipt: the vote has not left, and is the same afterwards."""
    disk = Disk()
    disk.faults["append"] = OSError(errno.EIO, "power")

    async def sign(on, epoch=None):
        async with opened(tmp_path / "p.db") as record, trio.open_nursery() as nursery:
            log = await opened_log(nursery, on)
            epoch = record.current_epoch() or await record.open_epoch(GENESIS, 0, "start")
            protected = ProtectedSigner(record, KEY, lambda: None, epoch=epoch.id)
            signer = ReceiptedSigner(protected, log, lambda batch: Circumstances(epoch.id, COMMITTEE))
            vote = await signer.sign(batch_of(7))
            await log.close()
        return vote

    with pytest.raises(BaseExceptionGroup):
        await sign(disk)
    after = Disk()
    vote = await sign(after)

    assert disk.synced == b""
    assert vote == KEY.sign_batch(batch_of(7))
    assert [line_untrusted(line).receipt.vote for line in after.content.splitlines()] == [vote]


def test_the_check_on_the_page_needs_nothing_of_ours(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    closing = block.replace('open(name, "rb")', "Path(name).read_bytes().splitlines(True)")

    Path("receipts.log").write_bytes(SOUND)
    exec(closing, {"Path": Path})
    Path("receipts.log").write_bytes(SOUND.replace(b"batch known", b"batch knowM", 1))
    with pytest.raises(AssertionError):
        exec(closing, {"Path": Path})
