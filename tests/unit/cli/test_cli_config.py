"""`attestrio config`: what is in force and where it comes from, and what is wrong with it."""

import tomllib
from pathlib import Path

import pytest
from attestrio.app.kinds import kind_of
from attestrio.config import explain_config, keys
from attestrio.roles import NodeSecretKey
from cli_kit import SECRETS, write_genesis

CONFIGS = Path(__file__).parents[3] / "configs"
SECRET = SECRETS[0].to_text()
NODE_SECRET = NodeSecretKey.from_bytes(b"\x01" * 32)
PEER = NODE_SECRET.public().to_text()


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "node.toml"
        path.write_text(text)
        return path

    return write


def usable(tmp_path):
    """A configuration with nothing missing, its key and its genesis beside it."""
    write_genesis(tmp_path / "genesis.json")
    (tmp_path / "attester.key").write_text(SECRET)
    return (
        '[keys]\nattester_file = "attester.key"\n[genesis]\nfile = "genesis.json"\n'
        '[main_node]\nurl = "http://127.0.0.1:3060"\n'
    )


def test_a_configuration_that_can_be_used_is_ok(attestrio, tmp_path, file):
    path = file(usable(tmp_path))

    ended = attestrio("config", "check", "--config", path)
    document = attestrio("config", "check", "-c", path, "--json").document

    assert (ended.code, ended.out, ended.err) == (0, "ok\n", "")
    assert document == {"ok": True, "missing": [], "unused_environment": []}


def test_what_is_only_missing_so_far_is_listed_and_no_error(attestrio, file):
    path = file('[keys]\nattester_file = "a.key"\n')

    ended = attestrio("config", "check", "--config", path)

    assert ended.code == 0
    assert ended.out.splitlines() == [
        "ok so far; still missing:",
        "  main_node.url is missing: which main node shall be asked?",
        f"  keys.attester_file {path.parent}/a.key: no such file yet",
    ]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_shipped_configurations_of_every_kind_are_ok_so_far(attestrio, path):
    document = attestrio("config", "check", "--config", path, "--json").document

    assert document["ok"] is True
    if path.stem in ("operator", "aggregator", "sequencer"):
        assert attestrio(path.stem, "check", "--config", path, "--json").document == document


@pytest.mark.parametrize("role", ["operator", "aggregator", "sequencer"])
def test_the_configuration_of_another_role_is_shown_and_can_be_used_as_a_file(attestrio, file, role):
    path = CONFIGS / f"{role}.toml"

    shown = attestrio("config", "show", "--config", path)
    again = attestrio("config", "show", "--config", file(shown.out), "--kind", role, "--json").document

    assert shown.code == 0
    table = tomllib.loads(shown.out)
    assert table[role]["data_dir"].startswith(str(CONFIGS))
    assert again[role]["data_dir"]["value"] == table[role]["data_dir"]


def test_a_table_of_values_is_shown_as_toml(attestrio, file):
    path = file('[verifier]\nprograms = { SP1 = ["/bin/verify", "--url", "http://me:pw@h/?q=token"] }\n')

    table = tomllib.loads(attestrio("config", "show", "--config", path).out)

    assert table["verifier"]["programs"] == {"SP1": ["/bin/verify", "--url", "http://h/?redacted"]}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "node"),
        ("[log]\n", "node"),
        ("[serve]\n[l1]\nrpc_urls = []\n", "node"),
        ("[operator]\n", "operator"),
        ('[aggregator]\naddress = "127.0.0.1:8090"\n', "operator"),
        ('[aggregator]\ndata_dir = "x"\n', "aggregator"),
        ('[l1]\nmanager = "0x"\n[ecdsa]\nkeystore = "x"\n', "aggregator"),
        ("[sequencer]\n", "sequencer"),
        ('[node]\ndata_dirr = "a slip"\n', "node"),
        ("no TOML", "node"),
    ],
)
def test_the_keys_say_whose_configuration_a_file_is(file, text, kind):
    assert kind_of(file(text)) == kind


