"""Keys, batches and a record on a file, for the tests of this folder."""

from __future__ import annotations

from contextlib import asynccontextmanager

import apsw
import trio
from attestrio.kit.blocking import inline
from attestrio.protection.record import VoteRecord
from attestrio.roles import AttesterSecretKey, Batch, BatchHash, BatchNumber, GenesisHash

CHAIN = 270
GENESIS = GenesisHash(b"\x01" * 32)
REVERTED = GenesisHash(b"\x02" * 32)
KEY = AttesterSecretKey.from_bytes(b"\x05" * 32)
OTHER_KEY = AttesterSecretKey.from_bytes(b"\x06" * 32)


def batch_of(number, content=1, genesis=GENESIS) -> Batch:
    return Batch(BatchNumber(number), BatchHash(bytes([content]) * 32), genesis)


class UnsyncedDisk(apsw.VFS):
    """The system's disk without its flushes, for tests that restart often and never crash."""

    NAME = "unsynced-disk"

    def __init__(self):
        super().__init__(self.NAME, "")

    def xOpen(self, name, flags):
        return _UnsyncedFile("", name, flags)


class _UnsyncedFile(apsw.VFSFile):
    def xSync(self, flags):
        pass


@asynccontextmanager
async def opened(path, chain_id=CHAIN, run_blocking=inline, keys=(KEY,), **more):
    """A record that runs, knows `keys` and is closed at the end."""
    record = VoteRecord(path, chain_id, run_blocking, **more)
    async with trio.open_nursery() as nursery:
        await nursery.start(record.run)
        for key in keys:
            await record.add_key(key.public())
        yield record
        await record.close()
