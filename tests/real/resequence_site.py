"""The folder of a sequencer whose chain is the demo chain: stopped, with everything it needs to be started again."""

import json
import shutil

from attestrio.sim.l2 import CHAIN_ID, COINBASE, ETHER, FORK, GENESIS_AT, USERS, address_of, demo_plan
from attestrio.sim.resequence_demo import STREAM, write_chain
from attestrio.stream.reader import StreamReader
from processes import run


class DemoSite:
    """A folder with configuration and data directory; the batch the chain ends with is open in the stream."""

    def __init__(self, folder, *, more="", leaves="known"):
        self.folder, self.data, self.plan = folder, folder / "data", demo_plan(odd=True)
        self.stream, self.config = self.data / STREAM, folder / "sequencer.toml"
        folder.mkdir(exist_ok=True)
        write_chain(self.data, self.plan)
        self.data.chmod(0o700)
        self.original = folder / "original.bin"
        shutil.copyfile(self.stream, self.original)
        self._write_config(more)
        self.learn(leaves)

    def _write_config(self, more):
        rich = {f"0x{address_of(user).hex()}": {"balance": str(100 * ETHER), "nonce": "0"} for user in range(USERS)}
        (self.folder / "alloc.json").write_text(json.dumps(rich))
        (self.folder / "chain.json").write_text(json.dumps({"chainId": CHAIN_ID}))
        (self.folder / "conf.json").write_text(json.dumps({"timestamp": GENESIS_AT, "gasLimit": 0, "difficulty": 0}))
        self.config.write_text(f"""
[sequencer]
data_dir = "data"
[chain]
allocation = "alloc.json"
chainspec = "chain.json"
conf = "conf.json"
forks = {{ "{FORK}" = 0 }}
coinbase = "0x{COINBASE.hex()}"
[stream]
bind = "127.0.0.1:0"
[rpc]
bind = ""
[l1]
leaves = "l1_info.jsonl"
[log]
format = "json"
level = "info"
{more}
""")

    def learn(self, which):
        """The sequencer's L1 info leaves: those that were `known` when the chain was built, or `all`."""
        book = self.plan.all_leaves() if which == "all" else self.plan.known_leaves()
        known = [leaf for leaf in self.plan.leaves if book.leaf(leaf.index)]
        lines = [
            json.dumps(
                {"index": leaf.index, "ger": leaf.ger.hex(), "l1_hash": leaf.l1_hash.hex(), "timestamp": leaf.timestamp}
            )
            for leaf in known
        ]
        (self.folder / "l1_info.jsonl").write_text("".join(f"{line}\n" for line in lines))

    def command(self, *tokens, **options):
        """A command with this configuration, ended."""
        return run(*tokens, "-c", self.config, **options)

    def unwind(self, batch):
        ended = self.command("unwind", "--to-batch", batch, "--no-backup")
        assert ended.returncode == 0, ended.stderr

    def again(self):
        """Chain and stream as they were in the beginning."""
        shutil.rmtree(self.data)
        write_chain(self.data, self.plan)
        self.data.chmod(0o700)

    def entries(self):
        return entries_of(self.stream)


def entries_of(path):
    with StreamReader.open(path) as reader:
        return list(reader.entries())
