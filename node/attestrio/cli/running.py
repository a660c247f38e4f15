"""Whether a node runs in a data directory, for the commands that need one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from attestrio.errors import DataDirInUse, SetupError
from attestrio.kit.datadir import LOCK, DataDir


class NodeNotRunning(SetupError):
    """Nobody is there to take the command, or to ask: no node runs in the data directory."""

    code: ClassVar[str] = "node_not_running"

    def __init__(self, data_dir: Path, so: str) -> None:
        super().__init__(f"no node runs in {data_dir}: {so}")
        self.data_dir = data_dir


def require_running(data_dir: Path, so: str) -> None:
    """Raise NodeNotRunning, which ends with `so`, unless a process holds the directory. None is made by looking."""
    if (data_dir / LOCK).exists():
        try:
            DataDir.open(data_dir).close()
        except DataDirInUse:
            return
    raise NodeNotRunning(data_dir, so)
