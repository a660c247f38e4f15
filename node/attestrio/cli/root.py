"""The root of the command line, and the table of exit codes in practice."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.metadata import version

from cyclopts import App, CycloptsError

from attestrio.cli.output import CheckedStdout, OutputUnwritable, Usage, complain, report, silence, worst
from attestrio.errors import NodeError, OutOfDescriptors, SafetyError, for_want_of_descriptors

app = App(
    name="attestrio",
    help="""An attestation node: learns which batch is next, signs its vote, and keeps the certificate.

    To see it work: attestrio devnet --batches 5
    """,
    version=lambda: version("attestrio"),
    suppress_keyboard_interrupt=False,
)
# By name: a command loads only what it needs, which for `keys` is a third of the time.
PLACES = {
    "node": "run:node",
    "main-node": "run:main_node",
    "devnet": "devnet:devnet",
    "peers": "peers:peers",
    "keys": "keys:app",
    "genesis": "genesis:app",
    "cert": "cert:app",
    "batch": "batch:app",
    "config": "config:app",
    "doctor": "doctor:doctor",
    "debug": "debug:app",
    "protection": "protection:app",
    "receipt": "receipt:app",
    "equivocation": "equivocation:app",
    "operator": "operator:app",
    "aggregator": "aggregator:app",
    "stream": "stream:app",
    "sequencer": "sequencer:app",
    "unwind": "unwind:unwind",
    "resequence": "resequence:app",
    "rollback": "rollback:rollback",
    "epoch": "rollback:epoch",
    "completion": "completion:completion",
}
for name, place in PLACES.items():
    app.command(f"attestrio.cli.{place}", name=name)

BUG = 1
INTERRUPTED = 128 + signal.SIGINT


def run_command(tokens: Sequence[str]) -> int:
    """Run one command; its exit code, see README, exit codes. Raises SystemExit only for a signal."""
    if not tokens or tokens[0] in ("--help", "-h"):
        for name in PLACES:
            _ = app[name]  # loads it: the list says what each is for, which stands in its own file
    try:
        with redirect_stdout(CheckedStdout(sys.stdout)):
            code = app(list(tokens), exit_on_error=False, print_error=False, verbose=False)
            sys.stdout.flush()
    except BaseException as exc:
        one = worst(exc)
        if isinstance(one, SystemExit):
            raise one from None
        return _ended_by(one, exc, as_json="--json" in tokens)
    return code if isinstance(code, int) else 0


def _ended_by(one: BaseException, whole: BaseException, *, as_json: bool) -> int:
    """Say what ended the command; the exit code. `one` is the exception that counts among those in `whole`."""
    refused = None if isinstance(one, SafetyError | OutOfDescriptors) else for_want_of_descriptors(one)
    if refused is not None:  # whatever could not be opened: the file is not what has to be mended
        one = OutOfDescriptors(refused.strerror or str(refused))
    match one:
        case KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():  # the reader left, as in `attestrio ... | head`: it has what it wanted
            silence(sys.stdout)
            return 0
        case CycloptsError():
            command = " ".join(["attestrio", *(one.command_chain or ())])
            return report(Usage(f"{one} Try `{command} --help`."), as_json=as_json)
        case NodeError():
            if isinstance(one, OutputUnwritable):
                silence(sys.stdout)
            return report(one, as_json=as_json)
    lines = "".join(traceback.format_exception(whole))
    complain(f"{lines}attestrio: this is a bug, please report the lines above: {type(one).__name__} [bug]")
    return BUG
