"""TOML file, environment and flags to one frozen `NodeConfig`.

Precedence: flag > environment > file > default. Environment names are `ATTESTRIO_<SECTION>_<KEY>` in capitals. An
unknown key is an error that names the key and the file. Secrets come from a `*_file` or from the environment, never
from the TOML file itself. Relative paths in a file are taken from the folder of that file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import msgspec

from attestrio.errors import SetupError
from attestrio.kit.files import read_bounded

PREFIX = "ATTESTRIO_"
MAX_FILE = 1 << 20  # bytes of a configuration; one with every key has about 2,000
MAX_NUMBER = (1 << 63) - 2  # of the store, of batches; also more than anybody keeps
MAX_SECONDS = 1_000_000_000  # some 30 years: a time without end is a slip
MAX_KEY_FILE = 4096  # bytes of a key file; a key has 91
MAX_GENESIS_FILE = 16 << 20  # bytes of a genesis file; 10,000 attesters are about 1.2 MB


ADDRESS = re.compile("0x[0-9a-fA-F]{40}")


class BadConfig(SetupError):
    """A configuration that cannot be used; says which key of which source, and what to do."""

    code: ClassVar[str] = "bad_config"

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")
        self.source, self.problem = source, problem


class Secret(str):
    """A text that is never shown. `reveal()` is the only way to it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__
    __format__ = cast("Any", lambda self, _spec: "<secret>")

    def reveal(self) -> str:
        return str.__str__(self)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: frozen, and strict about keys."""


def _positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} has to be above 0, not {value}")
        if value is not None and not value <= _largest(value):
            raise ValueError(f"{name} has to be {_largest(value)} at most")


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= _largest(value):
            raise ValueError(f"{name} has to be from 0 to {_largest(value)}, not {value}")


def _largest(value: float) -> float:
    return MAX_NUMBER if isinstance(value, int) else MAX_SECONDS


class NodeSection(Section, frozen=True):
    data_dir: str = "attestrio-data"
    """Folder of everything this node keeps; made with mode 0700."""
    grace_s: float = 5.0
    """Seconds that a stopping node may take to finish what it has begun."""

    def __post_init__(self) -> None:
        _positive(grace_s=self.grace_s)
        if not self.data_dir:
            raise ValueError("data_dir may not be empty")


class KeysSection(Section, frozen=True):
    attester_file: str | None = None
    """File with the attester's secret key; without a key the node collects certificates and does not vote."""
    attester: Secret | None = None
    """The key itself: environment only."""


class GenesisSection(Section, frozen=True):
    file: str | None = None
    """Genesis as proto3 JSON; without it the main node is asked."""


class MainNodeSection(Section, frozen=True):
    url: str | None = None
    """JSON-RPC address of the main node; absent on the main node itself."""
    urls: tuple[str, ...] = ()
    """Several main nodes, of which `agree` have to say the same; in the environment separated by commas."""
    agree: int | None = None
    """How many of `urls` have to agree; default: more than half."""
    poll_s: float | None = None
    """Seconds between two status polls; default 5, or 1 over the node's own store."""
    timeout_s: float = 10.0
    stale_grace_s: float = 60.0
    """Seconds for which lower numbers count as a lagging replica."""
    max_answer_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        _positive(poll_s=self.poll_s, timeout_s=self.timeout_s, max_answer_bytes=self.max_answer_bytes)
        _not_negative(stale_grace_s=self.stale_grace_s)
        if self.url is not None and self.urls:
            raise ValueError("url and urls exclude each other")
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("urls names a main node twice")
        if self.agree is not None and not len(self.urls) // 2 < self.agree <= len(self.urls):
            raise ValueError(f"agree = {self.agree} of {len(self.urls)} urls: has to be more than half, at most all")


