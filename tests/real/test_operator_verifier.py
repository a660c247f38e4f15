"""Real programs as verifiers: verdicts, and everything that is none."""

import os
import sys
from pathlib import Path

import pytest
import trio
from attestrio.operator.batch import Entry, ProvingSystem
from attestrio.operator.errors import VerifierFailed
from attestrio.operator.verify import Checked, CommandVerifier, RecordedVerifier, check_proofs
from attestrio.roles.keccak import keccak256
from suite import patient

pytestmark = [pytest.mark.real, pytest.mark.slow]

GOOD = Entry(ProvingSystem.SP1, b"good", None, None, b"code", bytes(20))
BAD = Entry(ProvingSystem.SP1, b"bad", b"", None, b"code", bytes(20))
READS = """
import base64, json, sys
entry = json.load(sys.stdin)
assert entry["proving_system"] == "SP1" and entry["verification_key"] is None
sys.exit(0 if base64.b64decode(entry["proof"]) == b"good" else 10)
"""


def verifier(program, deadline_s=20.0, max_output=4096):
    return CommandVerifier({ProvingSystem.SP1: (sys.executable, "-I", "-c", program)}, deadline_s, max_output)


async def test_a_program_reads_the_entry_and_gives_the_verdict():
    assert await verifier(READS).verify(GOOD) is True
    assert await verifier(READS).verify(BAD) is False


async def test_what_a_program_printed_before_it_said_no_is_in_the_log(caplog):
    assert await verifier("import sys; print('pairing'); sys.exit(10)").verify(GOOD) is False

    assert "verifier of SP1: the proof is bad: pairing" in caplog.text


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; print('no curve'); sys.exit(2)", "exit code 2: no curve"),
        ("raise MemoryError", "exit code 1: Traceback"),  # a verdict would be for ever
        ("import os; os.abort()", "exit code -6"),
        ("print('x' * 5000)", "printed more than 4096 B"),
        ("while True: print('x' * 5000)", "printed more than 4096 B"),
    ],
)
async def test_what_is_no_verdict_is_an_error(program, said):
    with pytest.raises(VerifierFailed, match=said):
        await verifier(program).verify(GOOD)


async def test_a_program_that_is_not_there_gives_no_verdict():
    with pytest.raises(VerifierFailed, match="cannot be run"):
        await CommandVerifier({ProvingSystem.SP1: ("/no/such/program",)}).verify(GOOD)
    with pytest.raises(VerifierFailed, match="no program is configured"):
        await CommandVerifier({}).verify(GOOD)


async def test_a_slow_program_is_killed_with_its_children(tmp_path):
    pids = tmp_path / "pids"
    program = f"""
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "1000"])
open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep(1000)
"""

    with pytest.raises(VerifierFailed, match="no verdict within 2 s"):
        await verifier(program, deadline_s=2.0).verify(GOOD)

    for pid in pids.read_text().split():
        with trio.fail_after(patient(10.0)):  # the signal is sent; on a busy machine it takes its time
            while not gone(pid):  # noqa: ASYNC110  another process
                await trio.sleep(0.01)


def gone(pid):
    """Whether a process has ended; one that its new parent has not collected yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_a_large_entry_reaches_a_program_that_reads_nothing():
    large = Entry(ProvingSystem.SP1, os.urandom(1 << 20), None, None, None, bytes(20))

    assert await verifier("pass").verify(large) is True


async def test_the_environment_of_the_operator_stays_with_it(monkeypatch):
    monkeypatch.setenv("ATTESTRIO_BLS_PASSWORD", "secret")

    assert await verifier("import os, sys; sys.exit('ATTESTRIO_BLS_PASSWORD' in os.environ)").verify(GOOD) is True


async def test_the_first_bad_proof_ends_the_others():
    class Slow(RecordedVerifier):
        async def verify(self, entry):
            if entry.proof == b"good":
                await trio.sleep(1000)
            return await super().verify(entry)

    slow = Slow({keccak256(b"bad"): False})

    assert await check_proofs([GOOD, BAD, GOOD], 0, slow, trio.CapacityLimiter(3)) == Checked(1)


async def test_a_disabled_verifier_refuses_the_batch_unasked():
    recorded = RecordedVerifier(otherwise=True)

    checked = await check_proofs([GOOD], 1 << ProvingSystem.SP1, recorded, trio.CapacityLimiter(1))

    assert checked == Checked(0, ProvingSystem.SP1)
    assert recorded.asked == []
