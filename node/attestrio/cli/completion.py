"""`attestrio completion`: a script that completes commands and options in a shell."""

from __future__ import annotations

from typing import Literal

from attestrio.cli.output import say

Shell = Literal["bash", "zsh", "fish"]


def completion(shell: Shell, /) -> None:
    """Print the script that completes commands and options in SHELL: bash, zsh or fish.

    bash: source it, or keep it as ~/.local/share/bash-completion/completions/attestrio. zsh: keep it as _attestrio in
    a folder of fpath. fish: ~/.config/fish/completions/attestrio.fish. It knows this release: print it anew after an
    upgrade.

    Example: source <(attestrio completion bash)
    """
    from attestrio.cli.root import PLACES, app  # it imports this file

    for name in PLACES:
        _ = app[name]  # loads it
    say(app.generate_completion(prog_name="attestrio", shell=shell))
