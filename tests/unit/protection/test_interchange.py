"""Signing histories as files: read in one way only, and moved without a chance to contradict what was signed."""

import json
import re
from pathlib import Path

import pytest
import trio
from attestrio.kit.blocking import inline
from attestrio.kit.sqlite import StorageCorrupt
from attestrio.protection import interchange
from attestrio.protection.interchange import (
    BadInterchange,
    HistoryTooLong,
    Interchange,
    WrongChain,
    encode_interchange,
    newest_of,
    read_interchange,
    take_over,
)
from attestrio.protection.reader import open_record
from attestrio.protection.record import SigningRefused, VoteRecord
from attestrio.protection.rows import RecordedVote, VoteHistory
from attestrio.roles import BatchNumber
from coincurve import PublicKey
from Crypto.Hash import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protection_kit import CHAIN, GENESIS, KEY, OTHER_KEY, UnsyncedDisk, batch_of, opened
from suite import examples

GOLDEN = Path(__file__).parents[2] / "golden" / "interchange"
EVERYTHING = (GOLDEN / "everything.json").read_bytes()
DISK = UnsyncedDisk()  # registered as long as it lives
REFUSED = sorted((GOLDEN / "refused").glob("*.json"))


def vote(number, content=1, *, key=KEY, signed=True):
    batch = batch_of(number, content=content)
    return RecordedVote(batch.number, batch.hash, key.sign_batch(batch).signature if signed else None)


def history(*votes, low=None, key=KEY):
    return VoteHistory(GENESIS, key.public(), None if low is None else BatchNumber(low), votes)


# --- a second reader, written from docs/formats.md alone


def need(fact):
    if not fact:
        raise ValueError


def pairs(found):
    need(len({name for name, _ in found}) == len(found))
    return dict(found)


def decimal(text, limit):
    need(isinstance(text, str) and re.fullmatch("0|[1-9][0-9]*", text) and len(text) < 21 and int(text) <= limit)
    return int(text)


def hexed(text, prefix, size):
    need(
        isinstance(text, str)
        and text.startswith(prefix)
        and re.fullmatch(f"[0-9a-f]{{{2 * size}}}", text[len(prefix) :])
    )
    return bytes.fromhex(text[len(prefix) :])


