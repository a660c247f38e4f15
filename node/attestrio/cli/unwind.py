"""`attestrio unwind`: take a sequencer's chain back to the end of a batch."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from attestrio.app.sequencer_config import LAYOUT
from attestrio.app.unwinding import unwind as take_back
from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.output import Output
from attestrio.cli.progress import progress_bar


def unwind(
    *,
    to_batch: Annotated[
        int, Parameter(validator=validators.Number(gte=0, lt=1 << 63), help="The batch that is to be the last.")
    ],
    backup: Annotated[
        bool, Parameter(help="First copy stream and database into backups/ in the data directory; needs their room.")
    ] = True,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: Annotated[Path | None, Parameter(help="Instead of sequencer.data_dir.")] = None,
    output: Output = Output(),
) -> None:
    """Take the chain of a sequencer that does not run back to the end of a batch. Its stream is not touched.

    State, blocks, batches, counters and the L1 info index go back. The stream is ahead then: only
    `attestrio sequencer run --resequence` goes on from there, and builds the batches again that it still has. The last
    batch is answered with nothing to do; batch 0, and a batch without blocks, are refused.

    Example: attestrio unwind --to-batch 812 --config configs/sequencer.toml
    """
    flags = {} if data_dir is None else {"sequencer.data_dir": str(data_dir)}
    made = LAYOUT.explain(config, env=os.environ, overrides=overrides(set_) | flags)[0]
    with progress_bar("copying", output) as tell:
        done = take_back(made, to_batch, tell, backup=backup)
    gone = done.unwound
    document = asdict(gone) | {"backup": None if done.backup is None else str(done.backup)}
    if not gone.batches and not gone.blocks:
        output.result(document, [f"nothing to do: the chain ends with batch {gone.batch}"])
        return
    lines = [
        f"the chain ends with batch {gone.batch}, block {gone.block}: {gone.batches} batches and {gone.blocks} blocks "
        "were taken back",
        *([] if done.backup is None else [f"copied before: {done.backup}"]),
        "the stream still has them: `attestrio sequencer run --resequence` builds them again",
    ]
    output.result(document, lines)
