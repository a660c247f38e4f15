"""Configuration: who wins, and what a mistake is answered with."""

import re
import tomllib
from pathlib import Path

import pytest
from attestrio.config import (
    MAX_NUMBER,
    SECRETS,
    BadConfig,
    GossipSection,
    L1Section,
    NodeConfig,
    Secret,
    env_name,
    explain_config,
    keys,
    load_config,
    unused_environment,
)
from attestrio.gossip.rules import MAX_BATCH_BYTES
from attestrio.roles import NodeSecretKey
from attestrio.store import api

PEER, OTHER = (str(NodeSecretKey.from_bytes(bytes([index]) * 32).public()) for index in (1, 2))
CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*node.toml"))


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "node.toml"
        path.write_text(text)
        return path

    return write


def test_nothing_given_is_all_defaults():
    config = load_config()

    assert config == NodeConfig()
    assert config.poll_s == 5.0


def test_a_main_node_polls_its_own_store_every_second():
    config = load_config(overrides={"serve.bind": "127.0.0.1:0"})

    assert config.serve is not None
    assert config.poll_s == 1.0


def test_flag_beats_environment_beats_file_beats_default(file):
    path = file("[main_node]\npoll_s = 2.0\ntimeout_s = 3.0\nstale_grace_s = 4.0\n")
    env = {"ATTESTRIO_MAIN_NODE_POLL_S": "20", "ATTESTRIO_MAIN_NODE_TIMEOUT_S": "30"}

    config, origin = explain_config(path, env=env, overrides={"main_node.poll_s": "200"})

    section = config.main_node
    assert (section.poll_s, section.timeout_s, section.stale_grace_s) == (200.0, 30.0, 4.0)
    assert section.max_answer_bytes == 1 << 20
    assert origin == {
        ("main_node", "poll_s"): "flag",
        ("main_node", "timeout_s"): "environment",
        ("main_node", "stale_grace_s"): str(path),
    }


def test_paths_in_a_file_are_taken_from_its_folder(file):
    path = file('[node]\ndata_dir = "data"\n[genesis]\nfile = "/etc/genesis.json"\n')

    config = load_config(path, overrides={"batches.file": "here.jsonl"})

    assert config.node.data_dir == str(path.parent / "data")
    assert config.genesis.file == "/etc/genesis.json"
    assert config.batches.file == "here.jsonl"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[main_node]\npol_s = 1.0\n", "unknown key main_node.pol_s; did you mean poll_s?"),
        ("[main-node]\npoll_s = 1.0\n", "unknown section [main-node]; did you mean main_node?"),
        ("node = 1\n", "node has to be a section: [node]"),
        ('[main_node]\npoll_s = "fast"\n', "main_node.poll_s: Expected `float | null`, got `str`"),
        ("[main_node]\npoll_s = 0.0\n", "main_node: poll_s has to be above 0, not 0.0"),
        ("[main_node]\npoll_s = nan\n", "main_node: poll_s has to be above 0, not nan"),
        ("[main_node]\nstale_grace_s = -1.0\n", "main_node: stale_grace_s has to be from 0 to 1000000000, not -1.0"),
        ("[main_node]\npoll_s = inf\n", "main_node: poll_s has to be 1000000000 at most"),
        ("[main_node]\ntimeout_s = inf\n", "main_node: timeout_s has to be 1000000000 at most"),
        ("[main_node]\nstale_grace_s = nan\n", "main_node: stale_grace_s has to be from 0 to 1000000000, not nan"),
        ("[protection]\nlisten_s = inf\n", "protection: listen_s has to be from 0 to 1000000000, not inf"),
        (f"[protection]\nkeep_votes = 1{'0' * 400}\n", f"protection: keep_votes has to be {MAX_NUMBER} at most"),
        ("[batches]\nfirst = -1\n", f"batches: first has to be a number from 0 to {MAX_NUMBER}"),
        (f"[batches]\nfirst = {2**64 - 1}\n", f"batches: first has to be a number from 0 to {MAX_NUMBER}"),
        (f"[batches]\nfirst = {'9' * 5000}\n", "holds a number that is too long"),
        (f"a = {'[' * 50_000}\n", "nested too deep"),
        ("keys = 5\n", "keys has to be a section: [keys]"),
        ('keys = "attester"\n', "keys has to be a section: [keys]"),
        ('[batches]\nsource = "file"\n', 'batches: source = "file" needs the key file'),
        ('[batches]\nsource = "rumour"\n', "batches.source: Invalid enum value 'rumour'"),
        ("[node\n", "not TOML: Expected ']' at the end of a table declaration (at line 1, column 6)"),
        ('[keys]\nattester = "x"\n', "keys.attester may not stand in a file: "),
    ],
)
def test_a_mistake_names_the_file_the_key_and_the_remedy(file, text, said):
    path = file(text)

    with pytest.raises(BadConfig) as caught:
        load_config(path)

    assert str(caught.value).startswith(f"{path}: {said}")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rate = []", "unknown key gossip.rate; did you mean rates?"),
        ("bind = 3054", "gossip.bind: Expected `str`, got `int`"),
        ('bind = "0.0.0.0"', "gossip: bind is not host:port"),
        ('bind = "0.0.0.0:65536"', "gossip: bind has port 65536, ports are 0 to 65535"),
        ('node_key = "x"', "gossip.node_key may not stand in a file: use gossip.node_key_file or ATTESTRIO_GOSSIP_NO"),
        (f'static_outbound = ["{PEER}"]', f"gossip: static_outbound: the address of {PEER} is not host:port"),
        (f'static_outbound = ["{PEER}@a:1", "{PEER}@b:1"]', f"gossip: static_outbound names {PEER} twice"),
        (f'static_inbound = ["{PEER}", "{PEER}"]', f"gossip: static_inbound names {PEER} twice"),
        ('static_inbound = ["me"]', "gossip: static_inbound: entry 1 is not node:public:ed25519:<64 hex digits>"),
        ("dynamic_inbound_limit = -1", "gossip: dynamic_inbound_limit has to be from 0 to"),
        ("ping_timeout_s = 0.0", "gossip: ping_timeout_s has to be above 0, not 0.0"),
        ("ping_timeout_s = 0.5", "gossip: ping_timeout_s has to be 1 at least: peers answer one ping a second"),
        ("redial_s = inf", "gossip: redial_s has to be 1000000000 at most"),
        ("max_batch_bytes = 0", "gossip: max_batch_bytes has to be above 0, not 0"),
        ("max_batch_bytes = 4294967296", f"gossip: max_batch_bytes has to be {MAX_BATCH_BYTES} at most"),
        ('fetch_batches = "yes"', "gossip.fetch_batches: Expected `bool`, got `str`"),
        ('rates = ["ping"]', "gossip: rates: entry 1 is not method=burst/refresh_s"),
        ('rates = ["pong=1/1"]', "gossip: rates: no method is called pong; did you mean ping?"),
        ('rates = ["ping=1/1", "ping=2/1"]', "gossip: rates names ping twice"),
    ],
)
def test_a_mistake_about_the_network_names_the_key_and_the_remedy(file, text, said):
    path = file(f"[gossip]\n{text}\n")

    with pytest.raises(BadConfig) as caught:
        load_config(path)

    assert str(caught.value).startswith(f"{path}: {said}")


