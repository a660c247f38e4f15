"""Several main nodes asked as one: an answer counts only when enough of them give the same."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeVar

import trio

from attestrio.errors import SourceError
from attestrio.kit.metrics import Metrics
from attestrio.roles import Batch, BatchNumber, BatchQC, Genesis
from attestrio.status.api import AttestationStatus

log = logging.getLogger("attestrio.mainnode")

T = TypeVar("T", bound=Hashable)

STATUS, BATCH, GENESIS, ABSENT = ABOUT = ("status", "batch", "genesis", "absent")
"""What a dissent is about, in its metric. Absent: it has no answer where the others have one, or the other way round,
as one has that lags or leads. Batch: another hash of the same chain, which no honest main node gives."""

Told = Callable[[str, str, BatchNumber | None], None]
"""Called with the name of a dissenter, what it was asked, and the batch it was about."""


class NotAgreed(SourceError):
    """Too few main nodes gave the same answer; `answers` says who said what."""

    code: ClassVar[str] = "not_agreed"

    def __init__(self, what: str, most: int, wanted: int, answers: str) -> None:
        super().__init__(f"{what}: {most} main nodes agree, {wanted} have to: {answers}")
        self.what, self.most, self.wanted = what, most, wanted


class Upstream(Protocol):
    """What is asked of each main node; `MainNodeClient` is one."""

    @property
    def name(self) -> str:
        """How it is called in metrics and logs: its URL without secrets."""
        ...

    async def attestation_status(self) -> AttestationStatus | None: ...

    async def batch_to_attest(self, number: BatchNumber) -> Batch | None: ...

    async def consensus_genesis(self) -> Genesis | None: ...

    async def certificate(self, number: BatchNumber) -> BatchQC | None: ...


Answers = Callable[[BatchNumber, Mapping[str, str]], None]
"""Called with a batch, and what each main node said about it in a few words."""


def unheard(batch: BatchNumber, said: Mapping[str, str]) -> None:
    """The default for `on_answers`."""


def nobody(name: str, what: str, batch: BatchNumber | None) -> None:
    """The default for `on_dissent`."""


@dataclass(frozen=True, slots=True)
class AgreeingMainNodes:
    """`upstreams` as one main node: status, batch and genesis count when `agree` of them say the same.

    All are asked at once. The answer is given as soon as `agree` equal ones are there; who has not answered by then is
    let go, so one that hangs delays nobody. Answers that no other shares enough are dissent: named in
    `attestrio_main_node_dissent_total` and to `on_dissent`. `agree` must be more than half, or two answers could win.

    A status is compared whole, genesis and number. Main nodes a moment apart differ by one number for a while; that
    ends by itself, and until then the old number stays in force. Raises NotAgreed when nobody can win any more.
    """

    upstreams: Sequence[Upstream]
    agree: int
    metrics: Metrics
    on_dissent: Told = nobody
    on_answers: Answers = unheard
    _dissent: Callable[[str, str], None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not len(self.upstreams) // 2 < self.agree <= len(self.upstreams):
            raise ValueError(
                f"agree = {self.agree} of {len(self.upstreams)}: has to be more than half, and not more than all"
            )
        names = [upstream.name for upstream in self.upstreams]
        total = self.metrics.counter(
            "attestrio_main_node_dissent_total",
            "Answers that contradicted what was agreed on, by main node and what they were about; batch: another hash "
            "under the same genesis; absent: it had no answer where the others had one, or the other way round.",
            labels={"main_node": names, "what": ABOUT},
        )
        object.__setattr__(self, "_dissent", lambda name, what: total.labels(main_node=name, what=what).inc())

    async def attestation_status(self) -> AttestationStatus | None:
        """The status that `agree` main nodes give; None when that many have none."""
        return await self._ask(STATUS, None, lambda upstream: upstream.attestation_status())

    async def batch_to_attest(self, number: BatchNumber) -> Batch | None:
        """The batch that `agree` main nodes name; None when that many do not know it."""
        return await self._ask(BATCH, number, lambda upstream: upstream.batch_to_attest(number))

    async def consensus_genesis(self) -> Genesis | None:
        """The genesis that `agree` main nodes follow."""
        return await self._ask(GENESIS, None, lambda upstream: upstream.consensus_genesis())

    async def _ask(
        self, what: str, batch: BatchNumber | None, call: Callable[[Upstream], Awaitable[T | None]]
    ) -> T | None:
        said: dict[str, T | None] = {}
        failed: dict[str, SourceError] = {}
        votes: Counter[T | None] = Counter()

        async def ask(upstream: Upstream) -> None:
            try:
                answer = await call(upstream)
            except SourceError as exc:
                failed[upstream.name] = exc
            else:
                said[upstream.name] = answer
                votes[answer] += 1
            missing = len(self.upstreams) - len(said) - len(failed)
            most = max(votes.values(), default=0)
            if most >= self.agree or most + missing < self.agree:
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for upstream in self.upstreams:
                nursery.start_soon(ask, upstream)
        if batch is not None:
            told = {name: _shown(answer) for name, answer in said.items()}
            self.on_answers(batch, told | {name: exc.code for name, exc in failed.items()})
        winner, count = votes.most_common(1)[0] if votes else (None, 0)
        if count < self.agree:
            if not said:
                raise next(iter(failed.values()))
            answers = [f"{name} {_shown(answer)}" for name, answer in said.items()]
            raise NotAgreed(
                what, count, self.agree, ", ".join([*answers, *(f"{n} {e.code}" for n, e in failed.items())])
            )
        for name, answer in said.items():
            if answer != winner:
                self._dissent(name, _about(what, answer, winner))
                self.on_dissent(name, what, batch)
                log.info("%s dissents about the %s: %s, agreed on %s", name, what, _shown(answer), _shown(winner))
        return winner


def _about(what: str, answer: object, winner: object) -> str:
    """One of ABOUT."""
    if answer is None or winner is None:
        return ABSENT
    if isinstance(answer, Batch) and isinstance(winner, Batch) and answer.genesis != winner.genesis:
        return GENESIS
    return what


def _shown(answer: object) -> str:
    """An answer in a few words."""
    match answer:
        case None:
            return "has none"
        case AttestationStatus(genesis=genesis, next_batch=number):
            return f"says batch {number} of genesis {genesis.to_bytes().hex()[:8]}"
        case Batch(hash=hash_):
            return f"says {hash_.to_text()}"
        case Genesis():
            return f"says {answer.hash().to_bytes().hex()[:8]}"
    return "says something else"
