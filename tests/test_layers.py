"""Imports point down, and only the files that may wait know trio, sockets or files.

`RANK` and `WAITS` are the table of `docs/design.md`; a new folder or a file that starts to wait is a line here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.check

ROOT = Path(__file__).parent.parent / "node" / "attestrio"

RANK = {
    "errors": 0, "kit": 1, "schema": 2, "bls": 2, "roles": 3,
    "duty": 4, "store": 4, "journal": 4, "l1": 4, "gorpc": 4, "stream": 4,
    "status": 5, "zkevm": 5, "mainnode": 6, "quorum": 6, "batches": 7, "protection": 7, "operator": 7, "sequencer": 7,
    "attester": 8, "gossip": 8, "aggregator": 8, "resequence": 8,
    "configuring": 9, "web": 9, "config": 10, "app": 11, "sim": 12, "cli": 13,
}  # fmt: skip

# What makes a file one that waits: trio itself, whatever runs on it, sockets and files.
WAITERS = {"trio", "trio_util", "httpx", "hypercorn", "coredis", "apsw", "socket", "starlette"}

# Where that is allowed: a whole folder, or `folder/file`.
WAITS = {
    "kit/retry", "kit/http", "kit/http_server", "kit/http_hypercorn", "kit/seldom", "kit/public", "kit/notify",
    "kit/blocking", "kit/group_commit", "kit/sqlite", "kit/datadir", "kit/tcp", "kit/rpc_app",
    "gorpc/client", "gorpc/server", "gorpc/wire",
    "duty/log", "duty/book", "duty/rows", "duty/reader",
    "store/sqlite", "store/memory", "store/queue", "store/rows", "store/certificates", "status/watch",
    "status/runner", "status/local", "mainnode/agree", "mainnode/backfill", "mainnode/client",
    "mainnode/server", "quorum/finder", "quorum/watch", "quorum/verify", "batches/local", "batches/keeper",
    "batches/feeder", "protection/clone",
    "protection/history", "protection/merge", "protection/reader", "protection/receipts", "protection/record",
    "protection/rounds", "protection/rows", "protection/voting", "attester/runner",
    "gossip/accepting", "gossip/connection", "gossip/dialling", "gossip/fetching", "gossip/io", "gossip/later",
    "gossip/listener", "gossip/node", "gossip/runner", "gossip/wire", "journal/fenced", "journal/leader",
    "journal/redis/__init__", "journal/redis/checks", "journal/redis/connection", "journal/redis/journal",
    "journal/redis/server",
    "journal/rows", "journal/sqlite",
    "l1/endpoint", "l1/for_web3", "l1/provider", "l1/scan", "l1/shared",
    "aggregator/desk", "aggregator/intake", "aggregator/recording", "aggregator/runner",
    "aggregator/server", "aggregator/verifying",
    "operator/download", "operator/outbox", "operator/runner", "operator/state", "operator/verify", "operator/work",
    "aggregator/fillers", "aggregator/pacing", "aggregator/quote", "aggregator/sender", "aggregator/steps",
    "aggregator/far", "aggregator/order", "aggregator/spending",
    "aggregator/collect", "aggregator/memory", "aggregator/snapshot", "aggregator/state",
    "stream/client", "stream/follow", "stream/live", "stream/server", "stream/wire",
    "stream/bookmarks", "zkevm/nodes_sqlite",
    "aggregator/garbage", "aggregator/lookup", "aggregator/recovery", "aggregator/telemetry",
    "aggregator/tracing",
    "zkevm/state_sqlite", "sequencer/db", "sequencer/reader", "sequencer/sink",
    "sequencer/intake", "sequencer/l1_info", "sequencer/l1_store", "sequencer/runner",
    "sequencer/shared", "sequencer/pool_store", "sequencer/call_desk", "sequencer/snapshot",
    "web/beat", "web/events", "web/guard", "web/publisher", "web/status",
    "app", "sim", "cli",
}  # fmt: skip

# Who may make a vote's signature. Everybody else asks the record of `protection`, which remembers.
SIGNS = {"protection", "sim", "roles"}

# Who may sign with a BLS key. `operator/signing` writes the signature down before anybody can send it.
SIGNS_BATCHES = {"operator/signing", "bls", "sim"}

MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def typing_only(tree: ast.AST) -> set[ast.AST]:
    """The nodes under `if TYPE_CHECKING:`, which import nothing when the program runs."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }


