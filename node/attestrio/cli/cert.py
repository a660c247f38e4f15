"""`attestrio cert`: show certificates, verify them against a genesis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cyclopts import App, Parameter, validators

from attestrio.cli.genesis import GenesisFile, read_genesis
from attestrio.cli.output import Output
from attestrio.errors import NodeError, PeerError, SetupError
from attestrio.roles import BatchNumber, BatchQC
from attestrio.store.certificates import open_certificates

app = App(
    name="cert", help="Show certificates and verify them.\n\nExample: attestrio cert show attestrio-data/store.db"
)

SQLITE_MAGIC = b"SQLite format 3\0"
MAX_FILE = 64 << 20  # bytes of one certificate; 10,000 signers are about 2.5 MB of JSON

CertificateFile = Annotated[Path, Parameter(help="A node's store.db, or one certificate as JSON or protobuf.")]
Number = Annotated[
    int | None, Parameter(validator=validators.Number(gte=0, lt=1 << 64), help="Only the certificate of this batch.")
]


class CertificateUnreadable(SetupError):
    """A file without certificates, without the one that was asked for, or that cannot be read."""

    code: ClassVar[str] = "certificate_unreadable"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class CertificateRefused(SetupError):
    """A certificate in a file does not verify against the genesis given."""

    code: ClassVar[str] = "certificate_refused"

    def __init__(self, path: Path, certificate: BatchQC, cause: PeerError) -> None:
        number = certificate.batch.number
        super().__init__(f"{path}: the certificate of batch {number} does not verify: {cause} ({cause.code})")
        self.path, self.number, self.cause = path, number, cause


@app.command
def show(
    file: CertificateFile,
    /,
    *,
    batch: Number = None,
    full: Annotated[bool, Parameter(negative="", show_default=False, help="The whole proto3 JSON of each.")] = False,
    output: Output = Output(),
) -> None:
    """Print the certificates in FILE: batch, hash, number of signatures. Nothing is verified.

    Example: attestrio cert show attestrio-data/store.db --batch 7
    """
    found = certificates(file, batch)
    if full:
        output.results((qc.to_json(), json.dumps(qc.to_json(), indent=2)) for qc in found)
    else:
        output.results((summary(qc), f"{brief(qc)}  {len(qc.signatures)} signatures") for qc in found)


@app.command
def verify(file: CertificateFile, /, *, genesis: GenesisFile, batch: Number = None, output: Output = Output()) -> None:
    """Verify the certificates in FILE against a genesis: its hash, membership, weight, then every signature.

    Example: attestrio cert verify attestrio-data/store.db --genesis genesis.json
    """
    told = read_genesis(genesis)

    def verified() -> Iterator[tuple[dict[str, Any], str]]:
        for qc in certificates(file, batch):
            try:
                qc.verify(told)
            except PeerError as exc:
                raise CertificateRefused(file, qc, exc) from None
            yield {**summary(qc), "verified": True}, f"{brief(qc)}  verified, {len(qc.signatures)} signatures"

    output.results(verified())


def certificates(path: Path, number: int | None) -> Iterator[BatchQC]:
    """What a file holds, by number: a node's database, proto3 JSON, or protobuf. Raises CertificateUnreadable."""
    seen = False
    for certificate in _of_file(path, number):
        seen = True
        yield certificate
    if not seen:
        of = "" if number is None else f" of batch {number}"
        raise CertificateUnreadable(path, f"holds no certificate{of}")


def _of_file(path: Path, number: int | None) -> Iterator[BatchQC]:
    try:
        with path.open("rb") as file:
            head = file.read(len(SQLITE_MAGIC))
            raw = b"" if head == SQLITE_MAGIC else head + file.read(MAX_FILE)  # once: the file may be a pipe
    except FileNotFoundError:
        raise CertificateUnreadable(path, "no such file") from None
    except OSError as exc:
        raise CertificateUnreadable(path, f"cannot be read: {exc.strerror}") from None
    if not raw and head:
        with open_certificates(path) as database:
            if number is None:
                yield from database.certificates()
            elif (one := database.certificate(BatchNumber(number))) is not None:
                yield one
        return
    if len(raw) > MAX_FILE:
        raise CertificateUnreadable(path, f"longer than {MAX_FILE} bytes, so no certificate")
    certificate = _read(path, raw)
    if number is None or certificate.batch.number == number:
        yield certificate


def _read(path: Path, raw: bytes) -> BatchQC:
    looks_like_json = raw.lstrip()[:1] == b"{"  # no protobuf of ours begins so: 7b would be field 15
    try:
        return BatchQC.from_json(raw) if looks_like_json else BatchQC.decode(raw)
    except NodeError as exc:
        kind = "JSON" if looks_like_json else "protobuf"
        raise CertificateUnreadable(path, f"is neither a database of ours nor a certificate ({kind}: {exc})") from None


def brief(qc: BatchQC) -> str:
    return f"batch {qc.batch.number}  {qc.batch.hash.to_text()}"


def summary(qc: BatchQC) -> dict[str, Any]:
    return {
        "batch": int(qc.batch.number),
        "hash": qc.batch.hash.to_text(),
        "genesis": qc.batch.genesis.to_text(),
        "signers": [key.to_text() for key in qc.signatures],
    }
