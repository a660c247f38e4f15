"""Proofs of two votes for one number: kept whole, bounded, and believed by nobody who has not checked them."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from attestrio.kit.metrics import Metrics
from attestrio.protection.equivocation import (
    FOLDER,
    BadProof,
    EquivocationBook,
    EquivocationProof,
    names,
    read_proofs,
)
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
from hypothesis import given
from hypothesis import strategies as st

GENESIS, OTHER_GENESIS = GenesisHash(b"\x11" * 32), GenesisHash(b"\x22" * 32)
KEYS = [AttesterSecretKey.from_bytes(bytes([index]) * 32) for index in range(1, 8)]
VERIFIER = Path(__file__).parents[3] / "docs" / "verify_equivocation.py"
NUMBERS = [0, 1, 127, 128, 300, 2**32, 2**63, 2**64 - 1]


def vote(number=7, fill=1, key=KEYS[0], genesis=GENESIS):
    return key.sign_batch(Batch(BatchNumber(number), BatchHash(bytes([fill]) * 32), genesis))


def proof(number=7, key=KEYS[0], fills=(1, 2), genesis=GENESIS):
    return EquivocationProof.of(*[vote(number, fill, key, genesis) for fill in fills])


def raw(document):
    return json.dumps(document).encode()


# What is a proof


@pytest.mark.parametrize("number", NUMBERS)
def test_proof_survives_its_file(number):
    made = proof(number)

    assert EquivocationProof.untrusted(raw(made.to_json())) == made


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (vote(7, 1), "same hash"),
        (vote(8, 2), "two numbers"),
        (vote(7, 2, genesis=OTHER_GENESIS), "two genesis"),
        (vote(7, 2, key=KEYS[1]), "two keys"),
        (SignedBatch(vote(7, 2).batch, KEYS[0].public(), vote(7, 3).signature), "not valid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_votes_that_do_not_contradict_each_other_are_no_proof(other, why):
    for pair in ((vote(7, 1), other), (other, vote(7, 1))):
        with pytest.raises(BadProof, match=why):
            EquivocationProof.of(*pair)


def tampered():
    """Every single change of a proof that should make it worthless, by name."""
    good = proof().to_json()

    def changed(name, change):
        document = copy.deepcopy(good)
        change(document)
        return pytest.param(document, id=name)

    def flip(text):
        return text[:-3] + ("0" if text[-3] != "0" else "1") + text[-2:]

    yield changed("one hash in two spellings", respell)
    yield changed("number", lambda d: d.update(number=8))
    yield changed("number below", lambda d: d.update(number=-1))
    yield changed("number above", lambda d: d.update(number=2**64))
    yield changed("number as text", lambda d: d.update(number="7"))
    yield changed("genesis", lambda d: d.update(genesis=flip(d["genesis"])))
    yield changed("key", lambda d: d.update(key=KEYS[1].public().to_text()))
    yield changed("no key", lambda d: d.pop("key"))
    yield changed("one vote", lambda d: d["votes"].pop())
    yield changed("three votes", lambda d: d["votes"].append(d["votes"][0]))
    yield changed("one vote twice", lambda d: d.update(votes=[d["votes"][0]] * 2))
    yield changed("votes of nothing", lambda d: d.update(votes=[None, None]))
    for index in (0, 1):
        yield changed(f"hash {index}", lambda d, i=index: d["votes"][i].update(hash=flip(d["votes"][i]["hash"])))
        yield changed(
            f"signature {index}", lambda d, i=index: d["votes"][i].update(signature=flip(d["votes"][i]["signature"]))
        )
        yield changed(
            f"v {index}", lambda d, i=index: d["votes"][i].update(signature=d["votes"][i]["signature"][:-2] + "1d")
        )
        yield changed(f"high s {index}", lambda d, i=index: d["votes"][i].update(signature=high_s(d["votes"][i])))
        yield changed(
            f"message {index}", lambda d, i=index: d["votes"][i].update(message=flip(d["votes"][i]["message"]))
        )
        yield changed(
            f"signature cut {index}",
            lambda d, i=index: d["votes"][i].update(signature=d["votes"][i]["signature"][:-2]),
        )
    yield changed("signatures swapped", swap)


def respell(document):
    """One vote, written in two ways."""
    one = document["votes"][0]
    document["votes"] = [one, {**one, "hash": "another:" + one["hash"]}]


def high_s(told):
    """The other signature that plain ECDSA takes for the same message."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    head, _, digits = told["signature"].rpartition(":")
    s, v = order - int(digits[64:128], 16), 55 - int(digits[128:], 16)
    return f"{head}:{digits[:64]}{s:064x}{v:02x}"


