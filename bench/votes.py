"""Votes: verified and counted, one more into a full register, certificates, memory; against a bare recover loop.

One-core figures use the thread's own time, because a shared machine takes away wall time from either side; what
runs in two threads is on the clock.
"""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import trio
from _floor import (
    GENESIS,
    Figure,
    arguments,
    batch,
    committee_of,
    cpu,
    middle,
    recover_floor,
    report,
    secrets,
    slices,
    votes_off_the_wire,
    wall,
)
from attestrio.errors import PeerError
from attestrio.quorum.register import VoteRegister
from attestrio.quorum.verify import Verifier
from attestrio.quorum.watch import VotesWatch
from attestrio.roles import AttesterSecretKey, BatchQC, Committee, SignedBatch

A_MESSAGE = 100  # votes a push
PEERS = 50

# era-consensus, on a machine of this kind with two cores: 4,000 to 6,000 votes a second, 1.9 s until 10,000 attesters
# have a certificate. Seconds measured elsewhere cannot be compared with seconds measured here, since this machine is
# not equally fast on every day. What both have in common is the recover, of which each needs one a vote, in the same
# library: it took 29 µs there. So the reference's figures are put in recovers, ours are measured in recovers of the
# same run, and the quotient is what a machine that is slower or faster today does not change.
RECOVER_THERE_S = 29e-6
REFERENCE_VOTE = 1 / 5_000 / RECOVER_THERE_S  # recovers a vote: 6.9
REFERENCE_QUORUM = 1.9 / RECOVER_THERE_S  # recovers until the certificate: 65,500, for 8,001 votes


def counted(committee: Committee, votes: Sequence[SignedBatch]) -> float:
    """Votes verified and counted into a new register, as a part of the recover loop's speed."""
    register, floor_s, ours_s = VoteRegister(), 0.0, 0.0
    for push in slices(votes_off_the_wire(votes), A_MESSAGE):
        floor_s += cpu(recover_floor(push))
        ours_s += cpu(lambda push=push: register.update(committee, GENESIS, push))
    assert len(register) == len(votes)
    return floor_s / ours_s


