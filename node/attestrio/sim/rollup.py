"""Reverts: what the operator of a main node does when batches are given up, on a simulated chain."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from attestrio.kit.files import sync_folder, write_new
from attestrio.protection.commands import CommandBox, Verb
from attestrio.roles import Genesis
from attestrio.sim.chain import SimChain


def next_fork(genesis: Genesis, first_batch: int) -> Genesis:
    """The genesis after a revert: the same chain and committee, a fork number one higher. A batch is a block here."""
    return replace(genesis, fork_number=genesis.fork_number + 1, first_block=first_batch)


@dataclass(frozen=True, slots=True)
class SimRollup:
    """A chain, and the main node that shows it to everybody else.

    Args:
      genesis_file: the one in the main node's configuration; it says what is in force.
      main: the letter box in the main node's data directory.
    """

    chain: SimChain
    genesis_file: Path
    main: CommandBox

    def genesis(self) -> Genesis:
        """The genesis in force, or the one the main node is about to follow."""
        return Genesis.from_json(self.genesis_file.read_bytes())

    def revert(self, to: int) -> Genesis:
        """Give up every batch above `to`, in the order of an operator: chain, genesis file, then the main node's epoch.

        The main node obeys within a second, and the nodes that poll it follow. Nothing is restarted. Returns the new
        genesis. Raises ValueError for a batch that the chain does not have.
        """
        genesis = next_fork(self.genesis(), to + 1)
        self.chain.revert(to, genesis.hash())
        replace_genesis(self.genesis_file, genesis)
        self.main.post(Verb.END_EPOCH, f"reverted to batch {to}")
        return genesis


def replace_genesis(path: Path, genesis: Genesis) -> None:
    """Write the genesis file anew. Raises OSError."""
    replace_file(path, json.dumps(genesis.to_json(), indent=2) + "\n")


def replace_file(path: Path, text: str) -> None:
    """Write a file anew: a reader finds the old one or the new one. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    write_new(draft, text)
    draft.replace(path)
    sync_folder(path.parent)
