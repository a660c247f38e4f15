"""Takes secrets out of texts: those that are known, and whatever looks like one. Pure.

Nothing that goes into a bundle is meant to hold a secret in the first place; this is the second wall.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

GONE: Final = "<redacted>"
SHORTEST: Final = 6  # a shorter secret would take words out of every text, and is found by its place alone
LONG: Final = 16  # a part of a URL's path that long may be an API key, as Infura and Alchemy have them

KEY: Final = re.compile(r"\b(\w+:secret:\w+:)[0-9a-fA-F]+")
URL: Final = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s\"'<>\\`|)\]}]+")
WORD: Final = re.compile(rf"[0-9A-Za-z+/=_-]{{{LONG},}}")


class Redactor:
    """Built with every secret that could be found; `text` takes them out, in all spellings that texts have."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings: set[str] = set()
        for one in secrets:
            if len(one) >= SHORTEST:
                spellings |= {one, unquote(one), quote(one, safe=""), quote_plus(one), json.dumps(one)[1:-1]}
                spellings |= {json.dumps(one, ensure_ascii=False)[1:-1], one.lower(), one.upper()}
        # the longest first: one may be a part of another
        found = sorted((one for one in spellings if len(one) >= SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, found))) if found else None

    def text(self, text: str) -> str:
        """`text` without secrets. O(length x secrets) at worst."""
        text = URL.sub(lambda found: plain_url(found[0]), KEY.sub(rf"\1{GONE}", text))
        return text if self._known is None else self._known.sub(GONE, text)


def plain_url(url: str) -> str:
    """A URL without user, password, query, fragment, and long parts of its path."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:  # brackets without an IPv6 address: nobody knows what it holds
        return GONE
    path = "/".join(GONE if len(one) >= LONG else one for one in parts.path.split("/"))
    return f"{parts.scheme}://{host}{path}{f'?{GONE}' if parts.query else ''}"


def secrets_of_url(url: str) -> set[str]:
    """What `plain_url` leaves out, by itself: it may stand elsewhere without its URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return {url}
    found = {one for one in (parts.username, parts.password, parts.query, parts.fragment) if one}
    found |= {pair.partition("=")[2] for pair in parts.query.split("&")}
    found |= {one for one in parts.path.split("/") if len(one) >= LONG}
    return {one for one in found if one}


def secrets_of_file(text: str) -> set[str]:
    """A file of a key or a password: all of it, each of its lines, and every long word; of a keystore its long texts,
    public ones too."""
    try:
        keystore = json.loads(text)
    except (ValueError, RecursionError):
        keystore = None
    if isinstance(keystore, dict):
        return {one for one in _texts(keystore) if len(one) >= LONG}
    lines = [line.strip() for line in text.splitlines()]
    return {one for one in (text.strip(), *lines, *WORD.findall(text)) if one}


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value