def test_a_node_without_the_section_has_no_gossip_and_an_empty_one_is_the_defaults(file):
    assert load_config().gossip is None
    assert load_config(file("[gossip]\n")).gossip == GossipSection()


def test_lists_are_separated_by_commas_in_the_environment_and_in_flags(file):
    env = {"ATTESTRIO_GOSSIP_STATIC_OUTBOUND": f"{PEER}@a:1, {OTHER}@b:2", "ATTESTRIO_GOSSIP_STATIC_INBOUND": ""}

    config = load_config(file("[gossip]\n"), env=env, overrides={"gossip.rates": "ping=1/1,get_batch=2/0"})

    assert config.gossip == GossipSection(
        static_outbound=(f"{PEER}@a:1", f"{OTHER}@b:2"), static_inbound=(), rates=("ping=1/1", "get_batch=2/0")
    )


def test_the_key_of_the_node_is_found_beside_the_file_and_its_text_comes_from_the_environment_alone(file):
    path = file('[gossip]\nnode_key_file = "node.key"\n')

    config = load_config(path, env={"ATTESTRIO_GOSSIP_NODE_KEY": "hunter2"})

    assert config.gossip.node_key_file == str(path.parent / "node.key")
    assert config.gossip.node_key.reveal() == "hunter2"
    assert "hunter2" not in repr(config)
    with pytest.raises(BadConfig, match=r"seen by everybody: use ATTESTRIO_GOSSIP_NODE_KEY$"):
        load_config(path, overrides={"gossip.node_key": "hunter2"})


def test_the_first_batch_may_be_any_that_the_store_holds():
    assert load_config(overrides={"batches.first": str(api.MAX_NUMBER)}).batches.first == api.MAX_NUMBER == MAX_NUMBER


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadConfig, match=r"nowhere\.toml: no such file"):
        load_config(tmp_path / "nowhere.toml")


def test_a_wrong_value_in_the_environment_is_said_of_the_environment(file):
    with pytest.raises(BadConfig, match=r"^environment: main_node\.timeout_s: Expected `float`, got `str`"):
        load_config(file(""), env={"ATTESTRIO_MAIN_NODE_TIMEOUT_S": "soon"})


def test_an_unknown_flag_is_an_error_and_a_secret_may_not_be_one():
    with pytest.raises(BadConfig, match=r"flag: unknown key serve\.bnd; did you mean serve\.bind"):
        load_config(overrides={"serve.bnd": "x"})
    with pytest.raises(BadConfig, match="ATTESTRIO_KEYS_ATTESTER"):
        load_config(overrides={"keys.attester": "attester:secret:secp256k1:00"})


