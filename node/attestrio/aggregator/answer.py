"""How the answer to one batch comes onto the chain: the phases it goes through, and what a refusal means. Pure.

A refusal is sorted by the id of the contract's error, never by its arguments; what a node says, by its text. Both
tables are data. What is in none of them is tried again later and shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from msgspec.structs import replace

from attestrio.aggregator.rows import Answer, Attempt, Phase
from attestrio.aggregator.surface import ERRORS
from attestrio.errors import SourceError
from attestrio.kit.jsonrpc import RpcFailed, printable
from attestrio.l1.errors import CallReverted


class Why(StrEnum):
    """Why an answer is where it is. Stable codes: they are in rows, metrics and JSON."""

    ANSWERED = "answered_by_others"  # the chain has an answer, and it is not one of our transactions
    TOO_EARLY = "too_early"  # no block after that of the batch yet
    PRICE = "price_too_high"  # the fee is above the batch's limit, or the price above our own cap
    FUNDS = "batcher_without_funds"  # the batcher's balance is below the limit of the batch
    NO_TASK = "no_such_batch"  # a reorg took it; the scanner or an operator brings it back
    NOT_US = "not_the_aggregator"  # the contract wants another sender: nothing at all is sent
    NO_MONEY = "no_money_for_gas"  # our own account: nothing at all is sent
    BAD_AGGREGATE = "bad_aggregate"  # a signature or the quorum is not what the contract sees
    NO_QUORUM = "no_quorum"  # the signatures do not suffice any more
    REFUSED = "refused"  # an error of the contract that this release does not know
    REVERTED = "reverted"  # mined and refused, more than once
    NONCE_TAKEN = "nonce_taken"  # another transaction has used its nonce
    NONCE_FAR = "nonce_too_far"  # a node was wrong about what is used up: it would never be mined
    NODE = "node_refused"  # a node did not take the transaction, and says something unknown
    AWAY = "no_endpoint"  # nobody answered
    DROPPED = "dropped"  # given up by a command; the sender leaves it alone


class Cure(StrEnum):
    """What has to happen next."""

    SETTLE = "settle"  # it is answered: success
    WAIT = "wait"  # for a block; nobody has to look
    PARK = "park"  # somebody has to look; tried again on the chain's schedule
    PRICE = "price"  # parked until the price falls
    HOLD = "hold"  # nothing is sent, for any batch, until one goes through again
    RECHECK = "recheck"  # the signatures one by one, then a new aggregate
    SENT = "sent"  # the network has it already
    USED = "used"  # the nonce is used up: look what by
    HIGHER = "higher"  # the next step of the price


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a refusal means."""

    cure: Cure
    why: Why
    detail: str = ""


class AnswerRefused(SourceError):
    """An answer cannot be sent, or cannot be sent now; `refusal` says what has to happen next."""

    code: ClassVar[str] = "answer_refused"

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.why}: {refusal.detail}" if refusal.detail else refusal.why)
        self.refusal = refusal


REVERTS: Final[Mapping[str, tuple[Cure, Why]]] = {
    "BatchAlreadyResponded": (Cure.SETTLE, Why.ANSWERED),
    "BatchDoesNotExist": (Cure.WAIT, Why.NO_TASK),
    "InsufficientFunds": (Cure.PARK, Why.FUNDS),
    "ExceededMaxRespondFee": (Cure.PRICE, Why.PRICE),
    "SenderIsNotAggregator": (Cure.HOLD, Why.NOT_US),
    "InvalidQuorumThreshold": (Cure.RECHECK, Why.BAD_AGGREGATE),
}
"""Errors of the service manager by name; `surface.ERRORS` has their ids."""

CHECKER_TEXTS: Final = (
    ("invalid reference block", Cure.WAIT, Why.TOO_EARLY),
    ("signature is invalid", Cure.RECHECK, Why.BAD_AGGREGATE),
    ("pairing", Cure.RECHECK, Why.BAD_AGGREGATE),
    ("BLSSignatureChecker", Cure.RECHECK, Why.BAD_AGGREGATE),  # keys or indices of another state: made anew
)
"""What the signature checker reverts with is text; the first that is in it counts."""

NODE_TEXTS: Final = (
    (re.compile(r"(?i)already (known|imported|in (the )?(pool|mempool))|^known transaction|alreadyknown"), Cure.SENT),
    (re.compile(r"(?i)nonce (is )?too low|oldnonce|nonce too small"), Cure.USED),
    (
        re.compile(
            r"(?i)underpriced|fee ?too ?low|less than block base fee|below (configured )?minimum|replacement ?not"
            r"|max fee per gas less|gas price too low"
        ),
        Cure.HIGHER,
    ),
    (re.compile(r"(?i)insufficient ?(funds|balance)|doesn't have enough funds|not enough funds"), Cure.HOLD),
)
"""What nodes say instead of taking a transaction; seen at geth, erigon, Nethermind, Besu, reth and anvil."""
NODE_WHY: Final = {Cure.USED: Why.NONCE_TAKEN, Cure.HIGHER: Why.PRICE, Cure.HOLD: Why.NO_MONEY, Cure.SENT: Why.NODE}


def refusal_of(exc: SourceError) -> Refusal:
    """What an error of a simulation, an estimate or a sending says. Never raises."""
    if isinstance(exc, CallReverted):
        return _of_contract(exc)
    if isinstance(exc, RpcFailed):
        for text, cure in NODE_TEXTS:
            if text.search(exc.message):
                return Refusal(cure, NODE_WHY[cure], printable(exc.message))
        return Refusal(Cure.WAIT, Why.NODE, printable(exc.message))
    return Refusal(Cure.WAIT, Why.AWAY, printable(str(exc)))


