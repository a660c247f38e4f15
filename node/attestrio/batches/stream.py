"""The batches of a CDK chain as something to attest, from a stream that is followed or written in this process."""

from __future__ import annotations

from typing import Final

from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash
from attestrio.roles.keccak import keccak256
from attestrio.store.api import BatchConflict
from attestrio.stream.entries import Entry
from attestrio.stream.errors import BadMessage, StreamRewritten
from attestrio.stream.live import LiveStream
from attestrio.stream.messages import ZERO, BatchEnd, Bookmark, L2Block, message_untrusted

WINDOW: Final = 256  # entries read at once
REMEMBERED: Final = 10_000
"""Batches given out whose hashes are compared after the stream was cut; older ones are final on L1 by then."""


def batch_hash(number: int, block: bytes, state_root: bytes, local_exit_root: bytes) -> BatchHash:
    """What is attested of a batch: keccak256 of its number (8 bytes, big endian), the hash of the last block up to its
    end (which stands for all before it), and both roots of its end."""
    return BatchHash(keccak256(number.to_bytes(8, "big") + block + state_root + local_exit_root))


class StreamBatches:
    """A `BatchSource` over a stream: each batch that has ended. One epoch uses it at a time.

    After the stream was cut, what was given out before is compared with what stands there now: batches that were
    re-sequenced end the epoch. `follow` says under which genesis batches are given.
    """

    def __init__(self, stream: LiveStream, genesis: GenesisHash, *, first: int = 0) -> None:
        self._stream, self._genesis, self._first = stream, genesis, first
        self._given: dict[BatchNumber, BatchHash] = {}
        self._cuts = stream.state.cuts

    def follow(self, genesis: GenesisHash, first: int) -> None:
        """From now on batches belong to `genesis`, which begins with batch `first`; what was given before is past."""
        self._genesis, self._first = genesis, first
        self._given.clear()

    async def first_batch(self, genesis: GenesisHash) -> BatchNumber | None:
        """Where `genesis` begins; None for one that is not followed (any more, or yet)."""
        return BatchNumber(self._first) if genesis == self._genesis else None

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """The batch, None while it has not ended. Raises BatchConflict for the first one that was given out with
        another hash than it has now; StorageUnusable."""
        try:
            await self._compare()
            hash = await self._hash(number) if number >= self._first else None
        except StreamRewritten:
            return None  # cut while it was read
        if hash is None:
            return None
        self._given.setdefault(number, hash)
        while len(self._given) > REMEMBERED:
            del self._given[min(self._given)]
        return Batch(number, hash, self._genesis)

    async def _compare(self) -> None:
        """Once after every cut, by halving: the hash of a block stands for all before it, so behind the first batch
        that has changed all have. A batch that is not there for now may come back as it was."""
        cuts = self._stream.state.cuts
        if cuts == self._cuts:
            return
        numbers = sorted(self._given)
        low, high = 0, len(numbers)
        while low < high:
            middle = (low + high) // 2
            if await self._hash(numbers[middle]) == self._given[numbers[middle]]:
                low = middle + 1
            else:
                high = middle
        if low == len(numbers):
            self._cuts = cuts
            return
        number = numbers[low]
        now, given = await self._hash(number), self._given[number]
        if now is not None and now != given:
            for one in numbers[low:]:  # the next epoch asks anew
                del self._given[one]
            raise BatchConflict(number, now, given)

    async def _hash(self, number: int) -> BatchHash | None:
        """Raises StreamRewritten, StorageUnusable."""
        at = await self._stream.find(Bookmark.batch(number).encode())
        block: bytes | None = None
        while at is not None:
            entries = await self._stream.entries(at, at + WINDOW)
            if not entries:
                return None
            for entry in entries:
                message = _message(entry)
                if isinstance(message, L2Block):
                    block = message.hash
                elif isinstance(message, BatchEnd):
                    last = await self._block_before(at) if block is None else block
                    return batch_hash(number, last, message.state_root, message.local_exit_root)
            at += len(entries)
        return None

    async def _block_before(self, number: int) -> bytes:
        """The hash of the last block before an entry: of a batch without blocks."""
        while number > 0:
            start = max(0, number - WINDOW)
            for entry in reversed(await self._stream.entries(start, number)):
                message = _message(entry)
                if isinstance(message, L2Block):
                    return message.hash
            number = start
        return ZERO


def _message(entry: Entry) -> L2Block | BatchEnd | None:
    try:
        message = message_untrusted(entry.type, entry.data)
    except BadMessage:
        return None
    return message if isinstance(message, L2Block | BatchEnd) else None
