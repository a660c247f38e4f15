"""`attestrio protection init`: begin the signing history of a key that was just made, before the first start."""

from __future__ import annotations

from pathlib import Path

from attestrio.cli.keys import BadKeyFile, read_secret
from attestrio.cli.output import Output
from attestrio.kit.datadir import DataDir
from attestrio.protection.history import open_history
from attestrio.roles import AttesterSecretKey


def begin(file: Path, /, *, data_dir: Path, output: Output = Output()) -> None:
    """Begin the signing history of the key in FILE in a data directory, and use up the mark that `keys generate` left.

    For nodes that are handed their key without that mark, as systemd's LoadCredential does: init here, once, and the
    first start finds its history. Exit 71 for a key without the mark: it may have signed before.

    Example: attestrio protection init /etc/attestrio/attester.key --data-dir /var/lib/attestrio-node
    """
    secret = read_secret(file)
    if not isinstance(secret, AttesterSecretKey):
        raise BadKeyFile(file, "a node key signs no votes: give the attester's key")
    with DataDir.open(data_dir):
        path = open_history(data_dir, secret.public(), key_file=file)
    output.result(
        {"key": secret.public().to_text(), "history": str(path)},
        [f"{path}: history of {secret.public().to_text()} begun"],
    )
