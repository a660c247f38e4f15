"""`attestrio sequencer`: build a chain in batches, serve its stream, answer wallets."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import App, Parameter

from attestrio.app.sequencer import RunningSequencer, run_sequencer
from attestrio.app.sequencer_config import LAYOUT, SequencerConfig, lacking
from attestrio.app.sequencer_parts import genesis_of, injected_of
from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.logs import LogFormatFlag, follow_config
from attestrio.cli.output import Output, Usage
from attestrio.cli.progress import progress_bar
from attestrio.cli.resequence import print_plan
from attestrio.cli.signals import until_signal
from attestrio.cli.standing import sequencer_line
from attestrio.kit.notify import READY, keep_alive, notify
from attestrio.kit.settle import settle
from attestrio.resequence.report import Progress

log = logging.getLogger("attestrio.cli")

app = App(
    name="sequencer",
    help="A small sequencer: builds batches, writes their stream.\n\n"
    "Example: attestrio sequencer run -c sequencer.toml",
)

DataDirFlag = Annotated[Path | None, Parameter(help="Instead of sequencer.data_dir.")]


@app.command
def run(
    *,
    resequence: Annotated[
        bool, Parameter(negative="", help="Build again, from the stream, the batches that the chain was unwound by.")
    ] = False,
    strict: Annotated[
        bool | None, Parameter(help="Stop where an old batch does not become one new one; resequence.strict.")
    ] = None,
    reuse_l1_info_index: Annotated[
        bool | None, Parameter(help="Blocks keep their L1 info index; resequence.reuse_l1_info_index.")
    ] = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="With --resequence: only say what would be split, and why.")
    ] = False,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    log_format: LogFormatFlag = None,
    output: Output = Output(),
) -> int:
    """Run a sequencer until SIGTERM or SIGINT; logs go to stderr.

    With a stream that is ahead of the chain, as after `attestrio unwind`, it only starts with --resequence.

    Example: attestrio sequencer run --config configs/sequencer.toml
    """
    if dry_run and not resequence:
        raise Usage("--dry-run is for --resequence")
    made = load(config, set_, data_dir, rebuild_flags(strict, reuse_l1_info_index))
    if dry_run:
        print_plan(made, output)
        return 0
    follow_config(made.log, log_format, as_json=output.json)
    for name in LAYOUT.unused_environment(os.environ):
        log.warning("the environment variable %s names no key", name)
    return trio.run(until_signal, partial(run_logged, made, resequence=resequence, output=output))


async def run_logged(config: SequencerConfig, *, resequence: bool, output: Output) -> None:
    """Run the sequencer until it is cancelled or done, and say when it has started; a rebuild shows on a terminal."""
    shows = resequence and not output.json and sys.stderr.isatty()
    async with trio.open_nursery() as nursery:
        ended = trio.Event()

        async def work(*, task_status: trio.TaskStatus[RunningSequencer]) -> None:
            await run_sequencer(config, resequence=resequence, tell=bar if shows else None, task_status=task_status)
            ended.set()

        with progress_bar("building again", output) if shows else nullcontext() as draw:

            def bar(progress: Progress) -> None:
                if draw is not None:
                    draw(progress.blocks, progress.of_blocks)

            running: RunningSequencer = await nursery.start(work)
        log.info(
            "sequencer running, data in %s, stream at %s, JSON-RPC at %s, metrics at %s", config.sequencer.data_dir,
            running.stream_address, running.rpc_url or "nowhere", running.metrics_url or "nowhere",
        )  # fmt: skip
        settle()
        notify(READY, os.environ)
        nursery.start_soon(keep_alive, os.environ, partial(sequencer_line, running))
        await ended.wait()
        nursery.cancel_scope.cancel()


@app.command
def check(*, config: ConfigFile = None, set_: Overrides = (), output: Output = Output()) -> None:
    """Read a configuration as `run` would, with the files it names, and say what is wrong or missing.

    Example: attestrio sequencer check --config configs/sequencer.toml
    """
    made = load(config, set_, None, {})
    missing, chain_id = lacking(made), None
    if not missing:
        chain_id = genesis_of(made).chain_id
        if made.chain.injected is not None:
            injected_of(Path(made.chain.injected))
    unused = LAYOUT.unused_environment(os.environ)
    lines = [
        "ok" if not missing else "ok so far; still missing:",
        *(f"  {one}" for one in missing),
        *([] if chain_id is None else [f"chain {chain_id}"]),
        *(f"warning: the environment variable {name} names no key" for name in unused),
    ]
    document = {"ok": True, "missing": missing, "chain_id": chain_id, "unused_environment": unused}
    output.result(document, lines)


def rebuild_flags(strict: bool | None, reuse_l1_info_index: bool | None) -> dict[str, str]:
    """The keys that these flags stand for, as far as they are given."""
    flags = {"resequence.strict": strict, "resequence.reuse_l1_info_index": reuse_l1_info_index}
    return {name: str(value).lower() for name, value in flags.items() if value is not None}


def load(config: Path | None, pairs: tuple[str, ...], data_dir: Path | None, given: dict[str, str]) -> SequencerConfig:
    """The configuration with flags over `--set` pairs over environment over file. Raises BadConfig."""
    flags = given | ({} if data_dir is None else {"sequencer.data_dir": str(data_dir)})
    return LAYOUT.explain(config, env=os.environ, overrides=overrides(pairs) | flags)[0]
