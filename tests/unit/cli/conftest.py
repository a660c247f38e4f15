"""Commands run in this process: quicker than real ones, with the same way in and the same way out."""

import json
import logging
import os
import signal
import threading
from dataclasses import dataclass

import pytest
from attestrio.cli import main
from attestrio.cli.logs import LOGGERS

TIMEOUT_S = 10


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        """What --json printed."""
        return json.loads(self.out)

    @property
    def error(self):
        """What --json printed about the error."""
        return json.loads(self.err.splitlines()[-1])["error"]


@pytest.fixture
def attestrio(capsys, monkeypatch):
    """`attestrio("keys", "public", path)`, in an environment without settings of ours."""
    for name in [name for name in os.environ if name.startswith("ATTESTRIO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]

    def run(*tokens):
        capsys.readouterr()
        # A node that starts, although it should not, would run for ever: then it ends here with 143.
        guard = threading.Timer(TIMEOUT_S, os.kill, (os.getpid(), signal.SIGTERM))
        guard.start()
        try:
            with pytest.raises(SystemExit) as caught:
                main([str(token) for token in tokens])
        finally:
            guard.cancel()
        out, err = capsys.readouterr()
        return Ended(caught.value.code, out, err)

    yield run
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
