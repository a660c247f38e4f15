"""What is examined, out of a configuration of any kind: where its files are, and whom it talks to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attestrio.app.files import holes
from attestrio.app.gossip import gossip_holes
from attestrio.app.kinds import Kind
from attestrio.config import NodeConfig
from attestrio.configuring import Section

CONTRACTS: Final = ("diamond", "manager", "coordinator", "key_registry", "retriever", "rollup_manager", "ger_manager")
"""Keys of the sections [l1], each the address of a contract."""
REDIS: Final = 6379


@dataclass(frozen=True, slots=True)
class L1Access:
    """How the chain is asked; None of it was tried."""

    urls: tuple[str, ...]
    chain_id: int
    agree: int
    timeout_s: float
    contracts: tuple[tuple[str, str], ...] = ()
    """Key, and the address of a contract that has to be there."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What every kind of process has, more or less of it."""

    kind: Kind
    data_dir: Path
    missing: tuple[str, ...]
    """What the configuration lacks, a sentence each."""
    secret_files: tuple[tuple[str, Path], ...]
    """Key of the configuration, and the file that only its owner shall read."""
    files: tuple[tuple[str, Path], ...]
    """Others that have to be there."""
    programs: tuple[tuple[str, Path], ...]
    binds: tuple[tuple[str, str], ...]
    """Key, and HOST:PORT that is listened at."""
    l1: L1Access | None
    addresses: tuple[tuple[str, str], ...]
    """Key, and HOST:PORT of somebody who is called over TCP."""
    node: NodeConfig | None
    """Of a node or main node: it also has keys, peers, main nodes and a signing history."""


def subject_of(kind: Kind, made: Section) -> Subject:
    """What there is to examine for this configuration, which is one of `kind`."""
    if isinstance(made, NodeConfig):
        return _node(made)
    from attestrio.app.aggregator_config import AggregatorConfig
    from attestrio.app.aggregator_config import lacking as aggregator_lacks
    from attestrio.app.operator_config import OperatorConfig
    from attestrio.app.operator_config import lacking as operator_lacks

    if isinstance(made, OperatorConfig):
        return Subject(
            kind, Path(made.operator.data_dir), tuple(operator_lacks(made)),
            tuple(_named(("bls.keystore", made.bls.keystore), ("bls.password_file", made.bls.password_file))), (),
            tuple((f"verifier.programs {name}", Path(one[0])) for name, one in made.verifier.programs.items()),
            _binds(made, ("operator.metrics_bind", made.operator.metrics_bind)), _l1(made.l1),
            (("aggregator.address", made.aggregator.address),) if made.aggregator.address else (), None,
        )  # fmt: skip
    if isinstance(made, AggregatorConfig):
        secrets = _named(
            ("ecdsa.keystore", made.ecdsa.keystore), ("ecdsa.password_file", made.ecdsa.password_file),
            ("journal.password_file", made.journal.password_file),
        )  # fmt: skip
        binds = _binds(
            made, ("aggregator.metrics_bind", made.aggregator.metrics_bind), ("server.bind", made.server.bind)
        )
        missing = tuple(aggregator_lacks(made))
        return Subject(
            kind, Path(made.aggregator.data_dir), missing, tuple(secrets), (), (), binds, _l1(made.l1),
            tuple(_redis(made.journal.redis_url)), None,
        )  # fmt: skip
    return _sequencer(made)


def _node(made: NodeConfig) -> Subject:
    secrets = [("keys.attester_file", made.keys.attester_file)]
    binds = []
    if made.gossip is not None:
        secrets.append(("gossip.node_key_file", made.gossip.node_key_file))
        binds.append(("gossip.bind", made.gossip.bind))
    if made.serve is not None:
        binds.append(("serve.bind", made.serve.bind))
    return Subject(
        Kind.NODE, Path(made.node.data_dir), (*holes(made), *gossip_holes(made)), tuple(_named(*secrets)),
        tuple(_named(("genesis.file", made.genesis.file), ("batches.file", made.batches.file))), (),
        _binds(made, *binds),
        None if made.l1 is None else _l1(made.l1), (), made,
    )  # fmt: skip


def _sequencer(made: Section) -> Subject:
    from attestrio.app.sequencer_config import SequencerConfig, lacking

    assert isinstance(made, SequencerConfig)
    files = _named(
        ("chain.allocation", made.chain.allocation), ("chain.chainspec", made.chain.chainspec),
        ("chain.conf", made.chain.conf), ("chain.injected", made.chain.injected), ("l1.leaves", made.l1.leaves),
    )  # fmt: skip
    binds = _binds(
        made, ("sequencer.metrics_bind", made.sequencer.metrics_bind), ("stream.bind", made.stream.bind),
        ("rpc.bind", made.rpc.bind),
    )  # fmt: skip
    return Subject(
        Kind.SEQUENCER, Path(made.sequencer.data_dir), tuple(lacking(made)), (), tuple(files), (), binds,
        _l1(made.l1), (), None,
    )  # fmt: skip


def _named(*files: tuple[str, str | None]) -> Iterator[tuple[str, Path]]:
    for key, path in files:
        if path is not None:
            yield key, Path(path)


def _binds(made: Any, *binds: tuple[str, str]) -> tuple[tuple[str, str], ...]:  # noqa: ANN401 - any configuration
    """With that of the page, where the configuration has one."""
    web = getattr(made, "web", None)
    page: Sequence[tuple[str, str]] = () if web is None else [("web.bind", web.bind)]
    return tuple((key, bind) for key, bind in (*binds, *page) if bind)


def _l1(section: Any) -> L1Access | None:  # noqa: ANN401 - each kind has a section of its own with these keys
    if not section.rpc_urls:
        return None
    contracts = ((f"l1.{key}", getattr(section, key, None)) for key in CONTRACTS)
    named = tuple((key, where) for key, where in contracts if where)
    return L1Access(section.rpc_urls, section.chain_id, section.agree, section.timeout_s, named)


def _redis(url: str) -> Iterator[tuple[str, str]]:
    """Where the journal is that aggregators share; nothing where it is a file, or the URL none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or REDIS
    except ValueError:  # `aggregator check` says what is wrong with it
        return
    if host:
        yield "journal.redis_url", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
