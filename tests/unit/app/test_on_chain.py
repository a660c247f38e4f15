"""What a node does with Ethereum before it signs."""

import pytest
from app_kit import KEY, genesis_of
from attestrio.app.l1 import CheckedSigner, OnChain, on_chain
from attestrio.batches.chain import ChainCheck, ChainContradicts, NotOnChain, Verdict
from attestrio.config import BadConfig, load_config
from attestrio.errors import SourceError
from attestrio.kit.metrics import Metrics
from attestrio.roles import Batch, BatchHash, BatchNumber

GENESIS = genesis_of().hash()
ONE, OTHER = BatchHash(b"\x01" * 32), BatchHash(b"\x09" * 32)
BATCH = Batch(BatchNumber(5), ONE, GENESIS)
DIAMOND = "0x" + "d1" * 20


class Down(SourceError):
    code = "test_down"


class Chain:
    def __init__(self, known):
        self.known = known

    async def hash_of(self, number):
        if isinstance(self.known, Exception):
            raise self.known
        return self.known


class Signer:
    """Makes votes, and remembers for which batches."""

    def __init__(self):
        self.signed = []

    async def sign(self, batch):
        self.signed.append(batch)
        return KEY.sign_batch(batch)


def checked(known):
    chain, signer, told = Chain(known), Signer(), []
    return chain, signer, told, CheckedSigner(signer, ChainCheck(chain, told.append))


async def test_what_the_chain_has_is_signed():
    _, signer, told, guard = checked(ONE)

    vote = await guard.sign(BATCH)

    assert vote.batch == BATCH
    assert signer.signed == [BATCH]
    assert told == [Verdict.SAME]


@pytest.mark.parametrize(
    ("known", "refusal"), [(OTHER, ChainContradicts), (None, NotOnChain), (Down("down"), Down)], ids=str
)
async def test_anything_else_is_not_signed(known, refusal):
    _, signer, _, guard = checked(known)

    with pytest.raises(refusal):
        await guard.sign(BATCH)

    assert signer.signed == []


async def test_a_batch_is_signed_as_soon_as_the_chain_has_it():
    chain, signer, told, guard = checked(None)
    with pytest.raises(NotOnChain):
        await guard.sign(BATCH)

    chain.known = ONE
    await guard.sign(BATCH)

    assert signer.signed == [BATCH]
    assert told == [Verdict.ABSENT, Verdict.SAME]


async def test_a_contradiction_is_logged_once_per_batch(caplog):
    _, _, _, guard = checked(OTHER)

    for batch in (BATCH, BATCH, Batch(BatchNumber(6), ONE, GENESIS)):
        with pytest.raises(ChainContradicts):
            await guard.sign(batch)

    lines = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert len(lines) == 2
    assert ONE.to_text() in lines[0]
    assert OTHER.to_text() in lines[0]


def configured(**more):
    l1 = {"l1.rpc_urls": "http://127.0.0.1:9", "l1.diamond": DIAMOND}
    return load_config(overrides=l1 | {key.replace("__", "."): value for key, value in more.items()})


async def test_ethereum_is_not_asked_where_nothing_needs_it():
    async with on_chain(load_config(), Metrics()) as without, on_chain(configured(), Metrics()) as unused:
        assert (without, unused) == (None, None)


@pytest.mark.parametrize("how", [{"batches__source": "l1"}, {"batches__check_l1": "true"}], ids=str)
async def test_ethereum_guards_the_signer_where_batches_come_from_it_or_are_compared(how):
    async with on_chain(configured(**how), Metrics()) as made:
        assert isinstance(made, OnChain)
        assert isinstance(made.signing(Signer()), CheckedSigner)


async def test_an_address_that_is_none_is_named():
    with pytest.raises(BadConfig, match=r"l1\.rpc_urls"):
        async with on_chain(configured(batches__check_l1="true", l1__rpc_urls="127.0.0.1:8545"), Metrics()):
            pass


async def test_an_ethereum_that_is_away_at_the_start_is_no_error(caplog):
    async with on_chain(configured(batches__check_l1="true", l1__timeout_s="1"), Metrics()) as made:
        await made.greet()

    assert "Ethereum does not answer yet" in caplog.text
