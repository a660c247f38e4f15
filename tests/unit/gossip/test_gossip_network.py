"""Networks of whole nodes on loopback: what the upstream checklist has of votes, batches and links."""

from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import pytest
import trio
import trio.testing
from attestrio.gossip.errors import GenesisMismatch, PeerClosed
from attestrio.gossip.io import Identity, dial
from attestrio.gossip.rpc import get_batch
from attestrio.gossip.rpc.push_batch_store_state import BatchStoreState, encode_request, request_untrusted
from attestrio.gossip.wire import Wire
from attestrio.roles import BatchNumber
from attestrio.store.memory import MemoryBatchStore
from memory_world import GENESIS, MEMBERS, in_memory
from net_world import LIFTED, attester, batch_of, genesis_of, node_key, running, sync_batch
from raw_peer import DIALLER, HOLD, RawPeer, dialled
from suite import patient

FOREIGN = genesis_of(MEMBERS, chain_id=271)
QUICK = {"rates": LIFTED, "redial_s": 0.05}


def announced(first, last):
    return encode_request(BatchStoreState(BatchNumber(first), last))


@asynccontextmanager
async def network(count, degree, genesis=GENESIS, **rules):
    """`count` nodes, each dialling the `degree` before it, and the last one the first; all dialled links up."""
    async with AsyncExitStack() as stack:
        nodes = []
        for index in range(count):
            outbound = nodes[-degree:] if degree else []
            if index == count - 1 and count > degree + 1:
                outbound = [*outbound, nodes[0]]
            own = attester(index + 1).public()
            rules_of = {**QUICK, **rules}
            nodes.append(
                await stack.enter_async_context(running(genesis, index, outbound=outbound, own=own, **rules_of))
            )
        with trio.fail_after(patient(10)):
            for node in nodes:
                await node.node.connected.wait_value(lambda now, node=node: now >= len(node.node.rules.static_outbound))
        yield nodes


# --- links


async def test_one_connection_per_node_an_impostor_completes_the_handshake_and_is_closed():
    """Five nodes; somebody with the key of one that is connected gets an answer and no link."""
    async with network(5, 1) as nodes:
        target, taken = nodes[0], nodes[1]
        async with dialled(target.address) as impostor:
            impostor.secret = taken.node.secret

            await impostor.greet()

            assert await impostor.wait_end() == b""
        assert [info.key for info in target.node.peers].count(taken.node.key) == 1
        target.vote(MEMBERS[0], 5)
        await taken.wait_votes(1)


async def test_two_nodes_that_dial_each_other_have_two_links():
    """As upstream: the two pools know nothing of each other, and a vote still counts once."""
    async with running(GENESIS, 1) as a, running(GENESIS, 2, outbound=[a]) as b, dialled(b.address, 1) as back:
        await back.greet()
        async with back.talking():
            await b.wait_connected(2)
            a.vote(MEMBERS[0], 5)
            await b.wait_votes(1)

            assert sorted(info.direction for info in b.node.peers) == ["inbound", "outbound"]
            await back.wait_requests("push_batch_votes")


async def test_a_node_may_be_connected_to_itself():
    async with running(GENESIS, 1) as a:
        stream = await trio.open_tcp_stream("127.0.0.1", int(a.address.split(":")[1]))
        async with stream:
            peer = RawPeer(stream, DIALLER, node_key(1), GENESIS.hash())
            await peer.greet()
            async with peer.talking():
                await a.wait_connected(1)
                assert a.node.peers[0].key == a.node.key


async def test_genesis_mismatch_is_noticed_by_a_dialler_and_by_a_listener(caplog):
    caplog.set_level("INFO", "attestrio.gossip")
    async with running(GENESIS, 1) as ours, running(FOREIGN, 2, outbound=[ours]) as foreign:
        stream = await trio.open_tcp_stream("127.0.0.1", int(ours.address.split(":")[1]))
        async with stream:
            with pytest.raises(PeerClosed):  # the listener says nothing
                await dial(Wire(stream, "node"), Identity(node_key(9), FOREIGN.hash()), ours.node.key)

        assert f"the peer follows {FOREIGN.hash()}, this node {GENESIS.hash()}" in caplog.text
        assert ours.node.connected.value == foreign.node.connected.value == 0

    async with in_memory() as world:
        peer = await world.meet("acceptor")
        peer.genesis = FOREIGN.hash()
        await peer.greet()
        await peer.wait_end()
        await trio.testing.wait_all_tasks_blocked()
        assert caplog.records[-1].getMessage().endswith(str(GenesisMismatch(FOREIGN.hash(), GENESIS.hash())))


