"""`attestrio equivocation`: the proofs that attesters voted for two hashes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cyclopts import App, Parameter, validators

from attestrio.cli.config import ConfigFile, Overrides, overrides
from attestrio.cli.output import Output, say
from attestrio.config import load_config
from attestrio.errors import SetupError
from attestrio.kit.files import read_bounded
from attestrio.protection.equivocation import FOLDER, MAX_FILE, BadProof, EquivocationProof, read_proofs

app = App(
    name="equivocation",
    help="Proofs that an attester voted for two hashes.\n\nExample: attestrio equivocation list",
)

DataDirFlag = Annotated[Path | None, Parameter(help="Instead of node.data_dir.")]
ProofFile = Annotated[Path, Parameter(help="A proof, as `export` prints it.")]
Number = Annotated[int | None, Parameter(help="Only this batch.", validator=validators.Number(gte=0, lt=1 << 64))]
Key = Annotated[str | None, Parameter(help="Only this attester; the beginning of its key's hex is enough.")]


class ProofRefused(SetupError):
    """A file that proves no equivocation."""

    code: ClassVar[str] = "equivocation_refused"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class ProofNotChosen(SetupError):
    """No proof, or more than one, fits what was asked for."""

    code: ClassVar[str] = "equivocation_not_chosen"

    def __init__(self, folder: Path, count: int) -> None:
        what = "holds no such proof" if count == 0 else f"holds {count} such proofs, choose one with --batch and --key"
        super().__init__(f"{folder} {what}")
        self.folder, self.count = folder, count


@app.command(name="list")
def list_(
    *,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:
    """List the proofs a node has kept, each verified again.

    Example: attestrio equivocation list --data-dir attestrio-data
    """
    folder = folder_of(config, set_, data_dir)
    found = proofs(folder)
    if not found and not output.json:
        say("no member was seen to vote for two hashes")
    output.results((summary(proof), f"{brief(proof)}  {path.name}") for path, proof in found)


@app.command
def export(
    *,
    batch: Number = None,
    key: Key = None,
    config: ConfigFile = None,
    set_: Overrides = (),
    data_dir: DataDirFlag = None,
    output: Output = Output(),
) -> None:
    """Print one proof, always as JSON: all that anybody needs to verify it.

    Example: attestrio equivocation export --batch 7 > proof.json
    """
    folder = folder_of(config, set_, data_dir)
    fitting = [
        proof
        for _, proof in proofs(folder)
        if batch in (None, int(proof.first.batch.number))
        and (key is None or proof.first.key.raw.hex().startswith(key.rpartition(":")[2]))
    ]
    if len(fitting) != 1:
        raise ProofNotChosen(folder, len(fitting))
    document = fitting[0].to_json()
    output.result(document, [json.dumps(document, indent=2)])


@app.command
def verify(file: ProofFile, /, *, output: Output = Output()) -> None:
    """Verify a proof: both signatures, and that the votes contradict each other. Needs no node and no network.

    docs/verify_equivocation.py does the same without this program.

    Example: attestrio equivocation verify proof.json
    """
    try:
        proof = EquivocationProof.untrusted(read_bounded(file, MAX_FILE, pipes=True))
    except BadProof as exc:
        raise ProofRefused(file, str(exc)) from None
    except OSError as exc:
        raise ProofRefused(file, f"cannot be read: {exc.strerror}") from None
    output.result({**summary(proof), "verified": True}, [f"{brief(proof)}  verified"])


def folder_of(config: Path | None, pairs: tuple[str, ...], data_dir: Path | None) -> Path:
    """Where the node keeps its proofs. Raises BadConfig."""
    if data_dir is None:
        data_dir = Path(load_config(config, env=os.environ, overrides=overrides(pairs)).node.data_dir)
    return data_dir / FOLDER


def proofs(folder: Path) -> list[tuple[Path, EquivocationProof]]:
    """The proofs of a folder, by name. Raises ProofRefused for a file that is none."""
    found = []
    try:
        for path, proof in read_proofs(folder):
            if isinstance(proof, BadProof):
                raise ProofRefused(path, str(proof))
            found.append((path, proof))
    except OSError as exc:
        raise ProofRefused(folder, f"cannot be read: {exc.strerror}") from None
    return found


def brief(proof: EquivocationProof) -> str:
    return f"batch {proof.first.batch.number}  {proof.first.key.to_text()}"


def summary(proof: EquivocationProof) -> dict[str, Any]:
    return {
        "batch": int(proof.first.batch.number),
        "key": proof.first.key.to_text(),
        "genesis": proof.first.batch.genesis.to_text(),
        "hashes": [proof.first.batch.hash.to_text(), proof.second.batch.hash.to_text()],
        "file": proof.name,
    }
