"""Votes of the committee: counted, watched, made into certificates."""

from attestrio.quorum.api import Link
from attestrio.quorum.refusals import BadVoteSignature, DuplicateEntry, VotesAdded, VotesRefused, WrongGenesis
from attestrio.quorum.register import VoteRegister

__all__ = [
    "BadVoteSignature",
    "DuplicateEntry",
    "Link",
    "VoteRegister",
    "VotesAdded",
    "VotesRefused",
    "WrongGenesis",
]