def test_a_secret_is_shown_nowhere():
    config = load_config(env={"ATTESTRIO_KEYS_ATTESTER": "hunter2"})

    secret = config.keys.attester
    assert isinstance(secret, Secret)
    assert "hunter2" not in f"{config!r} {config} {secret} {secret!r} {secret:>9}"
    assert secret.reveal() == "hunter2"


def test_names_of_the_environment_are_all_different():
    names = [env_name(section, key) for section, key in keys()]

    assert len(set(names)) == len(names) > 15


def test_a_variable_that_names_no_key_is_listed():
    env = {"ATTESTRIO_NODE_SERVICE_HOST": "10.0.0.1", "ATTESTRIO_NODE_DATA_DIR": "x", "HOME": "/"}

    assert unused_environment(env) == ["ATTESTRIO_NODE_SERVICE_HOST"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_files_name_every_key_with_its_default(path):
    """configs/*.toml are the reference: each key stands there, in force or commented out, and means the default."""
    text = path.read_text()
    shipped = load_config(path)
    uncommented = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]

    named, section = set(), ""
    for line in uncommented:
        line = line.removeprefix("# ") if re.match(r"# \[\w+\]", line) else line  # a section that is off
        if line.startswith("["):
            section = line[1 : line.index("]")]
        elif " = " in line and not line.startswith("#") and line.split(" = ")[0].isidentifier():
            named.add((section, line.split(" = ")[0]))
    expected = {pair for pair in keys() if pair not in SECRETS}
    if shipped.serve is None:
        expected = {pair for pair in expected if pair[0] != "serve"}
    else:  # what only a node with a main node above it reads
        only_below = {"url", "urls", "agree", "timeout_s", "stale_grace_s", "max_answer_bytes"}
        expected -= {("main_node", key) for key in only_below}
    assert expected - named == set()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("off", "kind", "without_default"),
    [("gossip", GossipSection, {"node_key_file": "node.key"}), ("l1", L1Section, {"diamond": "0x..."})],
)
def test_a_section_that_is_off_in_a_shipped_file_shows_its_defaults(path, off, kind, without_default):
    lines = path.read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"# [{off}]"))
    section = [line.removeprefix("# ") for line in lines[start : lines.index("", start)]]

    table = tomllib.loads("\n".join(section))[off]

    assert {key: table.pop(key) for key in without_default} == without_default
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()} == {
        key: getattr(kind(), key)
        for name, key in keys()
        if name == off and key not in without_default and (name, key) not in SECRETS
    }


DIAMOND = "0x" + "d1" * 20
L1 = f'[l1]\nrpc_urls = ["http://a:8545"]\ndiamond = "{DIAMOND}"\n'


@pytest.mark.parametrize("batches", ['source = "l1"', "check_l1 = true"])
def test_batches_of_ethereum_need_to_be_told_where_it_is(file, batches):
    for l1 in ("", f'[l1]\ndiamond = "{DIAMOND}"\n', '[l1]\nrpc_urls = ["http://a:8545"]\n'):
        with pytest.raises(BadConfig, match=r"needs the section \[l1\] with rpc_urls and diamond"):
            load_config(file(f"[batches]\n{batches}\n{l1}"))

    assert load_config(file(f"[batches]\n{batches}\n{L1}")).l1 == L1Section(
        rpc_urls=("http://a:8545",), diamond=DIAMOND
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('diamond = "0xd1"', "l1: diamond is not an address: 0x and 40 hex digits"),
        ("chain_id = 0", "l1: chain_id has to be above 0, not 0"),
        ('finality = "soon"', "l1.finality: Invalid enum value 'soon'"),
        ('rpc_urls = ["http://a", "http://a"]', "l1: rpc_urls names an endpoint twice"),
        (
            'rpc_urls = ["http://a", "http://b", "http://c", "http://d"]\nagree = 2',
            "l1: agree = 2 of 4 rpc_urls: has to",
        ),
        ('rpc_urls = ["http://a"]\nagree = 2', "l1: agree = 2 of 1 rpc_urls: has to be 1, or more than half"),
    ],
)
def test_what_is_wrong_about_ethereum_is_said(file, text, problem):
    path = file(f"[l1]\n{text}\n")

    with pytest.raises(BadConfig) as caught:
        load_config(path)

    assert str(caught.value).startswith(f"{path}: {problem}")


def test_ethereum_can_be_named_by_the_environment(file):
    env = {
        "ATTESTRIO_L1_RPC_URLS": "http://a:8545, http://b:8545", "ATTESTRIO_L1_CHAIN_ID": "31337",
        "ATTESTRIO_L1_DIAMOND": DIAMOND, "ATTESTRIO_L1_FINALITY": "executed", "ATTESTRIO_BATCHES_CHECK_L1": "true",
    }  # fmt: skip

    config = load_config(env=env)

    assert config.batches.check_l1
    assert config.l1 == L1Section(
        rpc_urls=("http://a:8545", "http://b:8545"), chain_id=31337, diamond=DIAMOND, finality="executed"
    )
