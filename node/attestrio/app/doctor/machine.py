"""The machine: the disk below the data directory, rights of files, swap, limits. All of it blocks."""

from __future__ import annotations

import os
import resource
import stat
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from attestrio.app.doctor.finding import Finding, fail, ok, warn
from attestrio.app.doctor.holder import PROC

MOST_SYNCS: Final = 200
MOST_S: Final = 2.0
SYNC_BYTES: Final = 4096  # a page of the signing history
SLOW_SYNC_S: Final = 0.05
LEAST_ROOM: Final = 64 << 20  # bytes; SQLite and the file system need some for what is there already
LITTLE_ROOM: Final = 1 << 30
FEW_FILES: Final = 1024
VOLATILE: Final = {"tmpfs", "ramfs", "overlay"}
REMOTE: Final = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"}


def data_dir(place: Path, holder: int | None) -> Finding:
    """Whether it is there, ours alone, and who runs in it."""
    name, about = "data_dir", str(place)
    try:
        found = place.stat()
    except FileNotFoundError:
        above = standing(place)
        if not os.access(above, os.W_OK | os.X_OK):
            return fail(name, about, f"does not exist, and nothing can be made in {above}", _as_user(above))
        return ok(name, about, "does not exist yet: the first start makes it")
    except OSError as exc:
        return fail(name, about, f"cannot be looked at: {exc.strerror}", "run doctor as the user of the process")
    if not stat.S_ISDIR(found.st_mode):
        return fail(name, about, "is no directory", "choose another data_dir")
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        return fail(name, about, f"user {os.geteuid()} cannot write in it", _as_user(place))
    runs = "nothing runs in it" if holder is None else f"process {holder} runs in it"
    if found.st_mode & 0o022:
        return fail(name, about, f"others may write in it (mode {_mode(found)}); {runs}", f"chmod 700 {place}")
    if found.st_mode & 0o055:
        return warn(name, about, f"others may look into it (mode {_mode(found)}); {runs}", f"chmod 700 {place}")
    return ok(name, about, f"mode {_mode(found)}; {runs}")


def room(place: Path) -> Finding:
    """Bytes and files that are left on the disk."""
    name, above = "room", standing(place)
    try:
        found = os.statvfs(above)
    except OSError as exc:
        return fail(name, str(above), f"cannot be asked: {exc.strerror}", "look at the disk")
    free = found.f_bavail * found.f_frsize
    text, mend = f"{free / (1 << 30):.1f} GiB free", "make room: a full disk ends the process with exit code 4"
    if free < LEAST_ROOM:
        return fail(name, str(above), text, mend, free_bytes=free)
    if found.f_files and found.f_favail < FEW_FILES:
        return warn(name, str(above), f"{found.f_favail} more files fit", mend, free_bytes=free)
    if free < LITTLE_ROOM:
        return warn(name, str(above), text, mend, free_bytes=free)
    return ok(name, str(above), text, free_bytes=free)


def file_system(place: Path, proc: Path = PROC) -> Finding:
    """Whether it survives a loss of power, and keeps locks."""
    name, above = "file_system", standing(place)
    kind = _kind(above.resolve(), proc)
    if kind in VOLATILE:
        return warn(
            name, str(above), f"{kind}: its content may be gone with the machine or the container",
            "put the data directory on a disk or a volume: a lost signing history keeps the node from voting",
        )  # fmt: skip
    if kind in REMOTE:
        return warn(
            name, str(above), f"{kind}: locks and syncs of a network file system are not to be relied on",
            "put the data directory on a local disk",
        )  # fmt: skip
    return ok(name, str(above), kind or "of unknown type")


def disk_sync(place: Path) -> Finding:
    """How long the disk takes to make a page durable: a vote needs one sync before it leaves."""
    name, above = "disk_sync", standing(place)
    part = above / f".attestrio-doctor-{os.getpid()}"
    try:
        took = sorted(sync_times(part))
    except OSError as exc:
        return fail(name, str(above), f"cannot be measured: {exc.strerror}", _as_user(above))
    median, worst = statistics.median(took), took[-1]
    rate = 1 / max(median, 1e-9)
    values = {"median_s": median, "worst_s": worst, "syncs": len(took), "votes_per_s": rate}
    text = (
        f"{len(took)} syncs: median {median * 1e3:.2f} ms, worst {worst * 1e3:.2f} ms;"
        f" at most about {_rounded(rate)} votes a second"
    )
    if median > SLOW_SYNC_S:
        return warn(name, str(above), text, "use a faster disk, or take other writers off it", **values)
    return ok(name, str(above), text, **values)


