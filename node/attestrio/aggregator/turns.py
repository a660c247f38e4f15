"""Who is next: work of many connections, each host in its turn, and each connection of a host. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """A queue in which nobody gets ahead by asking more often.

    Items of one batch are taken together, for that is cheap; whose batch it is goes by turns. Items that nobody wants
    any more (`wanted`) are dropped when their turn comes. `take` costs O(1) for each item that leaves.
    """

    def __init__(self, wanted: Callable[[T], bool]) -> None:
        self._wanted = wanted
        self._hosts: OrderedDict[str, OrderedDict[Hashable, deque[tuple[bytes, T]]]] = OrderedDict()
        self._batches: dict[bytes, OrderedDict[int, T]] = {}

    def __bool__(self) -> bool:
        return bool(self._batches)

    def add(self, host: str, connection: Hashable, batch: bytes, item: T) -> None:
        """Put an item behind those of its connection."""
        connections = self._hosts.setdefault(host, OrderedDict())
        connections.setdefault(connection, deque()).append((batch, item))
        self._batches.setdefault(batch, OrderedDict())[id(item)] = item

    def leave(self, host: str, connection: Hashable) -> list[tuple[bytes, T]]:
        """Take out what still waits of one connection, with its batches, in order. O(items)."""
        connections = self._hosts.get(host, OrderedDict())
        left = []
        for batch, item in connections.pop(connection, ()):
            waiting = self._batches.get(batch)
            if waiting is not None and waiting.pop(id(item), None) is not None:
                left.append((batch, item))
                if not waiting:
                    del self._batches[batch]
        if not connections:
            self._hosts.pop(host, None)
        return left

    def take(self, most: int) -> tuple[bytes, list[T]] | None:
        """The next batch, and at most `most` of its items: first that whose turn it is, then the oldest.

        None: nothing is left that somebody wants.
        """
        for batch, item in self._in_turn():
            waiting = self._batches.get(batch)
            if waiting is None or waiting.pop(id(item), None) is None:
                continue  # it was taken along before
            group = [item] if self._wanted(item) else []
            if group:
                while waiting and len(group) < most:
                    other = waiting.pop(next(iter(waiting)))
                    if self._wanted(other):
                        group.append(other)
            if not waiting:
                self._batches.pop(batch, None)
            if group:
                return batch, group
        return None

    def _in_turn(self) -> Iterator[tuple[bytes, T]]:
        """The first item of the next connection of the next host; both go to the end."""
        while self._hosts:
            host, connections = self._hosts.popitem(last=False)
            connection, items = connections.popitem(last=False)
            batch, item = items.popleft()
            if items:
                connections[connection] = items
            if connections:
                self._hosts[host] = connections
            yield batch, item
