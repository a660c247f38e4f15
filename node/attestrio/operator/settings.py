"""How an operator paces itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """When responses are sent, and sent again."""

    retry_first_s: float = 0.2
    """Before the second attempt at something that failed; twice as long before each further one."""
    retry_cap_s: float = 30.0
    """The longest wait. Equal to `retry_first_s`: a fixed interval."""
    fast_retries: int | None = None
    """Failures of one response after which it is only sent every `resend_s`; None: without limit."""
    resend_s: float = 300.0
    """After an acknowledgement: an aggregator can lose its store, and its reply 0 may mean nothing."""
    call_s: float = 60.0
    """For one reply. A Go aggregator may hold a call for a while."""
    in_flight: int = 16
    """Calls at the same time."""

    def wait_s(self, failures: int) -> float:
        """Seconds after that many failures in a row, at least one of them."""
        if self.fast_retries is not None and failures > self.fast_retries:
            return self.resend_s
        return min(self.retry_first_s * 2.0 ** min(failures - 1, 60), self.retry_cap_s)


@dataclass(frozen=True, slots=True)
class WorkSettings:
    """When batches are verified, and tried again."""

    batches: int = 4
    """At the same time; each holds its data in memory, `max_bytes` of it at most."""
    proofs: int = 4
    """At the same time, of all batches."""
    retry_first_s: float = 5.0
    """Before a batch that could not be got or verified is tried again; twice as long each further time."""
    retry_cap_s: float = 600.0
    horizon_blocks: int = 14_400
    """Two days of Ethereum. What is older is given up, with a reason, and not sent any more. In blocks, so that an
    operator that was away for a day has missed what the chain has moved on from, whatever its clock says."""
    keep_blocks: int = 216_000
    """A month. What has ended is forgotten after that."""

    def wait_s(self, failures: int) -> float:
        """Seconds after that many failures in a row, at least one of them."""
        return min(self.retry_first_s * 2.0 ** min(failures - 1, 60), self.retry_cap_s)


PATIENT_OUTBOX = OutboxSettings()
USUAL_WORK = WorkSettings()
