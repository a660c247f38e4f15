"""Aligned in one command: a chain, operators, an aggregator, batches, and each answer checked on the chain."""

import json
import signal
import socket
from pathlib import Path

import httpx
import pytest
import trio
from anvil_kit import found, needs_anvil
from attestrio.app.aggregator import EMBEDDED
from attestrio.sim.aligned import AlignedNet, AlignedSpec
from eth_account import Account
from processes import run, started
from redis_kit import RedisProcess
from suite import needs, patient

pytestmark = needs_anvil
BATCH = "0x" + "11" * 32


def documents(ended):
    assert (ended.returncode, ended.stderr) == (0, "")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_the_command_answers_batches_and_leaves_nothing_behind(tmp_path):
    anvil = tmp_path / "anvil"
    anvil.symlink_to(found().resolve())

    ended = run("devnet", "--aligned", "--anvil", anvil, "--batches", 3, "--every", 0.3)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == (
        "3 batches answered, each checked on chain: 4 operators, one aggregator, embedded journal"
    )
    assert [line for line in command_lines() if str(anvil).encode() in line] == []


def test_as_json_each_answer_has_a_line_and_the_summary_all_of_them():
    *answers, summary = documents(
        run("devnet", "--aligned", "--operators", 2, "--batches", 2, "--every", 0.2, "--anvil", found(), "--json")
    )

    assert [one["event"] for one in answers] == ["answer", "answer"]
    assert {one["batch"] for one in answers} == {0, 1}
    assert summary["event"] == "summary"
    assert (summary["checked"], summary["journal"]) == (2, "embedded")
    assert [{"event": "answer", **one} for one in summary["answered"]] == answers


@needs("redis-server")
def test_the_same_over_redis_leaves_no_key_of_its_own_there(tmp_path):
    (tmp_path / "redis").mkdir()
    server = RedisProcess(tmp_path / "redis")
    server.start()
    try:
        asked(server.port, b"SET somebody else\r\n")
        *_, summary = documents(
            run("devnet", "--aligned", "--batches", 2, "--every", 0.2, "--anvil", found(), "--redis", server.url,
                "--json")
        )  # fmt: skip
        size = asked(server.port, b"DBSIZE\r\n")
    finally:
        server.kill()

    assert (summary["checked"], summary["journal"]) == (2, "redis")
    assert size == b":1\r\n"


async def test_every_one_of_them_has_a_page_with_what_it_is_at(tmp_path, caplog):
    caplog.set_level("INFO", "attestrio")
    net = AlignedNet(tmp_path, AlignedSpec(operators=2, every_s=0.3, anvil=found(), web=("127.0.0.1", 0)))
    with trio.fail_after(patient(60)):
        async with trio.open_nursery() as nursery, httpx.AsyncClient(trust_env=False) as client:
            await nursery.start(net.run)
            seen = {name: await document(client, url, has_ended) for name, url in net.pages.items()}
            nursery.cancel_scope.cancel()

    assert {name: view["node"]["role"] for name, view in seen.items()} == {
        "aggregator": "aggregator", "operator-1": "operator", "operator-2": "operator",
    }  # fmt: skip
    assert [view["node"]["name"] for view in seen.values()] == list(seen)
    assert all(view["l1"]["head"] + 1 >= view["l1"]["cursor"] > 0 for view in seen.values())
    assert "signed" in {row["state"] for row in seen["operator-1"]["tasks"]["rows"]}
    assert all("operator" not in line["source"] for line in seen["aggregator"]["log"])
    assert {line["source"] for line in seen["operator-1"]["log"]} >= {"attestrio.operator"}


async def document(client, url, wanted):
    """The first one that is as wanted."""
    while True:
        view = (await client.get(f"{url}/status.json")).json()
        if wanted(view):
            return view
        await trio.sleep(0.2)


def has_ended(view):
    """Whether a batch has: signed by an operator, answered for the aggregator."""
    counts = view["tasks"]["counts"]
    return counts.get("signed" if view["node"]["role"] == "operator" else "verified", 0) > 0


