"""The members of a bundle, each by itself: what cannot be had is named, and the others come all the same."""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import trio

from attestrio.app.doctor import Subject, examine
from attestrio.app.doctor.holder import holder_of
from attestrio.app.kinds import Kind
from attestrio.configuring import Section
from attestrio.errors import NodeError, leaves
from attestrio.gossip.peers_file import MAX_BYTES, PEERS
from attestrio.kit.blocking import in_thread
from attestrio.kit.files import read_bounded
from attestrio.kit.http import AnswerTooLarge, AnswerTooLate, BadHttpStatus, Unreachable, client

NEWEST: Final = 50  # batches
MAX_PAGE: Final = 16 << 20  # bytes of what the process answers
MAX_NOTE: Final = 1 << 20  # of HALT and ROLLBACK
ANSWER_S: Final = 10.0
LIBRARIES: Final = (
    "apsw", "coincurve", "cryptography", "httpx", "hypercorn", "msgspec", "protobuf", "starlette", "trio", "web3"
)  # fmt: skip

Members = dict[str, bytes]
Collect = Callable[[], Awaitable[Any]]


async def collect(kind: Kind, made: Section, subject: Subject) -> tuple[Members, list[str]]:
    """Members by name, and one line for each that could not be had. Bounded in time and size."""
    members: Members = {}
    problems: list[str] = []

    async def add(name: str, get: Collect) -> None:
        try:
            with trio.fail_after(6 * ANSWER_S):
                got = await get()
        except trio.TooSlowError:
            problems.append(f"{name}: took too long")
        except Exception as exc:  # a bundle is asked for when something is wrong: a bug is one more line
            problems.append(f"{name}: {sentence(exc)}")
        else:
            if got is not None:
                members[name] = got if isinstance(got, bytes) else as_json(got)

    await add("versions.json", partial(_now, versions(kind)))
    await add("doctor.json", partial(_doctor, subject))
    await add("files.json", partial(in_thread, partial(files, subject.data_dir)))
    for name in ("HALT", "ROLLBACK"):
        await add(f"{name}.json", partial(in_thread, partial(_note, subject.data_dir / name, MAX_NOTE)))
    await add("peers.json", partial(in_thread, partial(_note, subject.data_dir / PEERS, MAX_BYTES)))
    if kind is Kind.NODE:
        from attestrio.app.bundle import of_node

        await add("protection.json", partial(in_thread, partial(of_node.protection, subject.data_dir)))
        await add("duty.json", partial(in_thread, partial(of_node.duty, subject.data_dir, NEWEST)))
    if kind in (Kind.OPERATOR, Kind.AGGREGATOR):
        from attestrio.app.bundle import of_aligned

        await add("journal.json", partial(of_aligned.journal, made))
    base = page_of(subject)
    if base is None:
        problems.append("status.json, metrics.txt, readyz.json: the configuration serves none, or at any free port")
    else:
        for page, name in (("status.json",) * 2, ("metrics", "metrics.txt"), ("readyz", "readyz.json")):
            await add(name, partial(get_bounded, f"{base}{page}", MAX_PAGE))
    return members, problems


def sentence(exc: BaseException) -> str:
    """Why a member could not be had, also out of a nursery."""
    match exc:
        case BaseExceptionGroup():
            return "; ".join(dict.fromkeys(map(sentence, leaves(exc))))
        case NodeError():
            return str(exc)
        case OSError():
            return exc.strerror or str(exc)
    return f"{type(exc).__name__}: {exc}"


def as_json(document: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2) + b"\n"


def versions(kind: Kind) -> dict[str, Any]:
    """What runs here. No host name, no user."""
    found = {}
    for name in ("attestrio", *LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    # names only: a value may be a secret
    environment = sorted(name for name in os.environ if name.startswith("ATTESTRIO_"))
    return {
        "kind": kind, "python": sys.version, "system": platform.platform(), "machine": platform.machine(),
        "cpus": os.cpu_count(), "libraries": found, "environment": environment,
    }  # fmt: skip


def files(place: Path) -> dict[str, Any]:
    """Names, sizes, modes and times of what is in the data directory; no contents."""
    listed = []
    for path in sorted(place.rglob("*"))[:1_000]:
        try:
            found = path.lstat()
        except FileNotFoundError:  # a process that runs makes and removes some
            continue
        listed.append(
            {
                "name": str(path.relative_to(place)), "bytes": found.st_size, "mode": stat.filemode(found.st_mode),
                "user": found.st_uid, "changed_at": found.st_mtime,
            }
        )  # fmt: skip
    return {"process": holder_of(place), "files": listed}


def page_of(subject: Subject) -> str | None:
    """Where the process answers GET, by its configuration; None where it does not, or nobody knows the port."""
    served = [bind for key, bind in subject.binds if key == "web.bind" or key.endswith(".metrics_bind")]
    if not served or served[-1].endswith(":0"):
        return None
    host, _, port = served[-1].rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    return f"http://{host}:{port}/"


async def get_bounded(url: str, max_bytes: int) -> bytes:
    """The body of an answer, whatever its status says about readiness. Raises SourceError."""
    raw = bytearray()
    try:
        with trio.fail_after(ANSWER_S):
            async with client(url) as http, http.stream("GET", url) as response:
                if response.status_code not in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE):
                    raise BadHttpStatus(url, response.status_code)
                async for part in response.aiter_raw():
                    raw += part
                    if len(raw) > max_bytes:
                        await response.aclose()  # which ends the loop by an error, and httpx's generators with it
    except trio.TooSlowError:
        raise AnswerTooLate(url, ANSWER_S) from None
    except (httpx.HTTPError, httpx.StreamError) as exc:
        if len(raw) <= max_bytes:
            raise Unreachable(url, str(exc) or type(exc).__name__) from None
    if len(raw) > max_bytes:
        raise AnswerTooLarge(url, len(raw), max_bytes)
    return bytes(raw)


async def _now(document: object) -> object:
    await trio.lowlevel.checkpoint()
    return document


async def _doctor(subject: Subject) -> list[dict[str, Any]]:
    return [one.document() for one in await examine(subject)]


def _note(path: Path, max_bytes: int) -> bytes | None:
    try:
        return read_bounded(path, max_bytes)
    except FileNotFoundError:
        return None
