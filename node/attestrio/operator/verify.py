"""Verifying proofs: the port, an external program behind it, and recorded answers.

A program gets the entry on its standard input as one JSON object and answers by its exit code: 0 the proof is good,
10 it is not. Everything else is no verdict: a program that is missing, too slow or broken proves nothing.
"""

from __future__ import annotations

import base64
import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
import trio

from attestrio.kit.jsonrpc import printable
from attestrio.operator.batch import Entry, ProvingSystem
from attestrio.operator.errors import VerifierFailed
from attestrio.roles.keccak import keccak256

log = logging.getLogger("attestrio.operator")

MAX_OUTPUT: Final = 64 << 10  # bytes that a program may print; nobody reads more than the end of it
SHOWN: Final = 200
VALID, INVALID = 0, 10  # not 1: a crash of Python, Go or a shell ends with that, and a verdict is for ever


class ProofVerifier(Protocol):
    """Whoever can tell a good proof from a bad one."""

    async def verify(self, entry: Entry) -> bool:
        """Whether the proof is good. The same entry always gets the same answer. Raises VerifierFailed."""
        ...


@dataclass(frozen=True, slots=True)
class CommandVerifier:
    """Runs one of the programs it was given, for the proving systems it was given them for, and no other.

    Each run has a session of its own, which is killed whole when the time is up, when it prints too much, and when the
    caller is cancelled. It gets no environment but PATH, and no arguments from a batch.
    """

    programs: Mapping[ProvingSystem, tuple[str, ...]]
    """Program and arguments."""
    deadline_s: float = 60.0
    max_output: int = MAX_OUTPUT

    async def verify(self, entry: Entry) -> bool:
        command = self.programs.get(entry.system)
        if command is None:
            raise VerifierFailed(entry.system.text, "no program is configured for it")
        run = _Run(entry.system.text, command, self.max_output)
        with trio.move_on_after(self.deadline_s):
            code = await run.finish(document(entry))
            if code == INVALID:
                log.warning("verifier of %s: the proof is bad: %s", entry.system.text, printable(run.said()))
            if code in (VALID, INVALID):
                return code == VALID
            raise VerifierFailed(entry.system.text, f"exit code {code}: {run.said()}")
        raise VerifierFailed(entry.system.text, f"no verdict within {self.deadline_s:g} s")


def document(entry: Entry) -> bytes:
    """What a program reads: one JSON object, byte fields in base64, null where the batch has none."""

    def text(raw: bytes | None) -> str | None:
        return None if raw is None else base64.b64encode(raw).decode("ascii")

    return msgspec.json.encode(
        {
            "proving_system": entry.system.text,
            "proof": text(entry.proof),
            "pub_input": text(entry.public_input),
            "verification_key": text(entry.verification_key),
            "vm_program_code": text(entry.program),
        }
    )


@dataclass(slots=True)
class _Run:
    """One process and its session."""

    name: str
    command: Sequence[str]
    max_output: int
    _printed: bytearray = field(default_factory=bytearray)

    def said(self) -> str:
        return self._printed[-SHOWN:].decode("utf-8", "replace").strip() or "it said nothing"

    async def finish(self, given: bytes) -> int:
        """The exit code. Nothing of the session is left when this ends, however it ends. Raises VerifierFailed."""
        try:
            process = await trio.lowlevel.open_process(
                list(self.command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True, cwd="/", env={"PATH": os.environ.get("PATH", os.defpath)},
            )  # fmt: skip
        except OSError as exc:
            raise VerifierFailed(self.name, f"{self.command[0]} cannot be run: {exc.strerror or exc}") from exc
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._give, process, given)
                whole = await self._listen(process)
                if whole:
                    await process.wait()
                nursery.cancel_scope.cancel()  # it may end without having read everything
        finally:
            with trio.CancelScope(shield=True):
                await _kill(process)
        if not whole:
            raise VerifierFailed(self.name, f"printed more than {self.max_output} B")
        return process.returncode or 0

    async def _give(self, process: trio.Process, given: bytes) -> None:
        assert process.stdin is not None
        try:
            await process.stdin.send_all(given)
        except trio.BrokenResourceError:  # it has seen enough
            return
        await process.stdin.aclose()

    async def _listen(self, process: trio.Process) -> bool:
        """Read to the end of what it prints; False where that is too much."""
        assert process.stdout is not None
        async for chunk in process.stdout:
            self._printed += chunk
            if len(self._printed) > self.max_output:
                return False
        return True


async def _kill(process: trio.Process) -> None:
    """End the session: children, too, which would keep a pipe open or go on computing."""
    with suppress(ProcessLookupError, PermissionError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await stream.aclose()


@dataclass(frozen=True, slots=True)
class RecordedVerifier:
    """Answers by the hash of the proof, for tests and rehearsals. `asked` is every entry in order."""

    answers: Mapping[bytes, bool] = field(default_factory=dict)
    otherwise: bool | None = None
    """For proofs that are not listed; None: VerifierFailed."""
    asked: list[Entry] = field(default_factory=list)

    async def verify(self, entry: Entry) -> bool:
        await trio.lowlevel.checkpoint()
        self.asked.append(entry)
        answer = self.answers.get(keccak256(entry.proof), self.otherwise)
        if answer is None:
            raise VerifierFailed(entry.system.text, "no answer is recorded for the proof")
        return answer


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a batch's proofs. Without a `bad` one they are all good."""

    bad: int | None = None
    """Index of an entry that is refused."""
    disabled: ProvingSystem | None = None
    """Its verifier, where it is disabled and was not asked."""


async def check_proofs(
    entries: Sequence[Entry], disabled: int, verifier: ProofVerifier, limit: trio.CapacityLimiter
) -> Checked:
    """Verify all entries, as many at a time as `limit` allows, until one is bad.

    Args:
      disabled: the contract's bitmap; bit i is proving system i. One such entry refuses the batch unasked.

    Raises VerifierFailed where no proof is known to be bad and not all are known to be good.
    """
    for index, entry in enumerate(entries):
        if disabled >> entry.system & 1:
            return Checked(index, entry.system)
    bad: list[int] = []
    failed: list[VerifierFailed] = []

    async def check(index: int, entry: Entry) -> None:
        try:
            if await verifier.verify(entry):
                return
            bad.append(index)
        except VerifierFailed as exc:
            failed.append(exc)
        finally:
            limit.release_on_behalf_of(entry_token[index])
        nursery.cancel_scope.cancel()

    entry_token = [object() for _ in entries]
    async with trio.open_nursery() as nursery:
        for index, entry in enumerate(entries):
            await limit.acquire_on_behalf_of(entry_token[index])  # before the task: a batch has up to 65,536 of them
            nursery.start_soon(check, index, entry)
    if bad:
        return Checked(min(bad))
    if failed:
        raise failed[0]
    return Checked()
