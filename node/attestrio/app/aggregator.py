"""An aggregator as a process: its parts made from the configuration, and run in its data directory."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn
from urllib.parse import quote, urlsplit, urlunsplit

import trio
from trio_util import AsyncValue

from attestrio.aggregator.ethereum import EthereumAccount
from attestrio.aggregator.runner import AggregatorRunner, Serving
from attestrio.aggregator.server import LIMITS
from attestrio.aggregator.settings import (
    AggregatorSettings,
    CollectSettings,
    FeeSettings,
    GarbageSettings,
    RecoverySettings,
    SenderSettings,
)
from attestrio.aggregator.surface import ALIGNED_AGGREGATOR, Contracts
from attestrio.aggregator.telemetry import Telemetry
from attestrio.app.aggregator_config import AggregatorConfig, JournalSection, lacking
from attestrio.app.aligned import address_of, given_password, greet, provider_of, scan_of
from attestrio.app.aligned_pages import aggregator_page
from attestrio.app.drain import Grace, draining
from attestrio.app.ecdsa_key import read_account
from attestrio.app.page import served_page
from attestrio.configuring import BadConfig
from attestrio.errors import SetupError, SourceError
from attestrio.journal import Journal, SqliteJournal
from attestrio.kit.blocking import RunBlocking, in_thread
from attestrio.kit.datadir import DataDir, DataDirUnwritable
from attestrio.kit.http import AddressInUse, BadUrl
from attestrio.kit.metrics import Metrics
from attestrio.kit.tcp import bind_socket
from attestrio.l1.api import Address
from attestrio.l1.contract import Contract
from attestrio.l1.provider import L1Provider

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from attestrio.journal.redis import RedisJournal

JOURNAL: Final = "aggregator.db"
EMBEDDED: Final = "embedded"  # who leads where the data directory's lock already says that it is alone
GRACE_S: Final = 3.0  # for the journal to write what it has, and for the lead to be resigned
GREET_S: Final = 5.0
GWEI: Final = 10**9

log = logging.getLogger("attestrio.app")


class NoAggregator(SetupError):
    """No aggregator has ever run in the data directory."""

    code: ClassVar[str] = "no_aggregator"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(f"no aggregator has run in {data_dir}: there is no {JOURNAL}")
        self.data_dir = data_dir


@dataclass(frozen=True, slots=True)
class RunningAggregator:
    """What an embedding program gets, to read."""

    address: str
    """host:port of the Go RPC."""
    serving: Serving
    metrics: Metrics
    metrics_url: str | None


async def run_aggregator(
    config: AggregatorConfig,
    *,
    run_blocking: RunBlocking = in_thread,
    task_status: trio.TaskStatus[RunningAggregator] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run one aggregator until cancelled. Started once it listens, whoever else is away; it answers once it leads.

    Raises SetupError before it has started; StorageUnusable when a journal on this machine fails; in groups.
    """
    missing = lacking(config)
    if missing:
        raise BadConfig("configuration", missing[0])
    account = await run_blocking(lambda: account_of(config))
    with DataDir.open(config.aggregator.data_dir) as data_dir:
        metrics, grace = Metrics(), Grace(GRACE_S)
        async with AsyncExitStack() as life:
            chain = await life.enter_async_context(provider_of(config.l1, schedule=()))
            await greet_manager(chain, config, account)
            journal = journal_of(config, data_dir.path, run_blocking)
            await life.enter_async_context(draining(journal, grace, "journal"))
            nursery = await life.enter_async_context(trio.open_nursery())
            nursery.start_soon(grace.run)
            url, serving = None, AsyncValue[Serving | None](None)
            if config.aggregator.metrics_bind:
                page = aggregator_page(
                    metrics, journal, chain, serving, key=account.address, behind=config.l1.confirmations
                )
                section = config.aggregator
                url = await life.enter_async_context(
                    served_page(page, metrics, section.metrics_bind, section.metrics_hosts)
                )
            runner = runner_of(config, journal, chain, account, metrics, run_blocking)
            serving.value = running = await nursery.start(runner.run)
            task_status.started(RunningAggregator(running.address, running, metrics, url))
            await trio.sleep_forever()
    raise AssertionError("unreachable: an aggregator runs until cancelled")


def runner_of(
    config: AggregatorConfig,
    journal: Journal,
    chain: L1Provider,
    account: LocalAccount,
    metrics: Metrics,
    run_blocking: RunBlocking,
) -> AggregatorRunner:
    """Raises BadConfig."""
    contracts, settings = contracts_of(config), settings_of(config)
    sending = EthereumAccount(chain, contracts, account, settings.sender.gas_margin_percent)
    return AggregatorRunner(
        journal, chain, contracts, sending, config.server.bind, scan_of(config.l1), settings, metrics,
        telemetry_of(config, metrics), owner_of(config), config.journal.lead_s,
        replace(LIMITS, max_connections=config.server.max_connections), run_blocking,
    )  # fmt: skip


