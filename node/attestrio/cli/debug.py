"""`attestrio debug bundle`: one file for somebody who helps, without secrets."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import App, Parameter

from attestrio.app.bundle import Redactor, collect, secrets_of
from attestrio.app.doctor import subject_of
from attestrio.app.kinds import kind_of
from attestrio.cli.config import ConfigFile, KindFlag, Overrides, explained, toml_lines
from attestrio.cli.output import Output
from attestrio.configuring import BadConfig
from attestrio.kit.files import DISK_FAULTS, FileUnwritable, sync_folder

FOLDER = "attestrio-debug"

app = App(
    name="debug",
    help="Pack what somebody who helps needs to see, without secrets.\n\n"
    "Example: attestrio debug bundle -c node.toml --out node.tar.gz",
)


@app.command
def bundle(
    *,
    out: Annotated[Path, Parameter(help="File to be written, never over another one.")],
    config: ConfigFile = None,
    kind: KindFlag = None,
    set_: Overrides = (),
    output: Output = Output(),
) -> None:
    """Gather versions, configuration, doctor's findings, status, metrics, the last batches and counts in one file.

    No keys, passwords, or parts of URLs that could be secret are in it; it does name addresses, public keys and paths:
    look through it before you send it. The process may run or not; of one that runs, page and metrics are asked for.

    Example: attestrio debug bundle --config configs/node.toml --out node.tar.gz
    """
    kind = kind or kind_of(config)
    made, document = explained(kind, config, set_)
    subject = subject_of(kind, made)
    members, problems = trio.run(collect, kind, made, subject)
    members["config.toml"] = ("\n".join(toml_lines(made, document)) + "\n").encode()
    members["problems.txt"] = "".join(f"{one}\n" for one in problems).encode()
    redactor = Redactor(secrets_of(made, subject, os.environ))
    clean = {name: redactor.text(raw.decode("utf-8", "replace")).encode() for name, raw in members.items()}
    write(out, archive(clean))
    told = [f"{name}: {len(raw)} bytes" for name, raw in sorted(clean.items())]
    missing = [redactor.text(one) for one in problems]
    output.result(
        {"file": str(out), "members": sorted(clean), "problems": missing},
        [*told, *(f"not there: {one}" for one in missing), f"{out} written: look through it before you send it"],
    )


def archive(members: Mapping[str, bytes]) -> bytes:
    """A .tar.gz with the members in one folder. It names no user and no host."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, content in sorted(members.items()):
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size, info.mtime, info.mode = len(content), int(time.time()), 0o600
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def write(out: Path, raw: bytes) -> None:
    """A new file that only we can read. Raises BadConfig, FileUnwritable."""
    if not out.name:
        raise BadConfig("--out", "names no file")
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise BadConfig(str(out), "exists already; choose another name") from None
    except OSError as exc:
        raise BadConfig(str(out), f"cannot be written: {exc.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(out.absolute().parent)
    except OSError as exc:
        out.unlink(missing_ok=True)
        if exc.errno in DISK_FAULTS:
            raise FileUnwritable(out, exc) from None
        raise BadConfig(str(out), f"cannot be written: {exc.strerror}") from None
