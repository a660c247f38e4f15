"""HTTP with a bound on everything: a client whose answers cannot grow, and a server that can be cancelled.

Client: `client` once per endpoint, then `post_bounded` per call. Server: `serve_app` as a child task.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import trio

from attestrio.kit.http_errors import (
    AddressInUse,
    AddressNotPublic,
    AnswerGarbled,
    AnswerTooLarge,
    AnswerTooLate,
    BadAddress,
    BadHttpStatus,
    BadUrl,
    Unreachable,
)
from attestrio.kit.http_server import DEFAULT_LIMITS, App, Scope, ServerLimits, serve_app, url_of

__all__ = [
    "DEFAULT_LIMITS",
    "MAX_BODY",
    "AddressInUse",
    "AddressNotPublic",
    "AnswerGarbled",
    "AnswerTooLarge",
    "AnswerTooLate",
    "App",
    "BadAddress",
    "BadHttpStatus",
    "BadUrl",
    "Scope",
    "ServerLimits",
    "Unreachable",
    "client",
    "memory_client",
    "post_bounded",
    "serve_app",
    "shown",
    "url_of",
]

CLOSE_S = 1.0
MAX_BODY = 1 << 20  # 1 MiB: a genesis of 5,000 attesters is about 0.5 MiB

MAYBE_KEY = re.compile(r"[0-9A-Za-z_-]{16,}")
"""A part of a path that may be an API key: providers of Ethereum have theirs there, as https://host/v3/KEY."""


def shown(url: str | httpx.URL) -> str:
    """`url` as it may be logged: no user, no password, no fragment, of a query only that there is one, and of a long
    word in the path the same."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):  # ValueError: a port that is no number
        return "(unreadable URL)"
    parts = ["redacted" if MAYBE_KEY.fullmatch(one) else one for one in parsed.path.split("/")]
    plain = parsed.copy_with(userinfo=b"", query=b"redacted" if parsed.query else None, fragment=None)
    return str(plain if "redacted" not in parts else plain.copy_with(path="/".join(parts)))


def client(
    url: str,
    *,
    timeout_s: float = 5.0,
    max_connections: int = 4,
    transport: httpx.AsyncBaseTransport | None = None,
    public_only: bool = False,
) -> httpx.AsyncClient:
    """A client for one endpoint; close it with `aclose`. Raises BadUrl.

    It reads no proxy or netrc settings from the environment, follows no redirect, keeps no cookie (a hostile server
    could grow both the jar and our requests) and has few connections, since httpx's pool is scanned linearly.
    `timeout_s` bounds each step; `post_bounded` bounds the whole. `public_only`: it connects to no private address,
    whatever a name says, and requests raise AddressNotPublic.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as exc:
        raise BadUrl(shown(url)) from exc
    blank = "%" in parsed.host and ":" not in parsed.host  # only an IPv6 address may have one, before its zone
    if parsed.scheme not in ("http", "https") or not parsed.host or blank or (parsed.port or 0) > 0xFFFF:
        raise BadUrl(shown(url))
    limits = httpx.Limits(max_connections=max_connections, keepalive_expiry=15.0)
    verify = parsed.scheme == "https"  # loading the CA bundle takes 0.2 s, which plain HTTP can do without
    if public_only and transport is None:
        from attestrio.kit.public import public_transport  # only who asks strangers' URLs pays for it

        transport = public_transport(verify=verify, limits=limits)
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeout_s,
        limits=limits,
        trust_env=False,
        verify=verify if transport is None else False,  # a transport has its own
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"accept-encoding": "identity"},
    )


def memory_client(app: App, url: str = "http://memory/") -> httpx.AsyncClient:
    """A client that calls `app` in this task, without sockets: what stories with virtual time use."""
    return client(url, transport=httpx.ASGITransport(app))


async def close_client(http: httpx.AsyncClient) -> None:
    """Close all its connections, when cancelled too: httpx itself stops after the first one then."""
    with trio.move_on_after(CLOSE_S, shield=True):  # one over TLS says goodbye, and its peer may not listen
        await http.aclose()


async def post_bounded(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    max_bytes: int = MAX_BODY,
    *,
    timeout_s: float = 5.0,
    headers: Mapping[str, str] | None = None,
    source: str | None = None,
) -> bytes:
    """POST `body` as JSON; the body of the 200 that answers.

    Args:
      max_bytes: of the answer, both as sent and decompressed; reading stops there.
      timeout_s: from the call to the last byte, however slowly they trickle.
      source: who is asked, as errors shall name it; by default the URL without its secrets.

    Raises only Unreachable, AnswerTooLate, AnswerTooLarge, AnswerGarbled, BadHttpStatus.
    """
    source = source or shown(url)
    sent = {"content-type": "application/json", **(headers or {})}
    try:
        with trio.fail_after(timeout_s):
            request = client.build_request("POST", url, content=body, headers=sent)
            request.stream = _Body(body)
            response = await client.send(request, stream=True)
            try:
                if response.status_code != httpx.codes.OK:
                    raise BadHttpStatus(source, response.status_code)
                raw = await _read(response, max_bytes, source)
            finally:
                await response.aclose()
    except trio.TooSlowError:
        raise AnswerTooLate(source, timeout_s) from None
    except httpx.TimeoutException as exc:  # its text is empty: only the type says what was waited for
        raise Unreachable(source, type(exc).__name__) from None
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise Unreachable(source, str(exc) or type(exc).__name__) from None
    return _decompress(raw, response.headers.get("content-encoding", ""), max_bytes, source)


class _Body(httpx.AsyncByteStream):
    """A request's body. Httpx's own is a generator, which a connection that breaks while sending leaves unfinished."""

    def __init__(self, body: bytes) -> None:
        self._left = [body]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


async def _read(response: httpx.Response, max_bytes: int, source: str) -> bytes:
    """The body as sent. A stated length is checked before anything is read."""
    stated = response.headers.get("content-length", "")
    if stated.isdecimal() and len(stated) < 20 and int(stated) > max_bytes:
        raise AnswerTooLarge(source, int(stated), max_bytes)
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            if len(body) <= max_bytes:
                body += chunk
            if len(body) > max_bytes:
                # Closed, but iterated on: that ends httpx's nested generators by an error. Left in the middle they
                # would be collected as garbage, each with a ResourceWarning.
                await response.aclose()
    except (httpx.HTTPError, httpx.StreamError):
        if len(body) <= max_bytes:
            raise
    if len(body) > max_bytes:
        raise AnswerTooLarge(source, len(body), max_bytes)
    return bytes(body)


def _decompress(raw: bytes, encoding: str, max_bytes: int, source: str) -> bytes:
    """Identity was asked for; gzip and deflate are read all the same, up to `max_bytes`: some proxies insist."""
    wbits = {"gzip": 31, "deflate": 15}.get(encoding.strip().lower())
    if wbits is None:
        if encoding.strip().lower() in ("", "identity"):
            return raw
        raise AnswerGarbled(source, encoding[:40])
    machine = zlib.decompressobj(wbits)
    try:
        body = machine.decompress(raw, max_bytes + 1)
    except zlib.error as exc:
        raise AnswerGarbled(source, encoding) from exc
    if len(body) > max_bytes:
        raise AnswerTooLarge(source, len(body), max_bytes)
    if not machine.eof:
        raise AnswerGarbled(source, encoding)
    return body
