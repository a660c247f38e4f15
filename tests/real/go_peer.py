"""The Go program of `tests/real/go`, built with the machine's Go: real net/rpc, as server, client and encoder."""

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "go"
INSTALLED = "/usr/local/go/bin"  # where Go's own installer puts it, which few shells have in their PATH
FOLDERS = [*os.environ.get("PATH", "").split(os.pathsep), INSTALLED]
GO = next((str(Path(folder) / "go") for folder in FOLDERS if (Path(folder) / "go").is_file()), "go")


def build(folder):
    """The program, in `folder`. From the standard library alone, so without a network."""
    program = folder / "peer"
    env = {**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    subprocess.run([GO, "build", "-o", str(program), "."], cwd=SOURCE, env=env, check=True, timeout=300)
    return str(program)
