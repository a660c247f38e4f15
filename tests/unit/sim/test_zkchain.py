"""A simulated rollup's batches, and the program that plays Ethereum for it."""

from pathlib import Path

import pytest
from attestrio.roles import BatchNumber, GenesisHash
from attestrio.sim import anvil, artifacts
from attestrio.sim.anvil import AnvilAbsent, find_anvil, running_anvil
from attestrio.sim.artifacts import ContractAbsent, artifact
from attestrio.sim.cluster import Cluster, ClusterSpec, OtherRollup
from attestrio.sim.zkchain import ZkChain

GENESIS, NEXT_GENESIS = GenesisHash(b"\x01" * 32), GenesisHash(b"\x02" * 32)


async def test_a_batch_has_the_hash_of_what_is_stored_of_it():
    chain = ZkChain(GENESIS)
    chain.seal(3)

    batch = await chain.batch_to_sign(BatchNumber(2))

    assert batch.hash == chain.info(2).hash()
    assert chain.info(2).number == 2
    assert len({chain.info(number).hash() for number in range(100)}) == 100


async def test_an_invented_batch_is_not_the_one_that_is_committed():
    chain = ZkChain(GENESIS)
    chain.seal(3)
    chain.invent(1)

    told = [(await chain.batch_to_sign(BatchNumber(number))).hash for number in range(3)]

    assert [hash == chain.info(number).hash() for number, hash in enumerate(told)] == [True, False, True]
    assert await chain.batch_to_sign(BatchNumber(3)) is None


async def test_after_a_revert_the_same_number_is_another_batch():
    chain = ZkChain(GENESIS)
    chain.seal(3)
    before = chain.hash(2)

    chain.revert(1, NEXT_GENESIS)
    chain.seal()

    assert (await chain.batch_to_sign(BatchNumber(2))).hash not in (before, None)


@pytest.mark.parametrize("first", [None, Path("anvil")], ids=["plain", "on a chain"])
def test_a_kept_network_stays_on_its_chain_or_without_one(tmp_path, first):
    """The same numbers would be other batches, and the first without a certificate could never have one."""
    other = Path("anvil") if first is None else None
    Cluster(tmp_path, ClusterSpec(anvil=first)).prepare()

    Cluster(tmp_path, ClusterSpec(anvil=first)).prepare()
    with pytest.raises(OtherRollup, match="without --chain" if first is None else "with --chain"):
        Cluster(tmp_path, ClusterSpec(anvil=other)).prepare()


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without anvil."""
    monkeypatch.delenv("ATTESTRIO_ANVIL", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(anvil, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def program(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_anvil_is_looked_for_where_it_is_named_first(bare, monkeypatch):
    package = "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
    in_checkout = program(bare / "checkout" / package)
    assert find_anvil() == in_checkout
    here = program(bare / package)
    assert find_anvil() == here
    on_path = program(bare / "bin" / "anvil")
    assert find_anvil() == on_path
    named = program(bare / "named")
    monkeypatch.setenv("ATTESTRIO_ANVIL", str(named))
    assert find_anvil() == named
    assert find_anvil(program(bare / "given")) == bare / "given"


def test_a_machine_without_anvil_says_how_to_get_it(bare):
    with pytest.raises(AnvilAbsent, match="npm i @foundry-rs/anvil-linux-amd64"):
        find_anvil()


@pytest.mark.parametrize("name", ["absent", "folder", "text"])
def test_what_is_named_and_no_program_is_refused(bare, name):
    (bare / "folder").mkdir()
    (bare / "text").write_text("")

    with pytest.raises(AnvilAbsent, match="is not a program"):
        find_anvil(bare / name)


async def test_a_program_of_another_machine_cannot_be_run(bare):
    (bare / "anvil").write_bytes(b"\x7fELF\x00")
    (bare / "anvil").chmod(0o755)

    with pytest.raises(AnvilAbsent, match="cannot be run"):
        async with running_anvil(bare / "anvil"):
            pass


def test_a_contract_that_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(artifacts, "FOLDERS", (tmp_path,))

    with pytest.raises(ContractAbsent, match="Diamond"):
        artifact("Diamond")