def swap(document):
    one, other = document["votes"]
    one["signature"], other["signature"] = other["signature"], one["signature"]


@pytest.mark.parametrize("document", list(tampered()))
def test_tampered_proof_is_refused(document):
    with pytest.raises(BadProof):
        EquivocationProof.untrusted(raw(document))


@pytest.mark.parametrize("name", ["format", "version"])
def test_another_format_is_not_read(name):
    with pytest.raises(BadProof):
        EquivocationProof.untrusted(raw({**proof().to_json(), name: 2}))


@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["format", "version", "genesis", "number", "key", "votes", "hash"]), inner, max_size=4
    ), max_leaves=12,
).map(raw))  # fmt: skip
def test_anything_else_is_refused_in_one_way(content):
    with pytest.raises(BadProof):
        EquivocationProof.untrusted(content)


@given(st.data())
def test_a_changed_value_anywhere_is_refused_in_one_way(data):
    document = proof().to_json()
    place = data.draw(st.sampled_from([*document, 0, 1]))
    target, name = (document, place) if isinstance(place, str) else (document["votes"], place)
    if not isinstance(place, str):
        target, name = target[place], data.draw(st.sampled_from(["hash", "signature", "message"]))
    value = data.draw(st.none() | st.integers() | st.text(max_size=9) | st.lists(st.none(), max_size=2))
    if target[name] == value:
        return
    target[name] = value

    with pytest.raises(BadProof):
        EquivocationProof.untrusted(raw(document))


# The verifier that needs nothing of ours


def run_verifier(path):
    """It sees no package but the standard library (-I -S)."""
    command = [sys.executable, "-I", "-S", VERIFIER, path]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("number", NUMBERS)
def test_verifier_without_our_package_believes_a_proof(tmp_path, number):
    (tmp_path / "proof.json").write_bytes(raw(proof(number).to_json()))

    ended = run_verifier(tmp_path / "proof.json")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"proved: {KEYS[0].public().to_text()} voted for two hashes of batch {number} ")


@pytest.mark.parametrize("document", list(tampered()))
def test_verifier_without_our_package_refuses_a_tampered_proof(tmp_path, document):
    (tmp_path / "proof.json").write_bytes(raw(document))

    ended = run_verifier(tmp_path / "proof.json")

    assert ended.returncode == 1
    assert "not proved" in ended.stdout + ended.stderr
    assert not ended.stdout.startswith("proved")


def test_verifier_is_short_and_needs_no_package():
    lines = VERIFIER.read_text().splitlines()

    assert len(lines) <= 60
    assert [line for line in lines if line.startswith(("import ", "from "))] == ["import json", "import sys"]


# The book


def test_proof_is_in_its_file_before_anybody_reacts(tmp_path):
    kept_when_told = []
    book = EquivocationBook(tmp_path)

    def conflict(first, second):
        book.conflict(first, second)
        kept_when_told.append((names(book.folder), watch.support(second.batch)))

    committee = Committee([WeightedAttester(key.public(), 1) for key in KEYS])
    watch = VotesWatch(committee, GENESIS, None, Witness(None, on_conflict=conflict))
    watch.add([vote(7, 1)])
    watch.add([vote(7, 2)])

    assert kept_when_told == [([proof().name], 0)]
    assert [kept for _, kept in read_proofs(book.folder)] == [proof()]


