"""What the benches share: the floor they are compared with, keys and votes in bulk, and one way to report.

The floor is the bare recover loop of coincurve over the same signatures. Figures are ratios to a floor measured in
the same run, slice by slice in turn, so that a machine that slows down slows down both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    SignedBatch,
    WeightedAttester,
)
from coincurve import PublicKey

GENESIS = GenesisHash(hashlib.sha256(b"bench genesis").digest())


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report. `target` None: told for information. `at_least` says which side of the target is good."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.target is None or (self.value >= self.target if self.at_least else self.value <= self.target)


def secrets(count: int, seed: str = "bench") -> list[AttesterSecretKey]:
    """`count` keys, the same in every run."""
    return [AttesterSecretKey.from_bytes(hashlib.sha256(f"{seed} {i}".encode()).digest()) for i in range(count)]


def committee_of(keys: Sequence[AttesterSecretKey]) -> Committee:
    """All keys with weight 1."""
    return Committee([WeightedAttester(key.public(), 1) for key in keys])


def batch(number: int) -> Batch:
    return Batch(BatchNumber(number), BatchHash(hashlib.sha256(b"batch %d" % number).digest()), GENESIS)


def votes_off_the_wire(votes: Sequence[SignedBatch]) -> list[SignedBatch]:
    """Votes as a peer's bytes give them: nothing computed before is remembered in them."""
    return [SignedBatch.decode(raw) for raw in [vote.encode() for vote in votes]]


def recover_floor(votes: Sequence[SignedBatch]) -> Callable[[], None]:
    """A loop that recovers the key of each vote with coincurve's public call and does nothing else."""
    pairs = [
        (raw[:64] + bytes([raw[64] - 27]), vote.batch.message_hash().to_bytes())
        for vote in votes
        for raw in [vote.signature.to_bytes()]
    ]
    recover = PublicKey.from_signature_and_message

    def loop() -> None:
        for signature, message in pairs:
            recover(signature, message, hasher=None)

    return loop


def cpu(work: Callable[[], object]) -> float:
    """Seconds of this thread's own time: what other processes do on the machine does not count."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def wall(work: Callable[[], object]) -> float:
    """Seconds on the clock, for what several threads do together."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def slices(items: Sequence[SignedBatch], size: int) -> Iterator[Sequence[SignedBatch]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def middle(rounds: int, measure: Callable[[], float]) -> float:
    """The median of several rounds."""
    return median(measure() for _ in range(rounds))


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median is taken")
    parser.add_argument("--quick", action="store_true", help="smaller sets, to see that the bench runs")
    return parser.parse_args()


def report(name: str, figures: Sequence[Figure], *, as_json: bool) -> int:
    """Print the figures; 1 if a target is missed, else 0."""
    missed = [figure.name for figure in figures if not figure.met]
    if as_json:
        rows = [asdict(figure) | {"met": figure.met} for figure in figures]
        json.dump({"bench": name, "figures": rows, "missed": missed}, sys.stdout, indent=2)
        print()
    else:
        for figure in figures:
            goal = "" if figure.target is None else f"target {'≥' if figure.at_least else '≤'} {figure.target:g}"
            verdict = "" if figure.target is None else ("met" if figure.met else "MISSED")
            print(f"{figure.name:<58} {figure.value:>12.3f} {figure.unit:<12} {goal:<14} {verdict}".rstrip())
    return 1 if missed else 0
