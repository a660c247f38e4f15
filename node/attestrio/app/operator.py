"""An operator as a process: its parts made from the configuration, and run in its data directory."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import trio

from attestrio.app.operator_config import OperatorConfig, lacking
from attestrio.bls import SecretKey, read_keystore
from attestrio.configuring import BadConfig
from attestrio.errors import SourceError
from attestrio.gorpc.client import GoRpcClient
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.datadir import DataDir
from attestrio.kit.files import read_bounded
from attestrio.kit.http import App, BadUrl, Scope, serve_app
from attestrio.kit.jsonrpc import MalformedAnswer
from attestrio.kit.metrics import CONTENT_TYPE, Metrics
from attestrio.l1.api import Address, BlockNumber
from attestrio.l1.contract import Contract
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.errors import CallReverted
from attestrio.l1.provider import L1Provider
from attestrio.l1.scan import ScanSettings
from attestrio.operator.batch import SYSTEMS
from attestrio.operator.download import Downloader, DownloadSettings
from attestrio.operator.runner import OperatorRunner
from attestrio.operator.settings import OutboxSettings, WorkSettings
from attestrio.operator.state import OperatorState
from attestrio.operator.surface import DISABLED_VERIFIERS
from attestrio.operator.verify import CommandVerifier

JOURNAL = "operator.db"
MAX_PASSWORD = 4096
GREET_S = 5.0  # for the endpoints to name their chain; a start does not wait longer for them

log = logging.getLogger("attestrio.app")


@dataclass(frozen=True, slots=True)
class RunningOperator:
    """What an embedding program gets, to read."""

    state: OperatorState
    metrics: Metrics
    metrics_url: str | None


async def run_operator(
    config: OperatorConfig,
    *,
    run_blocking: RunBlocking = in_thread,
    task_status: trio.TaskStatus[RunningOperator] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run one operator until cancelled. Started once key, directory and journal are usable, whoever else is away.

    Raises SetupError before it has started; StorageUnusable when the journal fails; in groups.
    """
    missing = lacking(config)
    if missing:
        raise BadConfig("configuration", missing[0])
    secret = await run_blocking(lambda: bls_secret(config))
    with DataDir.open(config.operator.data_dir) as data_dir:
        metrics = Metrics()
        journal = SqliteJournal(data_dir / JOURNAL, run_blocking)
        async with AsyncExitStack() as life:
            chain = await life.enter_async_context(provider(config))
            await greet(chain, manager_of(config))
            downloader = await life.enter_async_context(Downloader(downloads_of(config)))
            nursery = await life.enter_async_context(trio.open_nursery())
            await nursery.start(journal.run)
            url = None
            if config.operator.metrics_bind:
                url = await nursery.start(serve_app, metrics_app(metrics), config.operator.metrics_bind)
            old = config.batches.old_position
            runner = OperatorRunner(
                journal, chain, manager_of(config), secret, verifier_of(config), downloader,
                GoRpcClient(config.aggregator.address or ""), scan_of(config), work_of(config), outbox_of(config),
                metrics, None if old is None else Path(old), run_blocking,
            )  # fmt: skip
            state = await nursery.start(runner.run)
            task_status.started(RunningOperator(state, metrics, url))
            await trio.sleep_forever()
    raise AssertionError("unreachable: an operator runs until cancelled")


def bls_secret(config: OperatorConfig) -> SecretKey:
    """The key in the configured keystore. Raises BadConfig, KeystoreUnusable, WrongPassword, MissingExtra."""
    section = config.bls
    if section.keystore is None:
        raise BadConfig("configuration", lacking(config)[0])
    if section.password is not None:
        password = section.password.reveal()
    elif section.password_file is not None:
        password = password_of(Path(section.password_file))
    else:
        raise BadConfig("configuration", "bls.password_file is missing, and ATTESTRIO_BLS_PASSWORD is not set")
    return read_keystore(Path(section.keystore), password)


def password_of(file: Path) -> str:
    """The first line of a file. Raises BadConfig."""
    try:
        return read_bounded(file, MAX_PASSWORD).decode("utf-8", "surrogateescape").split("\n")[0].rstrip("\r")
    except OSError as exc:
        raise BadConfig(f"bls.password_file {file}", f"cannot be read ({exc.strerror})") from None


def provider(config: OperatorConfig) -> L1Provider:
    """The chain. Raises BadConfig."""
    section = config.l1
    try:
        endpoints = [Endpoint(url, section.chain_id, timeout_s=section.timeout_s) for url in section.rpc_urls]
    except BadUrl as exc:
        raise BadConfig("l1.rpc_urls", str(exc)) from None
    return L1Provider(endpoints, agree=section.agree)


async def greet(chain: L1Provider, manager: Address) -> None:
    """Ask each endpoint for its chain and for the service manager, so that a wrong one shows at the start.

    One that is away may come later, and so may a contract: only another chain ends the start. Raises WrongChain.
    """
    try:
        with trio.move_on_after(GREET_S):
            await chain.start()
            await Contract(chain, manager).call(DISABLED_VERIFIERS)
    except (MalformedAnswer, CallReverted) as exc:  # at a wrong address nothing ever happens, and nobody complains
        log.error("l1.manager 0x%s is no service manager, so no batch will ever be seen: %s", manager.hex(), exc)
    except SourceError as exc:
        log.warning("Ethereum does not answer yet: %s", exc)


def manager_of(config: OperatorConfig) -> Address:
    return Address(bytes.fromhex((config.l1.manager or "").removeprefix("0x")))


def verifier_of(config: OperatorConfig) -> CommandVerifier:
    """Only the programs that the configuration lists."""
    programs = {SYSTEMS[name]: tuple(command) for name, command in config.verifier.programs.items()}
    return CommandVerifier(programs, config.verifier.deadline_s)


def scan_of(config: OperatorConfig) -> ScanSettings:
    section = config.l1
    return ScanSettings(
        BlockNumber(section.first_block), section.confirmations, section.poll_s, window=section.window, max_logs=2_000
    )


def downloads_of(config: OperatorConfig) -> DownloadSettings:
    section = config.batches
    return DownloadSettings(section.max_batch_bytes, section.download_s, allow_private=section.allow_private)


def work_of(config: OperatorConfig) -> WorkSettings:
    section = config.batches
    return WorkSettings(
        section.at_once, config.verifier.at_once, section.retry_first_s, section.retry_cap_s, section.horizon_blocks,
        section.keep_blocks,
    )  # fmt: skip


def outbox_of(config: OperatorConfig) -> OutboxSettings:
    section = config.aggregator
    return OutboxSettings(
        section.retry_first_s, section.retry_cap_s, section.fast_retries, section.resend_s, section.call_s,
        section.in_flight,
    )  # fmt: skip


def metrics_app(metrics: Metrics) -> App:
    """`/metrics` as an ASGI application."""

    async def app(scope: Scope, receive: object, send: object) -> None:
        assert callable(send)
        found = scope["type"] == "http" and scope["path"] == "/metrics"
        headers = [(b"content-type", CONTENT_TYPE.encode() if found else b"text/plain")]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": metrics.render() if found else b"only /metrics is here\n"})

    return app
