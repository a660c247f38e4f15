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
MAX_DIGITS: Final = 20  # of a u64, which systemd has there
BEAT_S: Final = 0.01  # between two signs of life at least, however few microseconds a supervisor allows
STATUS_EVERY_S: Final = 10.0
STATUS_LENGTH: Final = 200  # what `systemctl status` shows on one line


def notify(state: str, env: Mapping[str, str], *, level: int = logging.WARNING) -> bool:
    """Send `state` to the socket in NOTIFY_SOCKET; False where there is none. One datagram, never waits.

    A supervisor that does not listen any more is logged, with `level`, and no error: the node works without it.

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
        log.log(level, "the supervisor was not told %s: %s", state, exc.strerror or exc)  # no strerror: a long path
        return False
    return True


def watchdog_s(env: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life that the supervisor waits for; None when it waits for none of this process."""
    pid, text = env.get("WATCHDOG_PID"), env.get("WATCHDOG_USEC", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS) or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 1e6 or None


async def keep_alive(env: Mapping[str, str], status: Callable[[], str] | None = None) -> NoReturn:
    """Say that the event loop turns, three times as often as has to be; for ever idle where nobody asked.

    A loop that hangs says nothing, and that is the point: whoever waits for a sign of life ends the process. Of
    several that fail in a row the first is logged; a line that was not taken is told again with the next.

    Args:
      status: how it goes, in one line, for `systemctl status`; it reads values, and neither waits nor raises. Told
        when it has changed, with a sign of life, at most every 10 s.
    """
    alive_s = watchdog_s(env)
    if alive_s is None and (status is None or not env.get("NOTIFY_SOCKET")):
        await trio.sleep_forever()
    beats = [] if alive_s is None else [ALIVE]
    every_s = STATUS_EVERY_S if alive_s is None else max(alive_s / 3, BEAT_S)
    if status is not None:
        every_s = min(every_s, STATUS_EVERY_S)
    said, heard = None, True
    while True:
        text = None if status is None else " ".join(status().split())[:STATUS_LENGTH]
        news = [] if text == said else [f"STATUS={text}"]
        if beats or news:
            heard = notify("\n".join([*beats, *news]), env, level=logging.WARNING if heard else logging.DEBUG)
            said = text if heard else said
        await trio.sleep(every_s)
