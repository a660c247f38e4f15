"""Kill -9 a whole devnet at random moments, again and again, and look at what its disks hold.

    python bench/kill9.py [--kills 100] [--seed 1] [--json]

After every kill the network is started again over the same files and has to go on. At the end: no key has voted for two
hashes of one batch (records and certificates of all nodes together), every certificate verifies, and every certificate
that any run reported is there. Exit 1 if not. Bounded: a round takes at most a few seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import apsw
from attestrio.roles import BatchNumber, Genesis
from attestrio.store.certificates import open_certificates

PROGRAM = [str(Path(sys.executable).parent / "attestrio"), "devnet", "--every", "0.1", "--json"]
ROUND_S = 20.0


def run_round(folder: Path, rng: random.Random) -> list[int]:
    """Start the network, let it make at least one certificate, kill it at a random moment; the batches it reported."""
    log = folder / "devnet.log"
    with log.open("wb") as out:
        process = subprocess.Popen([*PROGRAM, "--data-dir", str(folder)], stdout=out, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + ROUND_S
            while not log.stat().st_size:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the network did not go on: exit {process.returncode}")
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.8))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    whole = log.read_text("utf-8").rpartition("\n")[0]  # the last line may be torn: the reader was not told
    return [json.loads(line)["batch"] for line in whole.splitlines()]


def votes(path: Path) -> list[tuple[bytes, bytes, int, bytes]]:
    """(key, genesis, number, hash) of every vote on record in one protection.db."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)  # the log of a killed writer is replayed
    try:
        return connection.execute(
            "SELECT attester, genesis, number, hash FROM votes JOIN histories ON histories.id = votes.history"
        ).fetchall()
    finally:
        connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    reported: set[int] = set()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="attestrio-kill9-") as name:
        folder = Path(name)
        for _ in range(args.kills):
            reported.update(run_round(folder, rng))
        genesis = Genesis.from_json((folder / "genesis.json").read_bytes())
        hashes: dict[tuple[bytes, bytes, int], set[bytes]] = defaultdict(set)
        recorded = 0
        for path in sorted(folder.glob("*/data/protection.db")):
            for key, of, number, hash_ in votes(path):
                hashes[key, of, number].add(hash_)
                recorded += 1
        certified: dict[str, set[int]] = {}
        for path in sorted(folder.glob("*/data/store.db")):
            with open_certificates(path) as file:
                for certificate in file.certificates(first=BatchNumber(0)):
                    certificate.verify(genesis)
                    batch = certificate.batch
                    certified.setdefault(path.parent.parent.name, set()).add(int(batch.number))
                    for key in certificate.signatures:
                        hashes[key.to_bytes(), batch.genesis.to_bytes(), int(batch.number)].add(batch.hash.to_bytes())
    double = {place for place, found in hashes.items() if len(found) > 1}
    lost = reported - certified.get("main-node", set())
    result = {
        "kills": args.kills,
        "seed": args.seed,
        "votes_on_record": recorded,
        "certificates_verified": sum(len(found) for found in certified.values()),
        "batches": len(certified.get("main-node", set())),
        "double_votes": len(double),
        "lost_certificates": len(lost),
        "seconds": round(time.monotonic() - began, 1),
    }
    if args.json:
        print(json.dumps(result))
    else:
        print(
            "{kills} kills (seed {seed}): {batches} batches, {votes_on_record} votes on record, {certificates_verified}"
            " certificates verified, {double_votes} double votes, {lost_certificates} reported certificates lost,"
            " {seconds} s".format(**result)
        )
    return 1 if double or lost or not certified else 0


if __name__ == "__main__":
    sys.exit(main())