def two_workers(committee: Committee, votes: Sequence[SignedBatch], rounds: int) -> tuple[float, float]:
    """How many times faster two threads are than one, medians: a large list of votes, and the bare recover loop.

    The second figure is the control, taken in the same rounds: where it is far below 2 the machine had no second
    core to give, and the first says little about this code.
    """
    ours, bare = [], []
    halves = [recover_floor(votes[: len(votes) // 2]), recover_floor(votes[len(votes) // 2 :])]
    whole = recover_floor(votes)
    for _ in range(rounds):
        fresh, one = votes_off_the_wire(votes), VotesWatch(committee, GENESIS)
        one_s = wall(lambda one=one, fresh=fresh: one.add(fresh))
        fresh, two = votes_off_the_wire(votes), VotesWatch(committee, GENESIS, Verifier(workers=2))
        ours.append(one_s / wall(lambda two=two, fresh=fresh: trio.run(two.add_many, fresh)))
        assert len(two.votes()) == len(votes)
        bare.append(wall(whole) / wall(lambda: in_threads(halves)))
    return median(ours), median(bare)


def in_threads(loops: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=loop) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def one_more(committee: Committee, keys: Sequence[AttesterSecretKey], full: Sequence[SignedBatch], more: int) -> float:
    """One vote more into a full register with a quorum, in recovers: verify, count, find quorum, diffs for peers.

    Members go on to the next batch one by one; the register stays full and its quorum loses a vote each time.
    """
    register = VoteRegister()
    register.update(committee, GENESIS, full)
    coming = votes_off_the_wire([key.sign_batch(batch(2)) for key in keys[:more]])
    marks = [register.version] * PEERS
    floor_s = ours_s = 0.0

    def step(vote: SignedBatch) -> None:
        register.update(committee, GENESIS, [vote])
        register.find_quorum(committee, GENESIS)
        for peer, mark in enumerate(marks):
            news, marks[peer] = register.newer_than(mark)
            assert len(news) == 1

    for vote in coming:
        floor_s += cpu(recover_floor([vote]))
        ours_s += cpu(lambda vote=vote: step(vote))
    return ours_s / floor_s


def certificate_verified(committee: Committee, votes: Sequence[SignedBatch]) -> float:
    """A certificate of all votes, verified, as a part of the recover loop's speed."""
    certificate = BatchQC.decode(certificate_of(committee, votes).encode())
    floor = recover_floor(votes)
    return cpu(floor) / cpu(lambda: certificate.verify_with(GENESIS, committee))


def certificate_of(committee: Committee, votes: Sequence[SignedBatch]) -> BatchQC:
    return BatchQC(votes[0].batch, {vote.key: vote.signature for vote in votes})


def too_small_refused(committee: Committee, votes: Sequence[SignedBatch]) -> float:
    """How long refusing a certificate of too little weight takes, as a part of verifying as many signatures.

    Far below 1: the weight is judged before any signature is.
    """
    small = certificate_of(committee, votes[: committee.threshold - 1])
    floor_s = cpu(recover_floor(votes[: committee.threshold - 1]))

    def refuse() -> None:
        try:
            small.verify_with(GENESIS, committee)
        except PeerError:
            return
        raise AssertionError("a certificate below the threshold was accepted")

    return cpu(refuse) / floor_s


def memory_per_vote(committee: Committee, votes: Sequence[SignedBatch]) -> tuple[float, float]:
    """Bytes a vote takes once decoded, and bytes the register adds to it."""
    encoded = [vote.encode() for vote in votes]
    register = VoteRegister()
    tracemalloc.start()
    try:
        decoded = [SignedBatch.decode(raw) for raw in encoded]
        before, _ = tracemalloc.get_traced_memory()
        register.update(committee, GENESIS, decoded)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return before / len(votes), (after - before) / len(votes)


@dataclass(frozen=True, slots=True)
class Collected:
    """From the bytes of votes to a certificate, on one core: how many votes that took, ours and the floor's seconds."""

    seconds: float
    votes: int
    floor_s: float

    @property
    def recovers(self) -> float:
        """The whole of it, in recovers of the same run."""
        return self.seconds / self.floor_s * self.votes


def to_quorum(committee: Committee, votes: Sequence[SignedBatch]) -> Collected:
    """Decode, verify and count push by push until there is a certificate; the floor is measured in turn."""
    register = VoteRegister()
    taken, ours_s, floor_s = 0, 0.0, 0.0

    def collect(raw_votes: list[bytes]) -> None:
        register.update(committee, GENESIS, [SignedBatch.decode(raw) for raw in raw_votes])

    for push in slices(votes, A_MESSAGE):
        raw_votes = [vote.encode() for vote in push]
        floor_s += cpu(recover_floor(push))
        ours_s += cpu(lambda raw_votes=raw_votes: collect(raw_votes))
        taken += len(push)
        if register.find_quorum(committee, GENESIS) is not None:
            break
    return Collected(ours_s, taken, floor_s)


def main() -> int:
    args = arguments(__doc__.splitlines()[0])
    sizes = (100, 1_000) if args.quick else (100, 1_000, 10_000)
    largest = sizes[-1]
    keys = secrets(largest)
    votes = [key.sign_batch(batch(1)) for key in keys]
    committee = committee_of(keys)
    figures = []

    for size in sizes:
        some = committee_of(keys[:size])
        rounds = args.rounds * (1 if size == largest else 3)
        ratio = middle(rounds, lambda some=some, size=size: counted(some, votes[:size]))
        figures.append(Figure(f"verified and counted, {size:,} attesters / recover loop", ratio, "", 0.85))
    ratio, control = two_workers(committee, votes, 2 * args.rounds + 1)
    figures.append(Figure(f"{largest:,} votes with two workers / one core", ratio, "x", 1.6))
    figures.append(Figure("control: the bare loop with two threads / one", control, "x"))
    ratio = middle(args.rounds, lambda: one_more(committee, keys, votes, largest // 10))
    name = f"one vote more into {largest:,}, with {PEERS} peers"
    figures.append(Figure(name, ratio, "recovers", 3.0, at_least=False))
    ratio = middle(args.rounds, lambda: certificate_verified(committee, votes))
    figures.append(Figure(f"certificate of {largest:,} votes verified / recover loop", ratio, "", 0.85))
    ratio = middle(args.rounds, lambda: too_small_refused(committee, votes))
    figures.append(Figure("certificate below the threshold refused / recover loop", ratio, "", 0.1, at_least=False))

    decoded, added = memory_per_vote(committee, votes)
    figures.append(Figure("memory of a decoded vote", decoded, "bytes"))
    figures.append(Figure("memory a vote takes in the register", added, "bytes"))
    runs = [to_quorum(committee, votes) for _ in range(args.rounds)]
    run = sorted(runs, key=lambda run: run.recovers)[len(runs) // 2]
    figures.append(Figure(f"bytes to certificate, {largest:,} attesters, one core", run.seconds, "s"))
    figures.append(Figure("votes decoded, verified and counted, one core", run.votes / run.seconds, "votes/s"))
    figures.append(Figure("the floor of the same run", run.floor_s / run.votes * 1e6, "µs a recover"))
    figures.append(
        Figure("a vote, the reference's recovers / ours", REFERENCE_VOTE * run.votes / run.recovers, "x", 5.0)
    )
    if not args.quick:  # the reference's figure is about 10,000
        figures.append(Figure("to quorum, the reference's recovers / ours", REFERENCE_QUORUM / run.recovers, "x", 5.0))
    return report("votes", figures, as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
