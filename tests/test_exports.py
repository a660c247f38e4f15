"""Public names exist, are what they are said to be, and cost nothing until they are used."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import attestrio
import pytest
from attestrio.errors import NodeError

ROOT = Path(__file__).parent.parent / "node" / "attestrio"
FOLDERS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))

# What embedding programs, tests and checks from outside hold on to. More may be added; these stay.
HELD = {
    "attestrio": {
        "run_node", "NodeConfig", "load_config",
        "NodeError", "PeerError", "SourceError", "SafetyError", "SetupError",
        "AttestationStatusClient", "BatchSource", "BatchStore", "Link",
    },
    "attestrio.roles": {
        "AttesterSecretKey", "AttesterPublicKey", "NodeSecretKey", "NodePublicKey", "Signature",
        "BatchNumber", "BatchHash", "GenesisHash", "Batch", "SignedBatch", "WeightedAttester", "Committee", "Genesis",
        "BatchQC", "SyncBatch",
    },
    "attestrio.status": {
        "AttestationStatus", "AttestationStatusClient", "AttestationStatusWatch", "AttestationStatusRunner",
        "LocalAttestationStatusClient",
    },
    "attestrio.quorum.register": {"VoteRegister"},
    "attestrio.cli": {"main"},
}  # fmt: skip

# Methods and properties of public values that are held on to as well.
MEMBERS = {
    ("AttesterSecretKey",): {"from_bytes", "to_bytes", "from_text", "to_text", "public", "sign_batch"},
    ("AttesterPublicKey", "NodePublicKey", "NodeSecretKey", "BatchHash", "GenesisHash"): {
        "from_bytes", "to_bytes", "from_text", "to_text",
    },
    ("Signature",): {"from_bytes", "to_bytes", "from_text", "to_text", "verify", "encode", "decode"},
    ("Batch",): {"message_hash", "number", "hash", "genesis", "encode", "decode"},
    ("SignedBatch",): {"batch", "key", "signature", "verify", "encode", "decode"},
    ("WeightedAttester",): {"key", "weight", "encode", "decode"},
    ("Committee",): {"threshold", "total_weight", "weight", "__iter__", "__contains__", "__len__"},
    ("Genesis",): {"attesters", "hash", "verify", "to_json", "from_json", "encode", "decode"},
    ("BatchQC",): {"batch", "signatures", "verify", "to_json", "from_json", "encode", "decode"},
    ("SyncBatch",): {"encode", "decode"},
}  # fmt: skip


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in HELD for name in sorted(HELD[module])])
def test_a_name_others_hold_on_to_can_be_imported(module, name):
    assert getattr(importlib.import_module(module), name) is not None


@pytest.mark.parametrize(("name", "members"), [(name, members) for names, members in MEMBERS.items() for name in names])
def test_a_public_value_has_what_others_call(name, members):
    kind = getattr(importlib.import_module("attestrio.roles"), name)

    assert {member for member in members if not hasattr(kind, member)} == set()


def test_the_register_has_what_others_call():
    register = importlib.import_module("attestrio.quorum.register").VoteRegister

    assert list(inspect.signature(register.update).parameters)[1:] == ["committee", "genesis", "votes"]
    assert list(inspect.signature(register.find_quorum).parameters)[1:] == ["committee", "genesis"]
    assert len(inspect.signature(register.set_min_batch_number).parameters) == 2
    assert len(inspect.signature(register.newer_than).parameters) == 2


def test_parts_of_a_node_can_be_replaced_one_by_one():
    parameters = inspect.signature(attestrio.run_node).parameters

    assert next(iter(parameters)) == "config"
    for name in ("status_client", "batch_source", "store", "link"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[name].default is None
    assert "task_status" in parameters


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_folder_names_exists(folder):
    module = importlib.import_module(f"attestrio.{folder}")
    names = getattr(module, "__all__", [])

    assert [name for name in names if not hasattr(module, name)] == []
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if (ROOT / folder / "api.py").exists()])
def test_ports_of_a_folder_are_public(folder):
    """Whoever writes another implementation finds the Protocol where the folder's names are."""
    api = importlib.import_module(f"attestrio.{folder}.api")
    protocols = {
        name
        for name, kind in vars(api).items()
        if getattr(kind, "_is_protocol", False) and kind.__module__ == api.__name__
    }

    assert protocols != set()
    assert protocols <= set(importlib.import_module(f"attestrio.{folder}").__all__)


def test_every_name_at_the_top_is_listed_and_there():
    assert set(attestrio.__all__) <= set(dir(attestrio))
    for name in attestrio.__all__:
        assert getattr(attestrio, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = attestrio.nonsense


def test_errors_at_the_top_are_those_that_are_raised():
    assert attestrio.NodeError is NodeError
    assert issubclass(attestrio.SafetyError, attestrio.NodeError)


def loaded_after(code):
    """The modules a fresh interpreter has loaded after `code`."""
    program = f"{code}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


@pytest.mark.real
def test_importing_the_package_loads_nothing_else():
    loaded = loaded_after("import attestrio")

    assert {name for name in loaded if name.startswith("attestrio")} == {"attestrio"}
    assert loaded & {"trio", "httpx", "msgspec", "google.protobuf", "coincurve", "apsw", "rich", "cyclopts"} == set()


@pytest.mark.real
@pytest.mark.slow
def test_the_vocabulary_alone_loads_no_event_loop():
    loaded = loaded_after("from attestrio.roles import Batch; from attestrio.quorum.register import VoteRegister")

    assert loaded & {"trio", "trio_util", "httpx", "apsw", "hypercorn", "starlette", "rich", "cyclopts"} == set()


@pytest.mark.real
@pytest.mark.slow
def test_an_embedding_program_does_not_load_the_command_line():
    loaded = loaded_after("from attestrio import run_node, load_config; import attestrio.app; run_node")

    assert loaded & {"rich", "cyclopts", "structlog", "attestrio.cli", "attestrio.sim"} == set()
