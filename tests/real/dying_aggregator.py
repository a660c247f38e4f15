"""`attestrio`, as a process that hits itself at a point of its work: POINT TIMES SIGNAL, then the usual arguments.

The points lie around two seams, the journal and the account that sends: before the write of a signature and after it,
before an answer is recorded, before its transaction goes out and after that. Nothing of the program itself is changed,
it is given a journal and an account that look the same.
"""

import os
import sys

import attestrio.app.aggregator as made
from attestrio.aggregator import rows
from attestrio.aggregator.ethereum import EthereumAccount
from attestrio.aggregator.rows import Answer, Phase
from attestrio.cli import main

POINT, TIMES, SIGNAL = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
passed = 0


def at(point):
    """The `TIMES`th time at `POINT` nothing more happens in this process, at once."""
    global passed
    if point == POINT:
        passed += 1
        if passed == TIMES:
            print(f"at {point}", flush=True)
            os.kill(os.getpid(), SIGNAL)


class Journal:
    """Another journal, with points around two kinds of writes."""

    def __init__(self, journal):
        self._journal = journal

    def __getattr__(self, name):
        return getattr(self._journal, name)

    async def append(self, topic, items, *, put=(), **more):
        signs = any(one.table == rows.SIGNATURES and one.value is not None for one in put)
        if signs:
            at("before_journal")
        if any(one.table == rows.ANSWERS and is_intent(one.value) for one in put):
            at("before_intent")
        done = await self._journal.append(topic, items, put=put, **more)
        if signs:
            at("after_journal")
        return done


def is_intent(value):
    return value is not None and rows.unpack(value, Answer).phase is Phase.PREPARED


class Account(EthereumAccount):
    """An account with points around sending."""

    async def send(self, raw):
        at("before_send")
        await EthereumAccount.send(self, raw)
        at("after_send")


journal_of = made.journal_of
made.journal_of = lambda *given: Journal(journal_of(*given))
made.EthereumAccount = Account
del sys.argv[1:4]
main()
