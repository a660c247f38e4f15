"""Calls to contracts: arguments to bytes, results and reasons for a refusal back to values. eth_abi, no web3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from attestrio.kit.jsonrpc import MalformedAnswer
from attestrio.l1.abi import Parameter, declaration, plain, read_as, signature
from attestrio.l1.api import Address, At, Chain
from attestrio.roles.keccak import keccak256


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a contract. `selector` is the first 4 bytes of a call."""

    name: str
    parameters: tuple[Parameter, ...]
    results: tuple[Parameter, ...] = ()
    selector: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selector", keccak256(signature(self.name, self.parameters).encode())[:4])

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `name(type [name], ...) returns (type [name], ...)`; structs as tuples. Raises ValueError."""
        return cls(*declaration(text))

    def encode(self, *arguments: object) -> bytes:
        """The data of a call. Raises eth_abi's EncodingError for arguments of other types: a bug of the caller."""
        return self.selector + encode([one.type for one in self.parameters], arguments)

    def read_untrusted(self, returned: bytes) -> tuple[Any, ...]:
        """The results; addresses at the top level as 20 bytes. Raises MalformedAnswer.

        Nothing at all is what an address without a contract returns.
        """
        try:
            values = decode([read_as(one.type) for one in self.results], returned)
        except (DecodingError, ValueError, OverflowError) as exc:
            why = "no contract there" if not returned else str(exc)
            raise MalformedAnswer(self.name, why) from exc
        return tuple(plain(one.type, value) for one, value in zip(self.results, values, strict=True))


@dataclass(frozen=True, slots=True)
class Contract:
    """One contract on one chain, to be read."""

    chain: Chain
    address: Address

    async def call(self, function: Function, *arguments: object, at: At = "latest") -> tuple[Any, ...]:
        """What `function` returns at that block. Raises CallReverted, MalformedAnswer, SourceError."""
        return function.read_untrusted(await self.chain.call(self.address, function.encode(*arguments), at))


ERROR: Final = Function.parse("Error(string)")
PANIC: Final = Function.parse("Panic(uint256)")


@dataclass(frozen=True, slots=True)
class Reverts:
    """The errors a contract declares, to name what `CallReverted.data` says."""

    known: Mapping[bytes, Function] = field(default_factory=dict)

    @classmethod
    def parse(cls, *declared: str) -> Self:
        """From `Name(type, ...)`; `Error(string)` and `Panic(uint256)` are always known. Raises ValueError."""
        functions = (ERROR, PANIC, *map(Function.parse, declared))
        return cls({one.selector: one for one in functions})

    def read_untrusted(self, data: bytes) -> tuple[str, tuple[Any, ...]]:
        """(name, arguments); ("", ()) for what is not known or does not decode. Never raises."""
        error = self.known.get(data[:4])
        if error is None:
            return "", ()
        try:
            values = decode([read_as(one.type) for one in error.parameters], data[4:])
        except (DecodingError, ValueError, OverflowError):
            return error.name, ()
        return error.name, tuple(plain(one.type, value) for one, value in zip(error.parameters, values, strict=True))
