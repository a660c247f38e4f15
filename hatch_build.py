"""What installing adds to the Python files: Poseidon compiled from C, where a C compiler is found.

Without one the installation goes on and says so: plain Python gives the same hashes, at a fortieth of the speed. An
editable installation puts the library beside the sources, a wheel takes it along and is then made for one platform.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent / "node" / "attestrio" / "zkevm"
MODULE = "attestrio.zkevm._poseidon"
DECLARED = """
void poseidon_hash12(uint64_t *state);
void poseidon_run(const unsigned char *literals, const int *steps, long count, unsigned char *made);
"""


def source() -> str:
    """The whole C file: the numbers, then the functions."""
    tables = json.loads((FOLDER / "poseidon_constants.json").read_text())
    numbers = {
        "ROUND": [int(text, 16) for text in tables["C"]],
        "SPARSE": [int(text, 16) for text in tables["S"]],
        "PREPARE": [int(text, 16) for row in tables["P"] for text in row],
        "CIRCULANT": tables["circulant"],
        "DIAGONAL": tables["diagonal"],
    }
    arrays = [
        f"static const uint64_t {name}[{len(values)}] = {{{', '.join(f'{value}ULL' for value in values)}}};"
        for name, values in numbers.items()
    ]
    return "\n".join(["#include <stdint.h>", *arrays, (FOLDER / "poseidon.c").read_text()])


def library() -> Path:
    """Where the library of this interpreter is put."""
    return FOLDER / f"_poseidon{sysconfig.get_config_var('EXT_SUFFIX')}"


def compile_native(target: Path) -> Path | None:
    """Build the library; None, and a line that says why, where that is not possible."""
    target.unlink(missing_ok=True)  # rather none than one of older sources
    try:
        from cffi import FFI

        ffi = FFI()
        ffi.cdef(DECLARED)
        ffi.set_source(MODULE, source())
        with tempfile.TemporaryDirectory() as folder:
            written, made = Path(folder, "_poseidon.c"), Path(folder, target.name)
            ffi.emit_c_code(str(written))
            include = sysconfig.get_path("include")
            link = shlex.split(sysconfig.get_config_var("LDSHARED") or "")
            flags = shlex.split(sysconfig.get_config_var("CCSHARED") or "")
            command = [*link, *flags, "-O3", "-w", f"-I{include}", str(written), "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            target.write_bytes(made.read_bytes())
    except (ImportError, OSError, subprocess.CalledProcessError) as exc:
        said = getattr(exc, "stderr", None) or str(exc)
        print(f"Poseidon stays in plain Python: {said.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return target


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by hatchling."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version`: "standard" for a wheel, "editable" for `pip install -e`."""
        if self.target_name != "wheel":
            return
        made = compile_native(library())
        if made is not None and version == "standard":
            build_data["force_include"][str(made)] = f"attestrio/zkevm/{made.name}"
            build_data["pure_python"] = False
            build_data["infer_tag"] = True


if __name__ == "__main__":
    print(compile_native(library()))
