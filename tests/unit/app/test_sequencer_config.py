"""The configuration of a sequencer: every key, what is made of it, and what is said about a mistake."""

import json
from pathlib import Path

import msgspec
import pytest
from attestrio.app.sequencer import MAX_BODY
from attestrio.app.sequencer_config import LAYOUT, SequencerConfig, lacking
from attestrio.app.sequencer_parts import injected_of, limits_of, pool_of, rules_of
from attestrio.configuring import BadConfig
from attestrio.sequencer import Rules
from attestrio.sequencer.errors import ChainFileUnreadable
from attestrio.sequencer.pool import PoolSettings
from attestrio.stream.server import DEFAULT_LIMITS

SHIPPED = Path(__file__).parents[3] / "configs" / "sequencer.toml"
COINBASE = "0x" + "c0" * 20


def test_the_shipped_file_has_every_key_with_its_default():
    text = SHIPPED.read_text()
    off = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line]

    made, origin = LAYOUT.explain(SHIPPED)

    default = msgspec.structs.replace(SequencerConfig().sequencer, data_dir=str(SHIPPED.parent / "attestrio-sequencer"))
    assert made == msgspec.structs.replace(SequencerConfig(), sequencer=default)
    named = set(origin) | {(section, line.split(" = ")[0]) for line in off for section, _ in LAYOUT.sections()}
    assert set(LAYOUT.keys()) - named == set()


def test_the_defaults_are_those_of_the_parts():
    config = SequencerConfig()

    assert rules_of(config, 7) == Rules(7, ((12, 0),), b"")
    assert pool_of(config) == PoolSettings()
    assert limits_of(config) == DEFAULT_LIMITS
    assert 2 * config.pool.max_bytes < MAX_BODY


def test_rules_are_read_as_they_are_written():
    made, _ = LAYOUT.explain(
        overrides={"chain.coinbase": COINBASE, "chain.erc20_transfer": "0.5", "build.data_budget": "480"}
    )

    rules = rules_of(made, 1)

    assert rules.coinbase == b"\xc0" * 20
    assert (rules.percentages.eth_transfer, rules.percentages.erc20_transfer) == (255, 128)
    assert rules.data_budget == 480


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[stream]\nbnd = 'a:1'\n", "unknown key stream.bnd; did you mean bind?"),
        ("[chain]\nforks = { 7 = 0 }\n", "forks: 7 is none, this release knows 8 to 13"),
        ("[chain]\nforks = { 9 = 5 }\n", "forks: one has to begin with batch 1"),
        ("[chain]\neth_transfer = 1.5\n", "eth_transfer has to be from 0 to 1"),
        ("[chain]\ncoinbase = 'x'\n", "coinbase is not an address"),
        ("[build]\nlimits = { Z = 1 }\n", "limits: no counter is called Z; there are S, A, B, M, K, D, P, SHA"),
        ("[build]\nblock_seal_s = 0.0\n", "block_seal_s has to be above 0"),
        ("[l1]\nrpc_urls = ['http://a']\n", "l1.rollup_manager is missing"),
        ("[l1]\nfinality = 'latest'\n", "Invalid enum value 'latest'"),
        ("[resequence]\nthen = 'stop'\n", "Invalid enum value 'stop'"),
        (
            f"[l1]\nrpc_urls = ['http://a']\nrollup_manager = '{COINBASE}'\nleaves = 'x'\n",
            "l1: rpc_urls and leaves exclude each other",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path, text, said):
    path = tmp_path / "sequencer.toml"
    path.write_text(text)

    with pytest.raises(BadConfig) as exc_info:
        LAYOUT.explain(path)

    assert said in str(exc_info.value)
    assert str(path) in str(exc_info.value)


@pytest.mark.parametrize("text", ["A=1160,SHA=40", "{A=1160,SHA=40}", " { A = 1_160, SHA = 40 } "])
@pytest.mark.parametrize("source", ["flag", "environment"])
def test_a_table_may_be_given_in_one_line(text, source):
    given = {"overrides": {"build.limits": text}} if source == "flag" else {"env": {"ATTESTRIO_BUILD_LIMITS": text}}

    made, origin = LAYOUT.explain(**given)

    assert made.build.limits == {"A": 1160, "SHA": 40}
    assert origin["build", "limits"] == source


def test_an_empty_table_takes_back_what_the_file_says(tmp_path):
    path = tmp_path / "sequencer.toml"
    path.write_text("[build]\nlimits = { A = 1 }\n")

    assert LAYOUT.explain(path, overrides={"build.limits": "{}"})[0].build.limits == {}
    assert LAYOUT.explain(path, overrides={"build.limits": ""})[0].build.limits == {}


@pytest.mark.parametrize("text", ["http://a,http://b", '["http://a", "http://b"]'])
def test_several_values_may_be_given_in_one_line(text):
    made, _ = LAYOUT.explain(overrides={"l1.rpc_urls": text, "l1.rollup_manager": COINBASE})

    assert made.l1.rpc_urls == ("http://a", "http://b")


def test_an_address_in_brackets_is_no_array():
    with pytest.raises(BadConfig, match="names an endpoint twice"):
        LAYOUT.explain(overrides={"l1.rpc_urls": "[::1],[::1]", "l1.rollup_manager": COINBASE})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{A=1", "build.limits: not a table of TOML, as { a = 1, b = 2 }: "),
        ("{A=1}\nB=2", "build.limits: not a table of TOML, as { a = 1, b = 2 }: there is more than one value"),
        ("{A=}", "build.limits: not a table of TOML"),
        ("{A=" + "[" * 5000 + "}", "build.limits: nested too deep"),
        ("A", "build.limits: A has no value; write name=value,name=value"),
        ("A=1,", "build.limits: nothing has no value"),
        ("{A='x'}", "build.limits[...]: Expected `int`, got `str`"),
        ("A=x", "build.limits[...]: Expected `int`, got `str`"),
        ("{Z=1}", "no counter is called Z"),
        ("5", "build.limits: 5 has no value"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_key(text, said):
    with pytest.raises(BadConfig) as exc_info:
        LAYOUT.explain(overrides={"build.limits": text})

    assert said in str(exc_info.value)
    assert str(exc_info.value).startswith("flag: ")


def test_what_is_missing_is_listed():
    assert [line.split(" is ")[0] for line in lacking(SequencerConfig())] == [
        "chain.allocation",
        "chain.chainspec",
        "chain.conf",
        "chain.coinbase",
    ]


INJECTED = {"transaction": "0xc0", "timestamp": 5, "ger": "0x" + "11" * 32, "l1_hash": "0x" + "22" * 32}


def test_an_injected_transaction_is_read(tmp_path):
    path = tmp_path / "injected.json"
    path.write_text(json.dumps(INJECTED | {"coinbase": COINBASE}))

    injected = injected_of(path)

    assert (injected.encoded, injected.timestamp, injected.coinbase) == (b"\xc0", 5, b"\xc0" * 20)


@pytest.mark.parametrize(
    "change",
    [{"ger": "0x11"}, {"l1_hash": "zz"}, {"timestamp": "5"}, {"more": 1}, {"coinbase": "0x12"}],
    ids=str,
)
def test_a_bad_injected_transaction_is_refused_with_the_name_of_its_file(tmp_path, change):
    path = tmp_path / "injected.json"
    path.write_text(json.dumps(INJECTED | change))

    with pytest.raises(ChainFileUnreadable, match=r"injected\.json: "):
        injected_of(path)


def test_an_injected_transaction_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ChainFileUnreadable, match="No such file"):
        injected_of(tmp_path / "injected.json")
