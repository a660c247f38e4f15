"""The configuration of an aggregator: every key, and what is said about a mistake."""

from pathlib import Path

import msgspec
import pytest
from attestrio.aggregator.settings import USUAL
from attestrio.app.aggregator import settings_of, with_password
from attestrio.app.aggregator_config import LAYOUT, AggregatorConfig, lacking
from attestrio.configuring import BadConfig

SHIPPED = Path(__file__).parents[3] / "configs" / "aggregator.toml"


def test_the_shipped_file_has_every_key_with_its_default():
    text = SHIPPED.read_text()
    off = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line]

    made, origin = LAYOUT.explain(SHIPPED)

    default = msgspec.structs.replace(
        AggregatorConfig().aggregator, data_dir=str(SHIPPED.parent / "attestrio-aggregator")
    )
    assert made == msgspec.structs.replace(AggregatorConfig(), aggregator=default)
    named = set(origin) | {(section, line.split(" = ")[0]) for line in off for section, _ in LAYOUT.sections()}
    assert {pair for pair in LAYOUT.keys() if pair not in LAYOUT.secrets} - named == set()  # noqa: SIM118


def test_the_defaults_are_those_of_the_parts():
    assert settings_of(AggregatorConfig()) == USUAL


def test_a_highest_price_is_told_in_gwei():
    made, _ = LAYOUT.explain(overrides={"sender.max_price_gwei": "1.5"})

    assert settings_of(made).sender.fees.max_price_wei == 1_500_000_000


def test_a_password_of_redis_is_put_where_its_client_reads_it():
    assert with_password("redis://host:1/2", "a b@/") == "redis://:a%20b%40%2F@host:1/2"
    assert with_password("rediss://me@[::1]:1", "x") == "rediss://me:x@[::1]:1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nbnd = 'a:1'\n", "unknown key server.bnd; did you mean bind?"),
        ("[server]\nmax_connections = 0\n", "max_connections has to be above 0"),
        ("[l1]\ncoordinator = '0x12'\n", "l1: coordinator is not an address"),
        ("[l1]\nmanager = '12'\n", "l1: manager is not an address"),
        ("[l1]\nrpc_urls = ['http://a', 'http://a']\n", "rpc_urls names an endpoint twice"),
        ("[journal]\nredis_url = 'localhost:6379'\n", "redis_url has to begin with redis:// or rediss://"),
        ("[journal]\nredis_url = 'redis://:hush@localhost'\n", "redis_url may hold no password: use journal.password"),
        ("[journal]\nnamespace = 'a{b}'\n", "namespace has to be 1 to 64 letters, digits or"),
        ("[journal]\npassword = 'x'\n", "journal.password may not stand in a file: use journal.password_file or"),
        ("[ecdsa]\npassword = 'x'\n", "ecdsa.password may not stand in a file: use ecdsa.password_file or"),
        ("[tasks]\nwindow_s = -1.0\n", "window_s has to be from 0"),
        ("[tasks]\nfetch_blocks = 0\n", "fetch_blocks has to be above 0"),
        ("[sender]\nbump_base_percent = 200\n", "bump_limit_percent is below bump_base_percent"),
        ("[bls]\nkeystore = 'x'\n", "unknown section [bls]"),
    ],
)
def test_a_mistake_names_the_key(tmp_path, text, said):
    path = tmp_path / "aggregator.toml"
    path.write_text(text)

    with pytest.raises(BadConfig) as caught:
        LAYOUT.explain(path)

    assert said in str(caught.value)


def test_a_password_and_a_file_with_one_exclude_each_other(tmp_path):
    path = tmp_path / "aggregator.toml"
    path.write_text("[ecdsa]\npassword_file = 'x'\n")

    with pytest.raises(BadConfig, match="environment: ecdsa: password and password_file exclude each other"):
        LAYOUT.explain(path, env={"ATTESTRIO_ECDSA_PASSWORD": "x"})


def test_a_secret_is_not_shown():
    made, _ = LAYOUT.explain(env={"ATTESTRIO_ECDSA_PASSWORD": "hush", "ATTESTRIO_JOURNAL_PASSWORD": "hush"})

    assert "hush" not in repr(made)
    assert made.ecdsa.password.reveal() == made.journal.password.reveal() == "hush"


def test_what_is_missing_is_one_sentence_each():
    missing = lacking(AggregatorConfig())

    assert len(missing) == 6
    assert missing[0] == "ecdsa.keystore is missing: the account that answers are sent from"
    assert missing[-1] == "l1.retriever is missing: the address of the operator state retriever"


def test_relative_paths_begin_at_the_file(tmp_path):
    path = tmp_path / "aggregator.toml"
    path.write_text("[ecdsa]\nkeystore = 'key.json'\npassword_file = 'x'\n[journal]\npassword_file = 'y'\n")

    made, _ = LAYOUT.explain(path)

    assert made.ecdsa.keystore == str(tmp_path / "key.json")
    assert made.journal.password_file == str(tmp_path / "y")