async def test_a_network_goes_on_after_its_first_batches(tmp_path):
    net = AlignedNet(tmp_path, AlignedSpec(operators=3, every_s=0.3, anvil=found()))
    with trio.fail_after(patient(60)):
        async with trio.open_nursery() as nursery:
            await nursery.start(net.run)
            await net.count.wait_value(lambda count: count >= 5)
            core = net.aggregator.serving.core.value

            assert len({one.batch.identifier for one in net.answered}) == len(net.answered)
            assert all([await net.is_answered(one.batch) for one in net.answered])
            assert core is not None
            nursery.cancel_scope.cancel()


async def test_it_stops_at_once_when_it_is_told():
    async with started("devnet", "--aligned", "--anvil", found(), timeout_s=patient(60)) as running:
        await running.wait_said("answered in block")
        ended, took_s = await running.stop(signal.SIGTERM)

    assert (ended, running.err) == (143, "")
    assert took_s < patient(8.0)


@pytest.fixture
def config(tmp_path):
    """An aggregator whose chain is at an address where nobody listens."""
    keystore = Account.encrypt(b"\x01" * 32, "x", "scrypt", 2)
    (tmp_path / "key.json").write_text(json.dumps(keystore))
    (tmp_path / "password").write_text("x\n")
    (tmp_path / "aggregator.toml").write_text(f"""
[aggregator]
data_dir = "data"
metrics_bind = "127.0.0.1:0"
[server]
bind = "127.0.0.1:0"
[ecdsa]
keystore = "key.json"
password_file = "password"
[l1]
rpc_urls = ["http://127.0.0.1:9"]
manager = "0x{"01" * 20}"
coordinator = "0x{"02" * 20}"
key_registry = "0x{"03" * 20}"
retriever = "0x{"04" * 20}"
[log]
format = "json"
""")
    return tmp_path / "aggregator.toml"


async def test_it_starts_with_no_chain_there_and_ends_on_a_signal(config):
    async with started("aggregator", "run", "-c", config) as aggregator:
        await aggregator.wait_said("aggregator running")
        second = await trio.to_thread.run_sync(lambda: run("aggregator", "run", "-c", config))
        status = await trio.to_thread.run_sync(lambda: run("aggregator", "status", "-c", config))
        dropped = await trio.to_thread.run_sync(lambda: run("aggregator", "drop", BATCH, "-c", config))
        code, seconds = await aggregator.stop(signal.SIGTERM)
    after = await trio.to_thread.run_sync(lambda: run("aggregator", "status", "-c", config))

    assert (second.returncode, "[data_dir_in_use]" in second.stderr) == (5, True)
    assert (status.returncode, status.stdout.splitlines()[0]) == (0, f"{EMBEDDED} leads")
    assert (dropped.returncode, f"no batch {BATCH} has been seen" in dropped.stderr) == (
        2,
        True,
    )  # by the one that runs
    assert code == 143
    assert seconds < patient(10.0)
    assert after.stdout.splitlines()[0].startswith("nobody leads")


async def test_one_that_was_killed_starts_again_at_once(config):
    for_an_hour = ("aggregator", "run", "-c", config, "--set", "journal.lead_s=3600")

    async with started(*for_an_hour) as first:
        await first.wait_said("embedded leads")
        await first.stop(signal.SIGKILL)

    async with started(*for_an_hour) as second:
        await second.wait_said("embedded leads")
        await second.stop(signal.SIGTERM)


async def test_another_contract_does_not_go_on_in_the_same_directory(config):
    async with started("aggregator", "run", "-c", config) as first:
        await first.wait_said("journal read")
        await first.stop(signal.SIGTERM)

    ended = await trio.to_thread.run_sync(
        lambda: run("aggregator", "run", "-c", config, "--set", f"l1.manager=0x{'09' * 20}")
    )

    assert (ended.returncode, "[journal_of_another_contract]" in ended.stderr) == (2, True)


def command_lines():
    """Of all processes of this machine."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield file.read_bytes()
        except OSError:  # it ended meanwhile
            continue


def asked(port, command):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(command)
        return connection.recv(64)
