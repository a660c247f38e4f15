"""Topics and data of a log to the values of an event, and back. Pure; eth_abi, because web3 takes 30 times as long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from attestrio.l1.abi import Parameter, declaration, plain, read_as, signature
from attestrio.l1.api import Address, Log, LogFilter, Topic
from attestrio.l1.errors import UnreadableEvent
from attestrio.roles.keccak import keccak256


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a contract. `topic` is topic 0 of its logs."""

    name: str
    parameters: tuple[Parameter, ...]
    topic: Topic = field(init=False)
    _indexed: tuple[Parameter, ...] = field(init=False, repr=False)
    _data: tuple[Parameter, ...] = field(init=False, repr=False)
    _types: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "topic", Topic(keccak256(signature(self.name, self.parameters).encode())))
        object.__setattr__(self, "_indexed", tuple(one for one in self.parameters if one.indexed))
        object.__setattr__(self, "_data", tuple(one for one in self.parameters if not one.indexed))
        object.__setattr__(self, "_types", tuple(read_as(one.type) for one in self._data))
        names = {one.name for one in self.parameters} - {""}
        if len(names) != len(self.parameters):
            raise ValueError(f"{self.name}: every parameter of an event needs a name of its own")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `Name(type [indexed] name, ...)`. Raises ValueError."""
        name, parameters, _ = declaration(text)
        return cls(name, parameters)

    def read_untrusted(self, log: Log) -> dict[str, Any]:
        """The values by name: ints, bytes, text, bools; an address as 20 bytes, an indexed string as its hash.

        About 20 µs. Raises UnreadableEvent, whatever the contract emitted.
        """
        if not log.topics or log.topics[0] != self.topic or len(log.topics) != len(self._indexed) + 1:
            raise UnreadableEvent(self.name, f"log {log.index} of block {log.block} has other topics")
        try:
            values: dict[str, Any] = {
                one.name: topic
                if one.dynamic or one.type == "bytes32"
                else plain(one.type, decode((read_as(one.type),), topic)[0])
                for one, topic in zip(self._indexed, log.topics[1:], strict=True)
            }
            read = decode(self._types, log.data)
        except (DecodingError, ValueError, OverflowError) as exc:  # ValueError: text that is no UTF-8
            raise UnreadableEvent(self.name, f"log {log.index} of block {log.block}: {exc}") from exc
        values.update((one.name, plain(one.type, value)) for one, value in zip(self._data, read, strict=True))
        return values

    def emitted(self, **values: object) -> tuple[tuple[Topic, ...], bytes]:
        """(topics, data) of a log with these values, for stubs and tests. Indexed strings and arrays are not made."""
        topics = [self.topic, *(Topic(encode((one.type,), [values[one.name]])) for one in self._indexed)]
        return tuple(topics), encode([one.type for one in self._data], [values[one.name] for one in self._data])


def filter_for(address: Address, *events: Event, where: Mapping[int, tuple[Topic, ...]] | None = None) -> LogFilter:
    """All logs of these events at one contract; `where[1]` are the alternatives for topic 1, and so on."""
    more = tuple((where or {}).get(at, ()) for at in range(1, max(where or {}, default=0) + 1))
    return LogFilter((address,), (tuple(event.topic for event in events), *more))
