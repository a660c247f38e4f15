"""Builds the parts of a node, connects them, runs its epochs: the only place where implementations are chosen."""

from attestrio.app.node import run_node
from attestrio.app.parts import Epoch, RunningNode

__all__ = ["Epoch", "RunningNode", "run_node"]
