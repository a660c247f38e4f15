"""What somebody at a terminal wants done to a batch, whether or not an aggregator runs.

A command is a row in the journal. Who leads looks for them every second; where nobody does, whoever wrote the command
takes the lead and carries it out. Either way it is done by the only process that may write.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from attestrio.aggregator import rows
from attestrio.aggregator.answer import PUT_OFF, Why
from attestrio.aggregator.rows import Answer, Phase
from attestrio.aggregator.state import AggregatorState
from attestrio.journal import Put
from attestrio.operator.errors import NothingSuch

PAGE: Final = 100
MAX_BLOCKS: Final = 1 << 24  # further back than any chain here goes
Verb = Literal["retry", "drop", "fetch"]


class Command(msgspec.Struct, frozen=True):
    """One command. It says itself what it was about when its reply is read."""

    verb: Verb
    identifier: bytes
    blocks: int = 0
    """For `fetch`: how far below the head the batch is looked for."""


class Reply(msgspec.Struct, frozen=True):
    """What was done, or why nothing was."""

    done: bool
    text: str


async def carry_out(state: AggregatorState) -> None:
    """Do all commands there are and leave their replies. A crash in between does one again, which changes nothing."""
    for key, raw in await state.journal.scan(rows.COMMANDS, PAGE):
        try:
            reply = Reply(True, await _do(state, rows.unpack(raw, Command)))
        except NothingSuch as exc:
            reply = Reply(False, str(exc))
        except msgspec.DecodeError:  # a shared journal may be written to by another release
            reply = Reply(False, "the aggregator that leads does not know this command")
        puts = [Put(rows.COMMANDS, key, None), Put(rows.REPLIES, key, rows.pack(reply))]
        await state.journal.append(rows.UNKNOWN, (), put=puts)


async def _do(state: AggregatorState, command: Command) -> str:
    """What was done. Raises NothingSuch."""
    identifier, task = command.identifier, state.tasks.get(command.identifier)
    if identifier in state.busy:
        raise NothingSuch(f"batch 0x{identifier.hex()} is being worked on: try again later")
    if task is not None and not task.void:
        if task.verified is not None:
            raise NothingSuch(f"the chain has the answer to this batch, since block {task.verified}")
        match command.verb:
            case "retry":
                return await _send_again(state, identifier)
            case "drop":
                return await _park(state, identifier)
            case "fetch":
                raise NothingSuch(f"the batch is known: it was posted in block {task.created}")
    match command.verb:
        case "drop":
            return await _forget(state, identifier)
        case "retry":
            return await _look_again(state, identifier, 0)
        case "fetch":
            return await _look_again(state, identifier, min(max(command.blocks, 1), MAX_BLOCKS))


async def _send_again(state: AggregatorState, identifier: bytes) -> str:
    """At once what was put off, whatever for."""
    answer = _put_off(state, identifier)
    state.touch([identifier])
    if answer is None:
        return f"its {len(state.signed.get(identifier, ()))} signatures are counted again"
    again = replace(answer, phase=Phase.WAITING, reason="", detail="", updated=state.clock())
    await state.set_answer(identifier, again)  # a nonce that is still open stays with it
    return "its answer is sent as soon as there is a quorum"


async def _park(state: AggregatorState, identifier: bytes) -> str:
    """Nothing is sent for it. Signatures are still taken: the batch can be retried."""
    answer = _put_off(state, identifier) or Answer(Phase.WAITING)
    parked = replace(answer, phase=Phase.PARKED, reason=Why.DROPPED.value, detail="", updated=state.clock())
    await state.set_answer(identifier, parked)
    return "nothing is sent for it any more; retry takes it up again"


def _put_off(state: AggregatorState, identifier: bytes) -> Answer | None:
    """The answer, if there is one. Raises NothingSuch while it is on its way."""
    answer = state.answers.get(identifier)
    if answer is not None and answer.phase not in PUT_OFF:
        raise NothingSuch(f"the answer to this batch is on its way ({answer.phase})")
    return answer


async def _forget(state: AggregatorState, identifier: bytes) -> str:
    """A batch that is not on the chain, with the signatures of it."""
    answer = state.answers.get(identifier)
    if answer is not None and answer.nonce is not None:
        raise NothingSuch(f"a transaction for this batch is open, with nonce {answer.nonce}")
    signed = len(state.signed.get(identifier, ()))
    if not signed and identifier not in state.claims and identifier not in state.dead:
        raise NothingSuch(f"no batch 0x{identifier.hex()} has been seen")
    if not await state.forget([identifier], lambda one: not state.is_live(one)):
        raise NothingSuch("the batch has just been found on the chain")
    return f"it is given up, and its {signed} signatures with it"


async def _look_again(state: AggregatorState, identifier: bytes, blocks: int) -> str:
    """On the chain, at once, even if it was given up. `blocks` 0: as far back as before."""
    before = state.claims.get(identifier) or state.dead.get(identifier)
    if not blocks and before is not None:
        blocks = before.claim.blocks
    if not await state.reclaim(identifier, blocks):
        raise NothingSuch(f"no batch 0x{identifier.hex()} has been seen or signed")
    return "it is looked for on the chain" + (f", {blocks} blocks back" if blocks else "")
