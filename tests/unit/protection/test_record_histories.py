"""Whatever is asked in whatever order: for one key, genesis and number at most one hash ever leaves."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from attestrio.protection.record import RecordedVote, SigningRefused, VoteHistory, VoteRecord
from attestrio.roles import AttesterPublicKey, BatchHash, BatchNumber, GenesisHash
from hypothesis import event, given, settings
from hypothesis import strategies as st
from protection_kit import GENESIS, KEY, OTHER_KEY, REVERTED, UnsyncedDisk, batch_of, opened
from suite import examples

KEYS = (KEY, OTHER_KEY)
GENESES = (GENESIS, REVERTED)
DISK = UnsyncedDisk()  # registered as long as it lives

asks = st.builds(
    batch_of,
    number=st.integers(0, 5) | st.sampled_from([2**63 - 2, 2**63 - 1]),
    content=st.integers(1, 3),
    genesis=st.sampled_from(GENESES),
)
steps = st.one_of(
    st.tuples(st.just("sign"), st.lists(st.tuples(st.sampled_from(KEYS), asks, st.booleans()), min_size=1, max_size=4)),
    st.tuples(st.just("prune"), st.integers(1, 3)),
    st.tuples(st.just("epoch"), st.sampled_from(GENESES)),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(
        st.just("merge"),
        st.tuples(
            st.sampled_from(KEYS),
            st.sampled_from(GENESES),
            st.none() | st.integers(0, 4),
            st.dictionaries(st.integers(0, 5), st.integers(1, 3), max_size=3),
        ),
    ),
)


@dataclass
class Left:
    """What has left so far, here and in the records that were merged into this one."""

    hashes: dict[tuple[AttesterPublicKey, GenesisHash, int], set[BatchHash]] = field(default_factory=dict)
    elsewhere: dict[tuple[AttesterPublicKey, GenesisHash, int], set[BatchHash]] = field(default_factory=dict)
    refused: int = 0


async def play(path, plan, left):
    rest = list(plan)
    while rest:
        async with opened(path, keys=KEYS, vfs=DISK.NAME) as record:
            if record.current_epoch() is None:
                await record.open_epoch(GENESIS, 0, "start")
            while rest:
                verb, what = rest.pop(0)
                if verb == "restart":
                    break
                await step(record, verb, what, left)


async def step(record: VoteRecord, verb, what, left):
    match verb:
        case "sign":
            async with trio.open_nursery() as nursery:
                for key, batch, is_current in what:
                    epoch = record.current_epoch().id - (0 if is_current else 1)
                    nursery.start_soon(ask, record, key, batch, epoch, left)
        case "prune":
            await record.prune(what)
        case "epoch":
            await record.open_epoch(what, len(record.epochs()), "command")
        case "merge":
            await merge(record, what, left)


async def ask(record, key, batch, epoch, left):
    already = left.elsewhere.get((key.public(), batch.genesis, batch.number), set())
    try:
        vote = await record.sign(key, batch, epoch=epoch)
    except SigningRefused:
        left.refused += 1
        return
    vote.verify()
    assert vote.batch == batch
    assert already <= {batch.hash}, "something else left elsewhere, and the record was told before"
    left.hashes.setdefault((key.public(), batch.genesis, batch.number), set()).add(batch.hash)


async def merge(record, what, left):
    key, genesis, low, votes = what
    told = {number: BatchHash(bytes([content]) * 32) for number, content in votes.items()}
    for number, hash_ in told.items():
        left.elsewhere.setdefault((key.public(), genesis, number), set()).add(hash_)
    if low is not None:  # at or below its watermark the other record may have signed anything it does not list
        for number in range(low + 1):
            if number not in told:
                nobody_knows = {BatchHash(b"\xee" * 32)}
                left.elsewhere.setdefault((key.public(), genesis, number), set()).update(nobody_knows)
    listed = tuple(RecordedVote(BatchNumber(number), told[number]) for number in sorted(told))
    await record.merge([VoteHistory(genesis, key.public(), None if low is None else BatchNumber(low), listed)])


@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
@given(st.lists(steps, max_size=25))
def test_at_most_one_hash_ever_leaves_for_a_number(plan):
    left = Left()

    with tempfile.TemporaryDirectory() as folder:
        trio.run(play, Path(folder) / "protection.db", plan, left)

    event(f"signed {min(len(left.hashes), 3)}, refused {min(left.refused, 3)}")
    assert all(len(hashes) == 1 for hashes in left.hashes.values()), left.hashes


def test_the_property_would_notice_a_second_hash(tmp_path, monkeypatch):
    """The check is not vacuous: if the record remembers nothing two hashes leave, and it says so."""
    from attestrio.protection import rows

    monkeypatch.setattr(rows, "insert_votes", lambda *_: None)
    left = Left()
    plan = [("sign", [(KEY, batch_of(1, content), True)]) for content in (1, 2)]

    trio.run(play, tmp_path / "protection.db", plan, left)

    assert [len(hashes) for hashes in left.hashes.values()] == [2]
