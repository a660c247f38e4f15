"""`attestrio receipt`: what was known when a vote was signed, shown and verified without a node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from cyclopts import App, Parameter, validators

from attestrio.cli.output import Output
from attestrio.errors import SetupError
from attestrio.protection.receipt_audit import ReceiptsAltered, read_receipts, verify_receipts
from attestrio.protection.receipt_lines import ReceiptLine

app = App(
    name="receipt",
    help="What was known when a vote was signed.\n\nExample: attestrio receipt verify attestrio-data/receipts.log",
)

ReceiptFile = Annotated[Path, Parameter(help="A node's receipts.log.")]


class ReceiptsUnreadable(SetupError):
    """A receipt log that cannot be read, or a hash that is none."""

    code: ClassVar[str] = "receipts_unreadable"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")


@app.command
def verify(
    file: ReceiptFile,
    /,
    *,
    head: Annotated[
        str | None, Parameter(help="Hash of a receipt, 64 hex digits, that has to be in it: noted down earlier.")
    ] = None,
    output: Output = Output(),
) -> None:
    """Recompute every hash, link and signature; says which byte was altered first. The node may run meanwhile.

    Without --head, receipts cut off at the end and a log written anew as a whole cannot be noticed.

    Example: attestrio receipt verify attestrio-data/receipts.log
    """
    require_file(file)
    wanted = None if head is None else read_head(head)
    verdict = verify_receipts(file, head=wanted)
    if verdict.fault is not None:
        raise ReceiptsAltered(file, verdict.fault)
    document = {"receipts": verdict.receipts, "head": verdict.head.hex(), "bytes": verdict.size, "torn": verdict.torn}
    lines = [
        f"{verdict.receipts} receipts verified, {verdict.size} bytes",
        f"head {verdict.head.hex()}",
        *(
            [f"and {verdict.torn} bytes of a receipt that was being written; a start cuts them off"]
            if verdict.torn
            else []
        ),
    ]
    output.result({"ok": True, **document}, lines)


@app.command
def show(
    file: ReceiptFile,
    /,
    *,
    batch: Annotated[
        int | None, Parameter(validator=validators.Number(gte=0, lt=1 << 64), help="Only the receipts of this batch.")
    ] = None,
    output: Output = Output(),
) -> None:
    """Print receipts: the batch, what the sources said, which rules were asked. Signatures are not verified.

    Example: attestrio receipt show attestrio-data/receipts.log --batch 7
    """
    require_file(file)
    found = (one for one in read_receipts(file) if batch is None or one[0].receipt.vote.batch.number == batch)
    output.results((made.to_json(), "\n".join(lines_of(made, head))) for made, head in found)


def lines_of(made: ReceiptLine, head: bytes) -> Iterator[str]:
    receipt = made.receipt
    vote, committee = receipt.vote, receipt.committee
    yield f"receipt {made.seq}  batch {vote.batch.number}  {vote.batch.hash.to_text()}  epoch {receipt.epoch}"
    yield f"  at         {made.at_ms / 1000:.3f}"
    yield f"  attester   {vote.key.to_text()}"
    yield f"  genesis    {vote.batch.genesis.to_text()}"
    yield f"  committee  {committee.hash.hex()}, {committee.members} members"
    yield f"             weight {committee.weight}, a certificate needs {committee.threshold}"
    for one in receipt.upstream:
        yield f"  upstream   {printable(one.name)}: {printable(one.answer)}"
    for rule in receipt.rules:
        yield f"  rule       {printable(rule.rule)}: {printable(rule.answer)}"
    yield f"  hash       {head.hex()}"


def printable(text: str) -> str:
    """What somebody else said, without characters that would steer a terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def require_file(file: Path) -> None:
    """Raise ReceiptsUnreadable for what is no file: as storage it would be one that can be repaired."""
    if not file.exists():
        raise ReceiptsUnreadable(str(file), "no such file")
    if file.is_dir():
        raise ReceiptsUnreadable(str(file), "is a folder; the log in a data directory is receipts.log")


def read_head(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ReceiptsUnreadable("--head", "expected 64 hex digits, as `receipt verify` prints them")
    return raw