class BatchesSection(Section, frozen=True):
    source: Literal["main-node", "file", "l1"] = "main-node"
    """Where the batch to sign comes from; "l1" is the rollup's contract on Ethereum, see [l1]."""
    check_l1: bool = False
    """Whether a batch from elsewhere is compared with that contract, and signed only where both say the same."""
    file: str | None = None
    """JSON lines of {"number", "hash"}, appended to by whatever seals batches."""
    poll_s: float = 1.0
    first: int | None = None
    """First batch of this genesis: the one that holds L2 block `genesis.first_block`. A node that is told asks its
    main node for all certificates from there on, and not only for those since its own first."""

    def __post_init__(self) -> None:
        _positive(poll_s=self.poll_s)
        if self.first is not None and not 0 <= self.first <= MAX_NUMBER:
            raise ValueError(f"first has to be a number from 0 to {MAX_NUMBER}")


class L1Section(Section, frozen=True):
    rpc_urls: tuple[str, ...] = ()
    """JSON-RPC addresses of Ethereum nodes; in the environment separated by commas."""
    chain_id: int = 1
    """Of Ethereum; an endpoint that serves another chain is not used."""
    diamond: str | None = None
    """Address of the rollup's contract (diamond proxy): 0x and 40 hex digits."""
    finality: Literal["latest", "safe", "finalized", "executed"] = "finalized"
    """What a batch has to have reached: committed in the latest, safe or finalized block, or executed in that."""
    agree: int = 1
    """How many of `rpc_urls` have to say the same; with 1 they stand in for each other."""
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        _positive(chain_id=self.chain_id, timeout_s=self.timeout_s)
        if len(set(self.rpc_urls)) != len(self.rpc_urls):
            raise ValueError("rpc_urls names an endpoint twice")
        if self.agree != 1 and not len(self.rpc_urls) // 2 < self.agree <= len(self.rpc_urls):
            raise ValueError(f"agree = {self.agree} of {len(self.rpc_urls)} rpc_urls: has to be 1, or more than half")
        if self.diamond is not None and not ADDRESS.fullmatch(self.diamond):
            raise ValueError("diamond is not an address: 0x and 40 hex digits")


class ProtectionSection(Section, frozen=True):
    on_rollback: Literal["restart", "ask", "exit"] = "restart"
    """When an epoch ends: begin the next, wait for `attestrio rollback apply`, or leave it to a supervisor (exit 3)."""
    keep_votes: int = 1_000_000
    """How many of the newest votes stay on record; older numbers are refused by a watermark."""

    listen_s: float = 3.0
    """Seconds to listen, once links are up, for another node with the same key before the first vote of a process."""

    def __post_init__(self) -> None:
        _positive(keep_votes=self.keep_votes)
        _not_negative(listen_s=self.listen_s)


class ServeSection(Section, frozen=True):
    bind: str = "127.0.0.1:3060"
    """Where the main-node API listens (host:port; port 0 picks a free one); "" where an embedding program serves it."""
    next_rule: Literal["gap", "max"] = "gap"
    """Next batch: the lowest without a certificate, or one above the highest certificate as zksync-era answers."""


class GossipSection(Section, frozen=True):
    bind: str = "0.0.0.0:3054"
    """Where other nodes dial in (host:port; port 0 picks a free one)."""
    node_key_file: str | None = None
    """File with the node's secret key, which names this node on the network."""
    node_key: Secret | None = None
    """The key itself: environment only."""
    static_outbound: tuple[str, ...] = ()
    """Peers to dial, for ever: "node:public:ed25519:...@host:port"; in the environment separated by commas."""
    static_inbound: tuple[str, ...] = ()
    """Keys of peers that are always let in: "node:public:ed25519:..."."""
    dynamic_inbound_limit: int = 100
    """How many peers that stand in neither list may dial in."""
    ping_timeout_s: float = 10.0
    """Seconds for a peer to answer a ping, and between two pings; then the link is given up."""
    redial_s: float = 20.0
    """Seconds between two attempts to reach one peer."""
    max_batch_bytes: int = 10 << 20
    """Bytes of the largest batch that is fetched."""
    fetch_batches: bool = True
    """Ask peers for batches that are not here; a main node never does."""
    rates: tuple[str, ...] = ()
    """Calls a link may carry, where they differ from the network's: "method=burst/refresh_s"; refresh 0: no limit."""

    def __post_init__(self) -> None:
        # imported when called: reading a key needs the curve, and most commands have no section [gossip]
        from attestrio.gossip.rules import (
            MAX_BATCH_BYTES,
            SHORTEST_PING_S,
            check_address,
            inbound_of,
            outbound_of,
            rates_of,
        )

        _positive(ping_timeout_s=self.ping_timeout_s, redial_s=self.redial_s, max_batch_bytes=self.max_batch_bytes)
        _not_negative(dynamic_inbound_limit=self.dynamic_inbound_limit)
        if self.ping_timeout_s < SHORTEST_PING_S:
            raise ValueError(f"ping_timeout_s has to be {SHORTEST_PING_S:g} at least: peers answer one ping a second")
        if self.max_batch_bytes > MAX_BATCH_BYTES:
            raise ValueError(f"max_batch_bytes has to be {MAX_BATCH_BYTES} at most")
        check_address(self.bind, "bind", lowest_port=0)
        outbound_of(self.static_outbound)
        inbound_of(self.static_inbound)
        rates_of(self.rates)


