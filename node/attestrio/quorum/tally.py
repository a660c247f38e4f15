"""The votes for one batch, and certificates made of them at the cost of a pointer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attestrio.roles import AttesterPublicKey, Batch, BatchQC, Signature, SignedBatch

# A vote and the moment, in changes of the tally, at which it came. By the key's bytes, here and in the register:
# a key hashes in Python code, bytes remember their hash, and several look-ups a vote are a tenth of verifying it.
Entry = tuple[SignedBatch, int]


class Tally:
    """Who signed one batch, and with how much weight. Every operation is O(1), amortised.

    A certificate must not change when more votes come, yet copying 10,000 signatures for every vote after the
    threshold would cost far more than verifying the vote. So nothing is taken out at once: entries carry the moment
    they came, those withdrawn the moment they left, and a certificate is a `Snapshot` of one moment.
    """

    __slots__ = ("_certificate", "_entries", "_left", "_moment", "batch", "weight")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.weight = 0
        self._entries: dict[bytes, Entry] = {}
        self._left: dict[bytes, int] = {}
        self._moment = 0
        self._certificate: BatchQC | None = None

    def __len__(self) -> int:
        return len(self._entries) - len(self._left)

    def add(self, vote: SignedBatch, weight: int) -> None:
        """Count a vote whose key is not in."""
        key = vote.key.raw
        if self._left and key in self._left:
            self._compact()
        self._moment += 1
        self._entries[key] = vote, self._moment
        self.weight += weight
        self._certificate = None

    def withdraw(self, vote: SignedBatch, weight: int) -> None:
        """Take out a vote whose key is in."""
        self._moment += 1
        self._left[vote.key.raw] = self._moment
        self.weight -= weight
        self._certificate = None
        if 2 * len(self._left) > len(self._entries):
            self._compact()  # those who left are never more than those who stay, so memory follows the living votes

    def certificate(self) -> BatchQC:
        """The certificate of all who are in now. The same object until somebody comes or goes."""
        if self._certificate is None:
            self._certificate = BatchQC(self.batch, Snapshot(self._entries, self._left, self._moment, len(self)))
        return self._certificate

    def _compact(self) -> None:
        # New dictionaries: snapshots taken before keep the old ones.
        self._entries = {key: entry for key, entry in self._entries.items() if key not in self._left}
        self._left = {}


class Snapshot(Mapping[AttesterPublicKey, Signature]):
    """The signatures that were in a tally at one moment: immutable, read when it is asked. O(size) on first use.

    May be read in a worker thread while the tally goes on: later changes carry later moments, and `list(items())`
    and a look-up are each one step of the interpreter.
    """

    __slots__ = ("_read", "_size", "_source")

    def __init__(self, entries: Mapping[bytes, Entry], left: Mapping[bytes, int], moment: int, size: int) -> None:
        self._source: tuple[Mapping[bytes, Entry], Mapping[bytes, int], int] | None
        self._source = entries, left, moment
        self._size = size
        self._read: dict[AttesterPublicKey, Signature] = {}

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[AttesterPublicKey]:
        return iter(self._now())

    def __getitem__(self, key: AttesterPublicKey) -> Signature:
        return self._now()[key]

    def _now(self) -> dict[AttesterPublicKey, Signature]:
        if (source := self._source) is not None:
            entries, left, moment = source
            self._read = {
                vote.key: vote.signature
                for raw, (vote, came) in list(entries.items())
                if came <= moment < left.get(raw, moment + 1)
            }
            self._source = None  # the last step: who finds None finds everything read. The tally may forget now.
        return self._read
