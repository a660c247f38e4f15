"""Signing histories as a file, to carry a key from one host to another. Values and JSON; see docs/formats.md.

    {"format":"attestrio-protection","version":1,"chain_id":"270","attesters":[
     {"key":"attester:public:...","genesis":"genesis_hash:...","low_watermark":"6","votes":[
      {"number":"7","hash":"batch:keccak256:...","signature":"attester:signature:..."}
     ]}
    ]}

One entry for each key and genesis. `low_watermark` null: nothing was pruned; at or below it only what stands in `votes`
is ever signed. `signature` null: only the hash is known. Two votes with one number and two hashes: neither is signed
again. An entry with `genesis` null and no votes is a key that has signed nothing on this chain so far.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from attestrio.errors import PeerError, SetupError
from attestrio.protection.errors import MAX_NUMBER
from attestrio.protection.record import VoteRecord
from attestrio.protection.rows import RecordedVote, VoteHistory
from attestrio.roles import (
    AttesterPublicKey,
    Batch,
    BatchHash,
    BatchNumber,
    GenesisHash,
    Signature,
    SignedBatch,
)

FORMAT, VERSION = "attestrio-protection", 1
MAX_FILE = 512 << 20
"""Bytes; a vote takes up to 300, so 1.7 million fit. `newest_of` makes a longer history smaller, safely."""

DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")
FIELDS = {"format", "version", "chain_id", "attesters"}
ENTRY = {"key", "genesis", "low_watermark", "votes"}
VOTE = {"number", "hash", "signature"}

T = TypeVar("T", AttesterPublicKey, BatchHash, GenesisHash, Signature)


class BadInterchange(SetupError):
    """A file that is no signing history, or is damaged. Nothing of it was taken over."""

    code: ClassVar[str] = "bad_interchange"

    def __init__(self, problem: str) -> None:
        super().__init__(f"no signing history that can be read: {problem}")
        self.problem = problem


class WrongChain(SetupError):
    """A signing history of another chain than this one's."""

    code: ClassVar[str] = "wrong_chain"

    def __init__(self, got: int, want: Iterable[int]) -> None:
        self.got, self.want = got, tuple(want)
        known = " and ".join(str(chain) for chain in self.want)
        super().__init__(f"the signing history is of chain {got}, this node's is {known}")


class HistoryTooLong(SetupError):
    """The file would be longer than what can be read again."""

    code: ClassVar[str] = "history_too_long"

    def __init__(self, size: int) -> None:
        super().__init__(
            f"the file would have {size} bytes, {MAX_FILE} can be read: --newest N replaces old votes by a watermark"
        )
        self.size = size


@dataclass(frozen=True, slots=True)
class Interchange:
    """What a file says. `histories`: one for each key and genesis; `unused`: keys that have signed nothing so far."""

    chain_id: int
    histories: tuple[VoteHistory, ...]
    unused: tuple[AttesterPublicKey, ...] = ()

    def all_keys(self) -> list[AttesterPublicKey]:
        """Whose past it is, in order."""
        return sorted({history.attester for history in self.histories} | set(self.unused))


async def take_over(record: VoteRecord, told: Interchange, cause: str = "import") -> tuple[int, int]:
    """Take the higher of both histories; returns (votes added, numbers that now have two hashes).

    From then on the record knows the keys, so that they may sign here. Raises WrongChain.
    """
    if told.chain_id != record.chain_id:
        raise WrongChain(told.chain_id, [record.chain_id])
    counts = await record.merge(told.histories, cause)
    for key in told.unused:
        await record.add_key(key, cause)  # after the votes: a key must not count as known before its past is here
    return counts


def newest_of(history: VoteHistory, keep: int) -> VoteHistory:
    """The history with the votes of the newest `keep` numbers; the watermark stands for the others.

    Whoever takes it over signs nothing that whoever takes over the whole would not.
    """
    numbers = sorted({vote.number for vote in history.votes})
    if len(numbers) <= keep:
        return history
    cut = numbers[len(numbers) - keep - 1]
    low = cut if history.low is None else max(cut, history.low)
    kept = tuple(vote for vote in history.votes if vote.number > cut)
    return VoteHistory(history.genesis, history.attester, low, kept)


def encode_interchange(told: Interchange) -> str:
    """The file: one line a vote, so that two of them can be compared. Raises HistoryTooLong."""
    text = "".join(_pieces(told))
    if len(text) > MAX_FILE:
        raise HistoryTooLong(len(text))
    return text


def _pieces(told: Interchange) -> Iterator[str]:
    yield f'{{"format":"{FORMAT}","version":{VERSION},"chain_id":"{told.chain_id}","attesters":['
    between = "\n "
    for history in told.histories:
        yield between + _head(history.attester, history.genesis.to_text(), history.low)
        comma = "\n  "
        for vote in history.votes:
            signature = None if vote.signature is None else vote.signature.to_text()
            fields = {"number": str(int(vote.number)), "hash": vote.hash.to_text(), "signature": signature}
            yield comma + json.dumps(fields, separators=(",", ":"))
            comma = ",\n  "
        yield "\n ]}" if history.votes else "]}"
        between = ",\n "
    for key in told.unused:
        yield between + _head(key, None, None) + "]}"
        between = ",\n "
    yield "\n]}\n"


def _head(key: AttesterPublicKey, genesis: str | None, low: BatchNumber | None) -> str:
    fields = {"key": key.to_text(), "genesis": genesis, "low_watermark": None if low is None else str(int(low))}
    return json.dumps(fields, separators=(",", ":"))[:-1] + ',"votes":['


