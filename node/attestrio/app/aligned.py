"""What the roles of Aligned are made of alike: the chain as configured, passwords of keystores."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import trio

from attestrio.app.aligned_config import L1Section
from attestrio.configuring import BadConfig, Secret
from attestrio.errors import SourceError
from attestrio.kit.files import read_bounded
from attestrio.kit.http import BadUrl
from attestrio.kit.jsonrpc import MalformedAnswer
from attestrio.kit.retry import Schedule
from attestrio.l1.api import Address, BlockNumber
from attestrio.l1.contract import Contract
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.errors import CallReverted
from attestrio.l1.provider import L1Provider
from attestrio.l1.retries import NETWORK
from attestrio.l1.scan import ScanSettings
from attestrio.operator.surface import DISABLED_VERIFIERS

MAX_PASSWORD: Final = 4096
GREET_S: Final = 5.0  # for the endpoints to name their chain; a start does not wait longer for them
MAX_LOGS: Final = 2_000  # of one answer; more, and the scanner asks for fewer blocks

log = logging.getLogger("attestrio.app")


def address_of(text: str | None) -> Address:
    """An address that its section has checked."""
    return Address(bytes.fromhex((text or "").removeprefix("0x")))


def provider_of(section: L1Section, *, schedule: Schedule = NETWORK) -> L1Provider:
    """The chain, to be closed; what fails is asked again by `schedule`. Raises BadConfig."""
    try:
        endpoints = [Endpoint(url, section.chain_id, timeout_s=section.timeout_s) for url in section.rpc_urls]
    except BadUrl as exc:
        raise BadConfig("l1.rpc_urls", str(exc)) from None
    return L1Provider(endpoints, agree=section.agree, schedule=schedule)


def scan_of(section: L1Section) -> ScanSettings:
    return ScanSettings(
        BlockNumber(section.first_block), section.confirmations, section.poll_s, window=section.window,
        max_logs=MAX_LOGS,
    )  # fmt: skip


def given_password(section: str, password: Secret | None, password_file: str | None) -> str:
    """The password of a section's keystore. Raises BadConfig."""
    if password is not None:
        return password.reveal()
    if password_file is not None:
        return password_of(Path(password_file), f"{section}.password_file")
    variable = f"ATTESTRIO_{section.upper()}_PASSWORD"
    raise BadConfig("configuration", f"{section}.password_file is missing, and {variable} is not set")


def password_of(file: Path, key: str = "bls.password_file") -> str:
    """The first line of a file that `key` names. Raises BadConfig."""
    try:
        return read_bounded(file, MAX_PASSWORD).decode("utf-8", "surrogateescape").split("\n")[0].rstrip("\r")
    except OSError as exc:
        raise BadConfig(f"{key} {file}", f"cannot be read ({exc.strerror})") from None


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
