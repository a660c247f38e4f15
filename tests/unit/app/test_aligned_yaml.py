"""A configuration of Aligned's own aggregator is taken over, key by key."""

import json
import re
from pathlib import Path

import pytest
from attestrio.app.aggregator_config import AggregatorConfig
from attestrio.app.aligned_yaml import BadAlignedYaml, import_yaml
from msgspec import convert

MANAGER, COORDINATOR, KEYS, RETRIEVER = (f"0x{byte * 20}" for byte in ("a1", "a2", "a3", "a4"))
WHOLE = """
environment: "production"
aligned_layer_deployment_config_file_path: "./deployed/aligned.json"
eigen_layer_deployment_config_file_path: "./deployed/eigen.json"
eth_rpc_url: "http://localhost:8545"
eth_rpc_url_fallback: "http://localhost:8546"
eth_ws_url: "ws://localhost:8545"
eth_ws_url_fallback: "ws://localhost:8546"
eigen_metrics_ip_port_address: "localhost:9090"

ecdsa:
  private_key_store_path: "keys/ecdsa.json"
  private_key_store_password: "hush"

bls:
  private_key_store_path: "keys/bls.json"
  private_key_store_password: "hush"

aggregator:
  server_ip_port_address: localhost:8090
  bls_public_key_compendium_address: 0x322813Fd9A801c5507c9de605d63CEA4f2CE6c44
  avs_service_manager_address: 0xc3e53F4d16Ae77Db1c982e75a937B9f60FE63690
  enable_metrics: true
  metrics_ip_port_address: localhost:9091
  telemetry_ip_port_address: localhost:4001
  garbage_collector_period: 168h # 7 days
  garbage_collector_tasks_age: 216000
  garbage_collector_tasks_interval: 900
  bls_service_task_timeout: 168h
  pending_batch_fetch_block_range: 100000
  gas_base_bump_percentage: 25
  gas_bump_incremental_percentage: 20
  gas_bump_percentage_limit: 150
  time_to_wait_before_bump: 72s

operator:
  aggregator_rpc_server_ip_port_address: localhost:8090
  address: 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266
  max_batch_size: 268435456
"""


@pytest.fixture
def take(tmp_path):
    """Import a text, with a deployment file beside it."""
    (tmp_path / "deployed").mkdir()
    addresses = {
        "alignedLayerServiceManager": MANAGER, "registryCoordinator": COORDINATOR, "blsApkRegistry": KEYS,
        "operatorStateRetriever": RETRIEVER, "stakeRegistry": "0x" + "99" * 20,
    }  # fmt: skip
    deployed = {"addresses": addresses, "chainInfo": {"chainId": 31337, "deploymentBlock": 63}, "permissions": {}}
    (tmp_path / "deployed" / "aligned.json").write_text(json.dumps(deployed))

    def take(text):
        (tmp_path / "config.yaml").write_text(text)
        return import_yaml(tmp_path / "config.yaml", tmp_path)

    return take


def test_every_key_has_a_place_or_a_sentence(take, tmp_path):
    imported = take(WHOLE)

    assert imported.tables == {
        "log": {"level": "info"},
        "server": {"bind": "localhost:8090"},
        "aggregator": {"metrics_bind": "localhost:9091"},
        "telemetry": {"url": "http://localhost:4001"},
        "ecdsa": {"keystore": str(tmp_path / "keys" / "ecdsa.json")},
        "l1": {
            "rpc_urls": ["http://localhost:8545", "http://localhost:8546"], "manager": MANAGER,
            "coordinator": COORDINATOR, "key_registry": KEYS, "retriever": RETRIEVER, "chain_id": 31337,
            "first_block": 63,
        },
        "tasks": {"garbage_every_s": 604800.0, "garbage_age_blocks": 216000, "fetch_blocks": 100000},
        "sender": {
            "bump_base_percent": 25, "bump_step_percent": 20, "bump_limit_percent": 150, "bump_after_s": 72.0,
        },
    }  # fmt: skip
    taken = {"environment", "aligned_layer_deployment_config_file_path", "eth_rpc_url", "eth_rpc_url_fallback",
             "ecdsa.private_key_store_path", "aggregator.enable_metrics"}  # fmt: skip
    told = {one.split(" ")[0] for one in imported.remarks}
    assert len(told) == len(imported.remarks) == 14
    assert all("no aggregator of Aligned is known" not in one for one in imported.remarks)
    named = set()
    section = ""
    for key, value in re.findall(r"^ *([a-z_]+):(.*)$", WHOLE, re.MULTILINE):
        section = key if not value else section
        named |= {key if not section else f"{section}.{key}"} if value else set()
    moved = {f"aggregator.{key}" for key in (
        "server_ip_port_address", "metrics_ip_port_address", "telemetry_ip_port_address", "garbage_collector_period",
        "garbage_collector_tasks_age", "pending_batch_fetch_block_range", "gas_base_bump_percentage",
        "gas_bump_incremental_percentage", "gas_bump_percentage_limit", "time_to_wait_before_bump",
    )}  # fmt: skip
    assert named == taken | told | moved


