"""What our side expects and sends: shapes, which are data, each for one Python type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Shape(Generic[T_co]):
    """A Go type whose values are `T_co` here."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Uint(Shape[int]):
    """uint8 to uint64; gob has one type for all of them, so the range is checked here."""

    bits: int


@dataclass(frozen=True, slots=True)
class Int(Shape[int]):
    """int8 to int64."""

    bits: int


@dataclass(frozen=True, slots=True)
class Text(Shape[str]):
    """string."""


@dataclass(frozen=True, slots=True)
class ByteArray(Shape[bytes]):
    """[length]uint8: on the wire an array of uints, each to be range-checked. `name` is Go's, if the type has one."""

    length: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class UintArray(Shape[tuple[int, ...]]):
    """[length]uintN."""

    length: int
    bits: int
    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A field of a struct.

    Args:
      name: Go's, by which it is found.
      get: takes it out of the Python value of the struct.
      pointer: it may be nil, which is None here. Others are zero when they are absent.
    """

    name: str
    shape: Shape[object]
    get: Callable[[object], object]
    pointer: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Struct(Shape[T_co]):
    """A struct; its name means nothing to the other side. One object is one Go type. `make` takes fields in order."""

    name: str
    fields: tuple[Field, ...]
    make: Callable[..., T_co]


UINT8: Final = Uint(8)
UINT64: Final = Uint(64)
INT64: Final = Int(64)
TEXT: Final = Text()


def zero(shape: Shape[object]) -> object:
    """What Go has where nothing was sent."""
    match shape:
        case ByteArray(length):
            return bytes(length)
        case UintArray(length):
            return (0,) * length
        case Struct():
            return shape.make(*zeros(shape))
        case Text():
            return ""
        case _:
            return 0


def zeros(shape: Struct[object]) -> list[object]:
    """The fields of a struct of which nothing was sent."""
    return [None if field.pointer else zero(field.shape) for field in shape.fields]
