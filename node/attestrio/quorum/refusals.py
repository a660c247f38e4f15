"""What `update` answers: how many votes counted, and which entry of a stranger's list was refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attestrio.errors import PeerError
from attestrio.roles import AttesterPublicKey, BatchNumber, GenesisHash, SignedBatch


@dataclass(frozen=True, slots=True)
class VotesAdded:
    """How many votes counted, their weight, and the number of the one counted last (not the largest)."""

    added: int = 0
    weight_added: int = 0  # a vote that replaces another counts in full
    last_added: BatchNumber | None = None

    def __add__(self, later: VotesAdded) -> VotesAdded:
        """This and then `later`."""
        return (
            later
            if not self.added
            else self
            if not later.added
            else VotesAdded(self.added + later.added, self.weight_added + later.weight_added, later.last_added)
        )


class VotesRefused(PeerError):
    """One entry of a list of votes is bad. What stood before it was counted: `added`."""

    code = "votes_refused"

    def __init__(self, message: str, added: VotesAdded = VotesAdded()) -> None:
        super().__init__(message)
        self.added = added


class DuplicateEntry(VotesRefused):
    """One list holds two entries of one key, member or not."""

    code = "vote_duplicate_entry"

    def __init__(self, key: AttesterPublicKey) -> None:
        super().__init__(f"duplicate entry for {key.to_text()}")
        self.key = key


class WrongGenesis(VotesRefused):
    """A vote belongs to another chain or fork, whoever signed it and however old it is."""

    code = "vote_wrong_genesis"

    def __init__(self, got: GenesisHash, want: GenesisHash) -> None:
        super().__init__(f"vote for batch with different genesis hash: {got.to_text()}, want {want.to_text()}")
        self.got, self.want = got, want


class BadVoteSignature(VotesRefused):
    """A vote that would have counted is not signed by its key."""

    code = "vote_bad_signature"

    def __init__(self, vote: SignedBatch, added: VotesAdded = VotesAdded()) -> None:
        super().__init__(f"bad signature of {vote.key.to_text()} for batch {vote.batch.number}", added)
        self.vote = vote


def readable_part(
    genesis: GenesisHash, votes: Iterable[SignedBatch]
) -> tuple[list[SignedBatch], DuplicateEntry | WrongGenesis | None]:
    """The entries before the first one that breaks a rule of the list itself, and that refusal.

    These two rules depend on nothing but the list, so they can be judged before any signature is. They are
    asked in this order for each entry: is the key new in this list, is the genesis ours.
    """
    seen: set[AttesterPublicKey] = set()
    readable: list[SignedBatch] = []
    for vote in votes:
        if vote.key in seen:
            return readable, DuplicateEntry(vote.key)
        seen.add(vote.key)
        if vote.batch.genesis != genesis:
            return readable, WrongGenesis(vote.batch.genesis, genesis)
        readable.append(vote)
    return readable, None
