"""Where operators' calls meet what the leader knows: open while there is a core, shut with a reason while not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from trio_util import AsyncValue

from attestrio.aggregator.refusals import Unavailable
from attestrio.aggregator.snapshot import Snapshots
from attestrio.aggregator.state import AggregatorState


class Absent(StrEnum):
    """Why nothing can be recorded at the moment, in the words operators are told."""

    STARTING = "starting"
    NOT_THE_LEADER = "not the leader"
    STORE_AWAY = "the store does not answer"
    STOPPING = "stopping"


class Core(Protocol):
    """What the server needs of the leader's term. Another term is another core."""

    @property
    def state(self) -> AggregatorState: ...

    @property
    def snapshots(self) -> Snapshots: ...


CoreT = TypeVar("CoreT", bound=Core)


class Desk(Generic[CoreT]):
    """One writer, who leads; many readers, the calls."""

    def __init__(self) -> None:
        self.core: AsyncValue[CoreT | None] = AsyncValue(None)
        """None: nothing can be recorded now."""
        self.absent = Absent.STARTING
        """Why there is none."""

    @contextmanager
    def open_for(self, core: CoreT) -> Iterator[None]:
        """Calls are taken for this core while the block runs."""
        self.core.value = core
        try:
            yield
        finally:
            if self.core.value is core:
                self.shut(Absent.NOT_THE_LEADER)

    def shut(self, why: Absent) -> None:
        """Calls are told to come again."""
        self.absent = why
        self.core.value = None

    def needed(self) -> CoreT:
        """The core of now. Raises Unavailable."""
        core = self.core.value
        if core is None:
            raise Unavailable(self.absent.value)
        return core
