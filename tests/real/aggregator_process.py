"""The aggregator as a process of its own: started on a port that stays, asked, paused, killed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import trio
from attestrio.aggregator import rows
from attestrio.app.aggregator import JOURNAL
from attestrio.journal import SqliteJournal
from eth_account import Account
from processes import ATTESTRIO, environment
from suite import free_port, patient

DYING = Path(__file__).parent / "dying_aggregator.py"
START_S = patient(30.0)
PAGE = 5_000
ESTABLISHED = "01"


class AggregatorProcess:
    """One aggregator: its folder and its port are the same in all its lives.

    Args:
      more: of its configuration, {"section": {"key": value}}, over what suits a chain with blocks of `block_s`.
    """

    def __init__(self, folder, key, chain_url, manager, *, block_s, port=None, more=None):
        self.folder, self.port = folder, port or free_port()
        folder.mkdir()
        (folder / "key.json").write_text(json.dumps(Account.encrypt(key, "x", "scrypt", 2)))
        (folder / "password").write_text("x\n")
        contract = f"0x{manager.hex()}"
        self._sections = {
            "aggregator": {"data_dir": "data", "metrics_bind": "127.0.0.1:0"},
            "server": {"bind": f"127.0.0.1:{self.port}"},
            "ecdsa": {"keystore": "key.json", "password_file": "password"},
            "l1": {
                "rpc_urls": [chain_url], "chain_id": 31337, "manager": contract, "coordinator": contract,
                "key_registry": contract, "retriever": contract, "poll_s": 0.2,
            },
            "tasks": {"fetch_blocks": 100_000, "window_s": block_s, "block_s": block_s},
            "sender": {"confirmations": 1_000, "bump_after_s": 6.0},
            "log": {"format": "json"},
        }  # fmt: skip
        self.configure(more or {})
        self.process = None
        self.metrics_url = ""

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def configure(self, more):
        """From the next start on."""
        for section, keys in more.items():
            self._sections.setdefault(section, {}).update(keys)
        lines = []
        for section, keys in self._sections.items():
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        (self.folder / "aggregator.toml").write_text("\n".join(lines) + "\n")

    async def start(self, point=None, times=1, number=signal.SIGKILL):
        """Until it listens. With a `point` of dying_aggregator.py it hits itself there with the signal."""
        program = ATTESTRIO if point is None else (sys.executable, DYING, point, str(times), str(int(number)))
        log = self.folder / "log"
        seen = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self.process = await trio.lowlevel.open_process(
                [*program, "aggregator", "run", "-c", self.folder / "aggregator.toml"],
                env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        with trio.fail_after(START_S):
            while (said := re.search(r"aggregator running.* metrics at (\S+?)\"", self.said(seen))) is None:
                assert self.process.returncode is None, self.said(seen)
                await trio.sleep(0.02)
        self.metrics_url = said[1]

    def said(self, after=0):
        with (self.folder / "log").open("rb") as log:
            log.seek(after)
            return log.read().decode()

    async def kill(self):
        """As kill -9."""
        if self.process is not None:
            self.process.kill()
            await self.process.wait()

    def pause(self):
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    async def until_paused(self, within_s):
        """By itself, or by somebody."""
        with trio.fail_after(patient(within_s)):
            while self.state() != "T":  # noqa: ASYNC110  a process tells nobody
                await trio.sleep(0.02)

    def state(self):
        """A letter, as ps has it."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    # --- what can be seen from outside

    async def metrics(self):
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{self.metrics_url}/metrics", timeout=patient(20.0))
        return Readings(answer.raise_for_status().text)

    def memory_mb(self):
        """The most there ever was in this life."""
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())[1]) / 1024

    def connections(self):
        """How many operators are connected."""
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        found = [line.split() for line in lines]
        return sum(words[1].endswith(f":{self.port:04X}") and words[3] == ESTABLISHED for words in found)

    async def table(self, name):
        """Key → value of a table of its journal in a file; it may run meanwhile."""
        journal = SqliteJournal(self.folder / "data" / JOURNAL)
        found, after = {}, None
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            while page := await journal.scan(name, PAGE, after):
                found |= dict(page)
                after = page[-1][0]
            await journal.close()
        return found

    async def signatures(self):
        """(identifier, operator id) of all that are in its journal."""
        return {(rows.identifier_of(key), rows.operator_of(key)) for key in await self.table(rows.SIGNATURES)}


class Readings:
    """A page of metrics."""

    def __init__(self, text):
        self._lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]

    def value(self, name, *labels):
        """The sum of all series of that name with these labels, written label="value"."""
        return sum(
            float(value)
            for series, _, value in self._lines
            if series.partition("{")[0] == f"attestrio_{name}" and all(one in series for one in labels)
        )

    def quantile(self, name, share):
        """The bound below which that share of a histogram lies."""
        counts = sorted(
            (float(re.search(r'le="([^"]+)"', series)[1]), float(value))
            for series, _, value in self._lines
            if series.startswith(f"attestrio_{name}_bucket")
        )
        return next(bound for bound, count in counts if count >= share * counts[-1][1])
