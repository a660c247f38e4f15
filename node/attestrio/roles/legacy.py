"""Certificates from before a batch named its genesis. Read and checked for history's sake; nothing signs them.

Source: era-consensus before 28beef6a; two certificates published in zksync-era PR 2429 have this form.
"""

from __future__ import annotations

from attestrio.roles.batch import HASH_HEAD, MSG_TAG, NUMBER_TAG, varint
from attestrio.roles.hashes import BatchHash, MsgHash
from attestrio.roles.keccak import keccak256
from attestrio.roles.keys import AttesterPublicKey, Signature
from attestrio.roles.numbers import BatchNumber


def pre_genesis_message_hash(number: BatchNumber, batch: BatchHash) -> MsgHash:
    """What was signed then: keccak256 of 22 <length> 08 <number> 12 22 0a 20 <hash>."""
    body = NUMBER_TAG + varint(number) + HASH_HEAD + batch.raw
    return MsgHash(keccak256(MSG_TAG + bytes((len(body),)) + body))


def verify_pre_genesis(number: BatchNumber, batch: BatchHash, key: AttesterPublicKey, signature: Signature) -> None:
    """Raise BadSignature unless `key` signed the batch in the form without a genesis."""
    signature.verify(pre_genesis_message_hash(number, batch), key)
