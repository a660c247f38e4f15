"""`attestrio protection repair`: let a node start again that stopped for safety."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, ClassVar

from cyclopts import Parameter

from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.output import Output
from attestrio.config import load_config
from attestrio.errors import SetupError
from attestrio.kit.datadir import DataDir
from attestrio.protection import halt

DataDirFlag = Annotated[Path | None, Parameter(help="Instead of node.data_dir.")]


class HaltNotMoved(SetupError):
    """The HALT file cannot be renamed."""

    code: ClassVar[str] = "halt_not_moved"
    exit_code = 4

    def __init__(self, data_dir: Path, problem: str) -> None:
        super().__init__(f"{data_dir / halt.HALT} cannot be renamed: {problem}")
        self.data_dir = data_dir


def repair(
    *,
    ack: Annotated[bool, Parameter(negative="", show_default=False, help="The cause is known and gone.")] = False,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:
    """Acknowledge a safety halt, so that the node starts again; without --ack, only say what halted it.

    After `clone_seen` the other node with this key has to be stopped first. The vote it was heard by goes on record
    with the next start; a later vote of it may halt the node once more, and is acknowledged in the same way.

    Example: attestrio protection repair --ack
    """
    if data_dir is None:
        data_dir = Path(load_config(config, env=os.environ, overrides=overrides(set_)).node.data_dir)
    if not data_dir.is_dir():
        raise halt.NotHalted(data_dir / halt.HALT)  # and none is made by looking
    with DataDir.open(data_dir):  # not while a node runs in it
        try:
            kept = halt.repair(data_dir, ack=ack)
        except OSError as exc:
            raise HaltNotMoved(data_dir, exc.strerror or str(exc)) from None
    output.result({"kept": str(kept)}, [f"acknowledged, the note is kept as {kept}"])