def varint(number):
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def signed_by(signature, key, number, content, genesis):
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    batch = b"\x08" + varint(number) + b"\x12\x22\x0a\x20" + content + b"\x1a\x22\x0a\x20" + genesis
    message = keccak.new(digest_bits=256, data=b"\x22" + bytes([len(batch)]) + batch).digest()
    need(int.from_bytes(signature[32:64], "big") <= order // 2 and 27 <= signature[64] <= 30)
    recoverable = signature[:64] + bytes([signature[64] - 27])
    try:
        return PublicKey.from_signature_and_message(recoverable, message, hasher=None).format() == key
    except Exception as exc:  # whatever the library says about it: it is no signature of this key
        raise ValueError from exc


def second_reader(raw):
    """The meaning as plain values; None where there is none."""
    try:
        return second_meaning(raw)
    except ValueError:
        return None


def second_meaning(raw):
    top = json.loads(raw.decode(), object_pairs_hook=pairs)
    need(isinstance(top, dict) and set(top) == {"format", "version", "chain_id", "attesters"})
    need(top["format"] == "attestrio-protection" and type(top["version"]) is int and top["version"] == 1)
    need(isinstance(top["attesters"], list))
    chain, meaning, unused = decimal(top["chain_id"], 2**64 - 1), {}, set()
    for entry in top["attesters"]:
        need(isinstance(entry, dict) and set(entry) == {"key", "genesis", "low_watermark", "votes"})
        key = hexed(entry["key"], "attester:public:secp256k1:", 33)
        PublicKey(key)
        need(isinstance(entry["votes"], list))
        if entry["genesis"] is None:
            need(entry["low_watermark"] is None and entry["votes"] == [] and key not in unused)
            unused.add(key)
            continue
        genesis = hexed(entry["genesis"], "genesis_hash:keccak256:", 32)
        need((key, genesis) not in meaning)
        low = None if entry["low_watermark"] is None else decimal(entry["low_watermark"], 2**63 - 2)
        votes = {}
        for one in entry["votes"]:
            need(isinstance(one, dict) and set(one) == {"number", "hash", "signature"})
            number, content = decimal(one["number"], 2**63 - 2), hexed(one["hash"], "batch:keccak256:", 32)
            need(not votes or number >= max(votes))
            hashes = votes.setdefault(number, {})
            need(content not in hashes and len(hashes) < 2)
            hashes[content] = None
            if one["signature"] is not None:
                hashes[content] = hexed(one["signature"], "attester:signature:secp256k1:", 65)
                need(signed_by(hashes[content], key, number, content, genesis))
        meaning[key, genesis] = (low, votes)
    need(not unused & {key for key, _ in meaning})
    return chain, meaning, unused


def first_reader(raw):
    """The same by our own reader."""
    try:
        return meaning_of(read_interchange(raw))
    except BadInterchange:
        return None


def meaning_of(told):
    """What our own reader found, as the second one puts it."""
    histories = {}
    for one in told.histories:
        votes = {}
        for cast in one.votes:
            votes.setdefault(int(cast.number), {})[cast.hash.raw] = cast.signature and cast.signature.raw
        histories[one.attester.raw, one.genesis.raw] = (None if one.low is None else int(one.low), votes)
    return told.chain_id, histories, {key.raw for key in told.unused}


# --- the file


def test_a_file_is_read_as_it_was_written():
    told = read_interchange(EVERYTHING, 270)

    assert encode_interchange(told).encode() == EVERYTHING
    assert [(int(one.low) if one.low else None, len(one.votes)) for one in told.histories] == [
        (6, 4), (None, 1), (2**63 - 2, 0)
    ]  # fmt: skip
    assert len(told.unused) == 1
    assert len(told.all_keys()) == 3


def test_layout_and_order_of_fields_do_not_matter():
    other = (GOLDEN / "everything-other-layout.json").read_bytes()
    ordered = json.loads(other)
    ordered["attesters"].reverse()
    for entry in ordered["attesters"]:
        entry["votes"].sort(key=lambda one: int(one["number"]))

    assert meaning_of(read_interchange(json.dumps(ordered).encode())) == meaning_of(read_interchange(EVERYTHING))


def test_a_history_of_nobody_can_be_carried():
    told = read_interchange((GOLDEN / "empty.json").read_bytes())

    assert told == Interchange(2**64 - 1, ())
    assert encode_interchange(told).encode() == (GOLDEN / "empty.json").read_bytes()


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_what_is_not_quite_a_history_is_refused(path):
    raw = path.read_bytes()

    with pytest.raises(BadInterchange):
        read_interchange(raw)
    assert second_reader(raw) is None


def test_both_readers_find_the_same():
    for path in sorted(GOLDEN.glob("*.json")):
        assert meaning_of(read_interchange(path.read_bytes())) == second_reader(path.read_bytes())


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[" * 200_000, b"1" * 10_000, b"[]", b'"x"', b"null", b"{}"])
def test_what_is_no_history_at_all_is_refused(raw):
    with pytest.raises(BadInterchange):
        read_interchange(raw)


def test_a_file_of_another_chain_is_refused():
    with pytest.raises(WrongChain) as caught:
        read_interchange(EVERYTHING, 271)

    assert (caught.value.got, caught.value.want) == (270, (271,))


def test_a_file_above_the_limit_is_neither_written_nor_read(monkeypatch):
    monkeypatch.setattr(interchange, "MAX_FILE", len(EVERYTHING) - 1)

    with pytest.raises(BadInterchange, match="the limit is"):
        read_interchange(EVERYTHING)
    with pytest.raises(HistoryTooLong, match="--newest"):
        encode_interchange(Interchange(270, tuple(history(vote(number)) for number in range(20))))


PATHS = st.lists(st.integers(0, 5), min_size=1, max_size=4)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 9), st.sampled_from(["7", "07", "8", "9223372036854775807", "", "x"]),
    st.just([]), st.just({}),
)  # fmt: skip


def altered(document, way, value, how):
    """The document with one place replaced, removed or doubled."""
    here, last = document, None
    for step in way:
        if not isinstance(here, dict | list) or not here:
            break
        at = sorted(here)[step % len(here)] if isinstance(here, dict) else step % len(here)
        last, here = (here, at), here[at]
    if last is None:
        return document
    holder, at = last
    if how == "replace":
        holder[at] = value
    elif how == "remove":
        del holder[at]
    elif isinstance(holder, list):
        holder.insert(at, here)
    return document


