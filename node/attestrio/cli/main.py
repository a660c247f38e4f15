"""The root of the command line, and the table of exit codes in practice."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from cyclopts import App, CycloptsError

from attestrio.cli import cert, config, devnet, genesis, keys, run
from attestrio.cli.output import report, worst
from attestrio.errors import NodeError

app = App(
    name="attestrio",
    help="An attestation node: learns which batch is next, records its vote, signs it, and keeps the certificate.",
    version=lambda: version("attestrio"),
)
app.command(run.node)
app.command(run.main_node)
app.command(devnet.devnet)
app.command(keys.app)
app.command(genesis.app)
app.command(cert.app)
app.command(config.app)

USAGE = 2
BUG = 1


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code; see README, exit codes."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(tokens, exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(USAGE)  # cyclopts has printed what is wrong
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: `attestrio ... | head`
        sys.exit(0)
    except BaseException as exc:
        one = worst(exc)
        if isinstance(one, NodeError):
            sys.exit(report(one, as_json="--json" in tokens))
        if isinstance(one, SystemExit | KeyboardInterrupt):
            raise one from None
        traceback.print_exception(exc)
        sys.exit(BUG)
    sys.exit(code if isinstance(code, int) else 0)
