"""`attestrio genesis`: make one, show one, compute its hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, ClassVar

from cyclopts import App, Parameter

from attestrio.cli.output import Output
from attestrio.errors import NodeError, PeerError, SetupError
from attestrio.roles import (
    AttesterPublicKey,
    Committee,
    Genesis,
    RoundRobin,
    ValidatorPublicKey,
    WeightedAttester,
    WeightedValidator,
)

app = App(name="genesis", help="Make a genesis, show one, compute its hash.")


class BadGenesis(SetupError):
    """A genesis file, or what was given to make one, that cannot be used."""

    code: ClassVar[str] = "bad_genesis"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")


def read_genesis(path: Path) -> Genesis:
    """The genesis of a proto3 JSON file, verified. Raises BadGenesis."""
    try:
        genesis = Genesis.from_json(path.read_text("utf-8"))
        genesis.verify()
    except FileNotFoundError:
        raise BadGenesis(str(path), "no such file") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise BadGenesis(str(path), f"cannot be read: {exc}") from None
    except NodeError as exc:
        raise BadGenesis(str(path), str(exc)) from None
    return genesis


def _weighted(text: str, flag: str) -> tuple[str, int]:
    key, _, weight = text.rpartition("=")
    if not key:
        key, weight = text, "1"
    if not weight.isdecimal():
        raise BadGenesis(f"{flag} {text}", "expected KEY or KEY=WEIGHT with a whole number")
    return key, int(weight)


@app.command
def new(
    file: Path,
    /,
    *,
    chain_id: int,
    attester: Annotated[tuple[str, ...], Parameter(help="Public key, or KEY=WEIGHT; repeatable.")] = (),
    validator: Annotated[tuple[str, ...], Parameter(help="BLS public key, or KEY=WEIGHT; at least one.")] = (),
    fork_number: int = 0,
    first_block: int = 0,
    protocol_version: int = 1,
    output: Output = Output(),
) -> None:
    """Write a new genesis to FILE as proto3 JSON and print its hash; never over an existing file.

    Example: attestrio genesis new genesis.json --chain-id 270 --validator KEY --attester KEY=10 --attester KEY=20
    """
    try:
        attesters = [_weighted(text, "--attester") for text in attester]
        validators = [_weighted(text, "--validator") for text in validator]
        genesis = Genesis(
            chain_id=chain_id,
            fork_number=fork_number,
            first_block=first_block,
            protocol_version=protocol_version,
            validators=tuple(
                WeightedValidator(ValidatorPublicKey.from_text(key), weight) for key, weight in validators
            ),
            leader_selection=RoundRobin(),
            attesters=Committee(
                [WeightedAttester(AttesterPublicKey.from_text(key), weight) for key, weight in attesters]
            )
            if attesters
            else None,
        )
        genesis.verify()
    except (PeerError, ValueError) as exc:
        raise BadGenesis(str(file), f"cannot be made: {exc}") from None
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(json.dumps(genesis.to_json(), indent=2) + "\n")
    except FileExistsError:
        raise BadGenesis(str(file), "exists already; choose another name") from None
    except OSError as exc:
        raise BadGenesis(str(file), f"cannot be written: {exc.strerror}") from None
    output.result({"hash": genesis.hash().to_text(), "file": str(file)}, [genesis.hash().to_text()])


@app.command
def show(file: Path, /, *, output: Output = Output()) -> None:
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
def hash_(file: Path, /, *, output: Output = Output()) -> None:
    """Print the hash of a genesis file.

    Example: attestrio genesis hash genesis.json
    """
    text = read_genesis(file).hash().to_text()
    output.result({"hash": text, "file": str(file)}, [text])
