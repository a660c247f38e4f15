"""The root of the command line, and the table of exit codes in practice."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from attestrio.cli.output import OutputUnwritable, Usage, report, worst
from attestrio.errors import NodeError

app = App(
    name="attestrio",
    help="""An attestation node: learns which batch is next, signs its vote, and keeps the certificate.

    To see it work: attestrio devnet --batches 5
    """,
    version=lambda: version("attestrio"),
    suppress_keyboard_interrupt=False,
)
# By name: a command loads only what it needs, which for `keys` is a third of the time.
for name, place in {
    "node": "run:node",
    "main-node": "run:main_node",
    "devnet": "devnet:devnet",
    "keys": "keys:app",
    "genesis": "genesis:app",
    "cert": "cert:app",
    "config": "config:app",
    "protection": "protection:app",
    "receipt": "receipt:app",
    "equivocation": "equivocation:app",
}.items():
    app.command(f"attestrio.cli.{place}", name=name)

BUG = 1
INTERRUPTED = 128 + signal.SIGINT


def run_command(tokens: Sequence[str]) -> int:
    """Run one command; its exit code, see README, exit codes. Raises SystemExit only for a signal."""
    try:
        code = app(list(tokens), exit_on_error=False, print_error=False, verbose=False)
    except BaseException as exc:
        one = worst(exc)
        if isinstance(one, SystemExit):
            raise one from None
        return _ended_by(one, exc, as_json="--json" in tokens)
    return code if isinstance(code, int) else 0


def _ended_by(one: BaseException, whole: BaseException, *, as_json: bool) -> int:
    """Say what ended the command; the exit code. `one` is the exception that counts among those in `whole`."""
    match one:
        case KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():  # the reader left, as in `attestrio ... | head`: it has what it wanted
            _silence_stdout()
            return 0
        case CycloptsError():
            command = " ".join(["attestrio", *(one.command_chain or ())])
            return report(Usage(f"{one} Try `{command} --help`."), as_json=as_json)
        case NodeError():
            if isinstance(one, OutputUnwritable):
                _silence_stdout()
            return report(one, as_json=as_json)
    traceback.print_exception(whole)
    print(f"attestrio: this is a bug, please report the lines above: {type(one).__name__} [bug]", file=sys.stderr)
    return BUG


def _silence_stdout() -> None:
    """What is still buffered cannot be written; the interpreter would try again at its end and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
