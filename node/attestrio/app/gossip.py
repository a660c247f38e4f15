"""The network in the node: what it is built from, and the file in which it says who is connected."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import trio

from attestrio.config import MAX_KEY_FILE, BadConfig, GossipSection, NodeConfig, env_name
from attestrio.errors import PeerError
from attestrio.gossip.node import GossipNode
from attestrio.gossip.peers_file import PeerList, forget_peers, write_peers
from attestrio.gossip.rules import GossipRules, inbound_of, outbound_of, rates_of
from attestrio.kit.blocking import RunBlocking
from attestrio.kit.files import read_bounded
from attestrio.roles import NodeSecretKey

TO_MAKE_ONE: Final = "`attestrio keys generate node.key --kind node` makes a key"

PEERS_EVERY_S: Final = 2.0
PEERS_REST_S: Final = 0.2  # between two writings, however often peers come and go

log = logging.getLogger("attestrio.app")


def gossip_rules(section: GossipSection, *, makes_batches: bool = False) -> GossipRules:
    """The rules of the section, whose values were checked when it was read.

    A main node (`makes_batches`) never fetches: its own source says what the next batch is, and it would skip each
    number that a peer has given it content for, true or not. Nobody could attest to that batch any more.
    """
    return GossipRules(
        static_outbound=outbound_of(section.static_outbound),
        static_inbound=inbound_of(section.static_inbound),
        dynamic_inbound_limit=section.dynamic_inbound_limit,
        ping_timeout_s=section.ping_timeout_s,
        redial_s=section.redial_s,
        max_batch_bytes=section.max_batch_bytes,
        fetch=section.fetch_batches and not makes_batches,
        rates=rates_of(section.rates),
    )


def gossip_holes(config: NodeConfig) -> list[str]:
    """What a node with [gossip] lacks to take part, one sentence each."""
    section = config.gossip
    if section is None or section.node_key is not None or section.node_key_file is not None:
        return []
    return [f"gossip.node_key_file is missing: a node has a name on the network; {TO_MAKE_ONE}"]


def node_secret(config: NodeConfig) -> NodeSecretKey:
    """The key that names this node, from file or environment. Raises BadConfig, also where none is configured."""
    section = config.gossip
    if section is None:
        raise BadConfig("configuration", "there is no section [gossip]: this node takes no part in the network")
    if section.node_key is not None:
        where, text = env_name("gossip", "node_key"), section.node_key.reveal()
    elif section.node_key_file is not None:
        where = f"gossip.node_key_file {section.node_key_file}"
        try:
            text = read_bounded(Path(section.node_key_file), MAX_KEY_FILE).decode("ascii", "replace")
        except OSError as exc:
            raise BadConfig(where, f"cannot be read ({exc.strerror}); {TO_MAKE_ONE}") from None
    else:
        raise BadConfig("configuration", gossip_holes(config)[0])
    try:
        return NodeSecretKey.from_text(text.strip())
    except PeerError:
        raise BadConfig(where, "no secret key of a node: expected node:secret:ed25519: and 64 hex digits") from None


@dataclass(frozen=True, slots=True)
class PeersFile:
    """Writes who is connected, for `attestrio peers`: at every change, and every two seconds. Gone with the node."""

    network: GossipNode
    path: Path
    run_blocking: RunBlocking

    async def run(self) -> NoReturn:
        failed = False
        try:
            while True:
                count = self.network.connected.value
                try:
                    await self.run_blocking(partial(write_peers, self.path, self._told()))
                except OSError as exc:  # nobody's vote depends on it: a full disk is told once
                    if not failed:
                        log.warning("%s not written: %s", self.path, exc.strerror)
                    failed = True
                else:
                    failed = False
                await trio.sleep(PEERS_REST_S)
                with trio.move_on_after(PEERS_EVERY_S):
                    await self.network.connected.wait_value(lambda now, count=count: now != count)  # type: ignore[misc]
        finally:
            forget_peers(self.path)

    def _told(self) -> PeerList:
        network = self.network
        listening = network.listener.address if network.listener is not None else ""
        return PeerList(time.time(), network.key, listening, tuple(network.peers))
