"""Whether the addresses of the configuration can be listened at, or are by the process that runs here."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final

from attestrio.app.doctor.finding import Finding, fail, ok, warn
from attestrio.app.doctor.holder import PROC, ports_of
from attestrio.kit.http import AddressInUse, BadAddress
from attestrio.kit.tcp import bind_socket

PRIVATE: Final = {"web.bind", "operator.metrics_bind", "aggregator.metrics_bind", "sequencer.metrics_bind"}


async def port(key: str, bind: str, holder: int | None, proc: Path = PROC) -> Finding:
    """Bound and let go; nothing ever listens. `holder`: the process in the data directory."""
    about = f"{key} {bind}"
    number = int(bind.rpartition(":")[2])
    if number == 0:
        return ok("port", about, "any free port")
    try:
        (await bind_socket(bind)).close()
    except AddressInUse:
        return _taken(about, number, holder, proc)
    except BadAddress as exc:
        return fail("port", about, str(exc), f"correct {key}, or its rights")
    if holder is not None:
        return warn("port", about, f"free, though process {holder} runs", "it may run with another configuration")
    if key in PRIVATE and not _loopback(bind):
        return warn("port", about, "free, and everybody who gets there may look", "bind it to 127.0.0.1, or guard it")
    return ok("port", about, "free")


def _taken(about: str, number: int, holder: int | None, proc: Path) -> Finding:
    if holder is None:
        return fail("port", about, "in use by another program", "stop that one, or choose another port")
    held = ports_of(holder, proc)
    if held is None:
        return warn(
            "port", about, f"in use; process {holder} runs here, and whose the port is cannot be seen",
            "run doctor as the user of that process",
        )  # fmt: skip
    if number in held:
        return ok("port", about, f"in use by process {holder}, which runs here")
    return fail("port", about, "in use by another program", "stop that one, or choose another port")


def _loopback(bind: str) -> bool:
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