def imports(path: Path, *, at_run_time: bool = False) -> set[tuple[str, ...]]:
    """Dotted names a file imports, ours without the leading `attestrio`, relative ones resolved."""
    tree = ast.parse(path.read_text())
    skipped = typing_only(tree) if at_run_time else set()
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                folder = path.relative_to(ROOT).parts[: -node.level]
                base: tuple[str, ...] = ("attestrio", *folder, *(node.module or "").split("."))
            else:
                base = tuple((node.module or "").split("."))
            base = tuple(part for part in base if part)
            found.update((*base, alias.name) for alias in node.names)
    return found


def ours(path: Path) -> set[tuple[str, ...]]:
    return {name[1:] for name in imports(path) if name[0] == "attestrio" and len(name) > 1}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path):
    here = path.relative_to(ROOT).with_suffix("").parts[0]

    assert here in RANK, f"{here} has no rank"
    for used in ours(path):
        assert used[0] == here or (RANK.get(used[0], -1) < RANK[here] and used[0] in RANK), ".".join(used)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_shells_wait(path):
    name = name_of(path)
    waiters = {used[0] for used in imports(path, at_run_time=True)} & WAITERS

    assert not waiters or name in WAITS or name.split("/")[0] in WAITS, f"{name} imports {sorted(waiters)}"


def gives_message_hash(call: ast.Call) -> bool:
    return any(text in ast.unparse(given) for given in call.args for text in ("MsgHash(", "message_hash()"))


def signing_calls(path: Path) -> list[str]:
    """Calls that make a vote's signature: `sign_batch`, and `sign` of a message hash."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        ast.unparse(call)
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and (call.func.attr == "sign_batch" or (call.func.attr == "sign" and gives_message_hash(call)))
    ]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_record_signs_votes(path):
    assert path.relative_to(ROOT).with_suffix("").parts[0] in SIGNS or signing_calls(path) == []


def bls_signing_calls(path: Path) -> list[str]:
    """Calls of `sign` in a file that knows the BLS key, or on something that is called a secret."""
    knows_key = any(name[:2] == ("attestrio", "bls") and name[-1] == "SecretKey" for name in imports(path))
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        ast.unparse(call)
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "sign"
        and (knows_key or "secret" in ast.unparse(call.func.value).lower())
    ]


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path) not in SIGNS_BATCHES], ids=name_of)
def test_only_the_record_of_responses_signs_batches_of_aligned(path):
    allowed = path.relative_to(ROOT).parts[0] in SIGNS_BATCHES | SIGNS

    assert allowed or bls_signing_calls(path) == []


def test_every_name_of_the_tables_is_in_use():
    """A line that no file needs any more is taken out."""
    names = {name_of(path) for path in MODULES}
    folders = {name.split("/")[0] for name in names}

    assert {entry for entry in WAITS if entry not in names | folders} == set()


def test_the_check_notices_an_upward_import(tmp_path, monkeypatch):
    (tmp_path / "roles").mkdir()
    bad = tmp_path / "roles" / "bad.py"
    bad.write_text("from attestrio.app import run_node\nfrom ..quorum import register\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)

    assert ours(bad) == {("app", "run_node"), ("quorum", "register")}
    with pytest.raises(AssertionError):
        test_imports_point_down(bad)


@pytest.mark.parametrize(
    "call",
    ["secret.sign_batch(batch)", "self._key.sign(MsgHash(raw))", "key.sign(batch.message_hash())"],
)
def test_the_check_notices_a_signature_that_bypasses_the_record(tmp_path, monkeypatch, call):
    for folder in ("attester", "protection"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "signs.py").write_text(f"def vote(secret, batch):\n    return {call}\n")
    (tmp_path / "attester" / "asks.py").write_text("async def vote(signer, batch):\n    await signer.sign(batch)\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)

    test_only_the_record_signs_votes(tmp_path / "protection" / "signs.py")
    test_only_the_record_signs_votes(tmp_path / "attester" / "asks.py")
    with pytest.raises(AssertionError):
        test_only_the_record_signs_votes(tmp_path / "attester" / "signs.py")


@pytest.mark.parametrize("call", ["SecretKey(7).sign(message)", "self._secret.sign(message)", "key.sign(message)"])
def test_the_check_notices_a_response_that_bypasses_the_record(tmp_path, monkeypatch, call):
    (tmp_path / "operator").mkdir()
    bad = tmp_path / "operator" / "hasty.py"
    bad.write_text(f"from attestrio.bls import SecretKey\ndef respond(self, key, message):\n    return {call}\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)

    with pytest.raises(AssertionError):
        test_only_the_record_of_responses_signs_batches_of_aligned(bad)
