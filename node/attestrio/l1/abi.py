"""Signatures as Solidity writes them. Pure text; the encoding itself is eth_abi's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from attestrio.l1.api import Address

DECLARED: Final = re.compile(r"\s*(\w+)\s*\((.*?)\)\s*(?:returns\s*\((.*)\)\s*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value: its canonical type, its name (may be empty), and whether an event has it as a topic."""

    type: str
    name: str = ""
    indexed: bool = False

    @property
    def dynamic(self) -> bool:
        """Whether an indexed one is only there as its hash."""
        return self.type in ("string", "bytes") or self.type.endswith("]") or self.type.startswith("(")


def declaration(text: str) -> tuple[str, tuple[Parameter, ...], tuple[Parameter, ...]]:
    """(name, parameters, results) of `name(type [indexed] [name], ...) [returns (...)]`. Raises ValueError."""
    found = DECLARED.fullmatch(text)
    if found is None:
        raise ValueError(f"not a declaration: {text!r}")
    return found[1], parameters(found[2]), parameters(found[3] or "")


def parameters(text: str) -> tuple[Parameter, ...]:
    """A parameter list; tuples are written in parentheses. Raises ValueError."""
    return tuple(_parameter(part) for part in _split(text)) if text.strip() else ()


def signature(name: str, given: tuple[Parameter, ...]) -> str:
    """What is hashed for a selector or topic."""
    return f"{name}({','.join(one.type for one in given)})"


def read_as(kind: str) -> str:
    """The type to let eth_abi decode: an address as the number it is, because the text with 0x takes 10 µs to make."""
    return "uint160" if kind == "address" else kind


def plain(kind: str, value: object) -> object:
    """`value`, decoded as `read_as(kind)`, as we have it: an address as 20 bytes."""
    return Address(value.to_bytes(20, "big")) if isinstance(value, int) and kind == "address" else value


def _parameter(text: str) -> Parameter:
    end = text.rfind(")") + 1  # of a tuple; 0 for everything else
    if end:
        end += len(text[end:]) - len(text[end:].lstrip("[]0123456789"))
        kind = ",".join(one.type for one in parameters(text[1 : text.rfind(")")]))
        kind, rest = f"({kind}){text[text.rfind(')') + 1 : end]}", text[end:].split()
    else:
        kind, *rest = text.split()
        kind = {"uint": "uint256", "int": "int256"}.get(kind, kind)
    indexed = rest[:1] == ["indexed"]
    names = rest[1:] if indexed else rest
    if len(names) > 1:
        raise ValueError(f"not a parameter: {text!r}")
    return Parameter(kind, names[0] if names else "", indexed)


def _split(text: str) -> list[str]:
    """At commas outside parentheses."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    if depth:
        raise ValueError(f"unbalanced: {text!r}")
    return [*parts, text[start:].strip()]
