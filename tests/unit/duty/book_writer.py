"""Writes batch after batch into a duty book until it is killed: `book_writer.py FILE`."""

import sys
import time
from pathlib import Path

import trio
from attestrio.duty import DutyLog, EndState, Step
from attestrio.duty.book import DutyBook
from attestrio.kit.blocking import in_thread
from attestrio.roles import BatchNumber
from duty_kit import EPOCH, PEERS, vote


async def write(path: Path) -> None:
    duty = DutyLog(time.time)
    book = DutyBook(path, duty, in_thread, group_s=0.01)
    async with trio.open_nursery() as nursery:
        await nursery.start(book.run)
        duty.begin_epoch(EPOCH)
        number = BatchNumber(max(duty.batches(), default=0))
        print("begun", flush=True)
        while True:
            number = number.next()
            duty.record(number, Step.TOLD)
            duty.heard([vote(index, number) for index in range(3)], PEERS[0])
            duty.end(number, EndState.CERTIFIED)
            await trio.sleep(0.002)


trio.run(write, Path(sys.argv[1]))
