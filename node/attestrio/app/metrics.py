"""What a node counts that belongs to no single part: hung on the hooks that parts have, or read when it is scraped.

The number of a batch is NaN while nobody knows it: 0 is a batch too, and an alert on a difference must not fire on it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from trio_util import AsyncValue

from attestrio.app.parts import Epoch
from attestrio.app.seen import Seen
from attestrio.attester.api import VoteSigner
from attestrio.duty import DutyLog, Reason, Step
from attestrio.errors import SourceError
from attestrio.kit.events import EventName, named
from attestrio.kit.metrics import Metrics
from attestrio.protection.epochs import EpochCause
from attestrio.quorum.refusals import VotesAdded, VotesRefused
from attestrio.quorum.watch import OnList
from attestrio.roles import AttesterPublicKey, Batch, BatchNumber, BatchQC, Committee, SignedBatch
from attestrio.status import AttestationStatusWatch
from attestrio.status.runner import PollOutcome, PollResult
from attestrio.store.api import BatchStore
from attestrio.web.attendance import Miss
from attestrio.web.view import MEMBERS

log = logging.getLogger("attestrio.app")

VOTES_HELP = (
    "Votes that came to the register, own ones included. skipped: old, below the floor or from a stranger;"
    " refused: a bad entry of a list, and what of its list was not counted."
)


class NodeMetrics:
    """The series of one process, all there from its start; `epoch` is the one that runs. `seen` hears the same."""

    def __init__(self, metrics: Metrics, epoch: AsyncValue[Epoch | None], seen: Seen) -> None:
        self._epoch, self._seen = epoch, seen
        self._polls = metrics.counter(
            "attestrio_status_polls_total", "Polls of the status, by what they brought.", {"result": [*PollResult]}
        )
        self._votes = metrics.counter(
            "attestrio_votes_total", VOTES_HELP, {"result": ("counted", "skipped", "refused")}
        )
        self._rollbacks = metrics.counter(
            "attestrio_rollbacks_total",
            "Epochs that ended, by cause.",
            {"cause": [cause for cause in EpochCause if cause is not EpochCause.START]},
        )
        self._certificates = metrics.counter("attestrio_certificates_total", "Certificates this node has stored.")
        self._certified = metrics.gauge(
            "attestrio_batch_certified_number", "Batch of the newest certificate stored here."
        )
        self._signed = metrics.gauge("attestrio_batch_signed_number", "Batch this process signed last.")
        self._missed = metrics.counter(
            "attestrio_member_missed_total",
            "Batches that a member of the committee had no vote for when the status went on, by reason. late: it came"
            " before the status had named three more numbers; silent: not until then, which is when a batch is judged"
            " (a vote made after its author's own register went on is sent to nobody)."
            " All at 0 from the beginning of an epoch, in a committee of up to 200; in a larger one a member's series"
            " starts with its first miss.",
            {"member": (), "reason": ()},
        )
        self._certified.set(math.nan)
        self._signed.set(math.nan)
        seen.on_miss = self._member_missed
        for name, text, read in EPOCH_GAUGES:
            metrics.gauge(name, text).set_function(_reader(epoch, read))

    def began(self, committee: Committee | None) -> None:
        """An epoch begins. Where a committee is small enough its series are there at once, so that a rate sees the
        first miss; those of an earlier one stay."""
        if committee is not None and len(committee) <= MEMBERS:
            for member in committee:
                for reason in Miss:
                    self._missed.labels(member=member.key.to_text(), reason=reason.value)

    def polled(self, outcome: PollOutcome) -> None:
        """For `AttestationStatusRunner.on_poll`."""
        self._polls.labels(result=outcome.result).inc()
        self._seen.polled(outcome, self._epoch.value)

    def _member_missed(self, key: AttesterPublicKey, reason: Miss) -> None:
        self._missed.labels(member=key.to_text(), reason=reason.value).inc()

    def epoch_ended(self, cause: EpochCause) -> None:
        self._rollbacks.labels(cause=cause).inc()

    def lists(self, duty: DutyLog, status: AttestationStatusWatch) -> OnList:
        """For `VotesWatch`. What is refused goes on record for the batch that is being attested: not for the one the
        entry names, since a stranger could name a thousand and so have the log forget what matters."""

        def tell(listed: int, added: VotesAdded, refused: VotesRefused | None) -> None:
            self._votes.labels(result="counted").inc(added.added)
            self._votes.labels(result="skipped" if refused is None else "refused").inc(listed - added.added)
            number = status.status.next_batch
            if refused is not None and number is not None:
                duty.record(number, Step.SEEN, Reason.VOTE_INVALID, refused.code)

        return tell

    async def certificates(self, store: BatchStore) -> Callable[[BatchQC], None]:
        """For `QCFinder.on_certificate` over this store, whose newest certificate is shown at once."""
        newest: BatchNumber | None = None
        with suppress(SourceError):  # a store that the embedding program runs, but not yet
            last = await store.last_qc()
            newest = last.batch.number if last is not None else None
        self._certified.set(math.nan if newest is None else newest)
        self._seen.began(newest)

        def stored(certificate: BatchQC) -> None:
            nonlocal newest
            number = certificate.batch.number
            newest = number if newest is None else max(newest, number)
            self._certificates.inc()
            self._certified.set(newest)
            self._seen.stored(number)
            log.info(
                "batch %d certified by %d votes", number, len(certificate.signatures),
                extra=named(EventName.BATCH_CERTIFIED, batch=int(number), hash=certificate.batch.hash.to_text()),
            )  # fmt: skip

        return stored

    def signing(self, signer: VoteSigner) -> VoteSigner:
        """`signer`, with the batch it signed last shown."""

        def show(number: BatchNumber) -> None:
            self._signed.set(number)
            self._seen.voted(number)

        return _ShownSigner(signer, show)


@dataclass(frozen=True, slots=True)
class _ShownSigner:
    signer: VoteSigner
    show: Callable[[BatchNumber], None]

    async def sign(self, batch: Batch) -> SignedBatch:
        vote = await self.signer.sign(batch)
        self.show(batch.number)
        return vote


Read = Callable[[Epoch], float | None]


def _reader(running: AsyncValue[Epoch | None], read: Read) -> Callable[[], float]:
    """What a gauge answers: NaN between two epochs, and while the epoch does not know."""

    def value() -> float:
        epoch = running.value
        found = None
        if epoch is not None:
            with suppress(SourceError):
                found = read(epoch)
        return math.nan if found is None else found

    return value


def _weight_ratio(epoch: Epoch) -> float | None:
    number, committee = epoch.status.status.next_batch, epoch.genesis.attesters
    if number is None or committee is None or epoch.votes is None:
        return None
    return epoch.votes.support_for(number) / committee.total_weight


EPOCH_GAUGES: tuple[tuple[str, str, Read], ...] = (
    ("attestrio_epoch_number", "The epoch that runs.", lambda epoch: epoch.number),
    (
        "attestrio_batch_upstream_number",
        "Batch that the main node wants attested next.",
        lambda epoch: epoch.status.status.next_batch,
    ),
    (
        "attestrio_batch_persisted_number",
        "Newest batch that this node holds durably.",
        lambda epoch: epoch.store.persisted.last,
    ),
    (
        "attestrio_vote_floor_number",
        "The floor of the register: votes for lower batches are skipped.",
        lambda epoch: None if epoch.votes is None else epoch.votes.min_batch_number,
    ),
    (
        "attestrio_weight_ratio",
        "Part of the committee's weight that has voted for one hash of the batch wanted next.",
        _weight_ratio,
    ),
)
