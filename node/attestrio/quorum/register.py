"""The register of votes: at most one vote per attester, the weight behind each batch, and what came after a mark.

Pure: no task, no clock. It is mutable and belongs to one task; `watch.VotesWatch` is how others see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attestrio.quorum.refusals import BadVoteSignature, VotesAdded, readable_part
from attestrio.quorum.tally import Tally
from attestrio.quorum.witness import Witness
from attestrio.roles import (
    AttesterPublicKey,
    Batch,
    BatchNumber,
    BatchQC,
    Committee,
    GenesisHash,
    MsgHash,
    Recoverer,
    SignedBatch,
)

# When a vote came (a version), the vote, the weight it was counted with. A plain tuple: one is made for every vote.
Counted = tuple[int, SignedBatch, int]


class VoteRegister:
    """Which member votes for what, in the order in which the votes came.

    One vote per member is kept, the greatest by (number, hash, genesis), so memory is bounded by the committee and a
    vote for a number in the far future only silences its own author. Cost of a vote: one recover and a few
    dictionary look-ups, whatever the size of the register.

    Votes count together only when number, hash and genesis are all equal. A threshold is more than half of the
    weight and a member has one vote, so at most one batch can have a quorum at any moment.

    Source: era-consensus d1d3b51e, gossip/batch_votes.rs. Two differences: signatures of a certificate are picked
    there by hash alone; and its network layer throws away the entries before a bad one, which are kept here.

    Args:
      witness: looks on; what counts does not depend on it.
    """

    def __init__(self, witness: Witness | None = None) -> None:
        self._witness = witness
        # Oldest first: a replaced vote is taken out and the new one put at the end, so the dictionary is at once the
        # index by key and a log that needs no compaction of its own.
        self._counted: dict[bytes, Counted] = {}  # by the bytes of the key
        self._tallies: dict[Batch, Tally] = {}
        self._agreed: Tally | None = None
        self._committee: Committee | None = None
        self._floor = BatchNumber(0)
        self._version = 0
        self._recoverer = Recoverer()

    @property
    def min_batch_number(self) -> BatchNumber:
        """The floor: votes for a lower number are skipped."""
        return self._floor

    @property
    def version(self) -> int:
        """Grows by one with every vote counted and every change of the floor."""
        return self._version

    @property
    def votes(self) -> Mapping[AttesterPublicKey, SignedBatch]:
        """A copy of the vote of each member, oldest first. O(members)."""
        return {vote.key: vote for _, vote, _ in self._counted.values()}

    @property
    def support(self) -> Mapping[Batch, int]:
        """A copy of the weight behind each batch, lowest batch first. O(batches log batches)."""
        return {batch: self._tallies[batch].weight for batch in sorted(self._tallies)}

    @property
    def agreed(self) -> Batch | None:
        """The batch that has a quorum of the committee that last voted, without making its certificate. O(1)."""
        return self._agreed.batch if self._agreed else None

    def weight_behind(self, batch: Batch) -> int:
        """The weight of the votes for exactly this batch. O(1)."""
        tally = self._tallies.get(batch)
        return tally.weight if tally else 0

    def __len__(self) -> int:
        return len(self._counted)

    def update(self, committee: Committee, genesis: GenesisHash, votes: Iterable[SignedBatch]) -> VotesAdded:
        """Count the votes in order; what is old, below the floor or from a stranger is skipped without a word.

        Raises DuplicateEntry (a key twice in `votes`, strangers included) and WrongGenesis (votes below the floor
        included) and BadVoteSignature (only of a vote that would have counted). The entries before the bad one stay;
        `added` of the exception says what they were. Cost: one recover for each vote that is new.
        """
        readable, refusal = readable_part(genesis, votes)
        number, weight, last = 0, 0, None
        for vote in readable:
            if counts := self.wants(committee, vote):
                if not self._recoverer.recovers_to(vote.signature, self.message_hash(vote.batch), vote.key):
                    raise BadVoteSignature(vote, VotesAdded(number, weight, last))
                if self._witness is not None:
                    self._witness.verified(vote)
                self.count(committee, vote, counts)
                weight += counts
                number, last = number + 1, vote.batch.number
            elif self._witness is not None:
                self._witness.skipped(vote)
        added = VotesAdded(number, weight, last)
        if refusal is not None:
            refusal.added = added
            raise refusal
        return added

    def wants(self, committee: Committee, vote: SignedBatch) -> int:
        """The weight `vote` would count with if its signature is good; 0 if it would be skipped. O(1).

        Once 0 it stays 0 while the floor does not sink, since what a member votes for only rises: a vote may be
        judged now and counted later, and nothing is lost.
        """
        if vote.batch.number < self._floor:
            return 0
        held = self._counted.get(vote.key.raw)
        if held is not None and vote.batch <= held[1].batch:
            return 0
        return committee.weight(vote.key) or 0

    def message_hash(self, batch: Batch) -> MsgHash:
        """What a vote for `batch` signs. Hashed once for all the equal batches that came off the wire one by one."""
        tally = self._tallies.get(batch)
        return (tally.batch if tally else batch).message_hash()

    def count(self, committee: Committee, vote: SignedBatch, weight: int) -> None:
        """Put in a verified vote that `wants` gave this weight just now, in place of the member's former one. O(1)."""
        if committee is not self._committee:
            self._count_for(committee)
        key = vote.key.raw
        former = self._counted.pop(key, None)
        if former is not None:
            self._withdraw(former)
        self._version += 1
        self._counted[key] = self._version, vote, weight
        self._support_with(committee, vote, weight)

    def set_min_batch_number(self, number: int) -> None:
        """Put the floor at `number`, even lower than it was, and drop every vote below it. O(members)."""
        floor = BatchNumber(number)
        if floor == self._floor:
            return
        self._floor = floor
        self._version += 1
        self._counted = {key: counted for key, counted in self._counted.items() if counted[1].batch.number >= floor}
        self._tallies = {batch: tally for batch, tally in self._tallies.items() if batch.number >= floor}
        if self._agreed is not None and self._agreed.batch.number < floor:
            self._agreed = None

    def find_quorum(self, committee: Committee, genesis: GenesisHash) -> BatchQC | None:
        """The certificate for the batch that has a threshold of `committee`, with all its votes; None if none has.

        O(1): the certificate reads its signatures when it is asked for them, and is the same object until a vote
        for its batch comes or goes. Its signatures were verified when they were counted.
        """
        if committee is not self._committee:
            self._count_for(committee)
        agreed = self._agreed
        return agreed.certificate() if agreed is not None and agreed.batch.genesis == genesis else None

    def newer_than(self, mark: int) -> tuple[list[SignedBatch], int]:
        """The votes counted after `mark`, oldest first, and the mark to ask with next time; 0 asks for everything.

        A vote that was replaced or dropped since is left out: who asks with an old mark gets each member's newest
        vote once. Cost: the number of votes returned.
        """
        newer: list[SignedBatch] = []
        for version, vote, _ in reversed(self._counted.values()):
            if version <= mark:
                break
            newer.append(vote)
        newer.reverse()
        return newer, self._version

    def _support_with(self, committee: Committee, vote: SignedBatch, weight: int) -> None:
        tally = self._tallies.get(vote.batch)
        if tally is None:
            tally = self._tallies[vote.batch] = Tally(vote.batch)
        tally.add(vote, weight)
        if tally.weight >= committee.threshold:
            self._agreed = tally

    def _withdraw(self, former: Counted) -> None:
        _, vote, weight = former
        tally = self._tallies[vote.batch]
        tally.withdraw(vote, weight)
        if not len(tally):
            del self._tallies[vote.batch]
        if tally is self._agreed and self._committee is not None and tally.weight < self._committee.threshold:
            self._agreed = None

    def _count_for(self, committee: Committee) -> None:
        """From now on weights are those of `committee`; votes of those who are not in it are dropped. O(members)."""
        if committee != self._committee:
            self._tallies, self._agreed = {}, None
            counted, self._counted = self._counted, {}
            for key, (version, vote, _) in counted.items():
                weight = committee.weight(vote.key)
                if weight is not None:
                    self._counted[key] = version, vote, weight
                    self._support_with(committee, vote, weight)
        self._committee = committee
