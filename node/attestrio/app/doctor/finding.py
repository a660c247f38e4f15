"""What one check found. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Grade(StrEnum):
    """How it stands."""

    OK = "ok"
    WARN = "warn"  # it works, and may not always
    FAIL = "fail"  # it does not work, or is not safe


@dataclass(frozen=True, slots=True)
class Finding:
    """One check, named in snake_case; `about` says of what. `todo` is empty when all is well."""

    name: str
    about: str
    grade: Grade
    reason: str
    todo: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    """What was measured, for programs; seconds end in `_s`, bytes in `_bytes`."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def ok(name: str, about: str, reason: str, **values: float) -> Finding:
    return Finding(name, about, Grade.OK, reason, "", values)


def warn(name: str, about: str, reason: str, todo: str, **values: float) -> Finding:
    return Finding(name, about, Grade.WARN, reason, todo, values)


def fail(name: str, about: str, reason: str, todo: str, **values: float) -> Finding:
    return Finding(name, about, Grade.FAIL, reason, todo, values)