def _of_contract(exc: CallReverted) -> Refusal:
    name, arguments = ERRORS.read_untrusted(exc.data)
    told = ", ".join(f"0x{one.hex()}" if isinstance(one, bytes) else str(one) for one in arguments)
    if name == "Error" or not name:  # text; where the data is missing, the message has it
        text = str(arguments[0]) if arguments else exc.message
        for part, cure, why in CHECKER_TEXTS:
            if part in text:
                return Refusal(cure, why, printable(text))
        return Refusal(Cure.PARK, Why.REFUSED, printable(text))
    cure, why = REVERTS.get(name, (Cure.PARK, Why.REFUSED))
    return Refusal(cure, why, printable(f"{name}({told})"))


# --- phases -------------------------------------------------------------------------------------------------------

ON_ITS_WAY: Final = frozenset({Phase.PREPARED, Phase.SENT, Phase.REPLACED})
"""A transaction is out, or may be: the nonce is held firmly."""
PUT_OFF: Final = frozenset({Phase.WAITING, Phase.REVERTED, Phase.PARKED})
"""Nothing is done for it at present; commands may touch it."""

NEXT: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.WAITING: PUT_OFF | ON_ITS_WAY | {Phase.MINED},
    Phase.PREPARED: PUT_OFF | ON_ITS_WAY | {Phase.MINED},
    Phase.SENT: PUT_OFF | {Phase.REPLACED, Phase.MINED},
    Phase.REPLACED: PUT_OFF | {Phase.REPLACED, Phase.MINED},
    Phase.MINED: PUT_OFF | {Phase.SENT, Phase.REPLACED, Phase.MINED, Phase.CONFIRMED},
    Phase.REVERTED: PUT_OFF | {Phase.PREPARED, Phase.MINED},
    Phase.PARKED: PUT_OFF | ON_ITS_WAY | {Phase.MINED},
    Phase.CONFIRMED: frozenset(),
}
"""Which phase can follow which. WAITING and PARKED go on where they were as long as their nonce is open."""

NOTHING: Final = Answer(Phase.WAITING)


def prepared(answer: Answer, nonce: int, attempt: Attempt) -> Answer:
    """A transaction that may leave now: to be recorded first. With the nonce it had it replaces those before."""
    same = answer.nonce == nonce and bool(answer.attempts)
    # Of those before only the hashes are needed: the newest is what is sent again.
    attempts = (*(replace(one, raw=b"") for one in answer.attempts), attempt) if same else (attempt,)
    phase = Phase.REPLACED if same else Phase.PREPARED
    return _to(answer, phase, "", "", attempt.at, nonce=nonce, attempts=attempts, mined=None)


def sent(answer: Answer, at: float) -> Answer:
    """The network has taken it. Also again: what is in no block any more, or was put off, by the same bytes."""
    phase = _out(answer.attempts)
    return answer if answer.phase is phase else _to(answer, phase, "", "", at)


def mined(answer: Answer, block: int, transaction: bytes, at: float) -> Answer:
    """One of our transactions has answered the batch. Without a transaction somebody else's has."""
    why = "" if transaction else Why.ANSWERED
    return _to(answer, Phase.MINED, why, "", at, mined=(block, transaction))


def confirmed(answer: Answer, at: float) -> Answer:
    """Deep enough. The signed bytes have done their work."""
    return _to(answer, Phase.CONFIRMED, answer.reason, "", at, attempts=())


def unmined(answer: Answer, at: float) -> Answer:
    """A reorg took it: what can be sent again is, the rest begins anew."""
    if answer.attempts and answer.nonce is not None:
        return _to(answer, _out(answer.attempts), "", "", at, mined=None)
    return _to(answer, Phase.WAITING, "", "", at, mined=None)


def reverted(answer: Answer, transaction: bytes, at: float) -> Answer:
    """Mined and refused: its nonce is used up."""
    return _to(answer, Phase.REVERTED, Why.REVERTED, f"0x{transaction.hex()}", at, nonce=None, attempts=())


def put_off(answer: Answer, phase: Phase, why: Why, detail: str, at: float) -> Answer:
    """Nothing is sent for now. Nonce and transactions stay: what is in somebody's pool may still be mined."""
    return _to(answer, phase, why, detail, at)


def without_nonce(answer: Answer, why: Why, at: float) -> Answer:
    """Another transaction has used the nonce, or it is far ahead: none of ours is mined any more, the next begins
    anew."""
    phase = answer.phase if answer.phase in PUT_OFF else Phase.WAITING
    reason = answer.reason if answer.phase is Phase.PARKED else why
    return _to(answer, phase, reason, answer.detail, at, nonce=None, attempts=())


def is_firm(row: Answer) -> bool:
    """Whether nobody else may have its nonce: it is on its way, or in a block."""
    return row.phase in ON_ITS_WAY or (row.phase is Phase.MINED and row.mined is not None and bool(row.mined[1]))


def may_be_sent_again(row: Answer, node: int) -> bool:
    """Whether the same bytes are worth sending: put off with a transaction that still pays enough."""
    return (
        row.phase in PUT_OFF and row.nonce is not None and bool(row.attempts) and row.attempts[-1].price >= node
        and row.reason != Why.BAD_AGGREGATE
    )  # fmt: skip


def _out(attempts: tuple[Attempt, ...]) -> Phase:
    return Phase.SENT if len(attempts) == 1 else Phase.REPLACED


def _to(answer: Answer, phase: Phase, why: str, detail: str, at: float, **changes: object) -> Answer:
    if phase not in NEXT[answer.phase]:
        raise ValueError(f"an answer that is {answer.phase} does not become {phase}")
    return replace(answer, phase=phase, reason=str(why), detail=detail[:300], updated=at, **changes)
