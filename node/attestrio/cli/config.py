"""`attestrio config`: check a configuration of any kind, show what is in force and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import App, Parameter

from attestrio.app.files import attester_key, genesis_of_file, holes
from attestrio.app.gossip import gossip_holes, node_secret
from attestrio.app.kinds import Kind, kind_of, layout_of
from attestrio.app.l1 import on_chain
from attestrio.app.upstream import main_nodes
from attestrio.cli.output import Output
from attestrio.config import BadConfig, NodeConfig, Secret, explain_config, unused_environment
from attestrio.configuring import Section
from attestrio.kit.http import shown
from attestrio.kit.metrics import Metrics

app = App(name="config", help="Check a configuration, show what is in force.\n\nExample: attestrio config show")

ConfigFile = Annotated[Path | None, Parameter(name=["--config", "-c"], help="TOML file; see configs/.")]
Overrides = Annotated[
    tuple[str, ...],
    Parameter(
        name=["--set", "-s"],
        negative="",
        show_default=False,
        help="section.key=value, over file and environment; repeatable.",
    ),
]

KindFlag = Annotated[Kind | None, Parameter(help="Whose configuration it is; otherwise FILE says.")]


def overrides(pairs: tuple[str, ...]) -> dict[str, str]:
    """`section.key=value` texts as a table. Raises BadConfig."""
    table = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise BadConfig("flag", f"--set {pair}: expected section.key=value")
        table[name] = value
    return table


@app.command
def check(*, config: ConfigFile = None, kind: KindFlag = None, set_: Overrides = (), output: Output = Output()) -> None:
    """Read a configuration as `run` would, with the files it names, and say what is wrong or missing.

    It may be that of a node, an operator, an aggregator or a sequencer. What is only missing so far is listed and no
    error: it may be made later, or come from the environment of the service. `attestrio doctor` also looks at the
    machine and at the network.

    Example: attestrio config check --config configs/node.toml
    """
    match kind or kind_of(config):
        case Kind.NODE:
            check_node(config, set_, output)
        case Kind.OPERATOR:
            from attestrio.cli.operator import check as check_operator

            check_operator(config=config, set_=set_, output=output)
        case Kind.AGGREGATOR:
            from attestrio.cli.aggregator import check as check_aggregator

            check_aggregator(config=config, set_=set_, output=output)
        case Kind.SEQUENCER:
            from attestrio.cli.sequencer import check as check_sequencer

            check_sequencer(config=config, set_=set_, output=output)


def check_node(config: Path | None, set_: tuple[str, ...], output: Output) -> None:
    made = explain_config(config, env=os.environ, overrides=overrides(set_))[0]
    missing = [
        *holes(made),
        *gossip_holes(made),
        *(f"{key} {path}: no such file yet" for key, path in absent_files(made)),
    ]
    look_inside(made)
    unused = unused_environment(os.environ)
    lines = [
        "ok" if not missing else "ok so far; still missing:",
        *(f"  {one}" for one in missing),
        *(f"warning: the environment variable {name} names no key" for name in unused),
    ]
    output.result({"ok": True, "missing": missing, "unused_environment": unused}, lines)


def absent_files(made: NodeConfig) -> Iterator[tuple[str, str]]:
    """Key and path of each file that is named and not there."""
    node_key_file = None if made.gossip is None else made.gossip.node_key_file
    named = (
        ("keys.attester_file", made.keys.attester_file),
        ("genesis.file", made.genesis.file),
        ("gossip.node_key_file", node_key_file),
    )
    for key, path in named:
        if path is not None and not os.path.lexists(path):
            yield key, path


def look_inside(made: NodeConfig) -> None:
    """Raise BadConfig for a key, a genesis or a URL that is there and cannot be used."""
    absent = dict(absent_files(made))
    if "keys.attester_file" not in absent:
        attester_key(made)
    if "genesis.file" not in absent:
        genesis_of_file(made)
    if made.gossip is not None and "gossip.node_key_file" not in absent and not gossip_holes(made):
        node_secret(made)

    async def read_url() -> None:
        async with main_nodes(made, Metrics()), on_chain(made, Metrics()):
            await trio.lowlevel.checkpoint()

    trio.run(read_url)


@app.command
def show(*, config: ConfigFile = None, kind: KindFlag = None, set_: Overrides = (), output: Output = Output()) -> None:
    """Print the configuration in force as TOML, each value with its source. Secrets are not shown.

    It may be that of a node, an operator, an aggregator or a sequencer.

    Example: attestrio config show --config configs/node.toml --set main_node.poll_s=1
    """
    made, document = explained(kind or kind_of(config), config, set_)
    output.result(document, toml_lines(made, document))


Document = dict[str, dict[str, dict[str, Any]]]
"""Section → key → value as it may be printed, and source."""


def explained(kind: Kind, config: Path | None, pairs: tuple[str, ...]) -> tuple[Section, Document]:
    """The configuration in force, and what may be printed of it. Raises BadConfig."""
    layout = layout_of(kind)
    made, origin = layout.explain(config, env=os.environ, overrides=overrides(pairs))
    document = {
        name: {
            field.name: {
                "value": printable(getattr(getattr(made, name), field.name, field.default)),
                "source": origin.get((name, field.name), "default"),
            }
            for field in msgspec.structs.fields(section)
        }
        for name, section in layout.sections()
    }
    return made, document


def printable(value: object) -> object:
    """A value as it may be printed: never a secret, and of a URL only what is none."""
    if isinstance(value, list | tuple):
        return [printable(one) for one in value]
    if isinstance(value, dict):
        return {name: printable(one) for name, one in value.items()}
    if isinstance(value, str) and not isinstance(value, Secret):
        return shown(value) if "://" in value else value
    return repr(value) if isinstance(value, Secret) else value


def toml_lines(made: Section, document: Document) -> Iterator[str]:
    """The document as a file that can be used. What may not stand in one is a comment: no value, a secret, a section
    that is off."""
    for index, (name, entries) in enumerate(document.items()):
        off = getattr(made, name) is None
        if index:
            yield ""
        yield f"# [{name}]" if off else f"[{name}]"
        for key, entry in entries.items():
            value, source = entry["value"], entry["source"]
            is_comment = off or value is None or isinstance(getattr(getattr(made, name), key), Secret)
            text = f"{'# ' if is_comment else ''}{key} = {'' if value is None else toml_value(value)}"
            yield f"{text:<40} # {source}"


def toml_value(value: object) -> str:
    """A value of a key, on one line: what JSON is too, but for a table."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{msgspec.json.encode(name).decode()} = {toml_value(one)}" for name, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return msgspec.json.encode(value).decode()