def test_a_node_with_gossip_and_no_key_of_its_own_is_told_so(attestrio, tmp_path, file):
    path = file(usable(tmp_path) + "[gossip]\n")

    without = attestrio("config", "check", "--config", path)
    absent = attestrio("config", "check", "--config", path, "--set", f"gossip.node_key_file={tmp_path}/node.key")

    assert (without.code, absent.code) == (0, 0)
    assert without.out.splitlines()[1] == (
        "  gossip.node_key_file is missing: a node has a name on the network;"
        " `attestrio keys generate node.key --kind node` makes a key"
    )
    assert absent.out.splitlines()[1] == f"  gossip.node_key_file {tmp_path}/node.key: no such file yet"


def test_a_node_key_of_the_wrong_kind_is_found_by_check(attestrio, tmp_path, file):
    path = file(usable(tmp_path) + '[gossip]\nnode_key_file = "attester.key"\n')

    ended = attestrio("config", "check", "--config", path)

    assert ended.code == 2
    assert ended.err.startswith(f"attestrio: gossip.node_key_file {tmp_path}/attester.key: no secret key of a node")
    assert "0101" not in ended.err


def test_a_variable_that_names_no_key_is_a_warning(attestrio, tmp_path, file, monkeypatch):
    monkeypatch.setenv("ATTESTRIO_NODE_SERVICE_HOST", "10.0.0.1")
    path = file(usable(tmp_path))
    monkeypatch.setenv("ATTESTRIO_NODE_SERVICE_HOST", "10.0.0.1")

    ended = attestrio("config", "check", "--config", path)

    assert (ended.code, ended.out) == (
        0, "ok\nwarning: the environment variable ATTESTRIO_NODE_SERVICE_HOST names no key\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[main_node]\nurll = 'x'\n", "unknown key main_node.urll; did you mean url?"),
        ("[main_node]\nurl = 7\n", "main_node.url: Expected `str | null`, got `int`"),
        ("[node]\ndata_dir = ''\n", "node: data_dir may not be empty"),
        ('[node]\ndata_dir = "a\\u0000b"\n', "node.data_dir: holds a NUL character"),
        ("[main_node\n", "not TOML: "),
        ("[batches]\nsource = 'file'\n", 'batches: source = "file" needs the key file'),
    ],
)
def test_a_mistake_in_the_file_names_file_and_key(attestrio, file, text, said):
    path = file(text)

    ended = attestrio("config", "check", "--config", path)
    error = attestrio("config", "check", "--config", path, "--json").error

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"attestrio: {path}: {said}")
    assert ended.err.endswith(" [bad_config]\n")
    assert ended.err == f"attestrio: {error['message']} [{error['code']}]\n"


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("main_node.url=ftp://host", "main_node.url: not an http:// or https:// URL: ftp://host; expected something"),
        ("main_node.url=http://u:hunter2@host:1x", "main_node.url: not an http:// or https:// URL: (unreadable URL)"),
        ("main_node.poll_s=soon", "flag: main_node.poll_s: Expected `float | null`, got `str`"),
        ("main_node.poll_s=-1", "flag: main_node: poll_s has to be above 0, not -1.0"),
        ("main_node.pol_s=1", "flag: unknown key main_node.pol_s; did you mean main_node.poll_s?"),
        ("genesis", "flag: --set genesis: expected section.key=value"),
        ("genesis.file=bad.json", "genesis.file bad.json: is no genesis: Genesis: not JSON"),
        ("keys.attester_file=bad.json", "keys.attester_file bad.json: invalid format: expected attester:secret:"),
        ("keys.attester_file=.", "keys.attester_file .: cannot be read (Is a directory); `attestrio keys generate`"),
        (f"keys.attester={SECRET}", "flag: a secret on the command line is seen by everybody"),
    ],
)
def test_a_mistake_in_a_flag_is_one_sentence(attestrio, tmp_path, monkeypatch, pair, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{")

    ended = attestrio("config", "check", "--set", pair)

    assert ended.code == 2
    assert ended.err.startswith(f"attestrio: {said}")
    assert "0101" not in ended.err
    assert "hunter2" not in ended.err


def test_two_flags_that_need_each_other_may_come_in_any_order(attestrio, tmp_path):
    pairs = ["batches.source=file", f"batches.file={tmp_path}/batches.jsonl"]

    first = attestrio("config", "check", "--set", pairs[0], "--set", pairs[1])
    second = attestrio("config", "check", "--set", pairs[1], "--set", pairs[0])

    assert (first.code, second.code) == (0, 0)


def test_a_bad_secret_in_the_environment_is_named_and_not_repeated(attestrio, monkeypatch):
    monkeypatch.setenv("ATTESTRIO_KEYS_ATTESTER", SECRET + "01")

    ended = attestrio("config", "check")

    assert ended.code == 2
    assert ended.err.startswith(
        "attestrio: ATTESTRIO_KEYS_ATTESTER: invalid format: expected attester:secret:secp256k1:"
    )
    assert "0101" not in ended.err


def test_show_says_where_each_value_comes_from(attestrio, file, monkeypatch):
    path = file('[main_node]\nurl = "http://main:1"\npoll_s = 3.0\ntimeout_s = 4.0\n')
    monkeypatch.setenv("ATTESTRIO_MAIN_NODE_POLL_S", "2")

    document = attestrio("config", "show", "-c", path, "-s", "main_node.stale_grace_s=9", "--json").document

    expected = {
        "url": {"value": "http://main:1", "source": str(path)},
        "poll_s": {"value": 2.0, "source": "environment"},
        "timeout_s": {"value": 4.0, "source": str(path)},
        "stale_grace_s": {"value": 9.0, "source": "flag"},
        "max_answer_bytes": {"value": 1048576, "source": "default"},
    }
    assert {key: document["main_node"][key] for key in expected} == expected
    assert {(section, key) for section, entries in document.items() for key in entries} == set(keys())


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--set", "serve.bind=127.0.0.1:0", "--set", "batches.first=7"],
        ["--set", f"gossip.static_outbound={PEER}@a:1", "--set", "gossip.rates=ping=1/0.5,get_batch=2/0"],
    ],
    ids=["nothing", "serve", "gossip"],
)
def test_what_show_prints_is_a_file_that_means_the_same(attestrio, tmp_path, more):
    overrides = dict(pair.split("=", 1) for pair in more[1::2])

    ended = attestrio("config", "show", "--set", f"node.data_dir={tmp_path}/data", *more)
    (tmp_path / "copy.toml").write_text(ended.out)

    before = explain_config(overrides={"node.data_dir": f"{tmp_path}/data", **overrides})[0]
    assert explain_config(tmp_path / "copy.toml")[0] == before


def test_show_hides_secrets_and_what_a_url_carries(attestrio, monkeypatch):
    monkeypatch.setenv("ATTESTRIO_KEYS_ATTESTER", SECRET)
    monkeypatch.setenv("ATTESTRIO_GOSSIP_NODE_KEY", NODE_SECRET.to_text())
    monkeypatch.setenv("ATTESTRIO_MAIN_NODE_URL", "https://user:hunter2@main/path?key=hunter3")

    text, as_json = attestrio("config", "show"), attestrio("config", "show", "--json")

    assert '# attester = "<secret>"                  # environment' in text.out.splitlines()
    assert '# node_key = "<secret>"                  # environment' in text.out.splitlines()
    assert tomllib.loads(text.out)["main_node"]["url"] == "https://main/path?redacted"
    for shown in (text.out, as_json.out):
        assert "0101" not in shown
        assert "hunter" not in shown
