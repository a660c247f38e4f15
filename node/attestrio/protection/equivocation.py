"""Attesters that contradict themselves: proofs anybody can check, kept before anybody reacts.

A proof is one JSON file that needs nothing else: docs/verify_equivocation.py checks it without this package.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from attestrio.errors import PeerError
from attestrio.kit.disk import Disk, RealDisk, write_whole
from attestrio.kit.files import read_bounded
from attestrio.kit.metrics import Metrics
from attestrio.roles import AttesterPublicKey, Batch, BatchHash, BatchNumber, GenesisHash, Signature, SignedBatch

log = logging.getLogger("attestrio.protection")

FOLDER: Final = "equivocations"
FORMAT: Final = "attestrio-equivocation"
VERSION: Final = 1
MAX_FILE: Final = 16_384  # bytes; a proof has about 1,100


class BadProof(PeerError):
    """A file that proves nothing: not readable, or its two votes are not two valid votes that contradict each other."""

    code: ClassVar[str] = "bad_equivocation_proof"


@dataclass(frozen=True, slots=True)
class EquivocationProof:
    """Two votes of one key for one number under one genesis, with different hashes. Made by `of` or `untrusted`."""

    first: SignedBatch
    second: SignedBatch

    @classmethod
    def of(cls, first: SignedBatch, second: SignedBatch) -> EquivocationProof:
        """The proof, checked: two recovers. Raises BadProof."""
        one, other = first.batch, second.batch
        if first.key != second.key:
            raise BadProof("the votes are of two keys")
        if (one.genesis, one.number) != (other.genesis, other.number):
            raise BadProof("the votes are for two numbers, or of two genesis")
        if one.hash == other.hash:
            raise BadProof("the votes are for the same hash")
        for vote in (first, second):
            try:
                vote.verify()
            except PeerError as exc:
                raise BadProof(f"a vote is not valid: {exc}") from None
        return cls(first, second)

    @property
    def name(self) -> str:
        """What the file is called: one for each genesis, key and number."""
        batch = self.first.batch
        return f"{batch.genesis.raw.hex()[:16]}-{self.first.key.raw.hex()}-{batch.number}.json"

    def to_json(self) -> dict[str, Any]:
        """Everything a verifier needs. `message` is what is hashed (keccak256) and signed, in hex."""
        batch = self.first.batch
        return {
            "format": FORMAT,
            "version": VERSION,
            "genesis": batch.genesis.to_text(),
            "number": int(batch.number),
            "key": self.first.key.to_text(),
            "votes": [
                {
                    "hash": vote.batch.hash.to_text(),
                    "signature": vote.signature.to_text(),
                    "message": vote.batch.encode_message().hex(),
                }
                for vote in (self.first, self.second)
            ],
        }

    @classmethod
    def untrusted(cls, raw: bytes) -> EquivocationProof:
        """The proof in a file from anywhere, checked. Raises only BadProof, whatever is inside."""
        try:
            told = json.loads(raw)
            if told["format"] != FORMAT or told["version"] != VERSION:
                raise BadProof(f"is no {FORMAT} file of version {VERSION}")
            first, second = told["votes"]
            proof = cls.of(_vote_untrusted(told, first), _vote_untrusted(told, second))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise BadProof(f"cannot be read: {type(exc).__name__}") from None
        if proof.to_json() != told:  # a message of something else, a signature or hex written in another way
            raise BadProof("is not written as a proof of these two votes is")
        return proof


def _vote_untrusted(told: Mapping[str, Any], vote: Mapping[str, Any]) -> SignedBatch:
    number = told["number"]
    if type(number) is not int or not 0 <= number < 1 << 64:
        raise BadProof("the number is none of 64 bits")
    try:
        batch = Batch(BatchNumber(number), BatchHash.from_text(vote["hash"]), GenesisHash.from_text(told["genesis"]))
        return SignedBatch(batch, AttesterPublicKey.from_text(told["key"]), Signature.from_text(vote["signature"]))
    except PeerError as exc:
        raise BadProof(f"cannot be read: {exc}") from None


class EquivocationBook:
    """The proofs a node has found, one file each, in `equivocations/` of its data directory.

    Under one genesis at most `per_attester` are kept of one key, and at most `total` of all; what comes after is
    counted and logged only. Proofs against `own_key` are always kept, and take no room from the others. A proof is
    never changed or removed here. One process writes.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        own_key: AttesterPublicKey | None = None,
        metrics: Metrics | None = None,
        disk: Disk | None = None,
        per_attester: int = 16,
        total: int = 1_024,
    ) -> None:
        self.folder = data_dir / FOLDER
        self._own = None if own_key is None else own_key.raw.hex()
        self._disk = disk or RealDisk()
        self._per_attester, self._total = per_attester, total
        self._counted = (metrics or Metrics()).counter(
            "attestrio_equivocations_total", "Numbers for which an attester was seen to vote for two hashes."
        )
        self._names = set(names(self.folder))

    def conflict(self, first: SignedBatch, second: SignedBatch) -> None:
        """Keep the proof, durably, before returning: a witness's `on_conflict`. Known ones are left as they are.

        Never raises, since it is called while votes of others are taken in: what is no proof and what cannot be
        written is logged. Costs two recovers and, for a new one, two flushes of the disk.
        """
        try:
            self.add(EquivocationProof.of(first, second))
        except BadProof as exc:
            log.error("batch %d: no equivocation of %s: %s", first.batch.number, first.key.to_text(), exc)
        except OSError as exc:
            log.error("batch %d: proof against %s not kept: %s", first.batch.number, first.key.to_text(), exc)

    def add(self, proof: EquivocationProof) -> Path | None:
        """Keep a proof, durably; its file, or None beyond the bounds. Raises OSError; then it may be tried again."""
        path = self.folder / proof.name
        if proof.name in self._names:
            return path
        key, number = proof.first.key.to_text(), proof.first.batch.number
        self._counted.inc()
        if not self._has_room(proof):
            log.warning("batch %d: %s voted for two hashes; there are enough proofs of that", number, key)
            return None
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._disk, path, json.dumps(proof.to_json(), indent=2).encode() + b"\n")
        self._disk.sync_folder(self.folder.parent)  # the folder itself may be new
        self._names.add(proof.name)
        log.error("batch %d: %s voted for two hashes, proof in %s", number, key, path)
        return path

    def _has_room(self, proof: EquivocationProof) -> bool:
        genesis, key, _ = proof.name.split("-")
        if key == self._own:
            return True
        of_genesis = (name.split("-") for name in self._names if name.startswith(f"{genesis}-"))
        kept = Counter(named for _, named, *_ in of_genesis if named != self._own)
        return kept.total() < self._total and kept[key] < self._per_attester


def names(folder: Path) -> list[str]:
    """The names of the proof files in a folder, in order; none where it does not exist."""
    return sorted(path.name for path in folder.glob("*-*-*.json"))


def read_proofs(folder: Path) -> Iterator[tuple[Path, EquivocationProof | BadProof]]:
    """Every proof file with what it proves, or why nothing. Raises OSError for one that cannot be read."""
    for name in names(folder):
        path = folder / name
        try:
            yield path, EquivocationProof.untrusted(read_bounded(path, MAX_FILE))
        except BadProof as exc:
            yield path, exc