def test_what_is_made_is_a_configuration_of_ours(take):
    made = convert(take(WHOLE).tables, AggregatorConfig)

    assert made.l1.manager == MANAGER
    assert made.tasks.fetch_blocks == 100_000


def test_a_password_is_not_taken_over_and_it_is_said_where_it_goes(take):
    imported = take(WHOLE)

    assert "hush" not in repr(imported)
    assert any("ecdsa.password_file" in one and "ATTESTRIO_ECDSA_PASSWORD" in one for one in imported.remarks)


def test_one_endpoint_given_twice_is_one(take):
    imported = take("eth_rpc_url: http://a:1\neth_rpc_url_fallback: http://a:1\n")

    assert imported.tables["l1"]["rpc_urls"] == ["http://a:1"]


def test_metrics_that_are_off_stay_off(take):
    imported = take("aggregator:\n  enable_metrics: false\n  metrics_ip_port_address: localhost:9091\n")

    assert imported.tables == {}


def test_an_address_in_hexadecimal_stays_a_text(take, tmp_path):
    (tmp_path / "deployed" / "aligned.json").write_text('{"addresses": {}}')

    imported = take("aggregator:\n  server_ip_port_address: 0x10\noperator:\n  address: 0x10\n")

    assert imported.tables["server"]["bind"] == "0x10"


def test_what_the_deployment_does_not_say_is_still_missing(take, tmp_path):
    (tmp_path / "deployed" / "aligned.json").write_text(json.dumps({"addresses": {"registryCoordinator": COORDINATOR}}))

    imported = take("aligned_layer_deployment_config_file_path: deployed/aligned.json\n")

    assert imported.tables == {"l1": {"coordinator": COORDINATOR}}
    assert "l1.manager is missing: aligned.json has no address of alignedLayerServiceManager" in imported.remarks
    assert "l1.chain_id keeps its default: aligned.json has no chainId" in imported.remarks


def test_a_key_nobody_knows_is_told_and_not_lost(take):
    imported = take("aggregator:\n  colour: red\nbatcher:\n  block_interval: 3\n# operator:\noperator:\n")

    assert imported.remarks[1] == "aggregator.colour is left out: no aggregator of Aligned is known to read it"
    assert imported.remarks[2] == "batcher.block_interval is left out: it is no key of an aggregator"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("- a\n", "holds no keys"),
        ("", "holds no keys"),
        ("[" * 5000, "nested too deep"),
        ("aggregator:\n  server_ip_port_address: [a]\n", "aggregator.server_ip_port_address: one value is expected"),
        ("aggregator:\n  garbage_collector_period: 2 minutes\n", "no duration such as 72s"),
        ("aggregator:\n  garbage_collector_period: ''\n", "no duration such as 72s"),
        ("aggregator:\n  garbage_collector_tasks_age: many\n", "garbage_collector_tasks_age = many"),
        ("aggregator:\n  garbage_collector_tasks_age: 1e3\n", "garbage_collector_tasks_age = 1e3: no whole number"),
        ('aligned_layer_deployment_config_file_path: "a\\0b"\n', "config_file_path: holds a NUL character"),
        ("aggregator:\n  time_to_wait_before_bump: 0s\n", "bump_after_s has to be above 0"),
        ("environment: staging\n", "neither of production and development"),
        ("aligned_layer_deployment_config_file_path: nowhere.json\n", "nowhere.json: cannot be read"),
        ("aligned_layer_deployment_config_file_path: config.yaml\n", "config.yaml: not a deployment file"),
    ],
)
def test_what_cannot_be_taken_over_is_one_sentence(take, text, said):
    with pytest.raises(BadAlignedYaml) as caught:
        take(text)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe")

    with pytest.raises(BadAlignedYaml, match="not UTF-8"):
        import_yaml(tmp_path / "config.yaml", Path())


@pytest.mark.parametrize(
    ("text", "wanted"), [("1h30m", 5400.0), ("0.5s", 0.5), ("2m", 120.0), ("1500ms", 1.5), ("168h", 604800.0)]
)
def test_durations_are_read_as_go_reads_them(take, text, wanted):
    imported = take(f"aggregator:\n  garbage_collector_period: {text}\n")

    assert imported.tables["tasks"]["garbage_every_s"] == wanted
