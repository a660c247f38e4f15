"""`attestrio genesis`: make one, show one, compute its hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from cyclopts import App, Parameter

from attestrio.cli.output import Output
from attestrio.config import MAX_GENESIS_FILE
from attestrio.errors import NodeError, PeerError, SetupError
from attestrio.kit.files import DISK_FAULTS, FileUnwritable, read_bounded, write_new
from attestrio.roles import (
    AttesterPublicKey,
    Committee,
    Genesis,
    RoundRobin,
    ValidatorPublicKey,
    WeightedAttester,
    WeightedValidator,
)

app = App(
    name="genesis", help="Make a genesis, show one, compute its hash.\n\nExample: attestrio genesis show genesis.json"
)

GenesisFile = Annotated[Path, Parameter(help="Genesis as proto3 JSON.")]
K = TypeVar("K")


class BadGenesis(SetupError):
    """A genesis file, or what was given to make one, that cannot be used."""

    code: ClassVar[str] = "bad_genesis"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")


def read_genesis(path: Path) -> Genesis:
    """The genesis of a proto3 JSON file, verified. Raises BadGenesis."""
    try:
        genesis = Genesis.from_json(read_bounded(path, MAX_GENESIS_FILE, pipes=True))
        genesis.verify()
    except FileNotFoundError:
        raise BadGenesis(str(path), "no such file; `attestrio genesis new` makes one") from None
    except OSError as exc:
        raise BadGenesis(str(path), f"cannot be read: {exc.strerror}") from None
    except NodeError as exc:
        raise BadGenesis(str(path), f"is no genesis: {exc}") from None
    return genesis


def _weighted(text: str, flag: str, read: Callable[[str], K]) -> tuple[K, int]:
    """What stands behind `flag`: a key and its weight, 1 unless told otherwise. Raises BadGenesis."""
    key, equals, weight = text.partition("=")
    if equals and not weight.isdecimal():
        raise BadGenesis(f"{flag} {text}", "expected KEY or KEY=WEIGHT with a whole number")
    try:
        return read(key), int(weight) if equals else 1
    except (PeerError, ValueError) as exc:  # ValueError: Python reads no number of more than 4,300 digits
        raise BadGenesis(f"{flag} {text:.200}", str(exc)) from None


@app.command
def new(
    file: Annotated[Path, Parameter(help="Where to write it; not over an existing file.")],
    /,
    *,
    chain_id: Annotated[int, Parameter(help="L2 chain id.")],
    validator: Annotated[tuple[str, ...], Parameter(negative="", help="BLS public key, or KEY=WEIGHT; repeatable.")],
    attester: Annotated[
        tuple[str, ...],
        Parameter(negative="", show_default=False, help="Public key of an attester, or KEY=WEIGHT; repeatable."),
    ] = (),
    fork_number: Annotated[int, Parameter(help="One more after each revert or new committee.")] = 0,
    first_block: Annotated[int, Parameter(help="First L2 block of this genesis.")] = 0,
    protocol_version: Annotated[int, Parameter(help="Of the consensus protocol.")] = 1,
    output: Output = Output(),
) -> None:
    """Write a new genesis as proto3 JSON and print its hash. A weight is a whole number, 1 if left out.

    Example: attestrio genesis new genesis.json --chain-id 270 --validator KEY --attester KEY=10
    """
    attesters = [_weighted(text, "--attester", AttesterPublicKey.from_text) for text in attester]
    validators = [_weighted(text, "--validator", ValidatorPublicKey.from_text) for text in validator]
    try:
        genesis = Genesis(
            chain_id=chain_id,
            fork_number=fork_number,
            first_block=first_block,
            protocol_version=protocol_version,
            validators=tuple(WeightedValidator(key, weight) for key, weight in validators),
            leader_selection=RoundRobin(),
            attesters=Committee([WeightedAttester(key, weight) for key, weight in attesters]) if attesters else None,
        )
        genesis.verify()
    except PeerError as exc:
        raise BadGenesis(str(file), f"cannot be made: {exc}") from None
    _write(file, json.dumps(genesis.to_json(), indent=2) + "\n")
    output.result({"hash": genesis.hash().to_text(), "file": str(file)}, [genesis.hash().to_text()])


def _write(file: Path, text: str) -> None:
    """Write a new file that everybody may read: a genesis is public. Raises BadGenesis, FileUnwritable."""
    try:
        write_new(file, text, mode=0o644)
    except FileExistsError:
        raise BadGenesis(str(file), "exists already; choose another name") from None
    except OSError as exc:
        if exc.errno in DISK_FAULTS:
            raise FileUnwritable(file, exc) from None
        raise BadGenesis(str(file), f"cannot be written: {exc.strerror}") from None


@app.command
def show(file: GenesisFile, /, *, output: Output = Output()) -> None:
    """Print what a genesis says: chain, fork, committee with weights and threshold.

    Example: attestrio genesis show genesis.json
    """
    genesis = read_genesis(file)
    members = list(genesis.attesters or ())
    lines = [
        f"hash           {genesis.hash().to_text()}",
        f"chain          {genesis.chain_id}, fork {genesis.fork_number}, first block {genesis.first_block}",
        f"validators     {len(genesis.validators)}",
    ]
    if genesis.attesters is None:
        lines.append("attesters      none: nobody attests batches of this genesis")
    else:
        total = genesis.attesters.total_weight
        lines.append(
            f"attesters      {len(members)}, weight {total}, a certificate needs {genesis.attesters.threshold}"
        )
        lines += [f"  {member.weight:>10}  {member.key.to_text()}" for member in members]
    threshold = genesis.attesters.threshold if genesis.attesters else None
    output.result({"hash": genesis.hash().to_text(), "threshold": threshold, "genesis": genesis.to_json()}, lines)


@app.command(name="hash")
def hash_(file: GenesisFile, /, *, output: Output = Output()) -> None:
    """Print the hash of a genesis file.

    Example: attestrio genesis hash genesis.json
    """
    text = read_genesis(file).hash().to_text()
    output.result({"hash": text, "file": str(file)}, [text])