class LogSection(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    """auto: console on a terminal, JSON otherwise."""


class NodeConfig(Section, frozen=True):
    """Everything one node needs to know. A node with `serve` is a main node; one without `gossip` has no peers."""

    node: NodeSection = NodeSection()
    keys: KeysSection = KeysSection()
    genesis: GenesisSection = GenesisSection()
    main_node: MainNodeSection = MainNodeSection()
    batches: BatchesSection = BatchesSection()
    l1: L1Section | None = None
    protection: ProtectionSection = ProtectionSection()
    serve: ServeSection | None = None
    gossip: GossipSection | None = None
    log: LogSection = LogSection()

    @property
    def poll_s(self) -> float:
        """Seconds between two status polls, with the default of the role."""
        if self.main_node.poll_s is not None:
            return self.main_node.poll_s
        return 5.0 if self.serve is None else 1.0


LISTS = {
    ("main_node", "urls"), ("l1", "rpc_urls"), ("gossip", "static_outbound"), ("gossip", "static_inbound"),
    ("gossip", "rates"),
}  # fmt: skip
SECRETS = {("keys", "attester"): "attester_file", ("gossip", "node_key"): "node_key_file"}
"""What only the environment may hold, and the key beside it that names a file instead."""
PATHS = {
    ("node", "data_dir"), ("keys", "attester_file"), ("genesis", "file"), ("batches", "file"),
    ("gossip", "node_key_file"),
}  # fmt: skip


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Name and class of every section, in the order of the file."""
    for field in msgspec.structs.fields(NodeConfig):
        candidates = getattr(field.type, "__args__", (field.type,))
        yield field.name, next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Section))


def keys() -> Iterator[tuple[str, str]]:
    """Every (section, key) there is."""
    for name, kind in sections():
        for field in msgspec.structs.fields(kind):
            yield name, field.name


def env_name(section: str, key: str) -> str:
    return f"{PREFIX}{section}_{key}".upper()


def load_config(
    path: str | Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> NodeConfig:
    """The configuration from `path`, `env` and `overrides` ("section.key" → text), the last one winning.

    Raises BadConfig with one sentence: which source, which key, what is wrong.
    """
    return explain_config(path, env=env, overrides=overrides)[0]


def explain_config(
    path: str | Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> tuple[NodeConfig, dict[tuple[str, str], str]]:
    """As `load_config`, with the source of every key that is not a default."""
    origin: dict[tuple[str, str], str] = {}
    table = _read_file(Path(path)) if path is not None else {}
    for section, key in list(keys()):
        if key in table.get(section, {}):
            origin[section, key] = str(path)
    layers = [("environment", _from_env(env or {})), ("flag", _from_flags(overrides or {}))]
    for name, layer in layers:
        for (section, key), text in layer.items():
            table.setdefault(section, {})[key] = _list(text) if (section, key) in LISTS else text
            origin[section, key] = name
            _convert(table, name, strict=False)  # here, so that the error names its source
    made = _convert(table, str(path or "defaults"), strict=False)
    # Only now: the two keys may come from different sources.
    if made.batches.source == "file" and not made.batches.file:
        raise BadConfig(origin["batches", "source"], 'batches: source = "file" needs the key file')
    asks = "source" if made.batches.source == "l1" else "check_l1" if made.batches.check_l1 else None
    if asks is not None and (made.l1 is None or not made.l1.rpc_urls or made.l1.diamond is None):
        raise BadConfig(origin["batches", asks], f"batches: {asks} needs the section [l1] with rpc_urls and diamond")
    return made, origin


def _list(text: str) -> list[str]:
    return [one.strip() for one in text.split(",")] if text else []


def _read_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(read_bounded(path, MAX_FILE, pipes=True).decode("utf-8"))
    except FileNotFoundError:
        raise BadConfig(str(path), "no such file; `attestrio config show` prints a complete one") from None
    except OSError as exc:
        raise BadConfig(str(path), f"cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise BadConfig(str(path), "cannot be read: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as exc:
        raise BadConfig(str(path), f"not TOML: {exc}") from None
    except ValueError:  # Python reads no number of more than 4,300 digits
        raise BadConfig(str(path), "holds a number that is too long") from None
    except RecursionError:
        raise BadConfig(str(path), "nested too deep") from None
    _refuse_unknown(table, str(path))
    for (section, key), file_key in SECRETS.items():
        if key in table.get(section, {}):
            instead = f"use {section}.{file_key} or {env_name(section, key)}"
            raise BadConfig(str(path), f"{section}.{key} may not stand in a file: {instead}")
    _convert(table, str(path), strict=True)
    for section, key in PATHS:
        value = table.get(section, {}).get(key)
        if value is not None:
            table[section][key] = str(path.parent / value)
    return table


def _from_env(env: Mapping[str, str]) -> dict[tuple[str, str], str]:
    return {pair: env[env_name(*pair)] for pair in keys() if env_name(*pair) in env}


def _from_flags(overrides: Mapping[str, str]) -> dict[tuple[str, str], str]:
    known = {f"{section}.{key}": (section, key) for section, key in keys()}
    for name in overrides:
        if name not in known:
            raise BadConfig("flag", f"unknown key {name}{_hint(name, known)}")
        if known[name] in SECRETS:
            instead = f"use {env_name(*known[name])}"
            raise BadConfig("flag", f"a secret on the command line is seen by everybody: {instead}")
    return {known[name]: text for name, text in overrides.items()}


def _convert(table: dict[str, Any], source: str, *, strict: bool) -> NodeConfig:
    _refuse_unknown(table, source)
    try:
        return msgspec.convert(table, NodeConfig, strict=strict, dec_hook=_decode_secret)
    except msgspec.ValidationError as exc:
        text = str(exc)
        what, _, where = text.partition(" - at `$")
        where = where.rstrip("`").lstrip(".")
        raise BadConfig(source, f"{where}: {what}" if where else what) from None


def _decode_secret(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError("expected a text")


def _refuse_unknown(table: dict[str, Any], source: str) -> None:
    known = dict(sections())
    for section, entries in table.items():
        if section not in known:
            raise BadConfig(source, f"unknown section [{section}]{_hint(section, known)}")
        if not isinstance(entries, dict):
            raise BadConfig(source, f"{section} has to be a section: [{section}]")
        fields = {field.name for field in msgspec.structs.fields(known[section])}
        for key, value in entries.items():
            if key not in fields:
                raise BadConfig(source, f"unknown key {section}.{key}{_hint(key, fields)}")
            if isinstance(value, str) and "\0" in value:  # no path, address or key has one, and open() would trip
                raise BadConfig(source, f"{section}.{key}: holds a NUL character")


def _hint(name: str, known: Mapping[str, object] | set[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def unused_environment(env: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and name no key: worth a warning, not an error (Kubernetes makes such names)."""
    known = {env_name(section, key) for section, key in keys()}
    prefixes = tuple(f"{PREFIX}{name.upper()}_" for name, _ in sections())
    return sorted(name for name in env if name.startswith(prefixes) and name not in known)
