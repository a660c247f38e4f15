"""How a chain begins: batch 0 from the files of its configuration, batch 1 from what L1 has injected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attestrio.sequencer.builder import Added, BatchBuilder
from attestrio.sequencer.db import ChainDb
from attestrio.sequencer.errors import ChainFileUnreadable, GenesisRootWrong, InjectedRefused, OtherGenesis
from attestrio.sequencer.sealed import BatchHead, SealedBatch, SealedBlock
from attestrio.stream.messages import BatchType
from attestrio.zkevm.executor import L1Info
from attestrio.zkevm.genesis import Account, allocation, begin_chain
from attestrio.zkevm.header import Header
from attestrio.zkevm.nodes import MemoryNodes
from attestrio.zkevm.smt import Smt
from attestrio.zkevm.state import MemoryStore, State


@dataclass(frozen=True, slots=True)
class Genesis:
    """What a chain is before anything happened."""

    chain_id: int
    timestamp: int
    """Seconds since 1970."""
    accounts: Mapping[bytes, Account] = field(default_factory=dict)
    gas_limit: int = 0
    difficulty: int = 0
    root: bytes | None = None
    """What the state root has to be, where the configuration names one."""

    @classmethod
    def read(cls, accounts: Path, chain: Path, conf: Path) -> Genesis:
        """From cdk-erigon's three files: allocation, chain specification, configuration. Raises ChainFileUnreadable."""
        try:
            spec, told = _json(chain), _json(conf)
            root = told.get("root")
            return cls(
                chain_id=int(spec["chainId"]),
                timestamp=int(told["timestamp"]),
                accounts=allocation(_json(accounts)),
                gas_limit=int(told.get("gasLimit") or 0),
                difficulty=int(told.get("difficulty") or 0),
                root=bytes.fromhex(root.removeprefix("0x")) if root else None,
            )
        except KeyError as exc:
            raise ChainFileUnreadable(f"{chain} and {conf}: {exc.args[0]} is missing") from exc
        except (ValueError, TypeError, AttributeError) as exc:
            raise ChainFileUnreadable(f"{accounts}, {chain} or {conf}: {exc}") from exc


@dataclass(frozen=True, slots=True)
class Injected:
    """The transaction of batch 1, by which the rollup's contract begins the chain."""

    encoded: bytes
    """As it stands in a stream."""
    timestamp: int
    ger: bytes
    """The global exit root of that moment, 32 bytes."""
    l1_hash: bytes
    """Of the parent of the L1 block it is from, 32 bytes."""
    coinbase: bytes | None = None
    """Who L1 names as sequencer; None: as in all other blocks."""


def begin(db: ChainDb, genesis: Genesis) -> SealedBatch:
    """Batch 0 with block 0, on disk when this returns. Raises GenesisRootWrong, RuntimeError if the chain has begun."""
    with db.transaction():
        db.put_chain_id(genesis.chain_id)
        header = _header(genesis, db.state, db.smt)
        db.put_block(SealedBlock(header, header.hash(), BatchHead(0, BatchType.REGULAR, 0, 0), True, delta=0))
        batch = db.last_batch
        assert batch is not None
        return db.close_batch(batch)


def check_genesis(db: ChainDb, genesis: Genesis) -> None:
    """Compare block 0 of a chain that has begun. As much work as beginning it, in memory.

    Raises OtherGenesis, GenesisRootWrong.
    """
    got, want = _header(genesis, State(MemoryStore()), Smt(MemoryNodes())).hash(), db.block_hash(0)
    if got != want:
        raise OtherGenesis(got, want or b"")


def _header(genesis: Genesis, state: State, smt: Smt) -> Header:
    """Of block 0, with which `state` then ends."""
    header = begin_chain(
        state,
        smt,
        genesis.accounts,
        timestamp=genesis.timestamp,
        gas_limit=genesis.gas_limit,
        difficulty=genesis.difficulty,
    )
    if genesis.root not in (None, header.state_root):
        raise GenesisRootWrong(header.state_root, genesis.root or b"")
    return header


def inject(builder: BatchBuilder, injected: Injected) -> tuple[SealedBlock, SealedBatch]:
    """Batch 1, whole and on disk. Raises InjectedRefused, StorageUnusable; RuntimeError if there is one."""
    with builder.db.transaction():
        builder.begin_batch(1, BatchType.INJECTED)
        info = L1Info(injected.ger, injected.l1_hash)
        full = builder.begin_block(injected.timestamp, injected=info, coinbase=injected.coinbase)
        result = full or builder.add(injected.encoded)
        if not isinstance(result, Added):
            builder.abandon()
            raise InjectedRefused(f"batch 1: {result}")
        return builder.seal_block(), builder.close_batch()


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text())
    except OSError as exc:
        raise ChainFileUnreadable(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ChainFileUnreadable(f"{path} is no JSON: {exc}") from exc
    if not isinstance(read, dict):
        raise ChainFileUnreadable(f"{path} is no JSON object")
    return read
