"""What tests of a growing chain share: the chain behind stream a, and accounts and contracts of our own."""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from attestrio.sequencer import Leaf, MemoryLeaves, Rules
from attestrio.sequencer.builder import Added, BatchBuilder
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.genesis import Genesis, Injected, begin, inject
from attestrio.sequencer.sink import DirectSink
from attestrio.sequencer.writer import ChainWriter
from attestrio.stream import BatchType, Entry, L2Block, Transaction, message_untrusted
from attestrio.stream.bookmarks import DataStream, MemoryBookmarks
from attestrio.stream.file import StreamFile
from attestrio.zkevm.genesis import Account, allocation
from attestrio.zkevm.transactions import sign_legacy, unsigned_legacy
from coincurve import PrivateKey
from eth_utils import keccak

GOLDEN = Path(__file__).parents[2] / "golden" / "datastream"
CHAIN_A = 1001
ETHER = 10**18
GWEI = 10**9
SECRETS = [bytes([at]) * 32 for at in (1, 2)]
START = 1_000


def address_of(secret):
    return keccak(PrivateKey(secret).public_key.format(compressed=False)[1:])[12:]


ALICE, BOB = map(address_of, SECRETS)
SECRET_OF = dict(zip((ALICE, BOB), SECRETS, strict=True))
COINBASE = b"\xc0" * 20
LOGGER = b"\xcc" * 20
LOGS = bytes.fromhex("602a60005260076001600060006000a2600760206000a100")
"""Code that writes two logs."""


# --- a chain of our own


def tx(nonce, to=BOB, *, sender=ALICE, value=1, data=b"", gas=100_000, gas_price=GWEI, chain_id=CHAIN_A):
    """A transfer, unless it is told otherwise; as it stands in a stream."""
    unsigned = unsigned_legacy(
        chain_id=chain_id, nonce=nonce, gas_price=gas_price, gas=gas, to=to, value=value, data=data
    )
    return sign_legacy(unsigned, SECRET_OF[sender]).encoded


def leaf(index, timestamp=START):
    return Leaf(index, keccak(b"ger %d" % index), keccak(b"l1 %d" % index), timestamp)


def own_rules(**changed):
    return Rules(**{"chain_id": CHAIN_A, "forks": ((9, 0),), "coinbase": COINBASE} | changed)


def own_chain(path):
    """A database with batch 0 and batch 1."""
    db = ChainDb.open(path)
    rich = {who: Account(balance=100 * ETHER) for who in (ALICE, BOB)}
    begin(db, Genesis(CHAIN_A, START, rich | {LOGGER: Account(nonce=1, code=LOGS)}))
    injected = Injected(tx(0, sender=BOB, to=ALICE), START, b"\x11" * 32, b"\x22" * 32)
    inject(BatchBuilder(db, own_rules(), MemoryLeaves()), injected)
    return db


def add_batch(builder, *blocks, kind=BatchType.REGULAR, cursor=None):
    """A batch of blocks, each a list of transactions, one second after the other; closed."""
    builder.begin_batch(builder.db.last_batch.number + 1, kind)
    for txs in blocks:
        assert builder.begin_block(builder.db.tip.timestamp + 1) is None
        for encoded in txs:
            assert isinstance(builder.add(encoded), Added)
        builder.seal_block(cursor)
    return builder.close_batch()


def contents(db):
    """Every row of every table."""
    tables = [name for (name,) in db._db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {name: sorted(map(repr, db._db.execute(f"SELECT * FROM {name}"))) for name in tables}


# --- stream a


@cache
def streams():
    return json.loads((GOLDEN / "streams.json").read_text())


@cache
def stream_bytes(name="a"):
    """The part of the Go server's file that is in use."""
    return lzma.decompress((GOLDEN / f"{name}.bin.xz").read_bytes())[: streams()[name]["header"]["total_length"]]


@cache
def entries_a():
    raw = stream_bytes()
    return tuple(
        Entry(number, kind, raw[at + 17 : at + length]) for number, kind, at, length in streams()["a"]["entries"]
    )


@dataclass(frozen=True)
class Told:
    """A block as a stream tells it."""

    block: L2Block
    txs: tuple[bytes, ...]


def told_by(entries):
    """The blocks of a stream, in order."""
    blocks = []
    for entry in entries:
        message = message_untrusted(entry.type, entry.data)
        if isinstance(message, L2Block):
            blocks.append((message, []))
        elif isinstance(message, Transaction):
            blocks[-1][1].append(message.encoded)
    return [Told(block, tuple(txs)) for block, txs in blocks]


@cache
def blocks_a():
    return tuple(told_by(entries_a()))


def genesis_a():
    chain = json.loads((GOLDEN / "chain.json").read_text())["genesis"]
    accounts = allocation({address: {"balance": balance} for address, balance in chain["alloc"].items()})
    return Genesis(CHAIN_A, chain["time"], accounts, root=bytes.fromhex(chain["root"][2:]))


def leaves_a():
    known = [told.block for told in blocks_a() if told.block.l1_infotree_index]
    return MemoryLeaves(
        Leaf(one.l1_infotree_index, one.global_exit_root, one.l1_blockhash, one.min_timestamp) for one in known
    )


def rules_a(**changed):
    return Rules(**{"chain_id": CHAIN_A, "forks": ((9, 0),), "coinbase": blocks_a()[1].block.coinbase} | changed)


def injected_by(told):
    block = told.block
    return Injected(told.txs[0], block.timestamp, block.global_exit_root, block.l1_blockhash)


# --- files


def open_stream(path):
    """A stream that is made if it is missing, with an index that is made anew."""
    file = StreamFile.open(path) if path.exists() else StreamFile.create(path, pages=1)
    return DataStream.open(file, MemoryBookmarks())


class Site:
    """A chain and its stream in a folder, with what writes one from the other; `close` is also how it is killed."""

    def __init__(self, folder, make=ChainDb.open, **writing):
        self.db = make(folder / "chain.db")
        self.stream = open_stream(folder / "stream.bin")
        self.sink = DirectSink(self.stream)
        self.writer = ChainWriter(self.db, self.sink, **writing)

    def close(self):
        self.stream.close()
        self.db.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def entries(self):
        return list(self.stream.file.entries())

    def hashes(self):
        """Of the blocks in the database."""
        return [self.db.block_hash(number) for number in range(self.db.tip.number + 1)]