def read_interchange(raw: bytes, chain_id: int | None = None) -> Interchange:
    """Read a file, every signature verified (about 0.1 ms each). Strict: one meaning a file, or none.

    Args:
      raw: at most `MAX_FILE` bytes.
      chain_id: what it has to be of; None takes any.

    Raises BadInterchange for unknown, missing or repeated fields, for numbers, hashes and keys that are not written as
    `encode_interchange` writes them, and for bad signatures; WrongChain.
    """
    if len(raw) > MAX_FILE:
        raise BadInterchange(f"{len(raw)} bytes, the limit is {MAX_FILE}")
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise BadInterchange("nested too deeply") from None
    except (ValueError, PeerError) as exc:
        raise BadInterchange(str(exc)) from None
    return _document(found, chain_id)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | RecordedVote:
    """One JSON object; a vote at once as the value it is, because a million of them as tables take a gigabyte."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise BadInterchange("a field stands twice")
    return _vote(table) if table.keys() == VOTE else table


def _no_constant(name: str) -> None:
    raise BadInterchange(f"{name} is no value")


def _document(found: object, chain_id: int | None) -> Interchange:
    table = _table(found, FIELDS, "the file")
    if table["format"] != FORMAT:
        raise BadInterchange(f"format is not {FORMAT}")
    if type(table["version"]) is not int or table["version"] != VERSION:
        raise BadInterchange(f"version is not {VERSION}: a later release wrote it")
    told = _number(table["chain_id"], (1 << 64) - 1, "chain_id")
    if chain_id is not None and told != chain_id:
        raise WrongChain(told, [chain_id])
    histories, unused = list[VoteHistory](), list[AttesterPublicKey]()
    for entry in _list(table["attesters"], "attesters"):
        made = _entry(_table(entry, ENTRY, "an attester"))
        if isinstance(made, VoteHistory):
            histories.append(made)
        else:
            unused.append(made)
    result = Interchange(told, tuple(histories), tuple(unused))
    _require_distinct(result)
    return result


def _require_distinct(told: Interchange) -> None:
    named = {(history.attester.raw, history.genesis.raw) for history in told.histories}
    used = {history.attester.raw for history in told.histories}
    unused = {key.raw for key in told.unused}
    if len(named) != len(told.histories) or len(unused) != len(told.unused):
        raise BadInterchange("a key stands twice under one genesis")
    if used & unused:
        raise BadInterchange("a key has votes, and has none")


def _entry(table: Mapping[str, Any]) -> VoteHistory | AttesterPublicKey:
    key = _canonical(AttesterPublicKey, table["key"], "key")
    votes = _list(table["votes"], "votes")
    if table["genesis"] is None:
        if votes or table["low_watermark"] is not None:
            raise BadInterchange("votes without a genesis")
        return key
    genesis = _canonical(GenesisHash, table["genesis"], "genesis")
    low = None if table["low_watermark"] is None else _batch_number(table["low_watermark"], "low_watermark")
    _check_votes(votes, key, genesis)
    return VoteHistory(genesis, key, low, tuple(votes))


def _check_votes(votes: list[Any], key: AttesterPublicKey, genesis: GenesisHash) -> None:
    """In order of numbers, at most two hashes for one, and every signature is the key's."""
    before: list[RecordedVote] = []
    for vote in votes:
        if not isinstance(vote, RecordedVote):
            raise BadInterchange(f"a vote has the fields {', '.join(sorted(VOTE))} and no others")
        if before and vote.number < before[-1].number:
            raise BadInterchange(f"votes are not in order: {vote.number} after {before[-1].number}")
        same = [one for one in before if one.number == vote.number]
        if any(one.hash == vote.hash for one in same):
            raise BadInterchange(f"vote {vote.number} stands twice")
        if len(same) == 2:
            raise BadInterchange(f"vote {vote.number} has more than two hashes; two say all there is to say")
        before = [*same, vote]
        if vote.signature is not None:
            try:
                SignedBatch(Batch(vote.number, vote.hash, genesis), key, vote.signature).verify()
            except PeerError as exc:
                raise BadInterchange(f"vote {vote.number}: {exc}") from None


def _vote(table: Mapping[str, Any]) -> RecordedVote:
    signature = table["signature"]
    return RecordedVote(
        _batch_number(table["number"], "number"),
        _canonical(BatchHash, table["hash"], "hash"),
        None if signature is None else _canonical(Signature, signature, "signature"),
    )


def _canonical(kind: type[T], text: object, what: str) -> T:
    if not isinstance(text, str):
        raise BadInterchange(f"{what} is no text")
    try:
        made = kind.from_text(text)
    except PeerError as exc:
        raise BadInterchange(f"{what}: {exc}") from None
    if made.to_text() != text:
        raise BadInterchange(f"{what} is not in its usual form")
    return made


def _batch_number(text: object, what: str) -> BatchNumber:
    return BatchNumber(_number(text, MAX_NUMBER, what))


def _number(text: object, limit: int, what: str) -> int:
    if not isinstance(text, str) or not DECIMAL.fullmatch(text) or int(text) > limit:
        raise BadInterchange(f"{what} is no decimal text from 0 to {limit}")
    return int(text)


def _table(found: object, fields: set[str], what: str) -> dict[str, Any]:
    if not isinstance(found, dict) or found.keys() != fields:
        raise BadInterchange(f"{what} has the fields {', '.join(sorted(fields))} and no others")
    return found


def _list(found: object, what: str) -> list[Any]:
    if not isinstance(found, list):
        raise BadInterchange(f"{what} is no list")
    return found
