"""The YAML configuration of Aligned's own aggregator, and the deployment files it names, as one of ours.

Every key of theirs has a place here, or a sentence that says why it has none. Secrets are not taken over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from attestrio.app.aggregator_config import AggregatorConfig
from attestrio.errors import MissingExtra, SetupError
from attestrio.kit.files import read_bounded

MAX_FILE: Final = 1 << 20  # bytes; theirs have 3,000
DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h)")
UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
LEVELS: Final = {"production": "info", "development": "debug"}

Tables = dict[str, dict[str, Any]]
Value = str | int | float


class BadAlignedYaml(SetupError):
    """A configuration of Aligned's aggregator, or a deployment file it names, that cannot be taken over."""

    code: ClassVar[str] = "bad_aligned_yaml"

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")
        self.source, self.problem = source, problem


@dataclass(frozen=True, slots=True)
class Imported:
    """A configuration of ours, and what of theirs is not in it."""

    tables: Tables
    """Section → key → value."""
    remarks: tuple[str, ...]
    """One sentence for each key that is left out, and for each that is still missing."""


def whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("no whole number")
    return int(text)


def seconds(text: str) -> float:
    """A duration as Go writes it: 168h, 2m, 1h30m, 0.5s."""
    parts = DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("no duration such as 72s, 2m or 168h")
    return sum(float(number) * UNIT_S[unit] for number, unit in parts)


def level(text: str) -> str:
    if text not in LEVELS:
        raise ValueError(f"neither of {' and '.join(LEVELS)}")
    return LEVELS[text]


def web(text: str) -> str:
    return f"http://{text}"


TAKEN: Final[Mapping[str, tuple[str, Callable[[str], Value]]]] = {
    "environment": ("log.level", level),
    "aggregator.server_ip_port_address": ("server.bind", str),
    "aggregator.metrics_ip_port_address": ("aggregator.metrics_bind", str),
    "aggregator.telemetry_ip_port_address": ("telemetry.url", web),
    "aggregator.garbage_collector_period": ("tasks.garbage_every_s", seconds),
    "aggregator.garbage_collector_tasks_age": ("tasks.garbage_age_blocks", whole),
    "aggregator.pending_batch_fetch_block_range": ("tasks.fetch_blocks", whole),
    "aggregator.gas_base_bump_percentage": ("sender.bump_base_percent", whole),
    "aggregator.gas_bump_incremental_percentage": ("sender.bump_step_percent", whole),
    "aggregator.gas_bump_percentage_limit": ("sender.bump_limit_percent", whole),
    "aggregator.time_to_wait_before_bump": ("sender.bump_after_s", seconds),
}
"""What has one place here."""

LEFT: Final[Mapping[str, str]] = {
    "eth_ws_url": "the chain is asked over HTTP, so that no event is missed when a subscription breaks",
    "eth_ws_url_fallback": "the chain is asked over HTTP, so that no event is missed when a subscription breaks",
    "eigen_layer_deployment_config_file_path": "an aggregator has nothing to do with delegation and strategies",
    "eigen_metrics_ip_port_address": "all metrics are at aggregator.metrics_bind",
    "bls.private_key_store_path": "an aggregator signs nothing with a BLS key",
    "bls.private_key_store_password": "an aggregator signs nothing with a BLS key",
    "ecdsa.private_key_store_password": "a secret stands in no configuration: write it into a file of its own that"
    " ecdsa.password_file names, or into ATTESTRIO_ECDSA_PASSWORD",
    "aggregator.bls_public_key_compendium_address": "the deployment file has the address of the key registry",
    "aggregator.avs_service_manager_address": "the deployment file has the address of the service manager",
    "aggregator.garbage_collector_tasks_interval": "every finished task is looked at, so none is searched for",
    "aggregator.bls_service_task_timeout": "a task has no timeout: its signatures are kept until it is answered",
}
"""What has none, and why."""

OTHER_ROLES: Final = ("operator", "batcher")
ADDRESSES: Final = {
    "alignedLayerServiceManager": "manager",
    "registryCoordinator": "coordinator",
    "blsApkRegistry": "key_registry",
    "operatorStateRetriever": "retriever",
}
"""In the deployment file, and in [l1]."""


