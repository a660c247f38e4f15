"""What systemd (or any supervisor that speaks its notify protocol) is told: ready, alive, how it goes, stopping."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import trio

log = logging.getLogger("attestrio.kit")

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"
STATUS_EVERY_S: Final = 10.0
STATUS_LENGTH: Final = 200  # what `systemctl status` shows on one line


def notify(state: str, env: Mapping[str, str]) -> bool:
    """Send `state` to the socket in NOTIFY_SOCKET; False where there is none. One datagram, never waits.

    A supervisor that does not listen any more is logged and no error: the node works without it.

    Source: sd_notify(3); a path that begins with @ is an abstract socket.
    """
    address = env.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            sock.sendto(state.encode(), address)
    except OSError as exc:
        log.warning("the supervisor was not told %s: %s", state, exc.strerror)
        return False
    return True


def watchdog_s(env: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life that the supervisor waits for; None when it waits for none of this process."""
    pid = env.get("WATCHDOG_PID")
    if not env.get("WATCHDOG_USEC", "").isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(env["WATCHDOG_USEC"]) / 1e6 or None


async def keep_alive(env: Mapping[str, str], status: Callable[[], str] | None = None) -> NoReturn:
    """Say that the event loop turns, three times as often as has to be; for ever idle where nobody asked.

    A loop that hangs says nothing, and that is the point: whoever waits for a sign of life ends the process.

    Args:
      status: how it goes, in one line, for `systemctl status`; it reads values, and neither waits nor raises. Told
        when it has changed, with a sign of life, at most every 10 s.
    """
    alive_s = watchdog_s(env)
    if alive_s is None and (status is None or not env.get("NOTIFY_SOCKET")):
        await trio.sleep_forever()
    beats = [] if alive_s is None else [ALIVE]
    every_s = STATUS_EVERY_S if alive_s is None else alive_s / 3
    if status is not None:
        every_s = min(every_s, STATUS_EVERY_S)
    said = None
    while True:
        text = None if status is None else " ".join(status().split())[:STATUS_LENGTH]
        news = [] if text == said else [f"STATUS={text}"]
        if beats or news:
            notify("\n".join([*beats, *news]), env)
        said = text
        await trio.sleep(every_s)
