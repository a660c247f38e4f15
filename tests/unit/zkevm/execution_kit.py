"""A chain in memory for tests: accounts with known keys, and blocks in a few words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attestrio.zkevm.executor import BlockEnv, ChainRules, Executor
from attestrio.zkevm.genesis import Account, begin_chain
from attestrio.zkevm.nodes import MemoryNodes
from attestrio.zkevm.smt import Smt
from attestrio.zkevm.state import MemoryStore, State
from attestrio.zkevm.transactions import sign_legacy, unsigned_legacy
from coincurve import PrivateKey
from eth_utils import keccak

CHAIN_ID = 1001
ETHER = 10**18
COINBASE = b"\xc0" * 20
SECRETS = [bytes([at]) * 32 for at in (1, 2, 3)]
GWEI = 10**9

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "vectors"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/vectors is not here")


def address_of(secret):
    return keccak(PrivateKey(secret).public_key.format(compressed=False)[1:])[12:]


ALICE, BOB, CAROL = map(address_of, SECRETS)
SECRET_OF = dict(zip((ALICE, BOB, CAROL), SECRETS, strict=True))


def shared_json(name):
    return json.loads((SHARED / name).read_text())


def contract(at):
    """An address for a contract that is there from the beginning."""
    return bytes([0xCC]) * 19 + bytes([at])


class Chain:
    """One executor; every block is five seconds after the one before."""

    def __init__(self, accounts=(), *, fork=9, store=None, hook=None):
        rich = {address: Account(balance=100 * ETHER) for address in (ALICE, BOB, CAROL)}
        self.fork = fork
        self.state, self.smt = State(store or MemoryStore()), Smt(MemoryNodes())
        self.genesis = begin_chain(self.state, self.smt, rich | dict(accounts), timestamp=1_000)
        self.executor = Executor(self.state, self.smt, ChainRules(CHAIN_ID), hook)
        self.hashes = [self.genesis.hash()]

    def begin(self, l1_info=None):
        tip = self.state.tip
        number = tip.number + 1
        self.executor.begin_block(
            BlockEnv(number, 1_000 + 5 * number, COINBASE, self.fork, self.hashes[number - 1], tip.root, l1_info)
        )

    def finish(self):
        built = self.executor.finish_block()
        self.hashes[built.header.number :] = [built.hash]
        return built

    def tx(
        self, sender=ALICE, to=BOB, *, value=0, data=b"", gas=1_000_000, gas_price=GWEI, nonce=None, chain_id=CHAIN_ID
    ):
        nonce = self.state.nonce(sender) if nonce is None else nonce
        unsigned = unsigned_legacy(
            chain_id=chain_id, nonce=nonce, gas_price=gas_price, gas=gas, to=to, value=value, data=data
        )
        return sign_legacy(unsigned, SECRET_OF[sender])

    def send(self, *args, percentage=255, **fields):
        """Apply a transaction in the block under way, beginning one if there is none."""
        if self.executor._env is None:
            self.begin()
        return self.executor.apply(self.tx(*args, **fields), percentage)

    def call(self, code, **fields):
        """What happens when Alice calls this code, in a block of its own chain."""
        address = contract(1)
        self.state_of(address, code)
        return self.send(ALICE, address, **fields)

    def state_of(self, address, code):
        if self.executor._env is None:
            self.begin()
        self.state.set_code(address, code)


class Seen:
    """A hook that writes down what it is shown."""

    def __init__(self):
        self.opcodes, self.precompiles, self.frames = [], [], []

    def opcode(self, frame, opcode):
        self.opcodes.append(opcode)
        self.frames.append((frame.depth, frame.is_create, frame.is_create2, frame.is_deploy))

    def take_back(self):
        self.opcodes.pop()
        self.frames.pop()

    def precompile(self, frame, number):
        self.precompiles.append((number, frame.depth, frame.input))


def push(value):
    """The shortest PUSH of a number or of bytes."""
    raw = value if isinstance(value, bytes) else value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
    return bytes([0x5F + len(raw)]) + raw


def asm(*parts):
    """Code from opcodes (ints), bytes that stand as they are, and (number or bytes,) to be pushed."""
    return b"".join(
        bytes([part]) if isinstance(part, int) else push(part[0]) if isinstance(part, tuple) else part for part in parts
    )


def store(slot):
    """Top of the stack into a slot."""
    return asm((slot,), 0x55)


def call(to, *, opcode=0xF1, gas=100_000, size=0, out=0):
    """A call with memory 0..size as data, its success on the stack."""
    value = [(0,)] if opcode in (0xF1, 0xF2) else []
    return asm((out,), (0,), (size,), (0,), *value, (to,), (gas,), opcode)


LOGGED = asm((5,), 0x5F, 0x52, (77,), (32,), 0x5F, 0xA1)
"""MSTORE 5 at 0, then LOG1 of that word with the topic 77."""
COUNT = asm((1,), 0x54, (1,), 0x01, store(1))
"""Adds one to slot 1."""
REVERT = asm(0x5F, 0x5F, 0xFD)
SETS = asm((9,), store(1))
"""Puts 9 into slot 1."""
