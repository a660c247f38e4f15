"""The command `attestrio`: parse, call, exit code. One file per group of verbs."""

from attestrio.cli.main import app, main

__all__ = ["app", "main"]
