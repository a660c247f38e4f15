"""Compile `proto/*.proto` into `node/attestrio/schema/`: modules and typed stubs, both committed.

Run by `make proto`. A test compiles into a temporary folder and compares, so that schema and code cannot drift.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "attestrio/schema"  # the folder that generated imports name, whatever the folder on disk is


def compile_all(out: Path) -> list[Path]:
    """Write `<out>/attestrio/schema/*_pb2.py` and `.pyi`; the files written, sorted. Raises RuntimeError."""
    sources = sorted(path.name for path in (ROOT / "proto").glob("*.proto"))
    out.mkdir(parents=True, exist_ok=True)
    failed = protoc.main(
        [
            "protoc",
            f"--proto_path={PACKAGE}={ROOT / 'proto'}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            # named, because an environment that is not activated is not on PATH
            f"--plugin=protoc-gen-mypy={Path(sys.executable).parent / 'protoc-gen-mypy'}",
            f"--python_out={out}",
            f"--mypy_out=quiet:{out}",
            *(f"{PACKAGE}/{name}" for name in sources),
        ]
    )
    if failed:
        raise RuntimeError(f"protoc ended with {failed}")
    return sorted((out / PACKAGE).glob("*_pb2.py*"))


if __name__ == "__main__":
    for path in compile_all(ROOT / "node"):
        print(path.relative_to(ROOT))
