"""What is said on the connections of Aligned: headers, task responses, methods. Shapes are data, values are frozen."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Generic, TypeVar

from attestrio.gorpc.gob import INT64, TEXT, UINT8, UINT64, ByteArray, Field, Shape, Struct, UintArray

A_co = TypeVar("A_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

Limbs = tuple[int, ...]
"""4 times 64 bits, the lowest first, of a field element times 2^256 mod p (Montgomery); not checked to be below p."""


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """Before every call."""

    method: str
    seq: int


@dataclass(frozen=True, slots=True)
class ResponseHeader:
    """Before every answer; with an `error` its body means nothing."""

    method: str
    seq: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty struct."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of G1 as it is sent. Nobody has checked that it is on the curve; all zeros is legal here."""

    x: Limbs
    y: Limbs


@dataclass(frozen=True, slots=True)
class SignedTaskResponse:
    """An operator's signature of a batch. None of it is checked beyond its lengths."""

    batch_merkle_root: bytes
    """32 bytes, as the two below; Go sends zeros for what it has not."""
    sender_address: bytes
    """20 bytes."""
    batch_identifier_hash: bytes
    signature: Point | None
    """None: Go's nil pointer."""
    operator_id: bytes


@dataclass(frozen=True, slots=True)
class RpcMethod(Generic[A_co, R_co]):
    """A method that can be called: its name, `Service.Method`, and the Go types of its argument and its reply."""

    name: str
    arg: Shape[A_co]
    reply: Shape[R_co]


REQUEST: Final = Struct(
    "Request",
    (Field("ServiceMethod", TEXT, attrgetter("method")), Field("Seq", UINT64, attrgetter("seq"))),
    RequestHeader,
)
RESPONSE: Final = Struct(
    "Response",
    (
        Field("ServiceMethod", TEXT, attrgetter("method")),
        Field("Seq", UINT64, attrgetter("seq")),
        Field("Error", TEXT, attrgetter("error")),
    ),
    ResponseHeader,
)
EMPTY: Final = Struct("", (), Nothing)


def _itself(value: object) -> object:
    return value


def _inner(point: Point | None) -> Point | None:
    return point


# Signature{*G1Point{*G1Affine{X, Y}}}: either pointer may be nil, which is one and the same None here.
_ELEMENT: Final = UintArray(4, 64, "Element")
_AFFINE: Final = Struct(
    "G1Affine", (Field("X", _ELEMENT, attrgetter("x")), Field("Y", _ELEMENT, attrgetter("y"))), Point
)
_G1_POINT: Final = Struct("G1Point", (Field("G1Affine", _AFFINE, _itself, pointer=True),), _inner)
_SIGNATURE: Final = Struct("Signature", (Field("G1Point", _G1_POINT, _itself, pointer=True),), _inner)
_BYTES32: Final = ByteArray(32)

SIGNED_TASK_RESPONSE: Final = Struct(
    "SignedTaskResponse",
    (
        Field("BatchMerkleRoot", _BYTES32, attrgetter("batch_merkle_root")),
        Field("SenderAddress", ByteArray(20), attrgetter("sender_address")),
        Field("BatchIdentifierHash", _BYTES32, attrgetter("batch_identifier_hash")),
        Field("BlsSignature", _SIGNATURE, attrgetter("signature")),
        Field("OperatorId", ByteArray(32, "Bytes32"), attrgetter("operator_id")),
    ),
    SignedTaskResponse,
)

PROCESS_SIGNED_TASK_RESPONSE: Final = RpcMethod(
    "Aggregator.ProcessOperatorSignedTaskResponseV2", SIGNED_TASK_RESPONSE, UINT8
)
SERVER_RUNNING: Final = RpcMethod("Aggregator.ServerRunning", EMPTY, INT64)
