"""The file in which a running node says who is connected, as the node keeps it."""

import logging
from types import SimpleNamespace

import trio
import trio.testing
from attestrio.app.gossip import PEERS_EVERY_S, PeersFile
from attestrio.gossip.node import GossipNode
from attestrio.gossip.peers_file import PEERS, forget_peers, read_peers
from attestrio.gossip.rules import GossipRules
from attestrio.kit.blocking import inline
from attestrio.roles import NodeSecretKey

NODE = GossipNode(NodeSecretKey.from_bytes(b"\x01" * 32), GossipRules())
NODE.listener = SimpleNamespace(address="127.0.0.1:3054")


async def test_the_file_is_there_while_the_node_runs_and_gone_with_it(tmp_path, nursery, autojump_clock):
    path = tmp_path / PEERS
    scope = trio.CancelScope()

    async def run():
        with scope:
            await PeersFile(NODE, path, inline).run()

    nursery.start_soon(run)
    await trio.sleep(1)
    told = read_peers(path)
    await trio.sleep(2 * PEERS_EVERY_S)
    later = read_peers(path)
    scope.cancel()
    await trio.testing.wait_all_tasks_blocked()

    assert (told.node, told.listening, told.peers) == (NODE.key, "127.0.0.1:3054", ())
    assert later.as_of > told.as_of  # written anew
    assert list(tmp_path.iterdir()) == []


async def test_a_directory_in_its_place_is_told_once_and_ends_nothing(tmp_path, autojump_clock, caplog):
    caplog.set_level(logging.WARNING, "attestrio.app")
    path = tmp_path / PEERS
    path.mkdir()

    forget_peers(path)  # at the start
    with trio.move_on_after(10 * PEERS_EVERY_S) as life:
        await PeersFile(NODE, path, inline).run()

    assert life.cancelled_caught
    assert [record.getMessage() for record in caplog.records] == [f"{path} not written: Is a directory"]
    assert path.is_dir()
