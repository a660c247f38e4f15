"""The bookmark index as upstream keeps it: a LevelDB folder. The only file that touches `plyvel` (extra `zkevm`).

Without the extra `LevelBookmarks` raises MissingExtra. A folder written by goleveldb is read and written further, and
the reverse; LevelDB lets one process in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attestrio.errors import MissingExtra
from attestrio.stream.errors import BookmarksUnusable

try:
    import plyvel
except ImportError:  # told when it is wanted: the class has to be there for whoever lists what there is
    plyvel = None


class LevelBookmarks:
    """A `BookmarkIndex`. Raises BookmarksUnusable, also while another process has the folder, and MissingExtra."""

    def __init__(self, path: Path) -> None:
        if plyvel is None:
            raise MissingExtra("zkevm", "LevelDB bookmarks", "plyvel")
        self._path = path
        with self._errors():
            self._db = plyvel.DB(str(path), create_if_missing=True)

    def get(self, key: bytes) -> int | None:
        with self._errors():
            found = self._db.get(key)
        if found is None:
            return None
        if len(found) != 8:
            raise BookmarksUnusable(self._path, f"a number of {len(found)} B")
        return int.from_bytes(found, "big")

    def put(self, pairs: Iterable[tuple[bytes, int]]) -> None:
        with self._errors(), self._db.write_batch() as batch:
            for key, number in pairs:
                batch.put(key, number.to_bytes(8, "big"))

    def clear(self) -> None:
        with self._errors(), self._db.write_batch() as batch, self._db.iterator(include_value=False) as keys:
            for key in keys:
                batch.delete(key)

    def __len__(self) -> int:
        with self._errors(), self._db.iterator(include_value=False) as keys:
            return sum(1 for _ in keys)

    def close(self) -> None:
        with self._errors():
            self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (plyvel.Error, OSError) as exc:  # plyvel raises OSError's alias for a lock and a bad disk
            raise BookmarksUnusable(self._path, str(exc)) from exc
