"""Asks a main node over JSON-RPC, believes nothing it cannot check, and never waits without end."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec
import trio
from msgspec import Raw

from attestrio.errors import PeerError, SourceError
from attestrio.kit import jsonrpc
from attestrio.kit.http import MAX_BODY, client, post_bounded, shown
from attestrio.kit.jsonrpc import MalformedAnswer
from attestrio.kit.metrics import Metrics
from attestrio.mainnode.types import (
    BATCH_TO_ATTEST,
    CERTIFICATE,
    GENESIS,
    GLOBAL_CONFIG,
    METHODS,
    STATUS,
    BatchJson,
    FirstShape,
    GlobalConfig,
    GlobalConfigJson,
    StatusJson,
    batch_untrusted,
    certificate_untrusted,
    genesis_untrusted,
    global_config_untrusted,
    status_untrusted,
)
from attestrio.roles import Batch, BatchNumber, BatchQC, Genesis
from attestrio.status.api import AttestationStatus

T = TypeVar("T")
J = TypeVar("J")

ERROR_CODES = (
    "unreachable",
    "answer_too_late",
    "answer_too_large",
    "answer_garbled",
    "http_status",
    "malformed_answer",
    "rpc_error",
    "method_missing",
)
"""The `code` of every error a call can end in."""


class MainNodeClient:
    """One main node, asked over one HTTP client; an `AttestationStatusClient`.

    Whatever goes wrong is a SourceError whose `code` is one of ERROR_CODES and whose text names the URL, without
    user, password and query, and the method. None means that the main node answered null: not known yet.

    Use it as an async context manager, or call `aclose`. Calls may run at the same time.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        max_answer_bytes: int = MAX_BODY,
        http: httpx.AsyncClient | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Connects to nothing yet. Raises BadUrl.

        Args:
          timeout_s: for one call, from connecting to the last byte.
          max_answer_bytes: of one answer, also once unpacked; what is longer is not read to its end.
          http: a ready client, as `memory_client` makes it; closed with this one. `transport` is for a test that
            wants the client's own settings over another wire.
        """
        self.url = self.name = shown(url)
        self._url, self._timeout_s, self._max_bytes = url, timeout_s, max_answer_bytes
        self._http = http or client(url, timeout_s=timeout_s, transport=transport)
        self._last_id = 0
        metrics = metrics or Metrics()
        self._took = metrics.histogram(
            "attestrio_main_node_request_seconds", "Time until a main node answered or the call failed.",
            labels={"method": METHODS},
        )  # fmt: skip
        self._failed = metrics.counter(
            "attestrio_main_node_errors_total", "Calls to a main node that failed, by the code of the error.",
            labels={"method": METHODS, "code": ERROR_CODES},
        )  # fmt: skip

    async def attestation_status(self) -> AttestationStatus | None:
        """The next batch and the genesis it counts under, from either shape of the answer.

        The first shape has no genesis, so that it is asked for in the same poll, after the number: should the main
        node change its genesis in between, the pair has the new genesis and ends the epoch. The other order would
        give a new number under the old genesis, and move the status to it.
        """
        told = await self._ask(STATUS, (), StatusJson, status_untrusted)
        if not isinstance(told, FirstShape):
            return told
        genesis = await self.consensus_genesis()
        return None if genesis is None else AttestationStatus(genesis.hash(), told.next_batch)

    async def consensus_genesis(self) -> Genesis | None:
        """The genesis the main node follows; a field we do not know makes it a MalformedAnswer."""
        return await self._ask(GENESIS, (), Raw, genesis_untrusted)

    async def consensus_global_config(self) -> GlobalConfig | None:
        """The genesis with registry address and seed peers; newer main nodes only."""
        return await self._ask(GLOBAL_CONFIG, (), GlobalConfigJson, global_config_untrusted)

    async def batch_to_attest(self, number: BatchNumber) -> Batch | None:
        """What the main node says batch `number` is, unchecked; only an attestrio main node knows the method."""
        return await self._ask(BATCH_TO_ATTEST, (int(number),), BatchJson, batch_untrusted)

    async def certificate(self, number: BatchNumber) -> BatchQC | None:
        """The certificate of batch `number`, not verified; only an attestrio main node knows the method.

        Some 200 bytes for each signer: above 5,000 of them `max_answer_bytes` has to be raised, as for the genesis.
        """
        return await self._ask(CERTIFICATE, (int(number),), Raw, certificate_untrusted)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ask(self, method: str, params: tuple[object, ...], shape: type[J], read: Callable[[J], T]) -> T | None:
        """One call, counted: its result in JSON `shape`, then as `read` makes it; None for null."""
        began = trio.current_time()
        try:
            return await self._call(method, params, shape, read)
        except SourceError as exc:
            self._failed.labels(method=method, code=exc.code).inc()
            raise
        finally:
            self._took.labels(method=method).observe(trio.current_time() - began)

    async def _call(self, method: str, params: tuple[object, ...], shape: type[J], read: Callable[[J], T]) -> T | None:
        self._last_id += 1
        id, source = self._last_id, f"{self.url} {method}"
        body = jsonrpc.encode_request(method, params, id)
        raw = await post_bounded(self._http, self._url, body, self._max_bytes, timeout_s=self._timeout_s, source=source)
        result = jsonrpc.decode_response_untrusted(raw, Raw, id=id, source=source)
        if bytes(result) == b"null":
            return None
        try:
            return read(msgspec.json.decode(result, type=shape))
        except (ValueError, PeerError, msgspec.DecodeError) as exc:
            raise MalformedAnswer(source, str(exc)) from exc
