"""What people call the keys of a network: the names of the configuration, otherwise a short form. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from attestrio.errors import PeerError
from attestrio.roles import AttesterPublicKey, NodePublicKey

MAX_NAME = 60
MAX_NAMES = 10_000
HEAD, TAIL = 8, 4  # hex digits that a short form keeps


def short(key: str) -> str:
    """`attester:public:secp256k1:02ab...` as `02abcdef…89ab`; what is no longer than that stays as it is."""
    digits = key.rpartition(":")[2]
    return digits if len(digits) <= HEAD + TAIL + 1 else f"{digits[:HEAD]}…{digits[-TAIL:]}"


class Names:
    """Public keys of attesters and nodes, as texts, to names."""

    def __init__(self, pairs: Iterable[str] = ()) -> None:
        """`pairs` are "KEY=NAME", as [web] names has them. Raises ValueError for the first that is none."""
        self._names: dict[str, str] = {}
        for pair in pairs:
            key, name = _pair(pair)
            if key in self._names:
                raise ValueError(f"names has {key} twice")
            self._names[key] = name
        if len(self._names) > MAX_NAMES:
            raise ValueError(f"names has {len(self._names)} entries, {MAX_NAMES} at most")

    def of(self, key: str) -> str:
        """The name of a key, given or short."""
        return self._names.get(key) or short(key)

    def given(self, key: str | None) -> str | None:
        """The name that the configuration gives, if it does."""
        return None if key is None else self._names.get(key)


def _pair(pair: str) -> tuple[str, str]:
    text, found, name = pair.partition("=")
    text, name = text.strip(), name.strip()
    if not found or not name or len(name) > MAX_NAME or not name.isprintable():
        raise ValueError(f"names: {pair[:200]!r} is not KEY=NAME, with a name of 1 to {MAX_NAME} characters")
    for kind in (AttesterPublicKey, NodePublicKey):
        try:
            return kind.from_text(text).to_text(), name
        except PeerError:
            continue
    raise ValueError(f"names: {text[:200]!r} is no public key of an attester or a node")