def test_same_proof_is_kept_and_counted_once_also_after_a_restart(tmp_path):
    metrics = Metrics()
    book = EquivocationBook(tmp_path, metrics=metrics)

    book.conflict(vote(7, 1), vote(7, 2))
    book.conflict(vote(7, 2), vote(7, 3))
    EquivocationBook(tmp_path, metrics=metrics).conflict(vote(7, 1), vote(7, 2))

    assert [kept for _, kept in read_proofs(tmp_path / FOLDER)] == [proof()]
    assert metrics.value("attestrio_equivocations_total") == 1


def test_proofs_of_one_attester_and_of_all_are_bounded(tmp_path):
    metrics = Metrics()
    book = EquivocationBook(tmp_path, metrics=metrics, per_attester=3, total=5)

    for key in KEYS[:3]:
        for number in range(5):
            book.conflict(vote(number, 1, key), vote(number, 2, key))

    kept = [(found.first.key, int(found.first.batch.number)) for _, found in read_proofs(book.folder)]
    assert sorted(kept) == sorted(
        [(KEYS[0].public(), number) for number in (0, 1, 2)] + [(KEYS[1].public(), number) for number in (0, 1)]
    )
    assert metrics.value("attestrio_equivocations_total") == 15


def test_each_genesis_has_its_own_proofs(tmp_path):
    book = EquivocationBook(tmp_path, per_attester=1)

    book.add(proof())
    book.add(proof(genesis=OTHER_GENESIS))

    assert len(names(book.folder)) == 2


def test_proofs_of_an_older_genesis_take_no_room_from_the_next(tmp_path):
    book = EquivocationBook(tmp_path, total=2)
    for number in range(3):
        book.conflict(vote(number, 1), vote(number, 2))

    book.add(proof(genesis=OTHER_GENESIS))

    assert len(names(book.folder)) == 3
    assert proof(genesis=OTHER_GENESIS).name in names(book.folder)


def test_proofs_against_our_own_key_are_always_kept_and_take_no_room(tmp_path):
    book = EquivocationBook(tmp_path, own_key=KEYS[0].public(), per_attester=1, total=2)

    for key in (KEYS[0], KEYS[1], KEYS[2], KEYS[0]):
        for number in range(3) if key == KEYS[0] else range(7, 9):
            book.conflict(vote(number, 1, key), vote(number, 2, key))
    book.conflict(vote(9, 1, KEYS[0]), vote(9, 2, KEYS[0]))

    kept = [(found.first.key, int(found.first.batch.number)) for _, found in read_proofs(book.folder)]
    own, one, other = (key.public() for key in KEYS[:3])
    assert sorted(kept) == sorted([(own, 0), (own, 1), (own, 2), (own, 9), (one, 7), (other, 7)])


def test_disk_that_cannot_be_written_stops_nobody_and_the_proof_is_tried_again(tmp_path, caplog):
    book = EquivocationBook(tmp_path)
    (tmp_path / FOLDER).write_text("in the way")

    book.conflict(vote(7, 1), vote(7, 2))
    said = caplog.text
    (tmp_path / FOLDER).unlink()
    book.conflict(vote(7, 1), vote(7, 2))

    assert "not kept" in said
    assert names(book.folder) == [proof().name]


def test_half_a_file_of_a_killed_process_is_replaced(tmp_path):
    (tmp_path / FOLDER).mkdir()
    half = tmp_path / FOLDER / f".{proof().name}.draft"
    half.write_text("{")

    EquivocationBook(tmp_path).add(proof())

    assert os.listdir(tmp_path / FOLDER) == [proof().name]


def test_files_that_prove_nothing_are_named(tmp_path):
    EquivocationBook(tmp_path).add(proof())
    (tmp_path / FOLDER / "a-b-1.json").write_text("{}")

    found = dict(read_proofs(tmp_path / FOLDER))

    assert isinstance(found[tmp_path / FOLDER / "a-b-1.json"], BadProof)
    assert proof() in found.values()
