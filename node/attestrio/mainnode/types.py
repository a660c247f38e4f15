"""What the main node's methods say, as JSON and as values; nothing here waits.

Methods (positional parameters; null where the main node has no consensus yet):

    en_attestationStatus     []        {"genesis": {"keccak256": b64}, "nextBatchToAttest": "7"}, or the first shape
                                       {"next_batch_to_attest": 7}, which knows no genesis and no null
    en_consensusGenesis      []        Genesis
    en_consensusGlobalConfig []        {"genesis": Genesis, "registryAddress": b64?, "seedPeers": [..]?}
    attestrio_batchToAttest  [number]  {"number": "7", "hash": {"keccak256": b64}, "genesis": {"keccak256": b64}}: ours
    attestrio_certificate    [number]  BatchQC, null for a batch without one: ours

A genesis is read strictly, since its hash is computed again from what was understood; around it unknown fields are
ignored, because `seedPeers` once broke every node that refused them. Readers raise ValueError or a PeerError of roles.

Source: zksync-era, the `en` namespace as it was between c6b3adf3f2 and 4905261f00.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from msgspec import UNSET, Raw, Struct, UnsetType, field

from attestrio.roles import Batch, BatchHash, BatchNumber, BatchQC, Genesis, GenesisHash, NodePublicKey
from attestrio.status.api import AttestationStatus

STATUS = "en_attestationStatus"
GENESIS = "en_consensusGenesis"
GLOBAL_CONFIG = "en_consensusGlobalConfig"
BATCH_TO_ATTEST = "attestrio_batchToAttest"
CERTIFICATE = "attestrio_certificate"
METHODS = (STATUS, GENESIS, GLOBAL_CONFIG, BATCH_TO_ATTEST, CERTIFICATE)

MAX_SEED_PEERS = 1_000


@dataclass(frozen=True, slots=True)
class FirstShape:
    """A status as the first version of the method gave it: the number alone. A genesis has to be asked for."""

    next_batch: BatchNumber


@dataclass(frozen=True, slots=True)
class SeedPeer:
    """Where to connect to first: a node's key and its `host:port`."""

    key: NodePublicKey
    addr: str


@dataclass(frozen=True, slots=True)
class GlobalConfig:
    """The genesis and what goes with it but is not part of its hash. `registry_address` has 20 bytes."""

    genesis: Genesis
    registry_address: bytes | None = None
    seed_peers: tuple[SeedPeer, ...] = ()


class HashJson(Struct):
    keccak256: str


class StatusJson(Struct):
    """Both shapes at once; proto3 JSON accepts a field under either of its names."""

    genesis: HashJson | UnsetType = UNSET
    camel: int | str | UnsetType = field(name="nextBatchToAttest", default=UNSET)
    snake: int | str | UnsetType = field(name="next_batch_to_attest", default=UNSET)


class BatchJson(Struct):
    number: int | str
    hash: HashJson
    genesis: HashJson


class NodeKeyJson(Struct):
    ed25519: str


class SeedPeerJson(Struct):
    key: NodeKeyJson
    addr: str


class GlobalConfigJson(Struct):
    genesis: Raw
    registry_camel: str | UnsetType | None = field(name="registryAddress", default=UNSET)
    registry_snake: str | UnsetType | None = field(name="registry_address", default=UNSET)
    peers_camel: list[SeedPeerJson] | UnsetType | None = field(name="seedPeers", default=UNSET)
    peers_snake: list[SeedPeerJson] | UnsetType | None = field(name="seed_peers", default=UNSET)


# --- reading ------------------------------------------------------------------------------------------------------


def status_untrusted(told: StatusJson) -> AttestationStatus | FirstShape:
    """The status, told apart by whether it has a genesis."""
    if told.camel is not UNSET and told.snake is not UNSET:
        raise ValueError("nextBatchToAttest twice, under both of its names")
    number = told.snake if told.camel is UNSET else told.camel
    if number is UNSET:
        raise ValueError("no nextBatchToAttest")
    if told.genesis is not UNSET:
        return AttestationStatus(GenesisHash(_hash(told.genesis, "genesis")), number_untrusted(number))
    if not isinstance(told.snake, int):
        raise ValueError("no genesis")  # the first shape has an integer under the snake-case name, and only that
    return FirstShape(number_untrusted(told.snake))