async def check_parts(config: AggregatorConfig) -> None:
    """Make what `run_aggregator` makes before it begins, as far as it is configured; nothing is connected or written.

    Raises what it would raise. An address in use is no fault: the aggregator itself may have it.
    """
    metrics_bind = config.aggregator.metrics_bind
    for bind in (config.server.bind, *([metrics_bind] if metrics_bind else [])):
        try:
            (await bind_socket(bind)).close()
        except AddressInUse:
            log.debug("%s is in use", bind)
    if config.journal.redis_url:
        redis_journal(config.journal)
    telemetry_of(config, Metrics())
    if config.l1.rpc_urls:
        async with provider_of(config.l1):
            await trio.lowlevel.checkpoint()


def telemetry_of(config: AggregatorConfig, metrics: Metrics) -> Telemetry:
    """Raises BadConfig."""
    try:
        return Telemetry(config.telemetry.url or None, metrics)
    except BadUrl as exc:
        raise BadConfig("telemetry.url", str(exc)) from None


def account_of(config: AggregatorConfig) -> LocalAccount:
    """The account in the configured keystore. Raises BadConfig, AccountUnusable, AccountNotOpened, MissingExtra."""
    section = config.ecdsa
    if section.keystore is None:
        raise BadConfig("configuration", lacking(config)[0])
    return read_account(Path(section.keystore), given_password("ecdsa", section.password, section.password_file))


def contracts_of(config: AggregatorConfig) -> Contracts:
    section = config.l1
    return Contracts(*map(address_of, (section.manager, section.coordinator, section.key_registry, section.retriever)))


def owner_of(config: AggregatorConfig) -> str:
    """Who leads. Two processes over one Redis never have one name; over a file there are no two."""
    if not config.journal.redis_url:
        return EMBEDDED
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"


def journal_of(config: AggregatorConfig, data_dir: Path, run_blocking: RunBlocking) -> Journal:
    """Where the work is kept. Raises BadConfig, MissingExtra."""
    if config.journal.redis_url:
        return redis_journal(config.journal)
    return SqliteJournal(data_dir / JOURNAL, run_blocking)


@asynccontextmanager
async def standing_journal(config: AggregatorConfig) -> AsyncIterator[Journal]:
    """The journal of an aggregator, also while it runs. Raises NoAggregator, DataDirUnwritable, BadConfig,
    MissingExtra."""
    folder = Path(config.aggregator.data_dir)
    try:
        there = bool(config.journal.redis_url) or (folder / JOURNAL).exists()
    except OSError as exc:  # no rights, or a name that no folder can have
        raise DataDirUnwritable(folder, exc.strerror or str(exc)) from None
    if not there:
        raise NoAggregator(folder)
    journal = journal_of(config, folder, in_thread)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield journal
        await journal.close()
        nursery.cancel_scope.cancel()


def redis_journal(section: JournalSection) -> RedisJournal:
    """Raises BadConfig, MissingExtra."""
    from attestrio.journal.redis import RedisJournal

    url = section.redis_url
    if section.password is not None or section.password_file is not None:
        url = with_password(url, given_password("journal", section.password, section.password_file))
    return RedisJournal(url, section.namespace, allow_volatile=section.allow_volatile)


def with_password(url: str, password: str) -> str:
    """A URL that says it, as clients of Redis want it."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def settings_of(config: AggregatorConfig) -> AggregatorSettings:
    tasks, sender = config.tasks, config.sender
    price = None if sender.max_price_gwei is None else round(sender.max_price_gwei * GWEI)
    fees = FeeSettings(
        base_bump_percent=sender.bump_base_percent, bump_step_percent=sender.bump_step_percent,
        bump_limit_percent=sender.bump_limit_percent, bump_after_s=sender.bump_after_s,
        max_price_wei=price,
    )  # fmt: skip
    return AggregatorSettings(
        CollectSettings(tasks.window_s, tasks.max_orphans, sender.confirmations, snapshot_again_s=tasks.block_s),
        RecoverySettings(tasks.fetch_blocks, block_s=tasks.block_s, horizon_blocks=tasks.horizon_blocks),
        SenderSettings(fees, sender.in_flight, block_s=tasks.block_s),
        GarbageSettings(tasks.garbage_every_s, tasks.garbage_age_blocks),
    )


async def greet_manager(chain: L1Provider, config: AggregatorConfig, account: LocalAccount) -> None:
    """As `greet`; and whether the service manager takes answers from this account. Raises WrongChain."""
    manager = address_of(config.l1.manager)
    await greet(chain, manager)
    try:
        with trio.move_on_after(GREET_S):
            (wanted,) = await Contract(chain, manager).call(ALIGNED_AGGREGATOR)
            if Address(wanted) != Address(bytes.fromhex(account.address[2:])):
                log.error("the service manager takes answers from 0x%s, and ours is %s", wanted.hex(), account.address)
    except SourceError as exc:  # asked again before each answer
        log.debug("who the aggregator is was not read: %s", exc)
