"""`attestrio completion`: what a shell offers after a press of Tab."""

import subprocess

import pytest
from attestrio.cli.root import PLACES
from suite import needs

pytestmark = pytest.mark.slow  # every command is loaded

TAB = """\
source "$1"; shift
complete -p attestrio > /dev/null || exit 9
COMP_WORDS=(attestrio "$@"); COMP_CWORD=$#; COMPREPLY=()
_attestrio
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def tab(attestrio, tmp_path):
    """What bash offers for the last of the words."""
    script = tmp_path / "attestrio.bash"
    script.write_text(attestrio("completion", "bash").out)

    def press(*words):
        ran = subprocess.run(
            ["bash", "--norc", "-c", TAB, "bash", script, *words],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, "")
        return set(ran.stdout.split())

    return press


@pytest.mark.real
@needs("bash")
def test_bash_completes_commands_options_and_the_values_of_options(tab):
    assert tab("") >= set(PLACES)
    assert tab("prot") == {"protection"}
    assert tab("config", "") == {"check", "show"}
    assert tab("node", "run", "--log-f") == {"--log-format"}
    assert tab("node", "run", "--log-format", "") == {"auto", "console", "json", "logfmt"}
    assert tab("completion", "") == {"bash", "zsh", "fish"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_that_names_every_command(attestrio, shell):
    ended = attestrio("completion", shell)

    assert ended.code == 0
    assert [name for name in PLACES if name not in ended.out] == []


def test_an_unknown_shell_is_refused(attestrio):
    ended = attestrio("completion", "tcsh")

    assert ended.code == 2
    assert 'Invalid value "tcsh"' in ended.err
