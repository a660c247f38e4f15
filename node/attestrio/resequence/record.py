"""How far a rebuild has got, as it stands in its record.

recorded     the copy is on disk; the stream has all of it still, or has just been cut
rebuilding   the stream was cut, new batches are behind what was kept
restoring    the rebuild has stopped, the entries are put back
done         the new batches are complete and have passed the audit      } nothing is under way,
restored     stream and database are as before the rebuild               } the next one may begin
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final

FORMAT: Final = "attestrio rebuild 1"


class Phase(StrEnum):
    """See above."""

    RECORDED = "recorded"
    REBUILDING = "rebuilding"
    RESTORING = "restoring"
    DONE = "done"
    RESTORED = "restored"


UNFINISHED: Final = frozenset({Phase.RECORDED, Phase.REBUILDING, Phase.RESTORING})


@dataclass(frozen=True, slots=True)
class Record:
    """A rebuild. Hashes are hex here, because this is what stands in the file."""

    phase: Phase
    kept_batch: int
    """The last batch that stays."""
    kept_block: int
    kept_hash: str
    kept_time: int
    kept_progress: int
    """The highest L1 info index up to that block."""
    first_entry: int
    """The number of the first entry that is removed, and of the first new one."""
    whole: int
    """How many removed ones belong to something whole: only they are rebuilt."""
    strict: bool
    reuse_l1_info_index: bool
    recipe: str
    """A hash of everything the new batches depend on, but leaves: a rebuild with another one begins anew."""
    batches: int = 0
    blocks: int = 0
    transactions: int = 0
    """How many of them are rebuilt."""
    last_batch: int = 0
    entries: int = 0
    """How many were removed."""
    size: int = 0
    """Bytes of the copy."""
    sha256: str = ""
    """Of the copy."""
    prefix_sha256: str = ""
    """Of everything that stands before it in the stream."""
    why: str | None = None
    """Why it has stopped, when it has."""

    @property
    def unfinished(self) -> bool:
        return self.phase in UNFINISHED

    @property
    def tag(self) -> bytes:
        """Marks the cursors of this rebuild, 8 bytes."""
        told = f"{self.first_entry} {self.sha256} {self.recipe}"
        return hashlib.sha256(told.encode()).digest()[:8]

    def to_json(self) -> str:
        """As it stands in the file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, raw: bytes) -> Record:
        """Raises ValueError for anything that `to_json` does not write."""
        try:
            document = json.loads(raw)
            if document.pop("format") != FORMAT or document.keys() != {one.name for one in fields(cls)}:
                raise ValueError("another format")
            _check_types(document)
            return cls(**document | {"phase": Phase(document["phase"])})
        except (KeyError, TypeError, AttributeError, RecursionError) as exc:  # the last: [[[[...
            raise ValueError(str(exc)) from exc


def _check_types(document: dict[str, Any]) -> None:
    """Raise TypeError or ValueError for what is no `Record`."""
    wanted = {"int": int, "str": str, "bool": bool, "Phase": str, "str | None": (str, type(None))}
    for one in fields(Record):
        value = document[one.name]
        kind: Any = wanted[str(one.type)]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise TypeError(one.name)
