"""Which message belongs to which value, both ways, in one place. Imported once, by `attestrio.roles`.

Every reader here may be fed by a stranger: it raises DecodeFailed and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from attestrio.roles.batch import Batch, SyncBatch
from attestrio.roles.committee import Committee, WeightedAttester
from attestrio.roles.errors import MissingField
from attestrio.roles.genesis import Genesis
from attestrio.roles.hashes import AggregateSignature, BatchHash, GenesisHash, MsgHash
from attestrio.roles.keys import AttesterPublicKey, Signature
from attestrio.roles.node_keys import NodePublicKey, NodeSignature, SignedSessionId
from attestrio.roles.numbers import BatchNumber
from attestrio.roles.qc import BatchQC
from attestrio.roles.validators import (
    LeaderSelection,
    Rota,
    RoundRobin,
    Sticky,
    ValidatorPublicKey,
    Weighted,
    WeightedValidator,
)
from attestrio.roles.votes import SignedBatch
from attestrio.roles.wire import CODECS, Codec
from attestrio.schema import attester_keys_pb2, attester_pb2, genesis_pb2, node_pb2, validator_keys_pb2

T = TypeVar("T")
M = TypeVar("M", bound=Message)


def required(message: Message, *fields: str) -> None:
    """Raise MissingField for the first of `fields` that is absent."""
    for name in fields:
        if not message.HasField(name):
            raise MissingField(f"{message.DESCRIPTOR.name}.{name}")


def register(value: type[T], message: type[M], build: Callable[[T], M], read: Callable[[M], T], *fields: str) -> None:
    """Make `message` the form of `value`; `fields` have to be present before `read` sees it."""

    def read_checked(told: M) -> T:
        required(told, *fields)
        return read(told)

    CODECS[value] = Codec(message, build, read_checked)


def build(value: object) -> Message:
    """The message of any registered value."""
    message: Message = CODECS[type(value)].build(value)
    return message


def read(value: type[T], message: Message) -> T:
    """The value in a message of its type. Raises DecodeFailed."""
    made: T = CODECS[value].read(message)
    return made


# attester: keys, hashes, signatures

_P, _A, _V, _G, _N = attester_keys_pb2, attester_pb2, validator_keys_pb2, genesis_pb2, node_pb2


def _public_message(key: AttesterPublicKey) -> attester_keys_pb2.PublicKey:
    return _P.PublicKey(secp256k1=key.raw)


def _signature_message(signature: Signature) -> attester_keys_pb2.Signature:
    return _P.Signature(secp256k1=signature.raw)


def _validator_message(key: ValidatorPublicKey) -> validator_keys_pb2.PublicKey:
    return _V.PublicKey(bn254=key.raw)


register(
    AttesterPublicKey, _P.PublicKey, _public_message, lambda m: AttesterPublicKey.from_bytes(m.secp256k1), "secp256k1"
)
register(Signature, _P.Signature, _signature_message, lambda m: Signature(m.secp256k1), "secp256k1")
register(
    AggregateSignature,
    _P.AggregateSignature,
    lambda v: _P.AggregateSignature(bls12_381=v.raw),
    lambda m: AggregateSignature(m.bls12_381),
    "bls12_381",
)
register(
    BatchHash, _A.BatchHash, lambda v: _A.BatchHash(keccak256=v.raw), lambda m: BatchHash(m.keccak256), "keccak256"
)
register(MsgHash, _A.MsgHash, lambda v: _A.MsgHash(keccak256=v.raw), lambda m: MsgHash(m.keccak256), "keccak256")
register(
    GenesisHash,
    _V.GenesisHash,
    lambda v: _V.GenesisHash(keccak256=v.raw),
    lambda m: GenesisHash(m.keccak256),
    "keccak256",
)
register(
    WeightedAttester,
    _P.WeightedAttester,
    lambda v: _P.WeightedAttester(key=_public_message(v.key), weight=v.weight),
    lambda m: WeightedAttester(read(AttesterPublicKey, m.key), m.weight),
    "key",
    "weight",
)


# attester: batches, votes, certificates


def _batch_message(batch: Batch) -> attester_pb2.Batch:
    return _A.Batch(
        number=batch.number,
        hash=_A.BatchHash(keccak256=batch.hash.raw),
        genesis=_V.GenesisHash(keccak256=batch.genesis.raw),
    )


def _read_batch(message: attester_pb2.Batch) -> Batch:
    return Batch(BatchNumber(message.number), read(BatchHash, message.hash), read(GenesisHash, message.genesis))


def _vote_message(vote: SignedBatch) -> attester_pb2.Signed:
    return _A.Signed(
        msg=_A.Msg(batch=_batch_message(vote.batch)),
        key=_public_message(vote.key),
        sig=_signature_message(vote.signature),
    )


def _read_vote(message: attester_pb2.Signed) -> SignedBatch:
    required(message.msg, "batch")
    return SignedBatch(
        read(Batch, message.msg.batch), read(AttesterPublicKey, message.key), read(Signature, message.sig)
    )


def _qc_message(qc: BatchQC) -> attester_pb2.BatchQC:
    return _A.BatchQC(
        msg=_batch_message(qc.batch),
        signatures=[
            _P.Attestation(key=_public_message(key), sig=_signature_message(signature))
            for key, signature in qc.entries()
        ],
    )


def _read_qc(message: attester_pb2.BatchQC) -> BatchQC:
    batch = read(Batch, message.msg)
    signatures: dict[AttesterPublicKey, Signature] = {}
    for entry in message.signatures:
        required(entry, "key", "sig")
        signatures[read(AttesterPublicKey, entry.key)] = read(Signature, entry.sig)  # a key twice: the last one stays
    return BatchQC(batch, signatures)


register(Batch, _A.Batch, _batch_message, _read_batch, "number", "hash", "genesis")
register(SignedBatch, _A.Signed, _vote_message, _read_vote, "msg", "key", "sig")
register(BatchQC, _A.BatchQC, _qc_message, _read_qc, "msg")
register(
    SyncBatch,
    _A.SyncBatch,
    lambda v: _A.SyncBatch(number=v.number, payloads=v.payloads, proof=v.proof),
    lambda m: SyncBatch(BatchNumber(m.number), tuple(m.payloads), m.proof),
    "number",
    "proof",
)


# genesis


def _leader_message(mode: LeaderSelection) -> genesis_pb2.LeaderSelectionMode:
    modes = _G.LeaderSelectionMode
    match mode:
        case RoundRobin():
            return modes(round_robin=modes.RoundRobin())
        case Weighted():
            return modes(weighted=modes.Weighted())
        case Sticky(key):
            return modes(sticky=modes.Sticky(key=_validator_message(key)))
        case Rota(keys):
            return modes(rota=modes.Rota(keys=[_validator_message(key) for key in keys]))


def _read_leader(message: genesis_pb2.LeaderSelectionMode) -> LeaderSelection:
    match message.WhichOneof("mode"):
        case "round_robin":
            return RoundRobin()
        case "weighted":
            return Weighted()
        case "sticky":
            required(message.sticky, "key")
            return Sticky(read(ValidatorPublicKey, message.sticky.key))
        case "rota":
            return Rota(tuple(read(ValidatorPublicKey, key) for key in message.rota.keys))
        case None:
            raise MissingField("LeaderSelectionMode.mode")


def _genesis_message(genesis: Genesis) -> genesis_pb2.Genesis:
    return _G.Genesis(
        validators_v1=[
            _V.WeightedValidator(key=_validator_message(validator.key), weight=validator.weight)
            for validator in genesis.validators
        ],
        leader_selection=_leader_message(genesis.leader_selection),
        chain_id=genesis.chain_id,
        fork_number=genesis.fork_number,
        first_block=genesis.first_block,
        protocol_version=genesis.protocol_version,
        attesters=[
            _P.WeightedAttester(key=_public_message(attester.key), weight=attester.weight)
            for attester in genesis.attesters or ()
        ],
    )


def _read_genesis(message: genesis_pb2.Genesis) -> Genesis:
    genesis = Genesis(
        chain_id=message.chain_id,
        fork_number=message.fork_number,
        first_block=message.first_block,
        protocol_version=message.protocol_version,
        validators=tuple(read(WeightedValidator, validator) for validator in message.validators_v1),
        leader_selection=_read_leader(message.leader_selection),
        attesters=Committee(read(WeightedAttester, attester) for attester in message.attesters)
        if message.attesters
        else None,
    )
    genesis.verify()
    return genesis


register(ValidatorPublicKey, _V.PublicKey, _validator_message, lambda m: ValidatorPublicKey(m.bn254), "bn254")
register(
    WeightedValidator,
    _V.WeightedValidator,
    lambda v: _V.WeightedValidator(key=_validator_message(v.key), weight=v.weight),
    lambda m: WeightedValidator(read(ValidatorPublicKey, m.key), m.weight),
    "key",
    "weight",
)
register(
    Genesis,
    _G.Genesis,
    _genesis_message,
    _read_genesis,
    "leader_selection",
    "chain_id",
    "fork_number",
    "first_block",
    "protocol_version",
)


# node


def _session_message(signed: SignedSessionId) -> node_pb2.Signed:
    return _N.Signed(
        msg=_N.Msg(session_id=signed.session_id),
        key=_N.PublicKey(ed25519=signed.key.raw),
        sig=_N.Signature(ed25519=signed.signature.raw),
    )


def _read_session(message: node_pb2.Signed) -> SignedSessionId:
    required(message.msg, "session_id")
    return SignedSessionId(message.msg.session_id, read(NodePublicKey, message.key), read(NodeSignature, message.sig))


register(
    NodePublicKey, _N.PublicKey, lambda v: _N.PublicKey(ed25519=v.raw), lambda m: NodePublicKey(m.ed25519), "ed25519"
)
register(
    NodeSignature, _N.Signature, lambda v: _N.Signature(ed25519=v.raw), lambda m: NodeSignature(m.ed25519), "ed25519"
)
register(SignedSessionId, _N.Signed, _session_message, _read_session, "msg", "key", "sig")
