"""An operator as a process: started with everybody away, asked and told things, ended by a signal."""

import signal

import pytest
import trio
from attestrio.bls import ScryptCost, SecretKey, write_keystore
from processes import environment, run, started
from suite import patient

pytestmark = [pytest.mark.real, pytest.mark.slow]

BATCH = "0x" + "11" * 32


@pytest.fixture
def config(tmp_path):
    """An operator whose chain and aggregator are at addresses where nobody listens."""
    write_keystore(tmp_path / "key.json", SecretKey(12345), "x", cost=ScryptCost(n=2))
    (tmp_path / "password").write_text("x\n")
    (tmp_path / "operator.toml").write_text("""
[operator]
data_dir = "data"
[bls]
keystore = "key.json"
password_file = "password"
[l1]
rpc_urls = ["http://127.0.0.1:9"]
manager = "0x0101010101010101010101010101010101010101"
[aggregator]
address = "127.0.0.1:9"
[log]
format = "json"
""")
    return tmp_path / "operator.toml"


async def test_it_starts_with_nobody_there_and_ends_on_a_signal(config):
    async with started("operator", "run", "-c", config) as operator:
        await operator.wait_said("operator running")
        second = await trio.to_thread.run_sync(lambda: run("operator", "run", "-c", config))
        status = await trio.to_thread.run_sync(lambda: run("operator", "status", "-c", config))
        dropped = await trio.to_thread.run_sync(lambda: run("operator", "drop", BATCH, "-c", config))
        code, seconds = await operator.stop(signal.SIGTERM)

    assert (second.returncode, "[data_dir_in_use]" in second.stderr) == (5, True)
    assert (status.returncode, status.stdout.splitlines()[0]) == (0, "known before block none, done before block none")
    assert (dropped.returncode, f"no batch {BATCH} has been seen" in dropped.stderr) == (
        2,
        True,
    )  # by the one that runs
    assert code == 143
    assert seconds < patient(10.0)


def test_another_key_does_not_go_on_in_the_same_directory(config, tmp_path):
    async def start_once():
        async with started("operator", "run", "-c", config) as operator:
            await operator.wait_said("operator running")
            await operator.stop(signal.SIGTERM)

    trio.run(start_once)
    write_keystore(tmp_path / "other.json", SecretKey(54321), "x", cost=ScryptCost(n=2))

    ended = run("operator", "run", "-c", config, env=environment(ATTESTRIO_BLS_KEYSTORE=str(tmp_path / "other.json")))

    assert (ended.returncode, "[journal_of_another_key]" in ended.stderr) == (2, True)