def batch_untrusted(told: BatchJson) -> Batch:
    """A batch to sign. Whether it is the one asked for is the caller's to check."""
    return Batch(
        number_untrusted(told.number),
        BatchHash(_hash(told.hash, "hash")),
        GenesisHash(_hash(told.genesis, "genesis")),
    )


def certificate_untrusted(told: Raw) -> BatchQC:
    """A certificate, of whatever batch and whoever signed: worth nothing until it is verified."""
    return BatchQC.from_json(bytes(told), lenient=True)


def genesis_untrusted(told: Raw) -> Genesis:
    """A genesis, strictly: a field that is not understood would be missing from its hash."""
    return Genesis.from_json(bytes(told))


def global_config_untrusted(told: GlobalConfigJson) -> GlobalConfig:
    """The global config; null and an absent field are the same, as in all proto3 JSON."""
    registry = told.registry_camel or told.registry_snake or None
    peers = told.peers_camel or told.peers_snake or []
    if len(peers) > MAX_SEED_PEERS:
        raise ValueError(f"{len(peers)} seed peers, limit {MAX_SEED_PEERS}")
    return GlobalConfig(
        genesis_untrusted(told.genesis),
        None if registry is None else bytes_untrusted(registry, 20, "registryAddress"),
        tuple(
            SeedPeer(NodePublicKey.from_bytes(bytes_untrusted(peer.key.ed25519, 32, "seedPeers.key")), peer.addr)
            for peer in peers
        ),
    )


def number_untrusted(told: int | str) -> BatchNumber:
    """An unsigned 64-bit number, as proto3 JSON has it: decimal text, or a JSON integer."""
    if isinstance(told, str):
        if not (told.isascii() and told.isdecimal() and len(told) <= 20):
            raise ValueError(f"not a batch number: {told[:40]!r}")
        told = int(told)
    if not 0 <= told < 1 << 64:
        raise ValueError("batch number outside 64 bits")
    return BatchNumber(told)


def bytes_untrusted(told: str, size: int, name: str) -> bytes:
    """Exactly `size` bytes in base64; either alphabet, padded or not, as proto3 JSON readers accept it."""
    text = told.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    if len(text) > 2 * size or not text.isascii():
        raise ValueError(f"{name}: not base64 of {size} bytes")
    raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if len(raw) != size:
        raise ValueError(f"{name}: {len(raw)} bytes, want {size}")
    return raw


def _hash(told: HashJson, name: str) -> bytes:
    return bytes_untrusted(told.keccak256, 32, name)


# --- writing ------------------------------------------------------------------------------------------------------


def status_json(status: AttestationStatus) -> dict[str, object] | None:
    """The second shape; null while there is no number."""
    if status.next_batch is None:
        return None
    return {"genesis": hash_json(status.genesis), "nextBatchToAttest": str(int(status.next_batch))}


def batch_json(batch: Batch) -> dict[str, object]:
    return {
        "number": str(int(batch.number)),
        "hash": hash_json(batch.hash),
        "genesis": hash_json(batch.genesis),
    }


def global_config_json(config: GlobalConfig) -> dict[str, object]:
    """Absent optionals and empty lists are left out."""
    told: dict[str, object] = {"genesis": config.genesis.to_json()}
    if config.registry_address is not None:
        told["registryAddress"] = base64.b64encode(config.registry_address).decode()
    if config.seed_peers:
        told["seedPeers"] = [
            {"key": {"ed25519": base64.b64encode(peer.key.to_bytes()).decode()}, "addr": peer.addr}
            for peer in config.seed_peers
        ]
    return told


def hash_json(value: BatchHash | GenesisHash) -> dict[str, str]:
    return {"keccak256": base64.b64encode(value.to_bytes()).decode()}
