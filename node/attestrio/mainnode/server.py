"""Makes a node a main node: the methods external nodes ask for, answered from its store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import msgspec
import trio
from msgspec import Raw

from attestrio.kit import jsonrpc
from attestrio.kit.http import DEFAULT_LIMITS, App, ServerLimits, serve_app
from attestrio.kit.jsonrpc import InvalidParams
from attestrio.kit.metrics import Metrics
from attestrio.kit.rpc_app import RpcBounds, rpc_app
from attestrio.mainnode.types import (
    BATCH_TO_ATTEST,
    CERTIFICATE,
    GENESIS,
    GLOBAL_CONFIG,
    METHODS,
    STATUS,
    GlobalConfig,
    SeedPeer,
    batch_json,
    global_config_json,
    number_untrusted,
    status_json,
)
from attestrio.roles import BatchNumber, Genesis
from attestrio.status.api import AttestationStatus
from attestrio.store.api import BatchStore


@dataclass(frozen=True, slots=True)
class Rules:
    """What the server offers and what it grants. The defaults fit an API for nodes, not for the public."""

    first_shape: bool = False
    """Answer `en_attestationStatus` as the first version did: the number alone, 0 while there is none."""
    registry_address: bytes | None = None
    seed_peers: tuple[SeedPeer, ...] = ()
    max_body_bytes: int = 64 * 1024
    """Of one HTTP request; more is answered with 413."""
    body_s: float = 10.0
    """For a body to arrive whole; then 408."""
    max_requests: int = 32
    """Answered at the same time; one more gets 503."""
    calls: jsonrpc.Limits = jsonrpc.DEFAULT_LIMITS
    http: ServerLimits = DEFAULT_LIMITS


DEFAULT_RULES = Rules()


class MainNodeServer:
    """JSON-RPC over HTTP on `POST /`, and `GET /health`.

    Everything is read from `store` when asked, in one read per call, so that no answer mixes two states. `genesis`
    None stands for a main node whose consensus was never set up: every method answers null.
    """

    def __init__(
        self,
        store: BatchStore | None,
        genesis: Genesis | None,
        bind: str = "127.0.0.1:0",
        rules: Rules = DEFAULT_RULES,
        metrics: Metrics | None = None,
    ) -> None:
        """Listens nowhere yet; `bind` is HOST:PORT."""
        self._store, self._genesis, self._bind, self._rules = store, genesis, bind, rules
        self._methods: Mapping[str, jsonrpc.Method] = {
            STATUS: self._status,
            GENESIS: self._consensus_genesis,
            GLOBAL_CONFIG: self._global_config,
            BATCH_TO_ATTEST: self._batch_to_attest,
            CERTIFICATE: self._certificate,
        }
        self._asked = (metrics or Metrics()).counter(
            "attestrio_api_calls_total", "Calls of the main-node API, unknown methods aside.",
            labels={"method": METHODS},
        )  # fmt: skip
        bounds = RpcBounds(rules.max_body_bytes, rules.body_s, rules.max_requests, rules.calls)
        self.app: App = rpc_app(self._methods, bounds)

    def show(self, store: BatchStore | None, genesis: Genesis | None) -> None:
        """From now on answer from these: a new epoch. None, between two epochs: every method answers null."""
        self._store, self._genesis = store, genesis

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Serve until cancelled; `started` gives the URL with the real port. Raises AddressInUse, BadAddress."""
        await serve_app(self.app, self._bind, limits=self._rules.http, task_status=task_status)

    # --- methods

    async def _status(self, params: tuple[Raw, ...]) -> object:
        self._asked.labels(method=STATUS).inc()
        if self._genesis is None or self._store is None:
            return None
        genesis = self._genesis  # of the same epoch as the number, whatever `show` does meanwhile
        number = await self._store.next_batch_to_attest()
        if self._rules.first_shape:
            return {"next_batch_to_attest": int(number or 0)}
        return status_json(AttestationStatus(genesis.hash(), number))

    async def _consensus_genesis(self, params: tuple[Raw, ...]) -> object:
        self._asked.labels(method=GENESIS).inc()
        return None if self._genesis is None else self._genesis.to_json()

    async def _global_config(self, params: tuple[Raw, ...]) -> object:
        self._asked.labels(method=GLOBAL_CONFIG).inc()
        if self._genesis is None:
            return None
        return global_config_json(GlobalConfig(self._genesis, self._rules.registry_address, self._rules.seed_peers))

    async def _batch_to_attest(self, params: tuple[Raw, ...]) -> object:
        self._asked.labels(method=BATCH_TO_ATTEST).inc()
        number = _number(params)
        batch = None if self._store is None else await self._store.batch_to_sign(number)
        return None if batch is None else batch_json(batch)

    async def _certificate(self, params: tuple[Raw, ...]) -> object:
        self._asked.labels(method=CERTIFICATE).inc()
        number = _number(params)
        certificate = None if self._store is None else await self._store.qc(number)
        return None if certificate is None else certificate.to_json()


def _number(params: tuple[Raw, ...]) -> BatchNumber:
    """The only parameter. Raises InvalidParams."""
    try:
        (raw,) = params
        return number_untrusted(msgspec.json.decode(raw, type=int | str))
    except (ValueError, msgspec.DecodeError) as exc:
        raise InvalidParams from exc
