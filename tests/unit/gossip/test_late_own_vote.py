"""The own vote that came too late to count: it goes along with others, so that peers know who works."""

import pytest
from attestrio.gossip.outbox import LATE_BELOW, Outbox
from attestrio.gossip.votes_wire import MAX_ENTRY, VoteCodec
from attestrio.quorum import VoteRegister
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    WeightedAttester,
)

GENESIS = GenesisHash(b"\x11" * 32)
SECRETS = [AttesterSecretKey.from_bytes(bytes([one]) * 32) for one in range(1, 6)]
OWN = SECRETS[0]
COMMITTEE = Committee([WeightedAttester(secret.public(), 1) for secret in SECRETS])


def vote(secret, number):
    return secret.sign_batch(Batch(BatchNumber(number), BatchHash(b"\xab" * 32), GENESIS))


class Node:
    """A register whose floor is at 8, with an own vote for `late`, and what one peer is sent."""

    def __init__(self, late=7, floor=8, **options):
        self.register, self.codec = VoteRegister(), VoteCodec()
        self.register.set_min_batch_number(floor)
        self.register.late = vote(OWN, late)
        self.outbox = Outbox(self.register, self.codec, COMMITTEE, OWN.public(), **options)

    def add(self, *votes):
        self.register.update(COMMITTEE, GENESIS, votes)

    def gets(self):
        body = self.outbox.next_push()
        return None if body is None else self.codec.decode_untrusted(body)


def test_it_goes_along_with_the_votes_of_others_once_and_makes_no_push_of_its_own():
    node = Node()
    alone = node.gets()

    node.add(vote(SECRETS[1], 8))
    first = node.gets()
    node.add(vote(SECRETS[2], 8))
    second = node.gets()

    assert alone is None
    assert first == [vote(OWN, 7), vote(SECRETS[1], 8)]
    assert second == [vote(SECRETS[2], 8)]


def test_it_never_stands_beside_another_of_the_same_key_which_a_peer_would_refuse():
    node = Node()
    node.add(vote(OWN, 8), vote(SECRETS[1], 8))

    push = node.gets()
    node.add(vote(SECRETS[2], 8))
    after = node.gets()

    assert push == [vote(OWN, 8), vote(SECRETS[1], 8)]
    assert after == [vote(SECRETS[2], 8)]  # the peer has a newer one: it knows that this node works


@pytest.mark.parametrize(("late", "goes"), [(20 - LATE_BELOW, True), (20 - LATE_BELOW - 1, False), (20, False)])
def test_what_is_long_past_stays_and_so_does_what_is_not_late(late, goes):
    node = Node(late=late, floor=20)
    node.add(vote(SECRETS[1], 21))

    push = node.gets()

    assert (vote(OWN, late) in push) is goes


def test_a_full_push_has_no_room_for_it():
    node = Node(max_bytes=MAX_ENTRY)
    node.add(vote(SECRETS[1], 8))

    assert node.gets() == [vote(SECRETS[1], 8)]
