"""What a sequencer is made of, from its configuration: rules, genesis, database, stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from attestrio.app.sequencer_config import FRACTIONS, SequencerConfig
from attestrio.errors import SetupError
from attestrio.kit.files import read_bounded
from attestrio.sequencer.builder import BatchBuilder
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.errors import ChainFileUnreadable, ChainMissing
from attestrio.sequencer.genesis import Genesis, Injected, begin, check_genesis, inject
from attestrio.sequencer.leaves import MemoryLeaves
from attestrio.sequencer.pool import PoolSettings
from attestrio.sequencer.settings import Rules
from attestrio.sequencer.tail import tail_of
from attestrio.stream.bookmarks import DataStream, open_index
from attestrio.stream.file import StreamFile
from attestrio.stream.reader import StreamReader
from attestrio.stream.server import StreamLimits
from attestrio.zkevm.transactions import Percentages

CHAIN: Final = "chain.db"
L1: Final = "l1.db"
POOL: Final = "pool.db"
STREAM: Final = "data-stream.bin"
MAX_INJECTED: Final = 1 << 20


class NoSequencer(SetupError):
    """No sequencer has ever run in the data directory."""

    code: ClassVar[str] = "no_sequencer"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(f"no sequencer has run in {data_dir}: there is no {CHAIN}")
        self.data_dir = data_dir


class _InjectedFile(msgspec.Struct, forbid_unknown_fields=True):
    transaction: str
    timestamp: int
    ger: str
    l1_hash: str
    coinbase: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A chain and its stream, to be written by one process."""

    db: ChainDb
    stream: DataStream
    stream_path: Path


def genesis_of(config: SequencerConfig) -> Genesis:
    """Raises ChainFileUnreadable."""
    section = config.chain
    return Genesis.read(Path(section.allocation or ""), Path(section.chainspec or ""), Path(section.conf or ""))


def rules_of(config: SequencerConfig, chain_id: int) -> Rules:
    """How batches are built."""
    chain, build = config.chain, config.build
    return Rules(
        chain_id=chain_id,
        forks=tuple((int(fork), last) for fork, last in chain.forks.items()),
        coinbase=bytes.fromhex((chain.coinbase or "").removeprefix("0x")),
        percentages=Percentages.from_fractions(*(getattr(chain, name) for name in FRACTIONS)),
        counters=build.counters,
        limits=dict(build.limits),
        smt_factor=build.smt_factor,
        data_budget=build.data_budget,
        block_seal_s=build.block_seal_s,
        batch_seal_s=build.batch_seal_s,
    )


def pool_of(config: SequencerConfig) -> PoolSettings:
    section = config.pool
    return PoolSettings(
        most=section.most, max_bytes=section.max_bytes, max_gas=section.max_gas, min_gas_price=section.min_gas_price,
        lifetime_s=section.lifetime_s,
    )  # fmt: skip


def limits_of(config: SequencerConfig) -> StreamLimits:
    section = config.stream
    return StreamLimits(
        max_connections=section.max_connections, write_s=section.write_s, inactivity_s=section.inactivity_s,
        check_s=min(300.0, section.inactivity_s / 2),
    )  # fmt: skip


def stream_path_of(config: SequencerConfig, data_dir: Path) -> Path:
    """Relative ones are within the data directory."""
    return data_dir / (config.stream.file or STREAM)


def injected_of(path: Path) -> Injected:
    """The transaction of batch 1. Raises ChainFileUnreadable."""
    try:
        read = msgspec.json.decode(read_bounded(path, MAX_INJECTED), type=_InjectedFile)
        words = [_hex(text) for text in (read.transaction, read.ger, read.l1_hash)]
        coinbase = None if read.coinbase is None else _hex(read.coinbase)
    except OSError as exc:
        raise ChainFileUnreadable(f"{path}: {exc.strerror}") from exc
    except (msgspec.DecodeError, ValueError) as exc:
        raise ChainFileUnreadable(f"{path}: {exc}") from exc
    encoded, ger, l1_hash = words
    if (len(ger), len(l1_hash), len(coinbase or bytes(20))) != (32, 32, 20):
        raise ChainFileUnreadable(f"{path}: ger and l1_hash have 32 bytes, coinbase has 20")
    return Injected(encoded, read.timestamp, ger, l1_hash, coinbase)


def _hex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def begin_chain(db: ChainDb, genesis: Genesis, rules: Rules, injected: Injected | None) -> None:
    """Batch 0, and batch 1 if it is injected: whichever of them is not there yet. Blocks.

    Raises OtherChain, OtherGenesis, GenesisRootWrong, InjectedRefused, MissingExtra.
    """
    begun = db.tip is not None
    if not begun:
        begin(db, genesis)
    builder = BatchBuilder(db, rules, MemoryLeaves())  # another chain is named before another beginning of this one
    if begun:
        check_genesis(db, genesis)
    last = db.last_batch
    assert last is not None
    if injected is not None and last.number == 0:
        inject(builder, injected)


@contextmanager
def opened(data_dir: Path, stream_path: Path, system_id: int, *, from_stream: bool = False) -> Iterator[Opened]:
    """Both, made if missing, closed at the end. Blocks.

    Args:
      from_stream: a chain that has not begun may stand beside a stream that has, as it is to be built from that.

    Raises ChainMissing before anything is made; StorageUnusable and what its subclasses name.
    """
    chain = data_dir / CHAIN
    if not from_stream and not (chain.exists() and chain.stat().st_size):
        refuse_without_chain(chain, stream_path)
    with ExitStack() as life:
        db = life.enter_context(ChainDb.open(chain))
        if not from_stream and db.tip is None:
            refuse_without_chain(chain, stream_path)
        if not stream_path.exists():
            StreamFile.create(stream_path, system_id=system_id).close()
        index = open_index(stream_path.with_name(f"{stream_path.name}.bookmarks"))
        stream = life.enter_context(DataStream.open(StreamFile.open(stream_path), index))
        yield Opened(db, stream, stream_path)


def refuse_without_chain(chain: Path, stream_path: Path) -> None:
    """For a chain that has not begun: its stream has not got beyond the genesis either. Blocks.

    Raises ChainMissing, and as `StreamReader.open` and `tail_of`.
    """
    if not stream_path.exists():
        return
    with StreamReader.open(stream_path) as reader:
        tail = tail_of(reader)
    if tail is not None and (tail.batch or tail.block):
        raise ChainMissing(chain, tail.batch)
