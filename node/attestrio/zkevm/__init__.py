"""The rules of a CDK chain: hashes, the state tree, block info roots, execution and counters.

Named here is what needs neither py-evm nor a file.
"""

from attestrio.zkevm.block_info import BlockFacts, LogFacts, TxFacts, block_info_root
from attestrio.zkevm.code_hash import hash_bytes
from attestrio.zkevm.executor import BlockEnv, Built, ChainRules, Executor, L1Info, Outcome
from attestrio.zkevm.genesis import Account, allocation, begin_chain
from attestrio.zkevm.header import Header, Log, Receipt, gas_limit
from attestrio.zkevm.hook import Frame, OpcodeHook
from attestrio.zkevm.keys import key_balance, key_code_hash, key_code_length, key_nonce, key_storage
from attestrio.zkevm.nodes import MemoryNodes, NodeStore
from attestrio.zkevm.poseidon import Words
from attestrio.zkevm.smt import EMPTY, Smt
from attestrio.zkevm.state import MemoryStore, State, StateStore, Tip
from attestrio.zkevm.transactions import Percentages, Tx, sign_legacy, tx_untrusted, unsigned_legacy

__all__ = [
    "EMPTY",
    "Account",
    "BlockEnv",
    "BlockFacts",
    "Built",
    "ChainRules",
    "Executor",
    "Frame",
    "Header",
    "L1Info",
    "Log",
    "LogFacts",
    "MemoryNodes",
    "MemoryStore",
    "NodeStore",
    "OpcodeHook",
    "Outcome",
    "Percentages",
    "Receipt",
    "Smt",
    "State",
    "StateStore",
    "Tip",
    "Tx",
    "TxFacts",
    "Words",
    "allocation",
    "begin_chain",
    "block_info_root",
    "gas_limit",
    "hash_bytes",
    "key_balance",
    "key_code_hash",
    "key_code_length",
    "key_nonce",
    "key_storage",
    "sign_legacy",
    "tx_untrusted",
    "unsigned_legacy",
]
