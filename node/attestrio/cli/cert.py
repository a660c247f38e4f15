"""`attestrio cert`: show certificates, verify them against a genesis."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from cyclopts import App, Parameter

from attestrio.cli.genesis import read_genesis
from attestrio.cli.output import Output
from attestrio.errors import NodeError, PeerError, SetupError
from attestrio.roles import BatchQC
from attestrio.store.certificates import open_certificates

app = App(name="cert", help="Show certificates and verify them.")

Number = Annotated[int | None, Parameter(help="Only this batch (of a database).")]


class BadCertificate(SetupError):
    """A certificate that cannot be read, or does not verify."""

    code: ClassVar[str] = "bad_certificate"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")


def read_certificates(path: Path, number: int | None) -> list[BatchQC]:
    """The certificates in a file: a node's database, proto3 JSON, or protobuf bytes. Raises BadCertificate."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise BadCertificate(str(path), "no such file") from None
    except OSError as exc:
        raise BadCertificate(str(path), f"cannot be read: {exc.strerror}") from None
    if raw.startswith(b"SQLite format 3\0"):
        with open_certificates(path) as file:
            found = [qc for qc in file.certificates() if number is None or qc.batch.number == number]
    else:
        try:
            found = [BatchQC.from_json(msgspec.json.decode(raw)) if raw.lstrip()[:1] == b"{" else BatchQC.decode(raw)]
        except (NodeError, msgspec.DecodeError) as exc:
            raise BadCertificate(str(path), f"no certificate: {exc}") from None
    if not found:
        raise BadCertificate(str(path), "holds no certificate" + (f" for batch {number}" if number is not None else ""))
    return found


def summary(qc: BatchQC) -> dict[str, object]:
    return {
        "batch": int(qc.batch.number),
        "hash": qc.batch.hash.to_text(),
        "genesis": qc.batch.genesis.to_text(),
        "signers": [key.to_text() for key in qc.signatures],
    }


@app.command
def show(file: Path, /, *, batch: Number = None, full: bool = False, output: Output = Output()) -> None:
    """Print the certificates in FILE (a node's database, JSON or protobuf); --full with their signatures, as JSON.

    Example: attestrio cert show attestrio-data/store.db --batch 7
    """
    found = read_certificates(file, batch)
    document = [qc.to_json() if full else summary(qc) for qc in found]
    lines = [f"batch {qc.batch.number}  {qc.batch.hash.to_text()}  {len(qc.signatures)} signatures" for qc in found]
    if full:
        lines = [msgspec.json.format(msgspec.json.encode(entry)).decode() for entry in document]
    output.result(document, lines)


@app.command
def verify(file: Path, /, *, genesis: Path, batch: Number = None, output: Output = Output()) -> None:
    """Verify the certificates in FILE against a genesis: its hash, membership, weight, then every signature.

    Example: attestrio cert verify attestrio-data/store.db --genesis genesis.json
    """
    committee = read_genesis(genesis)
    found = read_certificates(file, batch)
    for qc in found:
        try:
            qc.verify(committee)
        except PeerError as exc:
            raise BadCertificate(f"{file}, batch {qc.batch.number}", f"does not verify: {exc}") from None
    output.result(
        [{**summary(qc), "verified": True} for qc in found],
        [
            f"batch {qc.batch.number}  {qc.batch.hash.to_text()}  verified, {len(qc.signatures)} signatures"
            for qc in found
        ],
    )
