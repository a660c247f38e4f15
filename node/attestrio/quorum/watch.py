"""The register as other tasks see it: add votes, wait for newer ones, wait for a quorum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import trio
from trio_util import AsyncValue

from attestrio.quorum.late import Latecomers, WantsLate, nobody_wants
from attestrio.quorum.refusals import BadVoteSignature, VotesAdded, VotesRefused, readable_part
from attestrio.quorum.register import VoteRegister
from attestrio.quorum.verify import Claim, Verifier, check
from attestrio.quorum.witness import Witness
from attestrio.roles import Batch, BatchNumber, BatchQC, Committee, GenesisHash, MsgHash, NodePublicKey, SignedBatch

OnList = Callable[[int, VotesAdded, VotesRefused | None], None]
"""Called with how many votes a list had, what of it counted, and why the rest of it was refused, if it was."""

OnCounted = Callable[[list[SignedBatch], NodePublicKey | None], None]
"""Called with votes that have just counted, or came late and were wanted, and the peer that brought them; None: this
node, or nobody knows."""


def _nobody(_listed: int, _added: VotesAdded, _refused: VotesRefused | None) -> None:
    """For who does not count votes."""


class VotesWatch:
    """The votes of one epoch: one register, whoever adds to it, and a version to wait on.

    Only the trio thread calls it; nothing but `add_many` waits while it changes the register. The committee and the
    genesis are fixed, and the floor only rises: a lowered floor could not bring back the votes that were dropped.

    Args:
      verifier: how `add_many` checks signatures; one may serve several watches. Default: two threads for large lists.
      witness: told of votes by the own key and of contradictions before they count; what counts does not change.
      on_list: told of each list once it is through; must not raise. A list that is cancelled is not told of.
      on_counted: told of what counts on the spot, before anybody can react to it; must be cheap and not raise.
      wants_late: which votes that do not count any more `on_counted` is told of all the same, once verified.
    """

    def __init__(
        self,
        committee: Committee,
        genesis: GenesisHash,
        verifier: Verifier | None = None,
        witness: Witness | None = None,
        on_list: OnList = _nobody,
        on_counted: OnCounted | None = None,
        wants_late: WantsLate = nobody_wants,
    ) -> None:
        self.committee = committee
        self.genesis = genesis
        self._witness = witness
        self._on_list = on_list
        self._on_counted = on_counted
        self._late = Latecomers(committee, wants_late)
        self._register = VoteRegister(witness)
        self._verifier = verifier or Verifier()
        # The register is too large to be replaced at every vote, so what is watched is its version.
        self._version = AsyncValue(0)

    @property
    def version(self) -> int:
        """Grows with every vote counted and every rise of the floor."""
        return self._register.version

    @property
    def min_batch_number(self) -> BatchNumber:
        """The floor: votes for a lower number are skipped."""
        return self._register.min_batch_number

    @property
    def agreed(self) -> Batch | None:
        """The batch that has a quorum now, if one has. O(1)."""
        return self._register.agreed

    def votes(self) -> list[SignedBatch]:
        """The vote of each member, oldest first. O(members)."""
        return self._register.newer_than(0)[0]

    def support(self, batch: Batch) -> int:
        """The weight behind `batch`. O(1)."""
        return self._register.weight_behind(batch)

    def support_for(self, number: BatchNumber) -> int:
        """The largest weight behind one hash for batch `number`. O(batches that have votes)."""
        return max((weight for batch, weight in self._register.support.items() if batch.number == number), default=0)

    def add(self, votes: Iterable[SignedBatch], via: NodePublicKey | None = None) -> VotesAdded:
        """Verify and count on the spot, without a checkpoint: about 40 µs for each vote that is new.

        `via` is the peer that brought them. Raises VotesRefused, as `VoteRegister.update`; the entries before the bad
        one are kept and announced.
        """
        listed, before = list(votes), self._register.version
        try:
            added = self._register.update(self.committee, self.genesis, listed)
        except VotesRefused as exc:
            self._on_list(len(listed), exc.added, exc)
            raise
        finally:
            self._announce(before, via)
        self._on_list(len(listed), added, None)
        self._tell_late([vote for vote in listed if self._late.wants(vote) and self._is_good(vote)], via)
        return added

    async def add_many(self, votes: Iterable[SignedBatch], via: NodePublicKey | None = None) -> VotesAdded:
        """As `add`, for lists of any length: chunks with checkpoints between, large lists in worker threads.

        Other tasks may add votes and raise the floor meanwhile. Each chunk then counts as if it had been added at the
        moment its verdicts came back, in the order of the list. A cancelled call leaves whole chunks.
        """
        await trio.lowlevel.checkpoint()
        listed = list(votes)
        readable, refusal = readable_part(self.genesis, listed)
        added = VotesAdded()
        bad: BadVoteSignature | None = None

        def take(claims: list[Claim], verdicts: list[bool]) -> bool:
            nonlocal added, bad
            more, bad = self._take(claims, verdicts, via)
            added += more
            return bad is None

        await self._verifier.in_order(readable, self._claims, take)
        raised = bad or refusal
        self._on_list(len(listed), added, raised)
        if raised is not None:
            raised.added = added
            raise raised
        return added

    def raise_floor(self, number: BatchNumber) -> None:
        """Drop the votes below `number` and skip such votes from now on. A number not above the floor does nothing."""
        if number > self._register.min_batch_number:
            self._register.set_min_batch_number(number)
            self._late.floor_rose()
            self._version.value = self._register.version

    def newer_than(self, mark: int) -> tuple[list[SignedBatch], int]:
        """The votes counted after `mark` and the next mark; see `VoteRegister.newer_than`."""
        return self._register.newer_than(mark)

    async def wait_newer(self, mark: int) -> tuple[list[SignedBatch], int]:
        """As `newer_than`, once there is at least one. Level-triggered: what came in between is there."""
        await trio.lowlevel.checkpoint()
        while True:
            votes, newest = self._register.newer_than(mark)
            if votes:
                return votes, newest
            await self._wait_past(newest)

    async def wait_quorum(self, *, after: Batch | None = None) -> BatchQC:
        """The certificate for the batch that has a quorum, once one has; with `after`, one greater than that.

        Batches that reach a quorum one after the other only rise, since what a member votes for only rises: who
        passes the last one seen gets each at most once. A quorum that was overtaken meanwhile is missed.
        """
        await trio.lowlevel.checkpoint()
        while True:
            agreed = self._register.agreed
            if agreed is not None and (after is None or after < agreed):
                certificate = self._register.find_quorum(self.committee, self.genesis)
                if certificate is not None:
                    return certificate
            await self._wait_past(self._register.version)

    async def _wait_past(self, version: int) -> None:
        await self._version.wait_value(lambda now: now > version)

    def _claims(self, chunk: Sequence[SignedBatch]) -> list[Claim]:
        register, committee = self._register, self.committee
        hashes: dict[int, MsgHash] = {}  # by identity: votes off the wire share their batch, and hashing one costs more
        claims: list[Claim] = []
        for vote in chunk:
            if register.wants(committee, vote) or self._late.wants(vote):
                batch = vote.batch
                message = hashes.get(id(batch))
                if message is None:
                    message = hashes[id(batch)] = register.message_hash(batch)
                claims.append((vote, message))
            elif self._witness is not None:
                self._witness.skipped(vote)
        return claims

    def _take(
        self, claims: list[Claim], verdicts: list[bool], via: NodePublicKey | None
    ) -> tuple[VotesAdded, BadVoteSignature | None]:
        """Count a checked chunk. What was wanted when it went to be checked is asked again: others were at work."""
        count, weight, last = 0, 0, None
        bad: BadVoteSignature | None = None
        late: list[SignedBatch] = []
        register, committee = self._register, self.committee
        before = register.version
        for (vote, _), good in zip(claims, verdicts, strict=True):
            counts = register.wants(committee, vote)
            if not good:
                if counts:
                    bad = BadVoteSignature(vote)
                    break
                self._late.found_bad()
                continue
            if self._witness is not None:
                self._witness.verified(vote)
            if counts:
                register.count(committee, vote, counts)
                weight += counts
                count, last = count + 1, vote.batch.number
            elif self._late.wants(vote):
                late.append(vote)
        self._announce(before, via)
        self._tell_late(late, via)
        return VotesAdded(count, weight, last), bad

    def _is_good(self, vote: SignedBatch) -> bool:
        """For a late vote, which is one at a time."""
        good = check([(vote, vote.batch.message_hash())])[0]
        if not good:
            self._late.found_bad()
        return good

    def _tell_late(self, votes: list[SignedBatch], via: NodePublicKey | None) -> None:
        if votes and self._on_counted is not None:
            self._on_counted(votes, via)

    def _announce(self, before: int, via: NodePublicKey | None) -> None:
        """Tell of what has come since the version `before`, if anything has."""
        if self._register.version == before:
            return
        if self._on_counted is not None and (counted := self._register.newer_than(before)[0]):
            self._on_counted(counted, via)
        self._version.value = self._register.version