def sync_times(part: Path) -> Iterator[float]:
    """Seconds of each sync of a new file, which is gone afterwards; as many as fit into the bounds, one at least.

    Raises OSError.
    """
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        page, until = os.urandom(SYNC_BYTES), time.perf_counter() + MOST_S
        for _ in range(MOST_SYNCS):
            os.write(handle, page)
            began = time.perf_counter()
            os.fsync(handle)
            ended = time.perf_counter()
            yield ended - began
            if ended > until:
                return
    finally:
        os.close(handle)
        with suppress(OSError):
            part.unlink()


def secret_file(key: str, path: Path, owner: int) -> Finding:
    """Whether only its owner reads it. `owner`: the user who runs the process."""
    name, about = "key_file", f"{key} {path}"
    try:
        found = path.stat()
    except OSError as exc:
        return fail(name, about, f"cannot be looked at: {exc.strerror}", "check the path and its rights")
    if not stat.S_ISREG(found.st_mode):
        return warn(name, about, "is no regular file", "give the path of a file")
    if found.st_mode & 0o007:
        return fail(name, about, f"everybody may read or write it (mode {_mode(found)})", f"chmod 600 {path}")
    if found.st_mode & 0o070:
        return warn(name, about, f"its group may read or write it (mode {_mode(found)})", f"chmod 600 {path}")
    if not os.access(path, os.R_OK):
        return fail(name, about, f"user {os.geteuid()} cannot read it", _as_user(path))
    if found.st_uid not in (owner, 0):
        return warn(name, about, f"belongs to user {found.st_uid}, and the process to {owner}", f"chown {owner} {path}")
    return ok(name, about, f"mode {_mode(found)}, user {found.st_uid}")


def readable_file(key: str, path: Path) -> Finding:
    about = f"{key} {path}"
    if os.access(path, os.R_OK):
        return ok("file", about, "can be read")
    return fail("file", about, "cannot be read", "check the path and its rights")


def program(key: str, path: Path) -> Finding:
    about = f"{key} {path}"
    if os.access(path, os.X_OK) and path.is_file():
        return ok("program", about, "can be run")
    return fail("program", about, "cannot be run", "install it, or correct the path")


def swap(proc: Path = PROC) -> Finding:
    """Secret keys are in memory, and swap is a disk."""
    try:
        lines = (proc / "swaps").read_text("utf-8").splitlines()[1:]
    except OSError:
        return ok("swap", "", "this system does not say whether it swaps")
    used = [line.split()[0] for line in lines if line.split() and not line.startswith("/dev/zram")]
    if used:
        mend = "turn it off (swapoff -a), encrypt it, or run with MemorySwapMax=0 as configs/systemd does"
        return warn("swap", "", f"memory, keys too, may be written to {', '.join(used)}", mend)
    return ok("swap", "", "none on a disk")


def descriptors(place: Path) -> Finding:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < FEW_FILES:
        return warn("descriptors", "", f"{limit} open files allowed here", "ulimit -n 1024, LimitNOFILE=", limit=limit)
    return ok("descriptors", "", "enough open files allowed here", limit=limit)


def is_closed(place: Path) -> bool:
    """Whether we cannot know what is in it."""
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return not os.access(place, os.R_OK | os.X_OK)


def standing(place: Path) -> Path:
    """`place`, or the nearest folder above it that is there."""
    place = place.absolute()
    while not os.path.isdir(place) and place != place.parent:  # False too where we may not look
        place = place.parent
    return place


def owner_of(place: Path) -> int:
    """Who runs the process: the owner of the data directory, where there is one; else we."""
    try:
        return place.stat().st_uid
    except OSError:
        return os.geteuid()


def _kind(place: Path, proc: Path) -> str:
    """Type of the file system below `place`; "" where the system does not say."""
    best, kind = -1, ""
    try:
        lines = (proc / "self" / "mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for parts in (line.split(" ") for line in lines):
        if len(parts) > 2:
            mount = Path(parts[1].replace("\\040", " "))
            if (mount == place or mount in place.parents) and len(mount.parts) >= best:
                best, kind = len(mount.parts), parts[2]
    return kind


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):04o}"


def _as_user(place: Path) -> str:
    return f"run doctor as the user of the process, or give {place} to that user"


def _rounded(rate: float) -> str:
    """With two digits that count: more would not be true a minute later."""
    digits = max(len(str(int(rate))) - 2, 0)
    return f"{int(round(rate, -digits)):,}" if rate >= 10 else f"{rate:.1f}"
