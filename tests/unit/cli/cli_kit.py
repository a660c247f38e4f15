"""A small genesis and its certificates in every form, for the tests of the command line."""

import json

import trio
from attestrio.kit.blocking import inline
from attestrio.protection.epochs import EpochCause
from attestrio.protection.record import VoteRecord
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    BatchQC,
    Committee,
    Genesis,
    RoundRobin,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.sim.cluster import VALIDATOR
from attestrio.store.sqlite import SqliteBatchStore

SECRETS = [AttesterSecretKey.from_bytes(bytes([index]) * 32) for index in (1, 2, 3)]
STRANGER = AttesterSecretKey.from_bytes(b"\x63" * 32)


def genesis_of(fork=0, secrets=SECRETS, chain_id=270):
    return Genesis(
        chain_id=chain_id,
        fork_number=fork,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(VALIDATOR, 1),),
        leader_selection=RoundRobin(),
        attesters=Committee([WeightedAttester(secret.public(), 10) for secret in secrets]) if secrets else None,
    )


GENESIS = genesis_of()


def batch(number, of=GENESIS):
    return Batch(BatchNumber(number), BatchHash(bytes([number + 1]) * 32), of.hash())


def certificate(number, *, secrets=SECRETS, of=GENESIS):
    what = batch(number, of)
    return BatchQC(what, {secret.public(): secret.sign_batch(what).signature for secret in secrets})


def write_genesis(path, genesis=GENESIS):
    path.write_text(json.dumps(genesis.to_json()))
    return path


def write_database(path, certificates, genesis=GENESIS):
    """A node's database with these certificates, closed properly."""

    async def write():
        store = SqliteBatchStore(path, genesis.hash(), run_blocking=inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            for one in certificates:
                await store.put_batch_to_sign(one.batch)
                await store.persist_qc(one)
            await store.close()

    trio.run(write)
    return path


def write_history(path, genesis):
    """A node's record of one epoch under this genesis, without votes."""

    async def write():
        record = VoteRecord(path, genesis.chain_id, run_blocking=inline)
        async with trio.open_nursery() as nursery:
            await nursery.start(record.run)
            await record.open_epoch(genesis.hash(), genesis.fork_number, EpochCause.START, "")
            nursery.cancel_scope.cancel()

    trio.run(write)
    return path
