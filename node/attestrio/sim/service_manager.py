"""ServiceManager.sol on a development chain: operators that come and go, tasks, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from attestrio.bls import SecretKey, g2_words
from attestrio.l1.api import Address, At, BlockNumber
from attestrio.l1.contract import Contract
from attestrio.l1.wire import number_untrusted
from attestrio.roles.keccak import keccak256
from attestrio.sim.anvil import Anvil
from attestrio.sim.artifacts import Artifact, artifact


@dataclass(frozen=True, slots=True)
class TaskState:
    """What the contract keeps of a batch. `created` 0: there is no such batch."""

    created: BlockNumber
    responded: bool
    fee_limit: int


@dataclass(frozen=True, slots=True)
class SimServiceManager:
    """The contract, and who owns it. Everything that changes it raises CallReverted when it is refused."""

    anvil: Anvil
    address: Address
    owner: Address
    contract: Artifact = field(repr=False)

    @classmethod
    async def deploy(cls, anvil: Anvil, aggregator: Address, *, owner: Address | None = None) -> Self:
        """Put it on the chain; the owner is anvil's first account unless another is named."""
        contract, owner = artifact("ServiceManager"), owner or anvil.accounts[0]
        return cls(anvil, await anvil.deploy(owner, contract, aggregator), owner, contract)

    async def register(self, operator: Address, secret: SecretKey, stake: int) -> BlockNumber:
        """Register an operator, or change its stake; the block."""
        key = secret.public_g1()
        return await self.send("setOperator", operator, (key.x, key.y), g2_words(secret.public_g2()), stake)

    async def remove(self, operator: Address) -> BlockNumber:
        """Take an operator out of the quorum; the block."""
        return await self.send("removeOperator", operator)

    async def create_task(
        self, sender: Address, root: bytes, pointer: str, *, fee_limit: int = 10**16, value: int = 10**16
    ) -> BlockNumber:
        """Post a batch; `value` tops the sender's balance up. The block."""
        return await self.send("createNewTask", root, pointer, fee_limit, by=sender, value=value)

    async def task(self, root: bytes, sender: Address, at: At = "latest") -> TaskState:
        """What became of a batch."""
        identifier = keccak256(root + sender)
        return TaskState(*await self.reader.call(self.contract.functions["batchesState"], identifier, at=at))

    async def send(self, function: str, *arguments: object, by: Address | None = None, value: int = 0) -> BlockNumber:
        """Any transaction, of the owner unless `by` is given; the block it is in."""
        data = self.contract.functions[function].encode(*arguments)
        receipt = await self.anvil.send(by or self.owner, self.address, data, value=value)
        return BlockNumber(number_untrusted(receipt["blockNumber"]))

    @property
    def reader(self) -> Contract:
        """For calls that change nothing."""
        return Contract(self.anvil.provider, self.address)
