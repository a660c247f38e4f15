"""`attestrio equivocation`: what a node keeps, handed on and believed only after it was verified again."""

import json

import pytest
from attestrio.protection.equivocation import EquivocationBook, EquivocationProof
from attestrio.roles import Batch, BatchHash, BatchNumber
from cli_kit import GENESIS, SECRETS


def proof(number, secret=SECRETS[0]):
    batches = [Batch(BatchNumber(number), BatchHash(bytes([fill]) * 32), GENESIS.hash()) for fill in (1, 2)]
    return EquivocationProof.of(*[secret.sign_batch(batch) for batch in batches])


@pytest.fixture
def data_dir(tmp_path):
    book = EquivocationBook(tmp_path)
    for one in (proof(7), proof(8), proof(7, SECRETS[1])):
        book.add(one)
    return tmp_path


def test_list_names_batch_and_attester(attestrio, data_dir):
    ended = attestrio("equivocation", "list", "--data-dir", data_dir)
    documents = attestrio("equivocation", "list", "--data-dir", data_dir, "--json").document

    assert ended.code == 0
    assert len(ended.out.splitlines()) == 3
    assert f"batch 7  {SECRETS[1].public().to_text()}  {proof(7, SECRETS[1]).name}" in ended.out
    assert {(told["batch"], told["key"]) for told in documents} == {
        (7, SECRETS[0].public().to_text()),
        (8, SECRETS[0].public().to_text()),
        (7, SECRETS[1].public().to_text()),
    }


def test_list_of_a_node_that_saw_none_says_so_and_is_empty(attestrio, tmp_path):
    ended = attestrio("equivocation", "list", "--data-dir", tmp_path)

    assert (ended.code, ended.out) == (0, "no member was seen to vote for two hashes\n")
    assert attestrio("equivocation", "list", "--data-dir", tmp_path, "--json").document == []


def test_list_says_which_file_proves_nothing(attestrio, data_dir):
    (data_dir / "equivocations" / "a-b-1.json").write_text("{}")

    ended = attestrio("equivocation", "list", "--data-dir", data_dir)

    assert ended.code == 2
    assert "a-b-1.json" in ended.err
    assert "[equivocation_refused]" in ended.err


def test_what_is_exported_verifies_elsewhere(attestrio, data_dir, tmp_path):
    exported = attestrio("equivocation", "export", "--batch", "8", "--data-dir", data_dir)
    file = tmp_path / "proof.json"
    file.write_text(exported.out)

    ended = attestrio("equivocation", "verify", file)

    assert json.loads(exported.out) == proof(8).to_json()
    assert attestrio("equivocation", "export", "--batch", "8", "--data-dir", data_dir, "--json").out == exported.out
    assert (ended.code, ended.out) == (0, f"batch 8  {SECRETS[0].public().to_text()}  verified\n")
    assert attestrio("equivocation", "verify", file, "--json").document["verified"] is True


@pytest.mark.parametrize("form", ["whole", "hex", "beginning"])
def test_attester_is_chosen_by_key(attestrio, data_dir, form):
    public = SECRETS[1].public()
    key = {"whole": public.to_text(), "hex": public.raw.hex(), "beginning": public.raw.hex()[:8]}[form]

    exported = attestrio("equivocation", "export", "--batch", "7", "--key", key, "--data-dir", data_dir)

    assert json.loads(exported.out) == proof(7, SECRETS[1]).to_json()


@pytest.mark.parametrize(("choice", "said"), [(["--batch", "7"], "holds 2 such"), (["--batch", "9"], "holds no such")])
def test_export_is_of_one_proof(attestrio, data_dir, choice, said):
    ended = attestrio("equivocation", "export", *choice, "--data-dir", data_dir)

    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"x" * 20_000])
def test_file_that_proves_nothing_is_refused(attestrio, tmp_path, content):
    (tmp_path / "proof.json").write_bytes(content)

    ended = attestrio("equivocation", "verify", tmp_path / "proof.json")

    assert ended.code == 2
    assert "[equivocation_refused]" in ended.err


def test_missing_file_is_said(attestrio, tmp_path):
    ended = attestrio("equivocation", "verify", tmp_path / "none.json")

    assert ended.code == 2
    assert "No such file" in ended.err
