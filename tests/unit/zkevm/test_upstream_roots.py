"""State roots of cdk-erigon's own test batches: transfers, calls, deployments, a bridge claim, SELFDESTRUCT."""

from __future__ import annotations

import pytest
from attestrio.zkevm.errors import TxFailed
from attestrio.zkevm.executor import BlockEnv, ChainRules, Executor, L1Info
from attestrio.zkevm.genesis import Account, begin_chain
from attestrio.zkevm.nodes import MemoryNodes
from attestrio.zkevm.rlp import decode_untrusted, encode, encode_int
from attestrio.zkevm.smt import Smt
from attestrio.zkevm.state import MemoryStore, State
from attestrio.zkevm.transactions import tx_untrusted
from execution_kit import SHARED, needs_shared, shared_json
from zkevm_kit import raw

FOLDER = SHARED / "counters-upstream"
REFUSED_WHOLE = {("state-transition-processor-forkid13", 4)}
"""A batch with a transaction of another chain: the prover refuses all of it, and the root stays."""


def cases():
    names = sorted(path.stem for path in FOLDER.glob("*.json"))
    return [(name, at) for name in names for at in range(len(shared_json(f"counters-upstream/{name}.json")))]


def batch(data):
    """What a batch's data holds: the first block's (delta, index), then each transaction with its percentage."""
    assert data[0] == 0x0B
    number = int.from_bytes
    at, txs = 9, []
    while at < len(data) and data[at] != 0x0B:
        long = max(0, data[at] - 0xF7)
        end = at + 1 + (number(data[at + 1 : at + 1 + long], "big") + long if long else data[at] - 0xC0)
        fields = decode_untrusted(data[at:end])
        r, s, v, percentage = data[end : end + 32], data[end + 32 : end + 64], data[end + 64], data[end + 65]
        chain_id = number(fields[6], "big") if len(fields) == 9 else 0
        v += 8 + 2 * chain_id if chain_id else 0
        signature = [encode_int(part) for part in (v, number(r, "big"), number(s, "big"))]
        txs.append((encode([*fields[:6], *signature]), percentage))
        at = end + 66
    return number(data[1:5], "big"), number(data[5:9], "big"), txs


def began(case):
    """An executor on the state the case begins with."""
    accounts = {
        raw(account["address"]): Account(
            int(account["balance"] or 0),
            int(account["nonce"] or 0),
            raw(account.get("bytecode") or ""),
            {int(slot, 16): int(value, 16) for slot, value in (account.get("storage") or {}).items()},
        )
        for account in case["genesis"]
    }
    state, smt = State(MemoryStore()), Smt(MemoryNodes())
    begin_chain(state, smt, accounts, timestamp=0)
    return Executor(state, smt, ChainRules(case["chainID"]))


@needs_shared
@pytest.mark.parametrize(("name", "at"), cases())
def test_the_state_root_is_the_one_upstream_expects(name, at):
    case = shared_json(f"counters-upstream/{name}.json")[at]
    delta, index, txs = batch(raw(case["batchL2Data"]))
    told = case["txs"][0].get("l1Info") or {}
    info = L1Info(raw(told["globalExitRoot"]), raw(told["blockHash"])) if index else None
    executor = began(case)
    root = executor.state.tip.root

    executor.begin_block(BlockEnv(1, delta, raw(case["sequencerAddress"]), case["forkID"], bytes(32), root, info))
    failed = 0
    for encoded, percentage in txs:
        try:
            executor.apply(tx_untrusted(encoded), percentage)
        except TxFailed:
            failed += 1
    built = executor.finish_block()

    assert root == raw(case["expectedOldRoot"])
    assert len(built.outcomes) + failed == len(txs)
    assert (built.state_root == raw(case["expectedNewRoot"])) == ((name, at) not in REFUSED_WHOLE)
