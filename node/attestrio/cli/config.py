"""`attestrio config`: check a configuration, show what is in force and where it comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from attestrio.cli.output import Output
from attestrio.config import BadConfig, NodeConfig, explain_config, sections, unused_environment

app = App(name="config", help="Check a configuration, show what is in force.")

ConfigFile = Annotated[Path | None, Parameter(name=["--config", "-c"], help="TOML file; see configs/.")]
Overrides = Annotated[
    tuple[str, ...],
    Parameter(name=["--set", "-s"], negative="", help="section.key=value, over file and environment; repeatable."),
]


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
def check(config: ConfigFile = None, set_: Overrides = (), *, output: Output = Output()) -> None:
    """Read a configuration as `run` would and say whether it can be used.

    Example: attestrio config check --config configs/node.toml
    """
    explain_config(config, env=os.environ, overrides=overrides(set_))
    unused = unused_environment(os.environ)
    lines = ["ok", *(f"warning: the environment variable {name} names no key" for name in unused)]
    output.result({"ok": True, "unused_environment": unused}, lines)


@app.command
def show(config: ConfigFile = None, set_: Overrides = (), *, output: Output = Output()) -> None:
    """Print the configuration in force as TOML, each value with its source; secrets are not shown.

    Example: attestrio config show --config configs/node.toml --set main_node.poll_s=1
    """
    made, origin = explain_config(config, env=os.environ, overrides=overrides(set_))
    document = {
        name: {
            field.name: {
                "value": shown(getattr(getattr(made, name), field.name, field.default)),
                "source": origin.get((name, field.name), "default"),
            }
            for field in msgspec.structs.fields(kind)
        }
        for name, kind in sections()
    }
    output.result(document, toml_lines(made, document))


def shown(value: object) -> object:
    """A value as it may be printed: never a secret."""
    return "<secret>" if type(value).__name__ == "Secret" else value


def toml_lines(made: NodeConfig, document: dict[str, dict[str, dict[str, object]]]) -> list[str]:
    """The document as TOML; keys without a value, and sections that are off, as comments."""
    lines: list[str] = []
    for name, entries in document.items():
        off = getattr(made, name) is None
        lines += ["", f"[{name}]" if not off else f"# [{name}]"]
        for key, entry in entries.items():
            value = msgspec.json.encode(entry["value"]).decode() if entry["value"] is not None else '""'
            mark = "# " if off or entry["value"] is None else ""
            lines.append(f"{mark}{key} = {value}   # {entry['source']}")
    return lines[1:]
