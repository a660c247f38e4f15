"""From the configuration to what the network is built from."""

import pytest
from attestrio.app.gossip import gossip_holes, gossip_rules, node_secret
from attestrio.config import BadConfig, GossipSection, NodeConfig, Secret
from attestrio.gossip.limiter import Rate
from attestrio.gossip.rules import GossipRules
from attestrio.roles import AttesterSecretKey, NodeSecretKey

SECRET = NodeSecretKey.from_bytes(b"\x01" * 32)
A, B = (NodeSecretKey.from_bytes(bytes([index]) * 32).public() for index in (2, 3))


def config_of(**section):
    return NodeConfig(gossip=GossipSection(**section))


def test_an_empty_section_is_the_rules_of_the_network():
    assert gossip_rules(GossipSection()) == GossipRules()


def test_every_key_of_the_section_becomes_a_rule():
    section = GossipSection(
        static_outbound=(f"{A}@a:1",),
        static_inbound=(str(B),),
        dynamic_inbound_limit=7,
        ping_timeout_s=1.0,
        redial_s=2.0,
        max_batch_bytes=3000,
        fetch_batches=False,
        rates=("ping=4/0.5",),
    )

    assert gossip_rules(section) == GossipRules(
        static_outbound={A: "a:1"},
        static_inbound=frozenset({B}),
        dynamic_inbound_limit=7,
        ping_timeout_s=1.0,
        redial_s=2.0,
        max_batch_bytes=3000,
        fetch=False,
        rates={"ping": Rate(4, 0.5)},
    )


@pytest.mark.parametrize("asked", [True, False])
def test_a_main_node_does_not_fetch_batches_whatever_it_is_told(asked):
    assert not gossip_rules(GossipSection(fetch_batches=asked), makes_batches=True).fetch


def test_the_key_comes_from_the_file_and_rather_from_the_environment(tmp_path):
    other = NodeSecretKey.from_bytes(b"\x04" * 32)
    file = tmp_path / "node.key"
    file.write_text(SECRET.to_text() + "\n")

    assert node_secret(config_of(node_key_file=str(file))) == SECRET
    assert node_secret(config_of(node_key_file=str(file), node_key=Secret(other.to_text()))) == other


def test_a_node_with_gossip_and_without_a_key_is_told_how_to_make_one():
    with pytest.raises(BadConfig) as caught:
        node_secret(config_of())

    assert str(caught.value) == f"configuration: {gossip_holes(config_of())[0]}"
    assert str(caught.value).endswith("`attestrio keys generate node.key --kind node` makes a key")


@pytest.mark.parametrize(
    "config", [NodeConfig(), config_of(node_key_file="a"), config_of(node_key=Secret("x"))], ids=["off", "file", "env"]
)
def test_nothing_lacks_where_a_key_is_named_or_there_is_no_gossip(config):
    assert gossip_holes(config) == []


def test_without_the_section_there_is_no_key():
    with pytest.raises(BadConfig, match=r"there is no section \[gossip\]"):
        node_secret(NodeConfig())


@pytest.mark.parametrize(
    "text",
    ["", AttesterSecretKey.from_bytes(b"\x01" * 32).to_text(), SECRET.to_text() + "01", SECRET.public().to_text()],
    ids=["empty", "attester", "long", "public"],
)
def test_what_is_no_key_of_a_node_is_named_and_not_repeated(tmp_path, text):
    file = tmp_path / "node.key"
    file.write_text(text)

    for config, where in (
        (config_of(node_key_file=str(file)), f"gossip.node_key_file {file}"),
        (config_of(node_key=Secret(text)), "ATTESTRIO_GOSSIP_NODE_KEY"),
    ):
        with pytest.raises(BadConfig) as caught:
            node_secret(config)

        said = "no secret key of a node: expected node:secret:ed25519: and 64 hex digits"
        assert str(caught.value) == f"{where}: {said}"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadConfig, match=r"nowhere: cannot be read \(No such file"):
        node_secret(config_of(node_key_file=str(tmp_path / "nowhere")))
