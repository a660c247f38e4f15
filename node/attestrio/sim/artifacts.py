"""The contracts of `contracts/`, compiled: what is deployed on a development chain, and how it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from eth_abi.abi import encode

from attestrio.errors import SetupError
from attestrio.l1.abi import Parameter
from attestrio.l1.contract import Function
from attestrio.l1.logs import Event

FOLDERS = (Path(__file__).with_name("contracts"), Path(__file__).parents[3] / "contracts")
"""Of an installed package, and of a checkout."""


class ContractAbsent(SetupError):
    """The compiled contract is neither in the package nor beside it: the installation is incomplete."""

    code: ClassVar[str] = "contract_absent"

    def __init__(self, name: str) -> None:
        super().__init__(f"contract {name} is not installed: no {name}.json in {' or '.join(map(str, FOLDERS))}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract. Functions and errors are found by name, those that share one by `name(types)` too."""

    bytecode: bytes
    constructor: tuple[Parameter, ...]
    functions: Mapping[str, Function]
    errors: Mapping[str, Function]
    events: Mapping[str, Event]

    def creation(self, *arguments: object) -> bytes:
        """The data of the transaction that deploys it. Raises eth_abi's EncodingError."""
        return self.bytecode + encode([one.type for one in self.constructor], arguments)


class _Json(msgspec.Struct):
    bytecode: str
    abi: list[dict[str, Any]]


def artifact(name: str) -> Artifact:
    """The contract `name`. Raises ContractAbsent."""
    path = next((found for folder in FOLDERS if (found := folder / f"{name}.json").exists()), None)
    if path is None:
        raise ContractAbsent(name)
    read = msgspec.json.decode(path.read_bytes(), type=_Json)
    functions: dict[str, Function] = {}
    errors: dict[str, Function] = {}
    for part, kind in ((functions, "function"), (errors, "error")):
        for one in _of(read.abi, kind):
            made = Function(one["name"], _parameters(one["inputs"]), _parameters(one.get("outputs", ())))
            part[one["name"]] = part[_signature(made)] = made
    return Artifact(
        bytes.fromhex(read.bytecode.removeprefix("0x")),
        next((_parameters(one["inputs"]) for one in _of(read.abi, "constructor")), ()),
        functions,
        errors,
        {one["name"]: Event(one["name"], _parameters(one["inputs"])) for one in _of(read.abi, "event")},
    )


def _of(abi: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in abi if one["type"] == kind]


def _signature(function: Function) -> str:
    return f"{function.name}({','.join(one.type for one in function.parameters)})"


def _parameters(told: Any) -> tuple[Parameter, ...]:  # noqa: ANN401  JSON
    return tuple(Parameter(_type(one), one["name"], one.get("indexed", False)) for one in told)


def _type(told: Any) -> str:  # noqa: ANN401  JSON
    """The canonical type: a tuple by its members."""
    if not told["type"].startswith("tuple"):
        return str(told["type"])
    return f"({','.join(map(_type, told['components']))}){told['type'][len('tuple') :]}"
