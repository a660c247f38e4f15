"""The rules of a CDK chain: hashes, the state tree, block info roots, execution and counters.

Named here is what needs neither py-evm nor a file.
"""

from attestrio.zkevm.block_info import BlockFacts, LogFacts, TxFacts, block_info_root
from attestrio.zkevm.code_hash import hash_bytes
from attestrio.zkevm.keys import key_balance, key_code_hash, key_code_length, key_nonce, key_storage
from attestrio.zkevm.nodes import MemoryNodes, NodeStore
from attestrio.zkevm.poseidon import Words
from attestrio.zkevm.smt import EMPTY, Smt

__all__ = [
    "EMPTY",
    "BlockFacts",
    "LogFacts",
    "MemoryNodes",
    "NodeStore",
    "Smt",
    "TxFacts",
    "Words",
    "block_info_root",
    "hash_bytes",
    "key_balance",
    "key_code_hash",
    "key_code_length",
    "key_nonce",
    "key_storage",
]
