"""`attestrio stream`: data stream files, looked at, served, copied and cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cyclopts import App, Parameter, validators

from attestrio.cli.output import Output, say
from attestrio.cli.progress import progress_bar
from attestrio.errors import PeerError, StorageUnusable
from attestrio.stream.backup import backup as make_backup
from attestrio.stream.backup import restore as put_back
from attestrio.stream.bookmarks import BookmarkIndex, open_index
from attestrio.stream.entries import Entry, EntryType
from attestrio.stream.file import StreamFile
from attestrio.stream.messages import message_untrusted
from attestrio.stream.reader import StreamReader
from attestrio.stream.verify import StreamReport
from attestrio.stream.verify import info as look
from attestrio.stream.verify import verify as walk

app = App(
    name="stream",
    help="Data streams of a sequencer: look at a file, serve it, follow a server.\n\n"
    "Example: attestrio stream info data-stream.bin",
)
for name in ("serve", "follow"):
    app.command(f"attestrio.cli.stream_net:{name}", name=name)

StreamPath = Annotated[Path, Parameter(help="The stream file, as cdk-erigon's data-stream.bin.")]
Number = Annotated[int | None, Parameter(validator=validators.Number(gte=0, lt=1 << 64))]


class StreamFaulty(StorageUnusable):
    """A stream file is not as it should be; the command has printed what is wrong with it."""

    code: ClassVar[str] = "stream_faulty"

    def __init__(self, report: StreamReport) -> None:
        first = report.findings[0].text if report.findings else ""
        super().__init__(f"{report.path}: {report.findings_total} faults, the first: {first}")
        self.report = report


@app.command
def info(file: StreamPath, /, *, output: Output = Output()) -> None:
    """Tell what a stream file holds, from its header and last pages. Works while a server writes it.

    Example: attestrio stream info data-stream.bin
    """
    found = look(file)
    header = found.header
    document = asdict(found) | {"path": str(file)}
    lines = [
        f"{header.total_entries} entries, {header.total_length} bytes in {found.pages_used} of {found.pages} pages",
        f"last batch {_or_none(found.last_batch)}{', open' if found.open_batch else ''}",
        f"last block {_or_none(found.last_block)}",
        f"version {header.version}, system {header.system_id}",
    ]
    output.result(document, lines)


@app.command
def cat(
    file: StreamPath,
    /,
    *,
    first: Annotated[Number, Parameter(name="--from", help="The first entry, 0 if not given.")] = None,
    to: Annotated[Number, Parameter(help="The entry to stop before.")] = None,
    output: Output = Output(),
) -> None:
    """Print entries, one a line; with --json one document a line.

    Example: attestrio stream cat data-stream.bin --from 100 --to 120
    """
    with StreamReader.open(file) as reader:
        for entry in reader.entries(first or 0, to):
            document = entry_json(entry)
            if output.json:
                say(json.dumps(document))
            else:
                said = " ".join(f"{key}={value}" for key, value in document.items() if key not in ("number", "type"))
                say(f"{entry.number}  {document['type']}  {said}")


@app.command
def verify(
    file: StreamPath,
    /,
    *,
    bookmarks: Annotated[
        Path | None, Parameter(help="Check this index too: a LevelDB folder, or a file of ours.")
    ] = None,
    output: Output = Output(),
) -> None:
    """Walk through a whole stream: header, pages, numbers, order, encodings. Exit 4 if anything is wrong.

    Example: attestrio stream verify data-stream.bin
    """
    with the_index(bookmarks) as index, progress_bar("verifying", output) as tell:
        report = walk(file, index, on_progress=tell)
    document = asdict(report) | {"ok": report.ok, "path": str(file)}
    lines = [
        f"{one.code}: {one.text}" + ("" if one.number is None else f" (entry {one.number})") for one in report.findings
    ]
    if report.findings_total > len(report.findings):
        lines.append(f"and {report.findings_total - len(report.findings)} more")
    if report.ok and report.header is not None:
        counts = report.counts
        lines.append(
            f"{report.header.total_entries} entries verified on {report.pages} pages: {counts.batches} batches,"
            f" {counts.blocks} blocks, {counts.transactions} transactions, {counts.bookmarks} bookmarks"
        )
    if report.bookmarks_stale:
        lines.append(f"{report.bookmarks_stale} bookmarks lead nowhere any more: harmless")
    output.result(document, lines)
    if not report.ok:
        raise StreamFaulty(report)


@app.command
def truncate(
    file: StreamPath,
    number: Annotated[int, Parameter(validator=validators.Number(gte=0, lt=1 << 64), help="The first to remove.")],
    /,
    *,
    output: Output = Output(),
) -> None:
    """Remove an entry and all behind it. Nobody may be writing or serving the file.

    Example: attestrio stream truncate data-stream.bin 34000
    """
    with StreamFile.open(file) as stream:
        before = stream.header
        stream.truncate(number)
        after = stream.header
    removed = before.total_entries - after.total_entries
    output.result(
        {"before": asdict(before), "after": asdict(after), "removed": removed},
        [f"{removed} entries removed, {after.total_entries} are left, {after.total_length} bytes"],
    )


@app.command
def backup(
    file: StreamPath,
    folder: Annotated[Path, Parameter(help="A new folder for the copy.")],
    /,
    *,
    output: Output = Output(),
) -> None:
    """Copy a stream and its bookmarks, with a manifest of hashes. A server may go on writing the file.

    Example: attestrio stream backup data-stream.bin backup-today
    """
    with progress_bar("copying", output) as tell:
        manifest = make_backup(file, folder, tell)
    header = manifest.header
    output.result(
        manifest.to_json(),
        [
            f"{header.total_entries} entries and {manifest.bookmarks} bookmarks in {folder}",
            *(f"{digest}  {name}" for name, (_, digest) in manifest.files.items()),
        ],
    )


@app.command
def restore(
    folder: Annotated[Path, Parameter(help="What `stream backup` has made.")],
    file: StreamPath,
    /,
    *,
    bookmarks: Annotated[
        Path | None, Parameter(help="Where the index goes; FILE with .bookmarks behind it if not given.")
    ] = None,
    replace: Annotated[bool, Parameter(negative="", help="Replace a stream that is there.")] = False,
    output: Output = Output(),
) -> None:
    """Put a backup back, after its hashes were checked. A file that is there is kept without --replace.

    Example: attestrio stream restore backup-today data-stream.bin
    """
    with progress_bar("checking", output) as tell:
        manifest = put_back(folder, file, bookmarks or index_beside(file), tell, replace=replace)
    header = manifest.header
    output.result(manifest.to_json(), [f"{file}: {header.total_entries} entries, {header.total_length} bytes"])


def index_beside(file: Path) -> Path:
    """Where the bookmarks of a stream are unless somebody says otherwise."""
    return file.with_name(f"{file.name}.bookmarks")


@contextmanager
def the_index(bookmarks: Path | None) -> Iterator[BookmarkIndex | None]:
    """The index that is to be checked, if there is to be one. Raises NoBookmarks, and as `open_index`."""
    if bookmarks is None:
        yield None
        return
    # LevelDB would make an index of any folder, and a check leaves none behind.
    if not (bookmarks / "CURRENT" if bookmarks.is_dir() else bookmarks).exists():
        raise NoBookmarks(bookmarks)
    with closing(open_index(bookmarks)) as index:
        yield index


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry as people read it: its message with bytes in hex, or its data where that is none."""
    document: dict[str, Any] = {"number": entry.number}
    try:
        message = message_untrusted(entry.type, entry.data)
    except PeerError:
        return document | {"type": entry.type, "data": entry.data.hex()}
    document["type"] = EntryType(entry.type).name.lower()
    for field in fields(message):
        value = getattr(message, field.name)
        if value is not None:
            name = field.name if field.name not in document else f"{document['type']}_{field.name}"
            document[name] = value.hex() if isinstance(value, bytes) else value
    return document


class NoBookmarks(StorageUnusable):
    """There is no bookmark index where one was to be checked."""

    code: ClassVar[str] = "no_bookmarks"

    def __init__(self, path: Path) -> None:
        super().__init__(f"no bookmarks at {path}")
        self.path = path


def _or_none(number: int | None) -> str:
    return "none" if number is None else str(number)
