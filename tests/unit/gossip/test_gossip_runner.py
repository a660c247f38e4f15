"""Whole nodes of the network on loopback: who gets connected, and what they tell each other."""

from net_world import attester, batch_of, genesis_of, node_key, running, sync_batch

MEMBERS = [attester(index) for index in range(1, 5)]
GENESIS = genesis_of(MEMBERS)


async def test_two_nodes_exchange_votes_both_ways_over_one_link():
    async with running(GENESIS, 1) as a, running(GENESIS, 2, outbound=[a]) as b:
        a.vote(MEMBERS[0], 5)
        await b.wait_votes(1)

        b.vote(MEMBERS[1], 5)
        await a.wait_votes(2)

        assert a.votes.support(batch_of(GENESIS, 5)) == 2
        assert [info.direction for info in a.node.peers] == ["inbound"]
        assert [info.key for info in a.node.peers] == [node_key(2).public()]


async def test_a_vote_travels_along_a_chain_of_nodes():
    async with (
        running(GENESIS, 1) as a,
        running(GENESIS, 2, outbound=[a]) as b,
        running(GENESIS, 3, outbound=[b]) as c,
    ):
        a.vote(MEMBERS[0], 5)

        await c.wait_votes(1)

        assert c.votes.votes()[0].key == MEMBERS[0].public()


async def test_batches_that_one_node_has_reach_another_that_lacks_them():
    async with running(GENESIS, 1) as a, running(GENESIS, 2, outbound=[a]) as b:
        for number in range(30):
            await a.store.queue_batch(sync_batch(number))

        await b.wait_queued(29)

        assert await b.store.batch(29) == sync_batch(29)
