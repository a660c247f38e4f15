"""py-evm, brought in when a block is to be executed and not before, and kept from changing the whole process."""

from __future__ import annotations

from types import ModuleType

from attestrio.errors import MissingExtra
from attestrio.kit.recursion import recursion_limit_kept


def load_vm() -> ModuleType:
    """The module `zkevm.vm`. Half a second the first time. Raises MissingExtra."""
    with recursion_limit_kept():
        try:
            from attestrio.zkevm import vm
        except ImportError as exc:
            raise MissingExtra("zkevm", "executed blocks", "py-evm") from exc
    return vm
