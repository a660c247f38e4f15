"""An operator as a process: its parts made from the configuration, and run in its data directory."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import trio

from attestrio.app.aligned import address_of, given_password, greet, provider_of, scan_of
from attestrio.app.aligned_pages import operator_page
from attestrio.app.operator_config import OperatorConfig, lacking
from attestrio.app.page import served_page
from attestrio.bls import SecretKey, operator_id, read_keystore
from attestrio.configuring import BadConfig
from attestrio.gorpc.client import GoRpcClient
from attestrio.journal import SqliteJournal
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.datadir import DataDir
from attestrio.kit.metrics import Metrics
from attestrio.operator.batch import SYSTEMS
from attestrio.operator.download import Downloader, DownloadSettings
from attestrio.operator.runner import OperatorRunner
from attestrio.operator.settings import OutboxSettings, WorkSettings
from attestrio.operator.state import OperatorState
from attestrio.operator.verify import CommandVerifier

JOURNAL = "operator.db"


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
            chain = await life.enter_async_context(provider_of(config.l1))
            await greet(chain, address_of(config.l1.manager))
            downloader = await life.enter_async_context(Downloader(downloads_of(config)))
            nursery = await life.enter_async_context(trio.open_nursery())
            await nursery.start(journal.run)
            aggregator = GoRpcClient(config.aggregator.address or "")
            url = None
            if config.operator.metrics_bind:
                page = operator_page(
                    metrics, journal, chain, aggregator, key=key_of(secret), behind=config.l1.confirmations
                )
                section = config.operator
                url = await life.enter_async_context(
                    served_page(page, metrics, section.metrics_bind, section.metrics_hosts)
                )
            old = config.batches.old_position
            runner = OperatorRunner(
                journal, chain, address_of(config.l1.manager), secret, verifier_of(config), downloader,
                aggregator, scan_of(config.l1), work_of(config), outbox_of(config),
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
    password = given_password("bls", section.password, section.password_file)
    return read_keystore(Path(section.keystore), password)


def key_of(secret: SecretKey) -> str:
    """As the aggregator and the contracts call the operator."""
    return f"0x{operator_id(secret.public_g1()).hex()}"


def verifier_of(config: OperatorConfig) -> CommandVerifier:
    """Only the programs that the configuration lists."""
    programs = {SYSTEMS[name]: tuple(command) for name, command in config.verifier.programs.items()}
    return CommandVerifier(programs, config.verifier.deadline_s)


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
