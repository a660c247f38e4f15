"""Our contracts on an EVM in this process: deployed, called, their events and refusals read."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from attestrio.bls import SecretKey, g2_words, operator_id, sum_g1, sum_g2
from attestrio.l1.api import BlockRef, Log
from attestrio.l1.contract import Reverts
from attestrio.roles.keccak import keccak256
from attestrio.sim.artifacts import artifact
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed

GAS = 8_000_000
PRICE = 10**9


class Refused(Exception):
    """A call that the contract refused: the name of the error and its arguments."""


def words(point):
    """A point of G1 as a tuple of the ABI."""
    return point.x, point.y


@dataclass(frozen=True)
class Sent:
    """A transaction that was mined."""

    block: int
    gas: int
    price: int
    events: list


class Deployed:
    """One contract on a chain of its own, whose accounts are 20 bytes each."""

    def __init__(self, name, *arguments):
        self.artifact = artifact(name)
        self.chain = EthereumTester(PyEVMBackend())
        self.accounts = [bytes.fromhex(one[2:]) for one in self.chain.get_accounts()]
        self.owner = self.accounts[0]
        self._reverts = Reverts({one.selector: one for one in self.artifact.errors.values()} | Reverts.parse().known)
        self._events = {one.topic: one for one in self.artifact.events.values()}
        told = self._send(self.owner, "", self.artifact.creation(*arguments), 0)
        self.address = bytes.fromhex(told["contract_address"][2:])

    @property
    def head(self):
        return self.chain.get_block_by_number("latest")["number"]

    def mine(self, blocks=1):
        self.chain.mine_blocks(blocks)

    def send(self, function, *arguments, by=None, value=0, price=PRICE):
        """A transaction; raises Refused with what the contract says one block on."""
        data = self.artifact.functions[function].encode(*arguments) if function else b""
        told = self._send(by or self.owner, hexed(self.address), data, value, price)
        if not told["status"]:
            self.call(function, *arguments, by=by, value=value, price=price)
            raise AssertionError("refused when mined, and not when called")
        return Sent(told["block_number"], told["gas_used"], price, [self._event(one) for one in told["logs"]])

    def call(self, function, *arguments, by=None, value=0, price=PRICE):
        """What a function returns at the newest block: one value, or a tuple."""
        wanted = self.artifact.functions[function]
        what = self._transaction(by or self.owner, hexed(self.address), wanted.encode(*arguments), value, price)
        try:
            returned = self.chain.call(what)
        except TransactionFailed as exc:
            raise Refused(*self._why(str(exc))) from None
        read = wanted.read_untrusted(bytes.fromhex(returned[2:]))
        return read[0] if len(read) == 1 else read

    def balance(self, account):
        return self.chain.get_balance(hexed(account))

    def _send(self, by, to, data, value, price=PRICE):
        sent = self.chain.send_transaction(self._transaction(by, to, data, value, price))
        return self.chain.get_transaction_receipt(sent)

    def _transaction(self, by, to, data, value, price):
        return {"from": hexed(by), "to": to, "data": hexed(data), "gas": GAS, "value": value, "gas_price": price}

    def _why(self, text):
        """(name, arguments) of a refusal: bytes as text, or the text of an Error(string)."""
        if not text.startswith(("b'", 'b"')):
            return "Error", (text,)
        return self._reverts.read_untrusted(ast.literal_eval(text))

    def _event(self, told):
        event = self._events[bytes.fromhex(told["topics"][0][2:])]
        topics = tuple(bytes.fromhex(topic[2:]) for topic in told["topics"])
        log = Log(self.address, topics, bytes.fromhex(told["data"][2:]), BlockRef(1, bytes(32)), 0, bytes(32))
        return event.name, event.read_untrusted(log)


def hexed(raw):
    return "0x" + raw.hex()


def refusal(exc_info):
    """(name, arguments) of what `pytest.raises(Refused)` caught."""
    return exc_info.value.args


@dataclass(frozen=True)
class Operator:
    address: bytes
    secret: SecretKey
    stake: int

    @classmethod
    def number(cls, n, stake=100):
        return cls(bytes([0xA0 + n]) * 20, SecretKey(1000 + n), stake)

    @property
    def key(self):
        return self.secret.public_g1()

    @property
    def id(self):
        return operator_id(self.key)

    def registered(self, manager):
        return manager.send("setOperator", self.address, words(self.key), contract_g2(self.secret), self.stake)


def contract_g2(*secrets):
    """The sum of their keys in G2 as the contract has it, imaginary part first."""
    return g2_words(sum_g2([one.public_g2() for one in secrets]))


def batch_id(root, sender):
    return keccak256(root + sender)


def response(manager, operators, signers, message, block, *, signature=None):
    """What an aggregator sends when `signers` of the registered `operators` have signed `message`."""
    absent = sorted((one for one in operators if one not in signers), key=lambda one: one.id)
    hints = manager.call("getCheckSignaturesIndices", manager.address, block, b"\0", [one.id for one in absent])
    bitmaps, apks, totals, stakes = hints
    return (
        bitmaps, [words(one.key) for one in absent], [words(sum_g1([one.key for one in operators]))],
        contract_g2(*[one.secret for one in signers]),
        words(signature or sum_g1([one.secret.sign(message) for one in signers])), apks, totals, stakes,
    )  # fmt: skip
