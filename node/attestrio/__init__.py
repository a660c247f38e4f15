"""attestrio: an attestation node on trio. What embedding programs import; everything is loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attestrio.app import Epoch, RunningNode, run_node
    from attestrio.batches.api import BatchSource
    from attestrio.config import NodeConfig, load_config
    from attestrio.errors import NodeError, PeerError, SafetyError, SetupError, SourceError
    from attestrio.quorum.api import Link
    from attestrio.status.api import AttestationStatus, AttestationStatusClient
    from attestrio.store.api import BatchStore

__all__ = [
    "AttestationStatus",
    "AttestationStatusClient",
    "BatchSource",
    "BatchStore",
    "Epoch",
    "Link",
    "NodeConfig",
    "NodeError",
    "PeerError",
    "RunningNode",
    "SafetyError",
    "SetupError",
    "SourceError",
    "load_config",
    "run_node",
]

_HOME = {
    "AttestationStatus": "status.api",
    "AttestationStatusClient": "status.api",
    "BatchSource": "batches.api",
    "BatchStore": "store.api",
    "Epoch": "app",
    "Link": "quorum.api",
    "NodeConfig": "config",
    "NodeError": "errors",
    "PeerError": "errors",
    "RunningNode": "app",
    "SafetyError": "errors",
    "SetupError": "errors",
    "SourceError": "errors",
    "load_config": "config",
    "run_node": "app",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _HOME:
        raise AttributeError(f"module 'attestrio' has no attribute {name!r}")
    return getattr(importlib.import_module(f"attestrio.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
