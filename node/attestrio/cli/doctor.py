"""`attestrio doctor`: what is wrong with this machine, this configuration, and the way to the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import trio

from attestrio.app.doctor import Finding, Grade, Subject, examine, subject_of
from attestrio.app.kinds import Kind, kind_of, layout_of
from attestrio.cli.config import ConfigFile, KindFlag, Overrides, overrides
from attestrio.cli.output import Output, scrubbed

ALSO: Final = {
    Kind.OPERATOR: "`attestrio operator check` opens the keystore with its password.",
    Kind.AGGREGATOR: "`attestrio aggregator check` opens the keystore, `attestrio aggregator status` the journal.",
    Kind.SEQUENCER: "`attestrio sequencer check` reads the files of the chain.",
}
FAILED: Final = 2


def doctor(*, config: ConfigFile = None, kind: KindFlag = None, set_: Overrides = (), output: Output = Output()) -> int:
    """Look at disk, clock, files, ports, peers, main nodes, Ethereum, key and signing history, and say what to do.

    Works before the first start and while the process runs; run it as the user of that process. The disk is measured
    with 200 syncs at most. Exit 0: nothing failed; 2: something did. The file may be that of a node, an operator, an
    aggregator or a sequencer.

    Example: attestrio doctor --config configs/node.toml
    """
    kind = kind or kind_of(config)
    found = trio.run(examine, subject(kind, config, set_))
    output.result(document(kind, found), lines(kind, found))
    return FAILED if any(one.grade is Grade.FAIL for one in found) else 0


def subject(kind: Kind, config: Path | None, pairs: tuple[str, ...]) -> Subject:
    """Raises BadConfig."""
    return subject_of(kind, layout_of(kind).explain(config, env=os.environ, overrides=overrides(pairs))[0])


def document(kind: Kind, found: list[Finding]) -> dict[str, Any]:
    return {
        "kind": kind,
        "ok": all(one.grade is not Grade.FAIL for one in found),
        "checks": [{**one.document(), "reason": scrubbed(one.reason)} for one in found],
    }


def lines(kind: Kind, found: list[Finding]) -> Iterator[str]:
    """A line for each check, and below it what to do."""
    width = max(len(one.name) for one in found)
    for one in found:
        about = f"{one.about}: " if one.about else ""
        yield f"{one.grade:<4}  {one.name:<{width}}  {about}{scrubbed(one.reason)}"
        if one.todo:
            yield f"{'':<{width + 8}}-> {one.todo}"
    counts = Counter(one.grade for one in found)
    yield ", ".join(f"{counts[grade]} {grade}" for grade in Grade)
    if kind in ALSO:
        yield ALSO[kind]
