"""Text forms: a prefix that says what it is, then lowercase hex."""

from __future__ import annotations

import binascii

from attestrio.roles.errors import NotHex, WrongPrefix


def read_text(text: str, prefix: str, what: str) -> bytes:
    """The bytes behind `prefix`. Upper-case hex is read too. Raises WrongPrefix, NotHex, and neither repeats `text`."""
    if not text.startswith(prefix):
        raise WrongPrefix(prefix)
    try:
        # bytes.fromhex would skip blanks, which the network refuses
        return binascii.unhexlify(text[len(prefix) :])
    except ValueError:
        raise NotHex(what) from None
