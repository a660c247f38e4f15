"""What ends an epoch, and which genesis may follow it.

An epoch is one run of everything that belongs to one genesis. It ends for a named cause, the next is on disk before
anything is signed in it, and nothing signed before is forgotten: the record refuses a second hash for a number under
the same genesis whatever the epoch.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal, Protocol, runtime_checkable

from attestrio.errors import SafetyError, SourceError
from attestrio.roles import Genesis
from attestrio.status.api import AttestationStatus, AttestationStatusClient
from attestrio.status.watch import GenesisChanged, MovedBackwards
from attestrio.store.api import BatchConflict, QCConflict

log = logging.getLogger("attestrio.protection")

MAX_FORK_JUMP = 1_000
"""A revert raises the fork number by one. A much higher one, followed, would shut this node out of every honest fork
that comes later; so it is not followed without the operator's word."""

OnRollback = Literal["restart", "ask", "exit"]


class EpochCause(StrEnum):
    """Why an epoch began. The value stands in the record, in metrics and on the page."""

    START = "start"  # the first one of this data directory
    GENESIS_CHANGED = "genesis_changed"  # a revert or a new committee: a genesis with a higher fork number
    MOVED_BACKWARDS = "moved_backwards"  # the status stayed lower than stale_grace_s allows
    RESEQUENCED = "resequenced"  # batches this node knew were rebuilt: one has another hash now than the one stored
    COMMAND = "command"  # the operator said so


class NotASuccessor(SafetyError):
    """A genesis that cannot follow the one in force: another chain, or a fork number that is not higher."""

    code: ClassVar[str] = "not_a_successor"

    def __init__(self, current: Genesis, told: Genesis) -> None:
        super().__init__(
            f"genesis {told.hash().to_text()} (chain {told.chain_id}, fork {told.fork_number}) cannot follow"
            f" {current.hash().to_text()} (chain {current.chain_id}, fork {current.fork_number})"
        )
        self.current, self.told = current, told


class GenesisNotFollowed(SourceError):
    """The status belongs to a genesis that must not follow; the one in force stays, and the next poll asks again."""

    code: ClassVar[str] = "genesis_not_followed"

    def __init__(self, why: str) -> None:
        super().__init__(f"the status belongs to a genesis that is not followed: {why}")


class Resequenced(SafetyError):
    """Batches this node attested were rebuilt: their votes and certificates belong to the past."""

    code: ClassVar[str] = "resequenced"

    def __init__(self, first: int, why: str) -> None:
        super().__init__(f"batches from {first} on were re-sequenced: {why}")
        self.first = first


class EpochEnded(SafetyError):
    """The operator ended the epoch."""

    code: ClassVar[str] = "epoch_ended"

    def __init__(self, why: str) -> None:
        super().__init__(f"the operator ended the epoch: {why}")


class RollbackNeedsRestart(SourceError):
    """`on_rollback = "exit"`: the supervisor starts the process again, and it begins in the new epoch. Exit 3."""

    code: ClassVar[str] = "rollback_exit"

    def __init__(self, cause: EpochCause, why: str) -> None:
        super().__init__(f"the epoch ended ({cause}) and on_rollback is exit: {why}")
        self.cause = cause


CAUSES: dict[type[SafetyError], EpochCause] = {
    GenesisChanged: EpochCause.GENESIS_CHANGED,
    MovedBackwards: EpochCause.MOVED_BACKWARDS,
    Resequenced: EpochCause.RESEQUENCED,
    BatchConflict: EpochCause.RESEQUENCED,
    QCConflict: EpochCause.RESEQUENCED,
    EpochEnded: EpochCause.COMMAND,
}


def cause_of(exc: BaseException) -> EpochCause | None:
    """Why the epoch that ended with `exc` is followed by another; None when it must not be."""
    return next((cause for kind, cause in CAUSES.items() if isinstance(exc, kind)), None)


def require_successor(current: Genesis, told: Genesis) -> None:
    """Raises NotASuccessor unless `told` may follow `current`: the same chain with a higher fork number, within
    MAX_FORK_JUMP.

    Under the same fork number two genesis could both claim the same batch numbers, and a vote for each would be
    honest under neither.
    """
    if told.chain_id != current.chain_id or not 0 < told.fork_number - current.fork_number <= MAX_FORK_JUMP:
        raise NotASuccessor(current, told)


@runtime_checkable
class KnowsGenesis(Protocol):
    """Who can show the genesis behind a status."""

    async def consensus_genesis(self) -> Genesis | None:
        """The genesis the main node follows now. Raises SourceError."""
        ...


@dataclass(frozen=True, slots=True)
class SuccessorCheck:
    """An AttestationStatusClient that lets a status of another genesis through only if that genesis may follow.

    So a main node that lies, or was set up anew, does not end an epoch: the status runner sees a SourceError, keeps
    its number and asks again.
    """

    source: AttestationStatusClient
    genesis: Genesis
    main_node: KnowsGenesis

    async def attestation_status(self) -> AttestationStatus | None:
        """As the source's. Raises GenesisNotFollowed besides."""
        told = await self.source.attestation_status()
        if told is not None and told.genesis != self.genesis.hash():
            await self.successor(told)
        return told

    async def successor(self, told: AttestationStatus) -> Genesis:
        """The genesis behind `told`, checked. Raises GenesisNotFollowed and what the main node's client raises."""
        found = await self.main_node.consensus_genesis()
        if found is None or found.hash() != told.genesis:
            raise GenesisNotFollowed("the main node does not show it")
        try:
            require_successor(self.genesis, found)
        except NotASuccessor as exc:
            raise GenesisNotFollowed(str(exc)) from exc
        return found
