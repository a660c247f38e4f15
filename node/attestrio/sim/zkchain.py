"""A simulated rollup whose batches stand on a development chain: sealed here, committed to Diamond.sol there."""

from __future__ import annotations

from functools import partial
from operator import ne
from typing import Final, NoReturn

from eth_hash.auto import keccak

from attestrio.batches.stored import NO_PRIORITY_OPERATIONS, StoredBatchInfo
from attestrio.l1.api import Address
from attestrio.l1.contract import Contract
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash
from attestrio.sim.anvil import Anvil
from attestrio.sim.artifacts import artifact
from attestrio.sim.chain import SimChain

AT_ONCE: Final = 50  # batches of one transaction: 5 million gas
BATCH_S: Final = 60


class ZkChain(SimChain):
    """A `SimChain` whose hashes are those of StoredBatchInfos, as on the real network.

    `invent` makes it lie to whoever takes batches from it; what is committed stays true.
    """

    def __init__(self, genesis: GenesisHash, *, first: int = 0, seed: int = 0) -> None:
        super().__init__(genesis, first=first, seed=seed)
        self._invented: set[int] = set()

    def info(self, number: int) -> StoredBatchInfo:
        """What the rollup commits for batch `number`."""

        def drawn(what: bytes) -> bytes:
            return keccak(b"attestrio zk %s %d %d " % (what, self.seed, number) + self.genesis.to_bytes())

        return StoredBatchInfo(
            number,
            state_root=drawn(b"state"),
            index_repeated_storage_changes=100 * number,
            layer1_transactions=0,
            priority_operations_hash=NO_PRIORITY_OPERATIONS,
            l2_logs_root=drawn(b"logs"),
            timestamp=1_700_000_000 + BATCH_S * number,
            commitment=drawn(b"commitment"),
        )

    def hash(self, number: int) -> BatchHash:
        return self.info(number).hash()

    def invent(self, number: int) -> None:
        """From now on give batch `number` a hash that was never committed."""
        self._invented.add(number)

    async def batch_to_sign(self, number: BatchNumber) -> Batch | None:
        """The batch, or None while it is not sealed."""
        batch = await super().batch_to_sign(number)
        if batch is None or number not in self._invented:
            return batch
        return Batch(number, BatchHash(keccak(b"invented" + batch.hash.to_bytes())), batch.genesis)


class ZkRollup:
    """Brings what `chain` seals to Ethereum: commits, verifies, and executes what is `execute_after` batches old.

    A revert of the chain is followed by one of the contract. With None nothing is executed, so that any batch can be
    reverted.
    """

    def __init__(self, anvil: Anvil, chain: ZkChain, diamond: Address, *, execute_after: int | None = None) -> None:
        self.anvil, self.chain, self.diamond = anvil, chain, diamond
        self._execute_after = execute_after
        self._genesis = chain.genesis
        self._committed: dict[int, StoredBatchInfo] = {}  # and not executed
        self._last = self._executed = max(chain.first - 1, 0)
        self.contract = artifact("Diamond")

    @classmethod
    async def deploy(cls, anvil: Anvil, chain: ZkChain, *, execute_after: int | None = None) -> ZkRollup:
        """Put the contract on the chain; it begins with the batch before the first, or with batch 0."""
        before = chain.info(max(chain.first - 1, 0))
        diamond = await anvil.deploy(anvil.accounts[0], artifact("Diamond"), before.words())
        return cls(anvil, chain, diamond, execute_after=execute_after)

    async def run(self) -> NoReturn:
        """Follow the chain. Raises CallReverted when the contract refuses: an executed batch was to be reverted."""
        height: int | None = None
        while True:
            height = await self.chain.height.wait_value(partial(ne, height))
            await self.follow(height)

    async def follow(self, height: int) -> None:
        """Bring the contract to where the chain is, at batch `height`."""
        self._last = min(self._last, await self.committed())  # lower after a reorg, which lost commits
        if self.chain.genesis != self._genesis:
            self._genesis = self.chain.genesis
            await self._revert(self.chain.first - 1)
        while self._last < height:
            upto = min(height, self._last + AT_ONCE)
            infos = [self._committed.get(n) or self.chain.info(n) for n in range(self._last + 1, upto + 1)]
            await self._send("commitBatches", [info.words() for info in infos])
            self._committed.update((info.number, info) for info in infos)
            self._last = infos[-1].number
            await self._send("verifyBatches", self._last)
            await self._execute()

    async def committed(self) -> int:
        """The last batch by the contract's own counter."""
        reader = Contract(self.anvil.provider, self.diamond)
        (last,) = await reader.call(self.contract.functions["getTotalBatchesCommitted"])
        return int(last)

    async def _execute(self) -> None:
        if self._execute_after is None:
            return
        ripe = range(self._executed + 1, self._last - self._execute_after + 1)
        if ripe:
            await self._send("executeBatches", [self._committed.pop(number).words() for number in ripe])
            self._executed = ripe[-1]

    async def _revert(self, to: int) -> None:
        self._committed = {number: info for number, info in self._committed.items() if number <= to}
        if to < self._last:
            await self._send("revertBatches", to)
            self._last = to

    async def _send(self, function: str, argument: object) -> None:
        data = self.contract.functions[function].encode(argument)
        await self.anvil.send(self.anvil.accounts[0], self.diamond, data)
