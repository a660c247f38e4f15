"""Where secrets may stand: the environment, files the configuration names, and parts of URLs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from attestrio.app.bundle.redact import secrets_of_file, secrets_of_url
from attestrio.app.doctor import Subject
from attestrio.configuring import Secret, Section
from attestrio.kit.files import read_bounded

MAX_FILE: Final = 1 << 16  # bytes of a key, a keystore or a password
TELLING: Final = re.compile("PASS|SECRET|TOKEN|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
"""Names of variables whose values are secret, also of those that are not ours."""


def secrets_of(made: Section, subject: Subject, env: Mapping[str, str]) -> set[str]:
    """Every secret that the process could know. Files that cannot be read are left out: nobody else reads them."""
    found: set[str] = set()
    for value in _values(msgspec.structs.asdict(made)):
        if isinstance(value, Secret):
            found |= secrets_of_file(value.reveal())
        elif "://" in value:
            found |= secrets_of_url(value)
    for _, path in subject.secret_files:
        try:
            found |= secrets_of_file(read_bounded(path, MAX_FILE).decode("utf-8", "replace"))
        except OSError:
            continue
    for name, text in env.items():
        if "://" in text:
            found |= {one for url in text.split(",") for one in secrets_of_url(url)}
        elif TELLING.search(name) and not os.path.lexists(text):  # the path of a key is none
            found |= secrets_of_file(text)
    return found


def _values(value: Any) -> Iterator[str]:  # noqa: ANN401 - whatever a configuration holds
    """All texts in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, msgspec.Struct):
        yield from _values(msgspec.structs.asdict(value))
    elif isinstance(value, dict):
        for one in value.values():
            yield from _values(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _values(one)
