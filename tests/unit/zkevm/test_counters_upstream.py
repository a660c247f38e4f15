"""All eight counters of cdk-erigon's own test batches, each of them executed."""

from __future__ import annotations

import pytest
from attestrio.zkevm.counters import BatchCounters, limits_of
from attestrio.zkevm.errors import TxFailed
from attestrio.zkevm.executor import BlockEnv, L1Info
from attestrio.zkevm.transactions import tx_untrusted
from execution_kit import needs_shared, shared_json
from test_upstream_roots import batch, began, cases
from zkevm_kit import raw

NAMES = ("steps", "arith", "binary", "memAlign", "keccaks", "padding", "poseidon", "sha256")


def counted(case):
    """The counters after the one block of a case, and the executor."""
    delta, index, txs = batch(raw(case["batchL2Data"]))
    told = case["txs"][0].get("l1Info") or {}
    info = L1Info(raw(told["globalExitRoot"]), raw(told["blockHash"])) if index else None
    executor, depth = began(case), (case.get("smtDepths") or [1])[0]
    counters = BatchCounters(case["forkID"], depth, limits_of(case["forkID"]))
    sequencer, root = raw(case["sequencerAddress"]), executor.state.tip.root
    executor.begin_block(BlockEnv(1, delta, sequencer, case["forkID"], bytes(32), root, info))
    assert counters.begin_block(bool(case["txs"][0]["indexL1InfoTree"])) is None
    for encoded, percentage in txs:
        tx = tx_untrusted(encoded)
        executor.hook = counters.begin_tx(tx, percentage, depth)
        try:
            outcome = executor.apply(tx, percentage)
        except TxFailed:
            continue  # upstream leaves its first part in the batch
        length = 0 if tx.to is None else len(executor.state.code(tx.to))
        assert counters.end_tx(outcome, length) is None
    return counters, executor


@needs_shared
@pytest.mark.parametrize(("name", "at"), cases())
def test_a_batch_uses_what_it_uses_upstream(name, at):
    case = shared_json(f"counters-upstream/{name}.json")[at]

    counters, _ = counted(case)

    assert counters.used.as_map() == dict(
        zip(counters.used.as_map(), (case["virtualCounters"][of] for of in NAMES), strict=True)
    )
