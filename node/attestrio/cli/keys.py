"""`attestrio keys`: make keys, show public ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cyclopts import App, Parameter

from attestrio.cli.output import Output
from attestrio.config import MAX_KEY_FILE
from attestrio.errors import PeerError, SetupError
from attestrio.kit.files import DISK_FAULTS, FileUnwritable, read_bounded, write_new
from attestrio.protection.history import mark_unused, marker_of
from attestrio.roles import AttesterPublicKey, AttesterSecretKey, NodeSecretKey

app = App(name="keys", help="Make keys and show their public halves.\n\nExample: attestrio keys generate attester.key")

Kind = Literal["attester", "node"]
KINDS: dict[Kind, type[AttesterSecretKey] | type[NodeSecretKey]] = {
    "attester": AttesterSecretKey,
    "node": NodeSecretKey,
}
NEXT: dict[Kind, str] = {
    "attester": "give the public key to whoever makes the genesis",
    "node": "name the file in gossip.node_key_file, and give the public key to the peers",
}


class BadKeyFile(SetupError):
    """A key file that cannot be used. The text never carries what stood in the file."""

    code: ClassVar[str] = "bad_key_file"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


SecretFile = Annotated[Path, Parameter(help="File with one secret key, as text.")]


@app.command
def generate(
    file: SecretFile,
    /,
    *,
    kind: Annotated[Kind, Parameter(help="attester signs votes; node names this node on the network.")] = "attester",
    output: Output = Output(),
) -> None:
    """Make a secret key in a new FILE that only you can read, and print the public key.

    `FILE.unused` beside an attester key says that it never signed; the first start takes it away. Do not copy it.

    Example: attestrio keys generate attester.key

    Example: attestrio keys generate node.key --kind node
    """
    secret = KINDS[kind].generate()
    write_secret(file, secret.to_text())
    if isinstance(secret, AttesterSecretKey):
        write_marker(file, secret.public())
    public = secret.public().to_text()
    output.result(
        {"kind": kind, "public": public, "file": str(file)},
        [public, f"secret key written to {file}; next: {NEXT[kind]}"],
    )


@app.command
def public(file: SecretFile, /, *, output: Output = Output()) -> None:
    """Print the public key of a secret key file, of either kind.

    Example: attestrio keys public attester.key
    """
    secret = read_secret(file)
    text = secret.public().to_text()
    output.result({"public": text, "file": str(file)}, [text])


def write_secret(path: Path, text: str) -> None:
    """Write one line with mode 0600 to a new file, durably. Raises BadKeyFile, FileUnwritable."""
    try:
        write_new(path, text + "\n")
    except FileExistsError as exc:
        if not os.path.lexists(path):  # then it is one of its folders that is no folder
            raise BadKeyFile(path, f"cannot be written: {exc.filename} is not a folder") from None
        raise BadKeyFile(path, "exists already; a key is never overwritten, choose another name") from None
    except OSError as exc:
        if exc.errno in DISK_FAULTS:
            raise FileUnwritable(path, exc) from None
        raise BadKeyFile(path, f"cannot be written: {exc.strerror}") from None


def write_marker(path: Path, key: AttesterPublicKey) -> None:
    """Write that the key in `path`, just made, never signed. Raises BadKeyFile where that cannot be done; the key is
    there then. On a disk that is full or failing neither is: FileUnwritable."""
    try:
        mark_unused(path, key)
    except OSError as exc:
        if exc.errno in DISK_FAULTS:
            path.unlink(missing_ok=True)  # nobody has seen it, and in its place it would refuse the next attempt
            raise FileUnwritable(path, exc) from None
        raise BadKeyFile(
            path,
            f"is written, {marker_of(path).name} is not ({exc.strerror}): start once with --init-protection",
        ) from None


def read_secret(path: Path) -> AttesterSecretKey | NodeSecretKey:
    """The secret key in a file, of whichever kind its prefix says. Raises BadKeyFile."""
    try:
        text = read_bounded(path, MAX_KEY_FILE, pipes=True).decode("ascii", "replace").strip()
    except FileNotFoundError:
        raise BadKeyFile(path, "no such file; `attestrio keys generate` makes one") from None
    except OSError as exc:
        raise BadKeyFile(path, f"cannot be read: {exc.strerror}") from None
    for kind in KINDS.values():
        try:
            return kind.from_text(text)
        except PeerError:
            continue
    raise BadKeyFile(path, "holds no secret key (attester:secret:secp256k1:... or node:secret:ed25519:...)") from None
