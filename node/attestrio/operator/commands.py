"""What somebody at a terminal wants done to a batch, whether or not the operator runs.

A command is a row in the journal. A running operator looks for them every second; where none runs, whoever wrote the
command carries it out. Either way it is done by the only process that holds the data directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from attestrio.duty import Reason
from attestrio.journal import Item, Put, Work
from attestrio.operator import rows
from attestrio.operator.errors import NothingSuch
from attestrio.operator.rows import Ended, Verdict
from attestrio.operator.state import Batch, OperatorState, put_verdict

PAGE: Final = 100
Verb = Literal["retry", "drop"]


class Command(msgspec.Struct, frozen=True):
    """One command. It says itself what it was about when its answer is read."""

    verb: Verb
    identifier: bytes


class Answer(msgspec.Struct, frozen=True):
    """What was done, or why nothing was."""

    done: bool
    text: str


async def carry_out(state: OperatorState) -> None:
    """Do all commands there are and leave their answers. A crash in between does one again, which changes nothing."""
    for key, raw in await state.journal.scan(rows.COMMANDS, PAGE):
        command = rows.unpack(raw, Command)
        try:
            answer = Answer(True, await _do(state, command))
        except NothingSuch as exc:
            answer = Answer(False, str(exc))
        puts = [Put(rows.COMMANDS, key, None), Put(rows.ANSWERS, key, rows.pack(answer))]
        await state.journal.append(rows.WORK, (), put=puts)


async def _do(state: OperatorState, command: Command) -> str:
    """What was done. Raises NothingSuch."""
    name = f"0x{command.identifier.hex()}"
    batch = await state.batch(command.identifier)
    if batch is None:
        raise NothingSuch(f"no batch {name} has been seen")
    if batch.key in state.busy:
        raise NothingSuch(f"batch {name} is being worked on: try again later")
    return await (_retry if command.verb == "retry" else _drop)(state, batch)


async def _retry(state: OperatorState, batch: Batch) -> str:
    """At once what waits; anew what has ended."""
    journal, verdict = state.journal, batch.verdict
    if batch.row.responded is not None:
        raise NothingSuch("the chain has the answer to this batch already")
    if await journal.release(rows.WORK, batch.key):
        return "it is verified at once"
    if await journal.release(rows.OUTBOX, batch.key):
        return "its response is sent at once"
    if verdict is None:
        raise NothingSuch("the batch is not waiting for anything")
    turn = verdict.turn + 1
    if verdict.signature:
        again = replace(verdict, ended=Ended.SIGNED, reason=Reason.OK, detail="", turn=turn, at=state.wall())
    else:
        again = Verdict(Ended.OPEN, Reason.OK, turn=turn)
    anew = Batch(batch.identifier, batch.row, again)
    state.opened(anew.key, batch.row)
    work = [Work(rows.WORK, [Item(anew.key)])]
    await journal.ack(rows.DEAD, [batch.key], append=work, put=[put_verdict(batch.identifier, again), state.mark()])
    return "its response is sent again" if verdict.signature else "it is verified again"


async def _drop(state: OperatorState, batch: Batch) -> str:
    """Nothing more is done for it."""
    verdict, journal = batch.verdict or Verdict(Ended.OPEN, Reason.OK), state.journal
    dropped = replace(verdict, ended=Ended.DROPPED, reason=Reason.DROPPED, detail="", at=state.wall())
    state.progress.finished(batch.key)
    put: Sequence[Put] = [put_verdict(batch.identifier, dropped), state.mark()]
    waiting = [topic for topic in (rows.WORK, rows.OUTBOX, rows.DEAD) if await _waits(state, topic, batch.key)]
    if not waiting:
        raise NothingSuch("the batch is not waiting for anything")
    for topic in waiting:
        await journal.ack(topic, [batch.key], put=put)
    state.ended(batch, dropped)
    return "it is given up"


async def _waits(state: OperatorState, topic: str, key: bytes) -> bool:
    after = -1
    while page := await state.journal.listed(topic, 1_000, after):
        if any(one.key == key for one in page):
            return True
        after = page[-1].position
    return False