def import_yaml(path: Path, base: Path) -> Imported:
    """Read their configuration. `base` is the folder their aggregator is started in: paths begin there.

    Raises BadAlignedYaml, MissingExtra.
    """
    work = _Work(str(path), dict(_flat(_mapping(path), str(path))), base)
    work.take()
    work.check()
    return Imported(work.tables, tuple(work.remarks))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise MissingExtra("aligned", "configurations of Aligned", "pyyaml") from None
    try:
        # makes texts of everything, so that an address in hexadecimal is no number; and makes no objects
        found = yaml.load(_text(path), Loader=yaml.BaseLoader)
    except yaml.YAMLError as exc:
        raise BadAlignedYaml(str(path), f"not YAML: {' '.join(str(exc).split())}") from None
    except RecursionError:
        raise BadAlignedYaml(str(path), "nested too deep") from None
    if not isinstance(found, dict):
        raise BadAlignedYaml(str(path), "holds no keys")
    return found


def _text(path: Path) -> str:
    try:
        return read_bounded(path, MAX_FILE).decode("utf-8")
    except OSError as exc:
        raise BadAlignedYaml(str(path), f"cannot be read ({exc.strerror})") from None
    except UnicodeDecodeError:
        raise BadAlignedYaml(str(path), "not UTF-8 text") from None


def _flat(table: Mapping[str, Any], source: str) -> Iterator[tuple[str, str]]:
    """section.key and text, two levels deep."""
    for name, value in table.items():
        if value == "":  # a section whose keys are all commented out
            continue
        inner = {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        for key, one in inner.items():
            if not isinstance(one, str):
                raise BadAlignedYaml(source, f"{key}: one value is expected")
            if "\0" in one:
                raise BadAlignedYaml(source, f"{key}: holds a NUL character")
            yield key, one


class _Deployment(msgspec.Struct):
    addresses: dict[str, Any]
    chainInfo: dict[str, Any] = {}


@dataclass(slots=True)
class _Work:
    """One import. What is taken leaves `given`."""

    source: str
    given: dict[str, str]
    base: Path
    tables: Tables = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def take(self) -> None:
        urls = [url for key in ("eth_rpc_url", "eth_rpc_url_fallback") if (url := self.given.pop(key, ""))]
        if urls:
            self.put("l1.rpc_urls", list(dict.fromkeys(urls)))
        if keystore := self.given.pop("ecdsa.private_key_store_path", ""):
            self.put("ecdsa.keystore", str((self.base / keystore).absolute()))
        self.deployment(self.given.pop("aligned_layer_deployment_config_file_path", ""))
        if self.given.pop("aggregator.enable_metrics", "true").lower() == "false":
            self.given.pop("aggregator.metrics_ip_port_address", None)
        for key, text in self.given.items():
            self.one(key, text)

    def one(self, key: str, text: str) -> None:
        if key in TAKEN:
            place, convert = TAKEN[key]
            try:
                self.put(place, convert(text))
            except ValueError as exc:
                raise BadAlignedYaml(self.source, f"{key} = {text}: {exc}") from None
        elif key in LEFT:
            self.remarks.append(f"{key} is left out: {LEFT[key]}")
        elif key.split(".")[0] in OTHER_ROLES:
            self.remarks.append(f"{key} is left out: it is no key of an aggregator")
        else:
            self.remarks.append(f"{key} is left out: no aggregator of Aligned is known to read it")

    def put(self, place: str, value: object) -> None:
        section, _, key = place.partition(".")
        self.tables.setdefault(section, {})[key] = value

    def deployment(self, name: str) -> None:
        """Addresses and chain. A real address in place of a proxy's implementation is theirs to tell apart."""
        if not name:
            self.remarks.append("aligned_layer_deployment_config_file_path is not given: [l1] needs the addresses")
            return
        path = self.base / name
        try:
            read = msgspec.json.decode(_text(path), type=_Deployment)
        except msgspec.DecodeError as exc:
            raise BadAlignedYaml(str(path), f"not a deployment file: {exc}") from None
        for theirs, ours in ADDRESSES.items():
            if theirs in read.addresses:
                self.put(f"l1.{ours}", read.addresses[theirs])
            else:
                self.remarks.append(f"l1.{ours} is missing: {path.name} has no address of {theirs}")
        for theirs, ours in (("chainId", "chain_id"), ("deploymentBlock", "first_block")):
            if theirs in read.chainInfo:
                self.put(f"l1.{ours}", read.chainInfo[theirs])
            else:
                self.remarks.append(f"l1.{ours} keeps its default: {path.name} has no {theirs}")

    def check(self) -> None:
        try:
            msgspec.convert(self.tables, AggregatorConfig)
        except msgspec.ValidationError as exc:
            raise BadAlignedYaml(self.source, f"cannot be taken over: {exc}") from None