@pytest.mark.slow
@settings(max_examples=examples(400), deadline=None)
@given(st.lists(st.tuples(PATHS, VALUES, st.sampled_from(["replace", "remove", "double"])), max_size=3))
def test_two_readers_agree_about_every_file(changes):
    document = json.loads(EVERYTHING)
    for way, value, how in changes:
        document = altered(document, way, value, how)
    raw = json.dumps(document).encode()

    assert first_reader(raw) == second_reader(raw)


@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
@given(st.integers(0, len(EVERYTHING) - 1), st.integers(0, 255))
def test_two_readers_agree_about_every_byte(at, byte):
    raw = EVERYTHING[:at] + bytes((byte,)) + EVERYTHING[at + 1 :]

    assert first_reader(raw) == second_reader(raw)


# --- fewer votes


def test_a_shorter_history_has_a_higher_watermark():
    whole = history(vote(5), vote(7), vote(7, 2, signed=False), vote(9), vote(12), low=6)

    assert newest_of(whole, 4) == whole
    assert newest_of(whole, 2) == history(vote(9), vote(12), low=7)
    assert newest_of(whole, 3) == history(vote(7), vote(7, 2, signed=False), vote(9), vote(12), low=6)


# --- from one record to another


async def export_of(path):
    with open_record(path) as record:
        return record.export(CHAIN)


async def test_a_moved_key_signs_on_without_a_first_start(tmp_path):
    async with opened(tmp_path / "old.db") as record:
        epoch = (await record.open_epoch(GENESIS, 0, "start")).id
        first = [await record.sign(KEY, batch_of(number), epoch=epoch) for number in (7, 8)]
    told = read_interchange(encode_interchange(await export_of(tmp_path / "old.db")).encode())

    new = VoteRecord(tmp_path / "new.db", CHAIN, inline)
    async with trio.open_nursery() as nursery:
        await nursery.start(new.run)
        counts = await take_over(new, told)
        epoch = (await new.open_epoch(GENESIS, 0, "start")).id
        again = [await new.sign(KEY, batch_of(number), epoch=epoch) for number in (7, 8)]
        with pytest.raises(SigningRefused):
            await new.sign(KEY, batch_of(8, content=2), epoch=epoch)
        await new.sign(KEY, batch_of(9), epoch=epoch)
        await new.close()

    assert counts == (2, 0)
    assert again == first


async def test_a_key_that_signed_nothing_is_moved_too(tmp_path):
    async with opened(tmp_path / "old.db") as record:
        await record.add_key(OTHER_KEY.public())

    told = await export_of(tmp_path / "old.db")

    async with opened(tmp_path / "new.db") as record:
        await take_over(record, told)
        assert record.knows_key(OTHER_KEY.public())


async def test_a_key_with_a_past_on_another_chain_is_not_called_unused(tmp_path):
    path = tmp_path / "old.db"
    async with opened(path) as record:
        await record.merge([history(vote(7))])

    with open_record(path) as record:
        told = record.export(CHAIN + 1)

    assert KEY.public() not in told.all_keys()


async def test_histories_of_another_chain_are_not_taken_over(tmp_path):
    async with opened(tmp_path / "p.db") as record:
        with pytest.raises(WrongChain):
            await take_over(record, Interchange(CHAIN + 1, (history(vote(7)),)))

        assert record.histories() == []


async def test_two_hosts_that_disagreed_are_both_remembered(tmp_path):
    async with opened(tmp_path / "p.db") as record:
        epoch = (await record.open_epoch(GENESIS, 0, "start")).id
        await record.merge([history(vote(7, 1), vote(8, 1))])

        counts = await take_over(record, Interchange(CHAIN, (history(vote(7, 2), vote(8, 1)),)))

        assert counts == (0, 1)
        for content in (1, 2, 3):
            with pytest.raises(SigningRefused):
                await record.sign(KEY, batch_of(7, content=content), epoch=epoch)
        await record.sign(KEY, batch_of(8, content=1), epoch=epoch)
    exported = await export_of(tmp_path / "p.db")
    assert meaning_of(read_interchange(encode_interchange(exported).encode())) == meaning_of(exported)


