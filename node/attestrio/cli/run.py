"""`attestrio node run`, `attestrio main-node run`: one node as a process."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import App, Parameter

from attestrio.app import RunningNode, run_node
from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.logs import LogFormatFlag, follow_config
from attestrio.cli.output import Output
from attestrio.cli.signals import until_signal
from attestrio.cli.standing import node_line
from attestrio.config import BadConfig, NodeConfig, load_config, unused_environment
from attestrio.errors import PeerError
from attestrio.kit.notify import READY, keep_alive, notify
from attestrio.kit.settle import settle
from attestrio.roles import GenesisHash

log = logging.getLogger("attestrio.cli")

node = App(
    name="node",
    help="An attester node: votes, and collects certificates.\n\nExample: attestrio node run --config node.toml",
)
main_node = App(
    name="main-node",
    help="A main node: serves the status, and collects certificates.\n\n"
    "Example: attestrio main-node run --config main-node.toml",
)

AcceptFlag = Annotated[
    str | None,
    Parameter(help="Begin under this genesis hash although it cannot follow the one on record."),
]
InitFlag = Annotated[
    bool,
    Parameter(negative="", help="Begin a signing history for a key that has none here. Only if it never signed."),
]
WebFlag = Annotated[
    str | None, Parameter(help="Serve the page there, HOST:PORT, instead of web.bind; 127.0.0.1:0 picks a free port.")
]
DataDirFlag = Annotated[Path | None, Parameter(help="Instead of node.data_dir.")]


@node.command(name="run")
def run_attester(
    *,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    main_node_url: Annotated[str | None, Parameter(help="Instead of main_node.url.")] = None,
    web: WebFlag = None,
    init_protection: InitFlag = False,
    accept_genesis: AcceptFlag = None,
    log_format: LogFormatFlag = None,
    output: Output = Output(),
) -> int:
    """Run an attester node until SIGTERM or SIGINT; logs go to stderr.

    Example: attestrio node run --config configs/node.toml --main-node-url http://127.0.0.1:3060
    """
    made = load(config, set_, {"node.data_dir": data_dir, "main_node.url": main_node_url, "web.bind": web})
    if made.serve is not None:
        raise BadConfig(str(config or "configuration"), "[serve] makes a main node: use `attestrio main-node run`")
    follow_config(made.log, log_format, as_json=output.json)
    return run_process(made, init_protection=init_protection, accept_genesis=accept_genesis)


@main_node.command(name="run")
def run_main_node(
    *,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    bind: Annotated[str | None, Parameter(help="Instead of serve.bind, host:port.")] = None,
    web: WebFlag = None,
    init_protection: InitFlag = False,
    accept_genesis: AcceptFlag = None,
    log_format: LogFormatFlag = None,
    output: Output = Output(),
) -> int:
    """Run a main node until SIGTERM or SIGINT; logs go to stderr.

    Example: attestrio main-node run --config configs/main-node.toml
    """
    made = load(config, set_, {"node.data_dir": data_dir, "serve.bind": bind, "web.bind": web})
    if made.serve is None:
        raise BadConfig(str(config or "configuration"), "a main node needs the section [serve], or --bind HOST:PORT")
    follow_config(made.log, log_format, as_json=output.json)
    return run_process(made, init_protection=init_protection, accept_genesis=accept_genesis)


def load(config: Path | None, pairs: tuple[str, ...], flags: dict[str, Path | str | None]) -> NodeConfig:
    """The configuration with flags over `--set` pairs over environment over file. Raises BadConfig."""
    given = {name: str(value) for name, value in flags.items() if value is not None}
    return load_config(config, env=os.environ, overrides=overrides(pairs) | given)


def run_process(config: NodeConfig, *, init_protection: bool, accept_genesis: str | None) -> int:
    """Run one node; the exit code: 130 and 143 after a signal that was obeyed in order."""
    for name in unused_environment(os.environ):
        log.warning("the environment variable %s names no key", name)
    try:
        accepted = None if accept_genesis is None else GenesisHash.from_text(accept_genesis)
    except PeerError as exc:
        raise BadConfig("--accept-genesis", str(exc)) from None
    run = partial(run_node, config, init_protection=init_protection, accept_genesis=accepted)
    return trio.run(until_signal, partial(run_logged, run, config.node.data_dir))


async def run_logged(run: Callable[..., Awaitable[object]], data_dir: str) -> None:
    """Run the node until cancelled, and say when it has started."""
    async with trio.open_nursery() as nursery:
        running: RunningNode = await nursery.start(run)
        log.info("node running, data in %s", data_dir)
        if running.web_url.value is not None:
            log.info("page at %s/", running.web_url.value)
        settle()
        notify(READY, os.environ)
        nursery.start_soon(keep_alive, os.environ, partial(node_line, running))