@pytest.mark.slow
async def test_inbound_pool_fills_to_exactly_its_limit_and_serves_whoever_is_in():
    """The load test upstream: anonymous peers ask for a hundred batches, more of them than get in."""
    async with running(GENESIS, 1, dynamic_inbound_limit=7, **QUICK) as node:
        for number in range(100):
            await node.store.queue_batch(sync_batch(number))
        refused, served = [], 0

        async def anonymous(index):
            nonlocal served
            async with dialled(node.address, index) as peer:
                await peer.greet()
                async with peer.talking():
                    try:
                        await peer.wait_requests("push_batch_store_state")
                    except PeerClosed:
                        refused.append(index)
                        return
                    for number in range(index, 100, 7):
                        assert await peer.call("get_batch", get_batch.encode_request(number)) != b""
                        served += 1
                    await trio.sleep(0.5)

        async with trio.open_nursery() as nursery:
            for index in range(12):
                nursery.start_soon(anonymous, index)
            await node.wait_connected(7)

        assert len(refused) == 5
        assert served >= 7 * 13


# --- votes


@pytest.mark.slow
async def test_batch_votes_propagation_each_of_ten_nodes_votes_and_a_quorum_reaches_all():
    members = [attester(index) for index in range(1, 11)]
    genesis = genesis_of(members)
    async with network(10, 1, genesis, rates={}) as nodes:
        for node, secret in zip(nodes, members, strict=True):
            node.vote(secret, 5)

        with trio.fail_after(patient(10)):
            for node in nodes:
                certificate = await node.votes.wait_quorum()
                assert certificate.batch == batch_of(genesis, 5)


@pytest.mark.slow
async def test_rate_limiting_many_votes_take_few_pushes():
    """Ten votes one after the other: two pushes at once, then one for all that came in half a second."""
    members = [attester(index) for index in range(1, 11)]
    genesis = genesis_of(members)
    async with running(genesis, 1) as node, dialled(node.address, genesis=genesis.hash()) as peer:
        await peer.greet()
        async with peer.talking():
            await peer.wait_requests("push_batch_store_state")
            for secret in members:
                node.vote(secret, 5)
                await trio.sleep(0.01)
            await trio.sleep(0.6)

            assert len(peer.of("push_batch_votes")) == 3


# --- batches


async def test_simple_a_batch_is_announced_and_given_and_what_a_peer_announces_is_asked_for(autojump_clock):
    async with in_memory() as world, world.talk() as peer:
        (first,) = await peer.wait_requests("push_batch_store_state")
        assert request_untrusted(first.body) == BatchStoreState(BatchNumber(0), None)

        await world.store.queue_batch(sync_batch(0))

        _, second = await peer.wait_requests("push_batch_store_state", 2)
        assert request_untrusted(second.body) == BatchStoreState(BatchNumber(0), BatchNumber(0))
        assert await peer.call("get_batch", get_batch.encode_request(0)) == get_batch.encode_response(sync_batch(0))

        peer.answers["get_batch"] = lambda _body: get_batch.encode_response(sync_batch(1))
        await peer.call("push_batch_store_state", announced(0, 1))
        await world.wait_queued(1)
        assert [get_batch.request_untrusted(request.body) for request in peer.of("get_batch")] == [1]
        assert await world.store.batch(BatchNumber(1)) == sync_batch(1)


async def test_concurrent_requests_ten_batches_are_asked_of_four_connections_in_turn(autojump_clock):
    async with in_memory() as world, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(world.talk(index=index)) for index in range(20, 24)]
        for peer in peers:
            peer.answers["get_batch"] = lambda _body: HOLD
        for peer in peers:  # nobody has anything before all are here
            await peer.call("push_batch_store_state", announced(0, None))
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(peer.call, "push_batch_store_state", announced(0, 9))

        for at, peer in enumerate(peers):
            await peer.wait_requests("get_batch", 3 if at < 2 else 2)

        asked = {
            get_batch.request_untrusted(request.body): at
            for at, peer in enumerate(peers)
            for request in peer.of("get_batch")
        }
        assert sorted(asked) == list(range(10))
        assert sorted(len(peer.of("get_batch")) for peer in peers) == [2, 2, 3, 3]
        for number in (9, *range(9)):  # the last one first
            request = next(
                one for one in peers[asked[number]].of("get_batch") if one.body == get_batch.encode_request(number)
            )
            await peers[asked[number]].respond(request, get_batch.encode_response(sync_batch(number)))
        await world.wait_queued(9)


async def test_retry_four_peers_that_give_nothing_are_dropped_in_turn(autojump_clock):
    async with in_memory() as world, AsyncExitStack() as stack:
        peers = []
        for index in range(20, 24):
            peers.append(peer := await stack.enter_async_context(world.talk(index=index)))
            peer.answers["get_batch"] = lambda _body: b""
            try:
                await peer.call("push_batch_store_state", announced(0, 0))
            except PeerClosed:
                continue  # it was asked at once
        for peer in peers:
            await peer.wait_closed()
            assert [get_batch.request_untrusted(request.body) for request in peer.of("get_batch")] == [0]

        async with world.talk(index=24) as good:
            good.answers["get_batch"] = lambda _body: get_batch.encode_response(sync_batch(0))
            await good.call("push_batch_store_state", announced(0, 0))
            await world.wait_queued(0)


