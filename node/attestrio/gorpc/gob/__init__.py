"""Go's `encoding/gob`, as far as fixed messages need it: no sockets, no clock, bytes in and values out.

A stream is a row of messages, `uint length | payload`. A payload defines a type, `int -id | wireType`, or carries a
value, `int id | value`. Each side numbers its types from 64 on as it likes and defines each one once, before the
first value that has it in it. Parts:

  uint     one byte below 128; else a byte 256 - n and n bytes big-endian, n up to 8
  int      the uint of i << 1, or of ~i << 1 | 1
  string   uint length | bytes
  array    uint length | elements, each a uint here
  struct   (uint step to the next field's number, from -1 on | value)* | 00; zeros and nil pointers are left out,
           arrays and structs never
  alone    a value that is no struct has a 00 before it

Source: specs of Go 1.26, encoding/gob/doc.go and decode.go; limits are ours.
"""

from attestrio.gorpc.gob.decode import GobDecoder, GobLimits, Message
from attestrio.gorpc.gob.encode import GobEncoder
from attestrio.gorpc.gob.shapes import (
    INT64,
    TEXT,
    UINT8,
    UINT64,
    ByteArray,
    Field,
    Int,
    Shape,
    Struct,
    Text,
    Uint,
    UintArray,
)

__all__ = [
    "INT64",
    "TEXT",
    "UINT8",
    "UINT64",
    "ByteArray",
    "Field",
    "GobDecoder",
    "GobEncoder",
    "GobLimits",
    "Int",
    "Message",
    "Shape",
    "Struct",
    "Text",
    "Uint",
    "UintArray",
]
