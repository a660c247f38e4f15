"""The files of the page, as they stand in the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parent / "page"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
INDEX: Final = "index.html"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, read once."""

    body: bytes
    media_type: str


def read_assets(folder: Path = PAGE) -> dict[str, Asset]:
    """Every file of a known type, by name. Only what stands in this dictionary can be asked for."""
    return {
        path.name: Asset(path.read_bytes(), TYPES[path.suffix])
        for path in sorted(folder.iterdir())
        if path.suffix in TYPES and path.is_file()
    }
