"""When a peer is not read from, and that it is read from again."""

import pytest
import trio
from attestrio.gossip.rpc import ping
from memory_world import GENESIS, in_memory
from net_world import LIFTED, running, sync_batch
from raw_peer import DIALLER, dialled
from suite import patient

PING = ping.encode_request(bytes(range(32)))
ANNOUNCEMENTS = 14  # the stream of push_batch_store_state, the last one


def parked(count):
    """DATA of one zero byte each on a stream that the peer has offered and the node does not use at present."""
    header = 0x4000 | 0x2000 | ANNOUNCEMENTS
    return (header.to_bytes(2, "little") + b"\x01\x00\x00") * count


@pytest.mark.slow
async def test_a_peer_that_parks_too_much_is_read_from_again_as_soon_as_it_is_used_up():
    """On a socket that takes what is sent at once, so that nothing else wakes the reader."""
    async with running(GENESIS, 1, rates=LIFTED) as node, dialled(node.address) as peer:
        await peer.greet()
        async with peer.talking():
            await peer.call("ping", PING)
            await peer.wait_requests("push_batch_store_state")
            await trio.sleep(1.5)  # the rate of pings, which is fixed, is at rest
            await peer.send(parked(130))
            with trio.move_on_after(0.2) as waited:
                await peer.call("ping", PING)
            assert waited.cancelled_caught

            await node.store.queue_batch(sync_batch(0))  # whose announcement makes use of the stream

            with trio.fail_after(patient(1)):
                await peer.wait_requests("push_batch_store_state", 2)
                await peer.call("ping", PING)


async def test_a_peer_that_parks_too_much_and_is_never_asked_ends_with_the_next_ping(autojump_clock):
    async with in_memory(ping_timeout_s=10.0) as world, world.talk(DIALLER) as peer:
        await peer.call("ping", PING)
        await peer.send(parked(130))

        await peer.wait_closed()

        assert trio.current_time() < 21
        assert world.node.connected.value == 0
