"""What the configuration says about the network, as what the network is built from."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attestrio.config import MAX_KEY_FILE, BadConfig, GossipSection, NodeConfig, env_name
from attestrio.errors import PeerError
from attestrio.gossip.rules import GossipRules, inbound_of, outbound_of, rates_of
from attestrio.kit.files import read_bounded
from attestrio.roles import NodeSecretKey

TO_MAKE_ONE: Final = "`attestrio keys generate node.key --kind node` makes a key"


def gossip_rules(section: GossipSection) -> GossipRules:
    """The rules of the section, whose values were checked when it was read."""
    return GossipRules(
        static_outbound=outbound_of(section.static_outbound),
        static_inbound=inbound_of(section.static_inbound),
        dynamic_inbound_limit=section.dynamic_inbound_limit,
        ping_timeout_s=section.ping_timeout_s,
        redial_s=section.redial_s,
        max_batch_bytes=section.max_batch_bytes,
        fetch=section.fetch_batches,
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
