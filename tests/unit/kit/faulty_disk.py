"""A disk below SQLite that fails when told to."""

from __future__ import annotations

import itertools

import apsw

_names = itertools.count()


class FaultyDisk(apsw.VFS):
    """Register with `FaultyDisk()`, open with `vfs=disk.name`.

    `fail["sync", "-wal"] = exception` makes every such call on files with that ending raise; `calls` counts them all.
    """

    def __init__(self) -> None:
        self.name = f"faulty-disk-{next(_names)}"
        self.fail: dict[tuple[str, str], BaseException] = {}
        self.calls: dict[tuple[str, str], int] = {}
        super().__init__(self.name, "")

    def xOpen(self, name, flags):
        path = name.filename() if isinstance(name, apsw.URIFilename) else (name or "")
        self.did("open", path)
        return _FaultyFile(self, path, name, flags)

    def did(self, verb: str, path: str) -> None:
        ending = path[path.rindex(".db") + 3 :] if ".db" in path else path
        self.calls[verb, ending] = self.calls.get((verb, ending), 0) + 1
        if (verb, ending) in self.fail:
            raise self.fail[verb, ending]


class _FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, path: str, name, flags) -> None:
        self.disk, self.path = disk, path
        super().__init__("", name, flags)

    def xRead(self, amount, offset):
        self.disk.did("read", self.path)
        return super().xRead(amount, offset)

    def xWrite(self, data, offset):
        self.disk.did("write", self.path)
        super().xWrite(data, offset)

    def xSync(self, flags):
        self.disk.did("sync", self.path)
        super().xSync(flags)
