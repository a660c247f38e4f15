"""The key of a node and what it signed: in the committee, on record, halted. Reads files; blocks."""

from __future__ import annotations

from pathlib import Path

import msgspec

from attestrio.app.doctor.finding import Finding, fail, ok, warn
from attestrio.config import NodeConfig
from attestrio.errors import StorageUnusable
from attestrio.kit.files import read_bounded
from attestrio.protection.halt import HALT, Halted, read_halt
from attestrio.protection.history import HISTORY, MAX_MARKER, marker_of
from attestrio.protection.pending import MAX_NOTE, ROLLBACK, PendingRollback
from attestrio.protection.reader import open_record
from attestrio.roles import AttesterPublicKey, Genesis


def halt(place: Path) -> Finding:
    """Whether the node stopped for safety."""
    try:
        note = read_halt(place)
    except Halted as exc:
        return fail("halt", str(place / HALT), str(exc), "docs/protection.md says what to do before anything else")
    if note is None:
        return ok("halt", "", "not halted")
    todo = "find out why; then `attestrio protection repair --ack` lets it start"
    return fail("halt", str(place / HALT), f"stopped for safety: {note.sentence} [{note.code}]", todo)


def rollback(place: Path) -> Finding:
    """Whether the end of an epoch waits for somebody's consent."""
    path = place / ROLLBACK
    try:
        pending = msgspec.json.decode(read_bounded(path, MAX_NOTE), type=PendingRollback)
    except FileNotFoundError:
        return ok("rollback", "", "none waits for consent")
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        text = f"cannot be read ({getattr(exc, 'strerror', None) or exc}), so nobody can consent to it"
        return warn("rollback", str(path), text, "start the node: it writes the file anew where it has to wait")
    text = f"epoch {pending.ended} ended ({pending.cause}): {pending.detail}"
    return warn("rollback", "", text, "`attestrio rollback status`, then `attestrio rollback apply`")


def committee(key: AttesterPublicKey | None, genesis: Genesis | None) -> Finding:
    """Whether this node's vote would count."""
    if key is None:
        return ok("committee", "", "no attester key: this node collects certificates and does not vote")
    about = key.to_text()
    if genesis is None:
        return warn("committee", about, "not known: nobody names a genesis", "see main_node above")
    if genesis.attesters is None:
        return warn("committee", about, "the genesis names no attesters, so nobody votes", "ask who made the genesis")
    weight = genesis.attesters.weight(key)
    if weight is None:
        todo = "use the key that was announced, or have this one put into the genesis"
        return fail("committee", about, "this key is not in the committee: its votes would not count", todo)
    total = genesis.attesters.total_weight
    return ok("committee", about, f"weight {weight} of {total}, {genesis.attesters.threshold} needed", weight=weight)


def history(key: AttesterPublicKey | None, config: NodeConfig) -> Finding:
    """Whether the record of what this key signed is here."""
    if key is None:
        return ok("history", "", "no attester key, so none is needed")
    path = Path(config.node.data_dir) / HISTORY
    unused = config.keys.attester_file is not None and _is_unused(Path(config.keys.attester_file), key)
    if not path.exists():
        if unused:
            return ok("history", str(path), "the key was never used: the first start begins its history")
        return fail("history", str(path), "is missing: a start ends with exit code 71", _RESTORE)
    try:
        with open_record(path) as record:
            known, briefs = key in set(record.keys()), record.briefs()
    except StorageUnusable as exc:
        return fail("history", str(path), str(exc), _RESTORE)
    if not known and not unused:
        return fail("history", str(path), f"does not know {key.to_text()}: a start ends with exit code 71", _RESTORE)
    own = [brief for brief in briefs if brief.history.attester == key]
    votes, newest = sum(brief.votes for brief in own), max((brief.newest or 0 for brief in own), default=None)
    text = f"{votes} votes of this key{'' if newest is None else f', newest {newest}'}"
    if contested := sum(brief.contested for brief in own):
        text += f"; {contested} numbers have two hashes and are never signed again"
    return ok("history", str(path), text, votes=votes)


_RESTORE = "restore it, or `attestrio protection import` it; start with --init-protection only if this key never signed"


def _is_unused(key_file: Path, key: AttesterPublicKey) -> bool:
    try:
        return read_bounded(marker_of(key_file), MAX_MARKER).decode("ascii", "replace").strip() == key.to_text()
    except OSError:
        return False
