"""A main node over a batch file that begins above 0: what it says, and that doing as it says helps."""

import json
import signal

import pytest
from attestrio.roles import BatchHash
from attestrio.sim.cluster import Cluster, ClusterSpec
from processes import run, started

pytestmark = [pytest.mark.real, pytest.mark.slow]


async def test_a_main_node_whose_file_begins_above_0_names_the_key_to_set(tmp_path):
    Cluster(tmp_path, ClusterSpec(attesters=1)).prepare()
    hash = BatchHash(b"\x05" * 32).to_text()
    (tmp_path / "batches.jsonl").write_text(json.dumps({"number": 5, "hash": hash}) + "\n")
    words = (
        *("main-node", "run", "--bind", "127.0.0.1:0", "--data-dir", tmp_path / "main"),
        *("--set", f"genesis.file={tmp_path}/genesis.json", "--set", "batches.source=file"),
        *("--set", f"batches.file={tmp_path}/batches.jsonl", "--set", "batches.poll_s=0.05"),
        *("--set", f"keys.attester_file={tmp_path}/attester-1/attester.key", "--set", "main_node.poll_s=0.05"),
    )

    async with started(*words) as unset:
        await unset.wait_said("set batches.first = 5 if the genesis begins there")
        await unset.stop(signal.SIGTERM)
    async with started(*words, "--set", "batches.first=5") as running:
        await running.wait_said("batch 5 certified by 1 votes")
        await running.stop(signal.SIGTERM)
    shown = run("cert", "show", tmp_path / "main" / "store.db", "--json")

    assert [(one["batch"], one["hash"]) for one in json.loads(shown.stdout)] == [(5, hash)]
