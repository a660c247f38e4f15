"""The root of the command line, and the table of exit codes in practice."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.metadata import version

from cyclopts import App, CycloptsError, Group

from attestrio.cli.output import CheckedStdout, NotAllowed, OutputUnwritable, Usage, complain, report, silence, worst
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
GROUPS = {
    "To see it work": {"devnet": "devnet:devnet"},
    "A node, and what it needs": {
        "node": "run:node",
        "main-node": "run:main_node",
        "keys": "keys:app",
        "genesis": "genesis:app",
        "config": "config:app",
        "completion": "completion:completion",
    },
    "How it does, and why": {
        "batch": "batch:app",
        "peers": "peers:peers",
        "doctor": "doctor:doctor",
        "debug": "debug:app",
        "cert": "cert:app",
        "receipt": "receipt:app",
        "epoch": "rollback:epoch",
    },
    "What was signed, and what waits for you": {
        "protection": "protection:app",
        "equivocation": "equivocation:app",
        "rollback": "rollback:rollback",
    },
    "Aligned": {"operator": "operator:app", "aggregator": "aggregator:app"},
    "Sequencers of CDK chains": {
        "sequencer": "sequencer:app",
        "stream": "stream:app",
        "resequence": "resequence:app",
        "unwind": "unwind:unwind",
    },
}
PLACES = {name: place for places in GROUPS.values() for name, place in places.items()}
for order, (title, places) in enumerate(GROUPS.items()):
    group = Group(title, sort_key=order)
    for name, place in places.items():
        app.command(f"attestrio.cli.{place}", name=name, group=group)
options = Group("Options", sort_key=len(GROUPS))
for flag in ("--help", "--version"):
    app[flag].group = options

BUG = 1
INTERRUPTED = 128 + signal.SIGINT


def run_command(tokens: Sequence[str]) -> int:
    """Run one command; its exit code, see README, exit codes. Raises SystemExit only for a signal."""
    try:
        load_listed(tokens)
        with redirect_stdout(CheckedStdout(sys.stdout)):
            code = app(list(tokens), exit_on_error=False, print_error=False, verbose=False)
            sys.stdout.flush()
    except BaseException as exc:
        one = worst(exc)
        if isinstance(one, SystemExit):
            raise one from None
        return _ended_by(one, exc, as_json="--json" in tokens)
    return code if isinstance(code, int) else 0


def load_listed(tokens: Sequence[str], here: App = app) -> None:
    """Load the commands that will be listed: what each is for stands in its own file."""
    for token in tokens:
        if token.startswith("-") or token not in set(here):
            break
        here = here[token]
    if here.default_command is None:
        for name in list(here):
            _ = here[name]


def _ended_by(one: BaseException, whole: BaseException, *, as_json: bool) -> int:
    """Say what ended the command; the exit code. `one` is the exception that counts among those in `whole`."""
    refused = None if isinstance(one, SafetyError | OutOfDescriptors) else for_want_of_descriptors(one)
    if refused is not None:  # whatever could not be opened: the file is not what has to be mended
        one = OutOfDescriptors(refused.strerror or str(refused))
    if isinstance(one, PermissionError) and one.filename is not None:  # wherever a command looked first
        one = NotAllowed(str(one.filename))
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
