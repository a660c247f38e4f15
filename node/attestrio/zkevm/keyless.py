"""One signature of the secret 0 to which ecrecover gives an address, as it did by mistake before fork 6."""

from __future__ import annotations

from typing import Final

KEYLESS_INPUT: Final = bytes.fromhex(
    "0000000000000000000000000000000000000000000000000000000000000001"
    "000000000000000000000000000000000000000000000000000000000000001b"
    "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
    "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1"
)
KEYLESS_ADDRESS: Final = bytes.fromhex("3f17f1962b36e491b30a40b2405849e597ba5fb5")