TOPOLOGIES = [(2, 1), (3, 2), (5, 3), (10, 4)]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "degree"), TOPOLOGIES)
async def test_coordinated_batch_syncing_each_batch_reaches_all_before_the_next(count, degree):
    random = Random(count)
    async with network(count, degree) as nodes:
        for number in range(5):
            await random.choice(nodes).store.queue_batch(sync_batch(number))
            for node in nodes:
                await node.wait_queued(number)


@pytest.mark.slow
@pytest.mark.parametrize("every_s", [0.05, 0.5])
@pytest.mark.parametrize(("count", "degree"), TOPOLOGIES[1:3])
async def test_uncoordinated_batch_syncing_all_end_complete(count, degree, every_s):
    random = Random(count)
    async with network(count, degree) as nodes, trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(random.choice(nodes).store.queue_batch, sync_batch(number))
            await trio.sleep(every_s)
        for node in nodes:
            await node.wait_queued(4)
            assert await node.store.batch(BatchNumber(3)) == sync_batch(3)


@pytest.mark.slow
async def test_switching_on_nodes_each_that_joins_gets_what_there_is():
    async with AsyncExitStack() as stack:
        nodes = []
        for index in range(7):
            nodes.append(await stack.enter_async_context(running(GENESIS, index, outbound=nodes, **QUICK)))
            await nodes[Random(index).randrange(len(nodes))].wait_queued(index - 1) if index else None
            await nodes[-1].store.queue_batch(sync_batch(index))
            for node in nodes:
                await node.wait_queued(index)


@pytest.mark.slow
async def test_switching_off_nodes_those_that_stay_go_on():
    async with AsyncExitStack() as outer:
        nodes, stacks = [], []
        for index in range(7):
            stack = await outer.enter_async_context(AsyncExitStack())
            nodes.append(await stack.enter_async_context(running(GENESIS, index, outbound=nodes, **QUICK)))
            stacks.append(stack)
        for number in range(6):
            await nodes[-1].store.queue_batch(sync_batch(number))
            for node in nodes:
                await node.wait_queued(number)
            nodes.pop()
            await stacks.pop().aclose()


async def test_different_first_batch_each_node_fetches_what_it_lacks():
    """Four nodes that begin with other batches: who begins later takes what is there from its own first on."""
    async with AsyncExitStack() as stack:
        nodes = []
        for index in range(4):
            store = MemoryBatchStore(GENESIS.hash(), BatchNumber(index))
            nodes.append(await stack.enter_async_context(running(GENESIS, index, outbound=nodes, store=store, **QUICK)))
        for number in range(8):
            await nodes[0].store.queue_batch(sync_batch(number))

        for index, node in enumerate(nodes):
            await node.wait_queued(7)
            assert node.store.queued.first == index
            assert await node.store.batch(BatchNumber(5)) == sync_batch(5)


async def test_sidechannel_sync_a_store_that_jumps_ahead_is_followed():
    """Batches 3 to 5 come by another way, then 8 to 10: the node goes on from there, and gives what it has."""
    async with running(GENESIS, 1, **QUICK) as a, running(GENESIS, 2, outbound=[a], **QUICK) as b:
        for number in (0, 1, 2):
            await a.store.queue_batch(sync_batch(number))
        await b.wait_queued(2)

        for first in (3, 8):
            await b.store.put_batch_to_sign(batch_of(GENESIS, first))  # known by its hash alone: the range begins anew
            await b.wait_queued(first)
            for number in range(a.store.queued.next(), first + 3):
                await a.store.queue_batch(sync_batch(number))
            await b.wait_queued(first + 2)

            assert await b.store.batch(BatchNumber(first + 2)) == sync_batch(first + 2)


async def test_a_chain_without_a_committee_is_joined_and_its_batches_are_exchanged():
    genesis = genesis_of([])
    async with running(genesis, 1, **QUICK) as a, running(genesis, 2, outbound=[a], **QUICK) as b:
        await a.store.queue_batch(sync_batch(0))
        await b.wait_queued(0)
        await b.store.queue_batch(sync_batch(1))
        await a.wait_queued(1)
        async with dialled(a.address, genesis=genesis.hash()) as peer:
            await peer.greet()
            async with peer.talking():
                with trio.fail_after(patient(1)):
                    assert await peer.call("get_batch", get_batch.encode_request(0)) != b""
                    assert await peer.call("get_batch", b"") is None


async def test_answers_come_at_once_although_no_vote_is_on_its_way():
    async with running(GENESIS, 1) as node, dialled(node.address) as peer:
        await peer.greet()
        async with peer.talking():
            with trio.fail_after(patient(1)):
                assert await peer.call("push_batch_votes", b"") == b""
                assert await peer.call("push_batch_votes", b"\xff") is None
