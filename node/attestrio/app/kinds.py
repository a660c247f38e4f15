"""Which kind of configuration a file is: they have sections of the same names, so the keys decide."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any, assert_never

from attestrio.config import NODE
from attestrio.configuring import MAX_FILE, Layout
from attestrio.kit.files import read_bounded


class Kind(StrEnum):
    """Whose configuration it is. The file of a main node is one of a node."""

    NODE = "node"
    OPERATOR = "operator"
    AGGREGATOR = "aggregator"
    SEQUENCER = "sequencer"


def layout_of(kind: Kind) -> Layout[Any]:
    """What a configuration of this kind looks like. Imported when called: the others' take a third of a second."""
    match kind:
        case Kind.NODE:
            return NODE
        case Kind.OPERATOR:
            from attestrio.app.operator_config import LAYOUT as OPERATOR

            return OPERATOR
        case Kind.AGGREGATOR:
            from attestrio.app.aggregator_config import LAYOUT as AGGREGATOR

            return AGGREGATOR
        case Kind.SEQUENCER:
            from attestrio.app.sequencer_config import LAYOUT as SEQUENCER

            return SEQUENCER
    assert_never(kind)


def kind_of(path: Path | None) -> Kind:
    """The kind that knows most keys of the file; a node's where several know as many. Never raises.

    A file that cannot be read is a node's: whoever reads it next says what is wrong with it. So is a pipe, which can
    be read only once.
    """
    if path is None:
        return Kind.NODE
    try:
        table = tomllib.loads(read_bounded(path, MAX_FILE).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return Kind.NODE
    found = {(section, key) for section, entries in table.items() if isinstance(entries, dict) for key in entries}
    sections = set(table)
    if found <= set(NODE.keys()) and sections <= {name for name, _ in NODE.sections()}:
        return Kind.NODE

    def known(kind: Kind) -> tuple[int, int]:
        layout = layout_of(kind)
        return len(found & set(layout.keys())), len(sections & {name for name, _ in layout.sections()})

    return max(Kind, key=known)