async def test_reading_waits_for_nobody_and_changes_nothing(tmp_path):
    path = tmp_path / "p.db"
    async with opened(path) as record:
        epoch = (await record.open_epoch(GENESIS, 0, "start")).id
        await record.sign(KEY, batch_of(7), epoch=epoch)
        with open_record(path) as reader:
            await record.sign(KEY, batch_of(8), epoch=epoch)

            (brief,) = [one for one in reader.briefs() if one.history.attester == KEY.public()]
            assert (brief.votes, brief.newest, brief.contested) == (1, 7, 0)
            assert reader.epoch() == record.current_epoch()
            assert reader.chains() == [CHAIN]
    before = path.read_bytes()
    with open_record(path) as reader:
        assert reader.briefs()[0].votes == 2
    assert path.read_bytes() == before


def test_a_record_that_is_none_is_said(tmp_path):
    (tmp_path / "p.db").write_bytes(b"no database at all" * 100)

    with pytest.raises(StorageCorrupt), open_record(tmp_path / "p.db"):
        pass


# --- whatever happened before the move, nothing contradicts it afterwards

NUMBERS, CONTENTS = st.integers(0, 6), st.integers(1, 3)
SIGN = st.tuples(st.just("sign"), NUMBERS, CONTENTS)
STEPS = st.lists(st.one_of(SIGN, SIGN, st.tuples(st.just("prune"), st.integers(1, 3), st.just(0))), max_size=10)


async def play(record, steps, said):
    """Sign and prune; every vote that came out goes to `said`: number → hashes."""
    epoch = (await record.open_epoch(GENESIS, 0, "start")).id
    for verb, number, content in steps:
        if verb == "prune":
            await record.prune(number)
            continue
        try:
            cast = await record.sign(KEY, batch_of(number, content=content), epoch=epoch)
        except SigningRefused:
            continue
        cast.verify()
        said.setdefault(number, set()).add(cast.batch.hash.raw)


@pytest.mark.slow
@settings(max_examples=examples(400), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=STEPS, other=STEPS, keep=st.none() | st.integers(1, 4), after=st.lists(SIGN, max_size=14))
def test_no_vote_after_a_move_contradicts_one_before(tmp_path_factory, old, other, keep, after):
    """`other` is what the new host had signed with the key on its own, which nobody should do and somebody will."""
    folder = tmp_path_factory.mktemp("move")

    async def move():
        before, later = {}, {}
        for name, steps in (("old", old), ("new", other)):
            async with opened(folder / name, vfs=DISK.NAME) as record:
                await play(record, steps, before)
        with open_record(folder / "old") as reader:
            text = encode_interchange(reader.export(CHAIN, keep))
        async with opened(folder / "new", vfs=DISK.NAME) as record:
            await take_over(record, read_interchange(text.encode(), CHAIN))
            await play(record, after, later)
        return before, later

    before, later = trio.run(move)

    for number, hashes in later.items():
        assert len(hashes) == 1
        assert before.get(number, hashes) == hashes, (number, before, later)


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mine=STEPS, theirs=STEPS)
def test_importing_twice_or_one_s_own_changes_nothing(tmp_path_factory, mine, theirs):
    folder = tmp_path_factory.mktemp("twice")

    async def move():
        for name, steps in (("mine", mine), ("theirs", theirs)):
            async with opened(folder / name, vfs=DISK.NAME) as record:
                await play(record, steps, {})
        exports = []
        for source in ("theirs", "theirs", "mine"):
            with open_record(folder / source) as reader:
                told = reader.export(CHAIN)
            async with opened(folder / "mine", vfs=DISK.NAME) as record:
                await take_over(record, told)
            with open_record(folder / "mine") as reader:
                exports.append(meaning_of(reader.export(CHAIN)))
        return exports

    first, second, third = trio.run(move)

    assert first == second == third


# --- what docs/protection.md promises


def page_blocks(language):
    page = (Path(__file__).parents[3] / "docs" / "protection.md").read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


async def test_the_watermark_of_the_page_can_be_imported(tmp_path):
    (block,) = page_blocks("json")
    told = read_interchange(block.encode())
    (entry,) = told.histories

    async with opened(tmp_path / "p.db", chain_id=told.chain_id) as record:
        await take_over(record, told)

        assert record.watermark(entry.genesis, entry.attester) == 12_000
        assert record.knows_key(entry.attester)
