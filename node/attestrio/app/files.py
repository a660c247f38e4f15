"""What a node reads before it starts: keys and genesis; and what its configuration lacks."""

from __future__ import annotations

import re
from pathlib import Path

from attestrio.config import MAX_GENESIS_FILE, MAX_KEY_FILE, BadConfig, NodeConfig
from attestrio.errors import NodeError
from attestrio.kit.files import read_bounded
from attestrio.roles import AttesterSecretKey, Genesis

KIND = re.compile(r"(attester|node|validator):(public|secret):")


def holes(config: NodeConfig, *, has_status: bool = False, has_batches: bool = False) -> list[str]:
    """What a node of this configuration lacks, one sentence each; `has_...` is what the embedding program gives."""
    if config.main_node.url is not None or config.main_node.urls:
        return []
    if config.serve is None and not has_status:
        return ["main_node.url is missing: which main node shall be asked?"]
    found = []
    if config.genesis.file is None:
        found.append("genesis.file is missing, and there is no main_node.url to ask for it")
    if config.batches.source == "main-node" and not has_batches:
        found.append('batches.source = "main-node" needs main_node.url; a sealer that writes a file is "file"')
    return found


def attester_key(config: NodeConfig) -> AttesterSecretKey | None:
    """The key that votes, from file or environment; None where none is configured. Raises BadConfig."""
    keys = config.keys
    if keys.attester is not None:
        where, text = "ATTESTRIO_KEYS_ATTESTER", keys.attester.reveal()
    elif keys.attester_file is not None:
        where = f"keys.attester_file {keys.attester_file}"
        try:
            text = read_bounded(Path(keys.attester_file), MAX_KEY_FILE).decode("ascii", "replace")
        except OSError as exc:
            raise BadConfig(where, f"cannot be read ({exc.strerror}); `attestrio keys generate` makes a key") from None
    else:
        return None
    try:
        return AttesterSecretKey.from_text(text.strip())
    except NodeError:
        raise BadConfig(where, f"{_kind(text)}: expected attester:secret:secp256k1: and 64 hex digits") from None


def _kind(text: str) -> str:
    """What a text that is no attester key looks like; of the text itself nothing is repeated."""
    found = KIND.match(text.strip())
    if found is None or found[0] == "attester:secret:":
        return "invalid format"
    return f"a {found[2]} key of a{'n' if found[1] == 'attester' else ''} {found[1]}"


def genesis_of_file(config: NodeConfig) -> Genesis | None:
    """The genesis of the configured file, verified; None where none is configured. Raises BadConfig."""
    if config.genesis.file is None:
        return None
    where = f"genesis.file {config.genesis.file}"
    try:
        genesis = Genesis.from_json(read_bounded(Path(config.genesis.file), MAX_GENESIS_FILE))
        genesis.verify()
    except OSError as exc:
        raise BadConfig(where, f"cannot be read ({exc.strerror}); `attestrio genesis new` makes one") from None
    except NodeError as exc:
        raise BadConfig(where, f"is no genesis: {exc}") from None
    return genesis
