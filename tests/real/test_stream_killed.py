"""`attestrio stream` as processes that are killed at work: what is left is a stream, or is no backup."""

import json
import signal
from itertools import count

import pytest
import trio
from attestrio.stream.backup import read_backup
from attestrio.stream.bookmarks import DataStream, SqliteBookmarks
from attestrio.stream.client import connect
from attestrio.stream.file import StreamFile
from attestrio.stream.messages import Bookmark
from attestrio.stream.verify import verify
from attestrio.stream.wire_errors import BackupUnusable
from processes import run, started

pytestmark = [pytest.mark.real, pytest.mark.slow]
PAUSES_S = (0.0, 0.01, 0.03)  # between the first sign of work and the kill: the moment is what is tried


def made(path, entries, fill):
    """A stream of so many entries, each a third of a page, and a bookmark before the last."""
    index = SqliteBookmarks(path.with_name(f"{path.name}.bookmarks"))
    with DataStream(StreamFile.create(path, pages=1), index) as stream, stream.atomic():
        for _ in range(entries):
            stream.add(3, bytes([fill]) * 340_000)
        stream.add_message(Bookmark.batch(fill))
        stream.add(3, b"last")
    return path


def used(path):
    """The bytes of a stream that count."""
    with StreamFile.open(path) as stream:
        return path.read_bytes()[: stream.header.total_length]


async def killed_once_there(sign, pause_s, *tokens):
    """Run a command until a file is there, and a moment longer."""
    async with started("stream", *tokens) as process:
        while not sign.exists():  # noqa: ASYNC110 - another process makes it, and tells nobody
            await trio.sleep(0.001)
        await trio.sleep(pause_s)
        return (await process.stop(signal.SIGKILL))[0]


async def test_a_backup_that_is_killed_is_none_and_the_next_one_is(tmp_path):
    source = made(tmp_path / "s.bin", 150, 1)
    before, codes, number = source.read_bytes(), [], count()

    for pause_s in PAUSES_S:
        kept = tmp_path / f"kept{next(number)}"
        codes.append(await killed_once_there(kept / "stream.bin", pause_s, "backup", source, kept))
        with pytest.raises(BackupUnusable):
            read_backup(kept, lambda *_: None)
    ended = run("stream", "backup", source, tmp_path / "whole", "--json")

    assert codes == [-signal.SIGKILL] * len(PAUSES_S)
    assert ended.returncode == 0
    assert source.read_bytes() == before
    assert used(tmp_path / "whole" / "stream.bin") == used(source)


async def test_a_restore_that_is_killed_leaves_one_of_the_two_streams(tmp_path):
    kept, target = tmp_path / "kept", made(tmp_path / "t.bin", 2, 2)
    source = made(tmp_path / "s.bin", 150, 1)
    assert run("stream", "backup", source, kept).returncode == 0
    former, new, draft = used(target), used(source), tmp_path / ".t.bin.restored"

    for pause_s in PAUSES_S:
        await killed_once_there(draft, pause_s, "restore", kept, target, "--replace")
        assert used(target) in (former, new)
    ended = run("stream", "restore", kept, target, "--replace")

    assert ended.returncode == 0, ended.stderr
    assert used(target) == new
    checked = verify(target, index := SqliteBookmarks(tmp_path / "t.bin.bookmarks"))
    index.close()
    assert "bookmark_unresolved" not in {one.code for one in checked.findings}


async def test_a_server_that_is_killed_leaves_its_stream_to_the_next(tmp_path):
    path = made(tmp_path / "s.bin", 6, 1)
    before = used(path)

    for _ in range(2):
        async with started("stream", "serve", path, "--bind", "127.0.0.1:0", "--json") as server:
            await server.wait_said("serving")
            async with connect(json.loads(server.out.splitlines()[0])["address"]) as client:
                await client.start_bookmark(Bookmark.batch(1).encode())
                assert (await client.entries())[0].number == 6
                assert (await server.stop(signal.SIGKILL))[0] == -signal.SIGKILL

    assert used(path) == before
