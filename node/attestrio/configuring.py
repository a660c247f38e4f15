"""Configurations in general: a TOML file, environment and flags to one frozen root of sections.

Precedence: flag > environment > file > default. Environment names are `ATTESTRIO_<SECTION>_<KEY>` in capitals. An
unknown key is an error that names the key and the file. Environment and flags separate several values by commas and
give named ones as name=value; both may also be written as in TOML: [1, 2] and { name = 1 }. Secrets come from a
`*_file` or from the environment, never from the TOML file itself. Relative paths in a file are taken from the folder of
that file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

import msgspec

from attestrio.errors import SetupError
from attestrio.kit.files import read_bounded

PREFIX = "ATTESTRIO_"
MAX_FILE = 1 << 20  # bytes of a configuration; one with every key has about 2,000
MAX_NUMBER = (1 << 63) - 2  # of the store, of batches; also more than anybody keeps
MAX_SECONDS = 1_000_000_000  # some 30 years: a time without end is a slip


ELSEWHERE = {
    "operator": ": an operator's is checked by `attestrio operator check`",
    "aggregator": ": an aggregator's is checked by `attestrio aggregator check`",
}
"""Sections of other configurations that somebody may hold against the wrong command."""


class BadConfig(SetupError):
    """A configuration that cannot be used; says which key of which source, and what to do."""

    code: ClassVar[str] = "bad_config"

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")
        self.source, self.problem = source, problem


class Secret(str):
    """A text that is never shown. `reveal()` is the only way to it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__
    __format__ = cast("Any", lambda self, _spec: "<secret>")

    def reveal(self) -> str:
        return str.__str__(self)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: frozen, and strict about keys."""


LogFormat = Literal["auto", "console", "json", "logfmt"]
LogLevel = Literal["debug", "info", "warning", "error"]
LOGGER = re.compile(r"(attestrio|trio)(\.[A-Za-z0-9_]+)*")


class LogSection(Section, frozen=True):
    """What every configuration says of logs."""

    level: LogLevel = "info"
    format: LogFormat = "auto"
    """auto: console on a terminal, JSON otherwise."""
    levels: dict[str, LogLevel] = {}
    """Levels of single parts, by the names that stand in `logger`; in the environment name=level,name=level."""

    def __post_init__(self) -> None:
        for name in self.levels:
            if not LOGGER.fullmatch(name):
                raise ValueError(f"levels: no part is called {name}; names begin with attestrio or trio")


def positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} has to be above 0, not {value}")
        if value is not None and not value <= _largest(value):
            raise ValueError(f"{name} has to be {_largest(value)} at most")


def not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= _largest(value):
            raise ValueError(f"{name} has to be from 0 to {_largest(value)}, not {value}")


def _largest(value: float) -> float:
    return MAX_NUMBER if isinstance(value, int) else MAX_SECONDS


Root = TypeVar("Root", bound=Section)
Key = tuple[str, str]
"""Section and key."""
Origin = dict[Key, str]
"""Where each key comes from that is not a default."""


def env_name(section: str, key: str) -> str:
    return f"{PREFIX}{section}_{key}".upper()


@dataclass(frozen=True, slots=True)
class Layout(Generic[Root]):
    """What one kind of configuration looks like, and how it is read."""

    root: type[Root]
    lists: frozenset[Key] = frozenset()
    """Keys with several values, which environment and flags separate by commas."""
    secrets: Mapping[Key, str] = field(default_factory=dict)
    """What only the environment may hold, and the key beside it that names a file instead."""
    paths: frozenset[Key] = frozenset()
    check: Callable[[Root, Origin], None] = lambda made, origin: None
    """What can only be said once all sources are read. Raises BadConfig."""

    def sections(self) -> Iterator[tuple[str, type[Section]]]:
        """Name and class of every section, in the order of the file."""
        for each in msgspec.structs.fields(self.root):
            candidates = getattr(each.type, "__args__", (each.type,))
            yield each.name, next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Section))

    def keys(self) -> Iterator[Key]:
        """Every (section, key) there is."""
        for name, kind in self.sections():
            for each in msgspec.structs.fields(kind):
                yield name, each.name

    def explain(
        self,
        path: str | Path | None = None,
        *,
        env: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> tuple[Root, Origin]:
        """The configuration from `path`, `env` and `overrides` ("section.key" → text), the last one winning.

        Raises BadConfig with one sentence: which source, which key, what is wrong.
        """
        origin: Origin = {}
        table = self._read_file(Path(path)) if path is not None else {}
        for section, key in self.keys():
            if key in table.get(section, {}):
                origin[section, key] = str(path)
        layers = [("environment", self._from_env(env or {})), ("flag", self._from_flags(overrides or {}))]
        for name, layer in layers:
            for (section, key), text in layer.items():
                table.setdefault(section, {})[key] = self._value((section, key), text, name)
                origin[section, key] = name
                self._convert(table, name, strict=False)  # here, so that the error names its source
        made = self._convert(table, str(path or "defaults"), strict=False)
        self.check(made, origin)
        return made, origin

    def unused_environment(self, env: Mapping[str, str]) -> list[str]:
        """Variables that look like ours and name no key: worth a warning, no error (Kubernetes makes such)."""
        known = {env_name(section, key) for section, key in self.keys()}
        prefixes = tuple(f"{PREFIX}{name.upper()}_" for name, _ in self.sections())
        return sorted(name for name in env if name.startswith(prefixes) and name not in known)

    def _read_file(self, path: Path) -> dict[str, Any]:
        try:
            table = tomllib.loads(read_bounded(path, MAX_FILE, pipes=True).decode("utf-8"))
        except FileNotFoundError:
            raise BadConfig(str(path), "no such file; `attestrio config show` prints a complete one") from None
        except OSError as exc:
            raise BadConfig(str(path), f"cannot be read: {exc.strerror}") from None
        except UnicodeDecodeError:
            raise BadConfig(str(path), "cannot be read: not UTF-8 text") from None
        except tomllib.TOMLDecodeError as exc:
            raise BadConfig(str(path), f"not TOML: {exc}") from None
        except ValueError:  # Python reads no number of more than 4,300 digits
            raise BadConfig(str(path), "holds a number that is too long") from None
        except RecursionError:
            raise BadConfig(str(path), "nested too deep") from None
        self._refuse_unknown(table, str(path))
        for (section, key), file_key in self.secrets.items():
            if key in table.get(section, {}):
                instead = f"use {section}.{file_key} or {env_name(section, key)}"
                raise BadConfig(str(path), f"{section}.{key} may not stand in a file: {instead}")
        self._convert(table, str(path), strict=True)
        for section, key in self.paths:
            value = table.get(section, {}).get(key)
            if value is not None:
                table[section][key] = str(path.parent / value)
        return table

    def _from_env(self, env: Mapping[str, str]) -> dict[tuple[str, str], str]:
        return {pair: env[env_name(*pair)] for pair in self.keys() if env_name(*pair) in env}

    def _from_flags(self, overrides: Mapping[str, str]) -> dict[tuple[str, str], str]:
        known = {f"{section}.{key}": (section, key) for section, key in self.keys()}
        for name in overrides:
            if name not in known:
                raise BadConfig("flag", f"unknown key {name}{_hint(name, known)}")
            if known[name] in self.secrets:
                instead = f"use {env_name(*known[name])}"
                raise BadConfig("flag", f"a secret on the command line is seen by everybody: {instead}")
        return {known[name]: text for name, text in overrides.items()}

    def _tables(self) -> set[Key]:
        """Keys with named values."""
        return {
            (name, each.name)
            for name, kind in self.sections()
            for each in msgspec.structs.fields(kind)
            if getattr(each.type, "__origin__", None) is dict
        }

    def _value(self, key: Key, text: str, source: str) -> object:
        if key in self.lists:
            return _list(text)
        return _table(".".join(key), text, source) if key in self._tables() else text

    def _convert(self, table: dict[str, Any], source: str, *, strict: bool) -> Root:
        self._refuse_unknown(table, source)
        try:
            return msgspec.convert(table, self.root, strict=strict, dec_hook=_decode_secret)
        except msgspec.ValidationError as exc:
            text = str(exc)
            what, _, where = text.partition(" - at `$")
            where = where.rstrip("`").lstrip(".")
            raise BadConfig(source, f"{where}: {what}" if where else what) from None

    def _refuse_unknown(self, table: dict[str, Any], source: str) -> None:
        known = dict(self.sections())
        for section, entries in table.items():
            if section not in known:
                raise BadConfig(source, f"unknown section [{section}]{ELSEWHERE.get(section) or _hint(section, known)}")
            if not isinstance(entries, dict):
                raise BadConfig(source, f"{section} has to be a section: [{section}]")
            fields = {each.name for each in msgspec.structs.fields(known[section])}
            for key, value in entries.items():
                if key not in fields:
                    raise BadConfig(source, f"unknown key {section}.{key}{_hint(key, fields)}")
                if isinstance(value, str) and "\0" in value:  # no path, address or key has one, and open() would trip
                    raise BadConfig(source, f"{section}.{key}: holds a NUL character")


def _list(text: str) -> list[Any]:
    inside = text.strip()
    if inside[:1] == "[" and inside[-1:] == "]":  # or an address: [::1]
        with suppress(ValueError, RecursionError):
            return cast("list[Any]", _inline(inside))
    return [one.strip() for one in text.split(",")] if text else []


def _table(name: str, text: str, source: str) -> dict[str, Any]:
    """Raises BadConfig."""
    inside = text.strip()
    if inside[:1] == "{":
        try:
            return cast("dict[str, Any]", _inline(inside))
        except RecursionError:
            raise BadConfig(source, f"{name}: nested too deep") from None
        except ValueError as exc:
            raise BadConfig(source, f"{name}: not a table of TOML, as {{ a = 1, b = 2 }}: {exc}") from None
    pairs = [one.partition("=") for one in _list(text)]
    for one in pairs:
        if not one[1]:
            raise BadConfig(source, f"{name}: {one[0] or 'nothing'} has no value; write name=value,name=value")
    return {one.strip(): value.strip() for one, _, value in pairs}


def _inline(text: str) -> object:
    """A value as it stands behind `key =` in TOML. Raises ValueError, RecursionError."""
    table = tomllib.loads(f"value = {text}")
    if set(table) != {"value"}:
        raise ValueError("there is more than one value")
    return table["value"]


def _decode_secret(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError("expected a text")


def _hint(name: str, known: Mapping[str, object] | set[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
