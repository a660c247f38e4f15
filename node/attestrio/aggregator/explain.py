"""One batch of an aggregator, told from its journal alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attestrio.aggregator import rows
from attestrio.aggregator.rows import Answer, Claim, OperatorKey, Phase, Signed, Task
from attestrio.duty.telling import MOST, Moment, Telling
from attestrio.journal import Journal

PAGE: Final = 1_000
MEANS: Final[Mapping[Phase, str]] = {
    Phase.WAITING: "it waits for signatures, its turn, a price, or a block",
    Phase.PREPARED: "the transaction is signed and recorded",
    Phase.SENT: "the transaction is sent",
    Phase.REPLACED: "the transaction is sent again at another price",
    Phase.MINED: "the answer is in a block",
    Phase.CONFIRMED: "the answer is deep enough: done",
    Phase.REVERTED: "the contract refused the answer",
    Phase.PARKED: "it waits for a person, or for the price to fall",
}


async def explain(journal: Journal, identifier: bytes) -> Telling | None:
    """What became of a batch; None for one nobody has heard of. O(signatures and claims that are remembered)."""
    raw = await journal.get(rows.TASKS, identifier)
    task = None if raw is None else rows.unpack(raw, Task)
    raw = await journal.get(rows.ANSWERS, identifier)
    answer = Answer(Phase.WAITING) if raw is None else rows.unpack(raw, Answer)
    signed = await _signed(journal, identifier)
    claim = None if task is not None else await _claim(journal, identifier)
    if task is None and claim is None and not signed:
        return None
    operators = await _operators(journal)
    state, why = _state(task, answer, claim)
    missed = sorted(one for one in operators if one not in signed)
    times = [one.at for one in signed.values() if one.at] + [one.at for one in answer.attempts]
    document = _document(identifier, task, answer, signed, missed, state, why)
    return Telling(
        f"batch 0x{identifier.hex()}", state, why, "", tuple(_facts(task, signed, operators)),
        min(times, default=None), tuple(_moments(task, answer, signed)),
        tuple(_missed(missed, operators)) if signed else (), document,
    )  # fmt: skip


def _state(task: Task | None, answer: Answer, claim: tuple[str, Claim] | None) -> tuple[str, str]:
    """In a word, and why."""
    said = ": ".join(part for part in (answer.reason, answer.detail) if part)
    if task is None:
        if claim is None:
            return "unknown", "operators signed it, and the chain does not have it"
        topic, one = claim
        detail = ": ".join(part for part in (one.reason, one.detail) if part)
        if topic == rows.DEAD:
            return "given up", detail
        return "looked for", "operators signed it, and it is looked for on the chain"
    if task.void:
        return "void", "a reorg took the batch off the chain, and it has not come back"
    if task.verified is not None:
        return "answered", said
    return answer.phase.value, said or MEANS[answer.phase]


def _facts(task: Task | None, signed: Mapping[bytes, Signed], operators: Mapping[bytes, OperatorKey]) -> Iterator[str]:
    if task is not None:
        yield f"  posted in block {task.created}, data at {task.pointer or 'no URL'}"
    kept = f"{len(signed)} of {len(operators)} operators" if signed else "not kept, or none has come"
    yield f"  signatures  {kept}"


def _moments(task: Task | None, answer: Answer, signed: Mapping[bytes, Signed]) -> Iterator[Moment]:
    if task is not None:
        yield Moment(None, "told", f"block {task.created} posts it")
    told = [Moment(one.at or None, "vote", f"operator 0x{operator.hex()[:16]}") for operator, one in signed.items()]
    told.sort(key=lambda one: one.at or 0.0)
    yield from told[:MOST]
    if len(told) > MOST:
        yield Moment(told[-1].at, "votes", f"{len(told) - MOST} more, this is the last of them")
    for one in answer.attempts:
        yield Moment(one.at, "sent", f"transaction 0x{one.hash.hex()}, {one.price / 1e9:g} gwei, nonce {answer.nonce}")
    if answer.mined is not None:
        yield Moment(None, "submitted", f"block {answer.mined[0]} has transaction 0x{answer.mined[1].hex()}")
    if answer.updated or answer.attempts:
        yield Moment(answer.updated or None, answer.phase.value, MEANS[answer.phase])
    if task is not None and task.verified is not None:
        yield Moment(None, "certified", f"block {task.verified} has the answer to it")


def _missed(missed: list[bytes], operators: Mapping[bytes, OperatorKey]) -> Iterator[str]:
    for one in missed[:MOST]:
        yield f"no signature of operator 0x{one.hex()[:16]}, address 0x{operators[one].operator.hex()}"
    if len(missed) > MOST:
        yield f"and {len(missed) - MOST} more; --json names all"


async def _signed(journal: Journal, identifier: bytes) -> dict[bytes, Signed]:
    """By operator id. Rows stand in the order of their keys, so those of a batch stand together."""
    found: dict[bytes, Signed] = {}
    after: bytes | None = identifier
    while page := await journal.scan(rows.SIGNATURES, PAGE, after):
        for key, raw in page:
            if rows.identifier_of(key) != identifier:
                return found
            found[rows.operator_of(key)] = rows.unpack(raw, Signed)
        after = page[-1][0]
    return found


async def _operators(journal: Journal) -> dict[bytes, OperatorKey]:
    found: dict[bytes, OperatorKey] = {}
    after = None
    while page := await journal.scan(rows.KEYS, PAGE, after):
        found.update((key, rows.unpack(raw, OperatorKey)) for key, raw in page)
        after = page[-1][0]
    return found


async def _claim(journal: Journal, identifier: bytes) -> tuple[str, Claim] | None:
    for topic in (rows.UNKNOWN, rows.DEAD):
        after = -1
        while page := await journal.listed(topic, PAGE, after):
            after = page[-1].position
            for one in page:
                if rows.identifier_of(one.key) == identifier:
                    return topic, rows.unpack(one.body, Claim)
    return None


def _document(
    identifier: bytes,
    task: Task | None,
    answer: Answer,
    signed: Mapping[bytes, Signed],
    missed: list[bytes],
    state: str,
    why: str,
) -> dict[str, Any]:
    return {
        "batch": f"0x{identifier.hex()}", "role": "aggregator", "state": state, "why": why,
        "block": None if task is None else task.created, "void": task is not None and task.void,
        "verified_block": None if task is None else task.verified,
        "phase": answer.phase.value, "reason": answer.reason, "detail": answer.detail, "nonce": answer.nonce,
        "transactions": [
            {"hash": f"0x{one.hash.hex()}", "price": one.price, "at": one.at} for one in answer.attempts
        ],
        "mined_block": None if answer.mined is None else answer.mined[0],
        "updated_at": answer.updated or None,
        "signed": [{"operator_id": f"0x{key.hex()}", "at": one.at} for key, one in signed.items()],
        "missed": [f"0x{one.hex()}" for one in missed] if signed else [],
    }  # fmt: skip
