"""A process that ends at any step: everything a rebuild writes goes through here, and is counted."""

from __future__ import annotations

from contextlib import contextmanager

from attestrio.kit.disk import RealDisk
from attestrio.resequence.journal import Journal
from attestrio.sequencer.sink import DirectSink
from attestrio.sequencer.writer import ChainWriter


class Killed(BaseException):
    """Nobody catches this: the process is gone."""


def die():
    raise Killed


class Fuse:
    """Burns down by one with each step; the process ends when nothing is left."""

    def __init__(self, steps=None, end=die):
        self.left, self.burnt, self.out, self.end = steps, 0, False, end

    def step(self):
        # What a killed process would not do either: clean up behind the exception.
        if self.out:
            self.end()
        self.burnt += 1
        if self.left is not None and self.burnt > self.left:
            self.out = True
            self.end()


class FusedSink(DirectSink):
    """Ends before or after each change to the stream."""

    def __init__(self, stream, fuse):
        super().__init__(stream)
        self.fuse = fuse

    def append(self, messages):
        self.fuse.step()
        super().append(messages)
        self.fuse.step()

    def truncate(self, number):
        self.fuse.step()
        super().truncate(number)
        self.fuse.step()


class FusedDisk(RealDisk):
    """Ends before each operation on the files of the journal."""

    def __init__(self, fuse):
        self.fuse = fuse

    def open(self, path):
        self.fuse.step()
        return FusedFile(super().open(path), self.fuse)

    def rename(self, source, target):
        self.fuse.step()
        super().rename(source, target)

    def remove(self, path):
        self.fuse.step()
        super().remove(path)

    def sync_folder(self, path):
        self.fuse.step()
        super().sync_folder(path)


class FusedFile:
    """Ends in the middle of a write, or before it is on disk."""

    def __init__(self, file, fuse):
        self._file, self._fuse = file, fuse

    def __getattr__(self, name):
        return getattr(self._file, name)

    def append(self, data):
        half = len(data) // 2
        self._file.append(data[:half])
        self._fuse.step()
        self._file.append(data[half:])

    def sync(self):
        self._fuse.step()
        self._file.sync()


def fuse(site, steps=None, end=die):
    """Puts one under everything `site` writes; returned. Until it is opened again."""
    fuse = Fuse(steps, end)
    site.writer = ChainWriter(site.db, FusedSink(site.stream, fuse))
    site.journal = Journal(site.folder / "stream.bin", disk=FusedDisk(fuse))
    for name in ("put_block", "close_batch", "put_meta", "unwind_to_end_of", "unwind_to_block", "forget_cursors"):
        setattr(site.db, name, _stepped(getattr(site.db, name), fuse))
    site.db.transaction = _transaction(site.db.transaction, fuse)
    return fuse


def _stepped(call, fuse):
    def stepped(*args, **more):
        fuse.step()
        result = call(*args, **more)
        fuse.step()
        return result

    return stepped


def _transaction(begin, fuse):
    @contextmanager
    def transaction():
        with begin():
            yield
            fuse.step()  # all is there, and nothing committed
        fuse.step()

    return transaction
