"""Which names a browser may use for this server. Pure.

A page of somebody else can have its own name resolve to 127.0.0.1 and then read what is served there: the browser
takes it for the same site (DNS rebinding). It cannot make the browser send another Host header, so names that are not
ours are refused. An address is no name, so nobody can rebind it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def checked_hosts(hosts: Iterable[str]) -> frozenset[str]:
    """Names, without a port, in lower case. Raises ValueError for the first that is none."""
    made = set()
    for host in hosts:
        if not NAME.fullmatch(host.lower()):
            raise ValueError(f"hosts: {host[:200]!r} is no name of a host (without a port)")
        made.add(host.lower())
    return frozenset(made)


def is_ours(host: str, allowed: frozenset[str]) -> bool:
    """Whether a Host header is an address, localhost, or one of `allowed`. Never raises."""
    name, port = _split(host.strip().lower())
    if port and not (port.isascii() and port.isdecimal()):
        return False
    if name == "localhost" or name in allowed:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _split(host: str) -> tuple[str, str]:
    """Name and port; of `[::1]:80` the address without its brackets."""
    if host.startswith("["):
        inner, closed, rest = host[1:].partition("]")
        return (inner, rest.removeprefix(":")) if closed and (not rest or rest.startswith(":")) else ("", "")
    name, _, port = host.partition(":")
    return name, port
