"""Bringing responses to the aggregator, for as long as the chain does not show an answer to the batch.

One connection for all of them and one task that dials. While nobody answers, nothing but dialling is tried again, so
an outage of a day costs the responses no attempts, and all are due when it is over. An acknowledgement ends the fast
attempts only. What ends a response: BatchVerified, the horizon, a command, or one of three texts of an aggregator that
looked at the signature and says it will never take it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

import trio
from msgspec.structs import replace

from attestrio.duty import Reason
from attestrio.errors import NodeError, SourceError, leaves
from attestrio.gorpc.client import GoRpcClient
from attestrio.gorpc.errors import AnswerUnreadable, CallFailed, CallTooLate
from attestrio.gorpc.messages import PROCESS_SIGNED_TASK_RESPONSE
from attestrio.journal import Leased
from attestrio.operator import rows
from attestrio.operator.rows import Ended, Verdict
from attestrio.operator.settings import OutboxSettings
from attestrio.operator.signing import response_of
from attestrio.operator.state import Batch, OperatorState, put_verdict

log = logging.getLogger("attestrio.operator")

PERMANENT: Final = frozenset(
    {"permanent: bad signature", "permanent: not in quorum", "permanent: bad batch identifier"}
)
"""What our aggregator says and means. Any other text may be cured by waiting."""
LOOK_S: Final = 1.0  # for what another process put into the journal
LEASE_S: Final = 86_400.0  # nobody else takes work from this journal; leases end with the connection
SENDER: Final = f"{rows.OWNER}/sender"
EXPIRE_EVERY_S: Final = 60.0
PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Outbox:
    """Sends what the outbox holds. `run` it once; it works from the start, whether or not anybody listens."""

    state: OperatorState
    client: GoRpcClient
    operator_id: bytes
    settings: OutboxSettings
    past_horizon: Callable[[Batch], bool]
    _failures: dict[bytes, int] = field(default_factory=dict)

    async def run(self) -> NoReturn:
        """Dial, send while it lasts, dial again. Only faults of the journal come out."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire)
            await self._dial_for_ever()
        raise AssertionError("unreachable: ends only by being cancelled")

    async def _dial_for_ever(self) -> NoReturn:
        failures = 0
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.client.run)
                    failures = 0
                    self.state.metrics.connected.set(1)
                    log.info("connected to the aggregator at %s", self.client.address)
                    await self._send_all()
            except* SourceError as group:
                first = next(leaves(group))
                assert isinstance(first, NodeError)
                failures += 1
                log.info("aggregator: %s (%s)", first, first.code)
            finally:
                self.state.metrics.connected.set(0)
            await trio.sleep(self.settings.wait_s(failures))

    async def _send_all(self) -> NoReturn:
        """Every response that is due, oldest first, `in_flight` at the same time."""
        journal, room = self.state.journal, trio.CapacityLimiter(self.settings.in_flight)
        await journal.abandon(SENDER)
        async with trio.open_nursery() as calls:
            while True:
                await room.acquire()  # there is room for one more, and perhaps for others
                room.release()
                leased = await journal.lease(rows.OUTBOX, SENDER, int(room.available_tokens), LEASE_S)
                for one in leased:
                    await room.acquire_on_behalf_of(one)
                    calls.start_soon(self._send, one, room)
                if not leased:
                    await journal.wait(rows.OUTBOX, LOOK_S)

    async def _send(self, one: Leased, room: trio.CapacityLimiter) -> None:
        try:
            batch = await self._still_wanted(one.key)
            if batch is None:
                return
            response = response_of(batch, self.operator_id)
            assert response is not None
            reply = await self.client.call(PROCESS_SIGNED_TASK_RESPONSE, response, within_s=self.settings.call_s)
        except CallFailed as exc:
            if exc.text in PERMANENT:
                await self._bury(one.key, exc.text)
            else:
                await self._again(one.key, "refused", str(exc))
        except CallTooLate as exc:
            await self._again(one.key, "late", str(exc))
        except AnswerUnreadable as exc:
            await self._again(one.key, "unreadable", str(exc))
        except SourceError:  # the connection: the response is due at the next one
            self._count("lost")
            await self.state.journal.release(rows.OUTBOX, one.key)
        else:
            if reply == 0:
                await self._acknowledged(one.key, batch)
            else:
                await self._again(one.key, "refused", f"reply {reply}")
        finally:
            room.release_on_behalf_of(one)

    async def _still_wanted(self, key: bytes) -> Batch | None:
        """The batch to answer; None: the row is over, or put off, and nothing is sent."""
        batch = await self.state.batch(rows.identifier_of(key))
        if batch is None or batch.key != key or batch.row.responded is not None or response_of(
            batch, self.operator_id
        ) is None:  # fmt: skip
            self._failures.pop(key, None)
            await self.state.journal.ack(rows.OUTBOX, [key])
            return None
        if self.past_horizon(batch):
            await self._expired(batch)
            return None
        return batch

    async def _acknowledged(self, key: bytes, batch: Batch) -> None:
        """The fast attempts end. The row stays."""
        self._count("acknowledged")
        self._failures.pop(key, None)
        journal, verdict = self.state.journal, batch.verdict
        if verdict is not None and not verdict.acknowledged:
            taken = replace(verdict, acknowledged=True, acknowledged_at=self.state.wall())
            await journal.put(rows.VERDICTS, batch.identifier, rows.pack(taken))
        await journal.release(rows.OUTBOX, key, self.settings.resend_s)

    async def _again(self, key: bytes, result: str, said: str) -> None:
        self._count(result)
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        wait_s = self.settings.wait_s(failures)
        log.info("batch 0x%s: sent again in %g s: %s", key.hex()[:16], wait_s, said)
        await self.state.journal.release(rows.OUTBOX, key, wait_s)

    async def _bury(self, key: bytes, said: str) -> None:
        """Never again, unless a command says so."""
        self._count("permanent")
        self._failures.pop(key, None)
        log.error("batch 0x%s: the aggregator will never take the response: %s", key.hex()[:16], said)
        batch = await self.state.batch(rows.identifier_of(key))
        put = []
        if batch is not None and batch.verdict is not None:
            verdict = replace(batch.verdict, reason=Reason.RESPONSE_REFUSED, detail=said, at=self.state.wall())
            put.append(put_verdict(batch.identifier, verdict))
        await self.state.journal.move(rows.OUTBOX, [key], rows.DEAD, put=put)
        self.state.changed.value += 1

    async def _expire(self) -> NoReturn:
        """Give up what is past the horizon also while nobody can be reached."""
        while True:
            after = -1
            while page := await self.state.journal.listed(rows.OUTBOX, PAGE, after):
                after = page[-1].position
                for one in page:
                    batch = await self.state.batch(rows.identifier_of(one.key))
                    if batch is not None and one.owner is None and self.past_horizon(batch):
                        await self._expired(batch)
            await trio.sleep(EXPIRE_EVERY_S)

    async def _expired(self, batch: Batch) -> None:
        verdict = batch.verdict
        assert verdict is not None
        log.warning("batch %s: past the horizon, its response is not sent any more", batch)
        if verdict.acknowledged:
            await self.state.journal.ack(rows.OUTBOX, [batch.key])
            return
        missed = Verdict(
            Ended.MISSED, Reason.AGGREGATOR_AWAY, verdict.signature, turn=verdict.turn, at=self.state.wall()
        )
        await self.state.journal.ack(rows.OUTBOX, [batch.key], put=[put_verdict(batch.identifier, missed)])
        self.state.ended(batch, missed)

    def _count(self, result: str) -> None:
        self.state.metrics.responses.labels(result).inc()
