"""`attestrio doctor`: every check, well and not well, and that looking changes nothing."""

import errno
import importlib
import json
import os
import resource
import socket
import time
from contextlib import nullcontext
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import trio
from attestrio.app.aggregator_config import AggregatorConfig, JournalSection
from attestrio.app.aggregator_config import L1Section as AggregatorL1
from attestrio.app.doctor import Grade, above, examine, far, machine, past, subject_of
from attestrio.app.doctor.clock import Clock
from attestrio.app.doctor.ethereum import chain
from attestrio.app.doctor.finding import Finding, ok
from attestrio.app.doctor.holder import holder_of, ports_of
from attestrio.app.doctor.ports import port
from attestrio.app.doctor.subject import L1Access
from attestrio.app.kinds import Kind
from attestrio.config import KeysSection, L1Section, MainNodeSection, NodeConfig, NodeSection, load_config
from attestrio.kit.datadir import LOCK, DataDir
from attestrio.kit.http import serve_app, shown
from attestrio.protection.epochs import EpochCause
from attestrio.protection.errors import SigningRefused
from attestrio.protection.halt import write_halt
from attestrio.protection.history import mark_unused, open_history
from attestrio.protection.pending import PendingRollback, write_pending
from attestrio.roles import NodeSecretKey
from attestrio.sim.cluster import Cluster, ClusterSpec
from cli_kit import GENESIS, SECRETS, STRANGER, genesis_of, write_genesis

doctoring = importlib.import_module("attestrio.cli.doctor")
PEER = NodeSecretKey.from_bytes(b"\x01" * 32).public()
KEY = SECRETS[0].public()
MANAGER, NOTHING = f"0x{1:040x}", f"0x{2:040x}"


@pytest.fixture
def node(tmp_path):
    """A node that never ran, with all it needs but a main node that answers."""
    write_genesis(tmp_path / "genesis.json")
    (tmp_path / "attester.key").write_text(SECRETS[0].to_text() + "\n")
    (tmp_path / "attester.key").chmod(0o600)
    mark_unused(tmp_path / "attester.key", KEY)
    path = tmp_path / "node.toml"
    path.write_text(
        '[node]\ndata_dir = "data"\n[keys]\nattester_file = "attester.key"\n[genesis]\nfile = "genesis.json"\n'
        '[main_node]\nurl = "http://127.0.0.1:1/"\n[web]\nbind = "127.0.0.1:0"\n'
    )
    return path


def checks(ended):
    return {one["name"]: one for one in ended.document["checks"]}


# --- the command


@pytest.mark.slow
def test_before_the_first_start_it_says_what_is_missing_and_makes_nothing(attestrio, node, tmp_path):
    before = sorted(tmp_path.iterdir())

    ended = attestrio("doctor", "--config", node, "--json")

    found = checks(ended)
    assert (ended.code, ended.err, ended.document["ok"], ended.document["kind"]) == (2, "", False, "node")
    assert [name for name, one in found.items() if one["grade"] == "fail"] == ["main_node", "genesis"]
    assert all(bool(one["todo"]) is (one["grade"] != "ok") for one in ended.document["checks"])
    assert found["data_dir"]["reason"] == "does not exist yet: the first start makes it"
    assert found["history"]["reason"] == "the key was never used: the first start begins its history"
    assert 0 < found["disk_sync"]["values"]["syncs"] <= 200
    assert found["disk_sync"]["values"]["votes_per_s"] > 0
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_each_line_has_a_grade_and_what_is_wrong_has_its_cure_below(attestrio, node):
    ended = attestrio("doctor", "--config", node)

    lines = ended.out.splitlines()
    wrong = next(index for index, line in enumerate(lines) if line.startswith("fail  main_node"))
    assert "http://127.0.0.1:1/" in lines[wrong]
    assert lines[wrong + 1].strip() == "-> is it up, and is the URL right?"
    assert lines[-1] == f"{sum(line.startswith('ok ') for line in lines)} ok, {warned(lines)} warn, 2 fail"


def warned(lines):
    return sum(line.startswith("warn ") for line in lines)


def as_it_is(path):
    """What would show that somebody wrote to it or made it anew; reading is allowed."""
    found = path.stat()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


@pytest.mark.slow
def test_the_lock_of_a_process_that_runs_is_not_touched(attestrio, node, tmp_path):
    with DataDir.open(tmp_path / "data") as held:
        before = as_it_is(held / LOCK)

        found = checks(attestrio("doctor", "--config", node, "--json"))

        assert as_it_is(held / LOCK) == before
    assert found["data_dir"]["reason"].endswith(f"process {os.getpid()} runs in it")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "more"),
    [("operator", ""), ("aggregator", ""), ("sequencer", f'rollup_manager = "0x{"00" * 20}"\n')],
    ids=["operator", "aggregator", "sequencer"],
)
def test_other_roles_are_examined_as_far_as_they_have_the_same_parts(attestrio, tmp_path, role, more):
    config = tmp_path / f"{role}.toml"
    config.write_text(f'[{role}]\ndata_dir = "data"\n[l1]\nrpc_urls = ["http://127.0.0.1:1/"]\ntimeout_s = 1.0\n{more}')

    ended = attestrio("doctor", "-c", config, "--json")
    text = attestrio("doctor", "-c", config).out

    assert (ended.code, ended.document["kind"]) == (2, role)
    assert set(checks(ended)) >= {"config", "data_dir", "room", "disk_sync", "swap", "l1", "l1_agreement"}
    assert checks(ended)["l1"]["grade"] == "fail"
    assert text.splitlines()[-1].startswith(f"`attestrio {role} check` ")


def test_programs_and_the_aggregator_of_an_operator_are_looked_for(attestrio, tmp_path):
    config = tmp_path / "operator.toml"
    config.write_text(
        f'[operator]\ndata_dir = "data"\n[aggregator]\naddress = "127.0.0.1:1"\n'
        f'[verifier]\nprograms = {{ SP1 = ["/bin/sh"], Risc0 = ["{tmp_path}/none"] }}\n'
    )

    found = attestrio("doctor", "-c", config, "--json").document["checks"]

    grades = {(one["name"], one["about"].split(" ")[0:2][-1]): one["grade"] for one in found}
    assert grades["program", "SP1"] == "ok"
    assert grades["program", "Risc0"] == "fail"
    assert grades["address", "127.0.0.1:1"] == "fail"


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://127.0.0.1:1/0", "127.0.0.1:1"),
        ("rediss://u@redis.example/0", "redis.example:6379"),
        ("redis://[::1]:7/0", "[::1]:7"),
        ("redis://h:port/", None),
        ("", None),
    ],
)
def test_the_journal_that_aggregators_share_is_called(url, where):
    made = AggregatorConfig(journal=JournalSection(redis_url=url))

    assert subject_of(Kind.AGGREGATOR, made).addresses == (() if where is None else (("journal.redis_url", where),))


@pytest.mark.parametrize(
    ("kind", "made", "contracts"),
    [
        (Kind.NODE, NodeConfig(l1=L1Section(rpc_urls=("http://h/",), diamond=MANAGER)), {"l1.diamond"}),
        (
            Kind.AGGREGATOR,
            AggregatorConfig(l1=AggregatorL1(rpc_urls=("http://h/",), manager=MANAGER, retriever=MANAGER)),
            {"l1.manager", "l1.retriever"},
        ),
    ],
    ids=["node", "aggregator"],
)
def test_contracts_are_those_that_the_configuration_names(kind, made, contracts):
    assert dict(subject_of(kind, made).l1.contracts) == dict.fromkeys(contracts, MANAGER)


@pytest.mark.parametrize(("grade", "code"), [("ok", 0), ("warn", 0), ("fail", 2)])
def test_only_what_failed_makes_the_exit_code_and_no_key_is_repeated(attestrio, monkeypatch, grade, code):
    secret = SECRETS[0].to_text()

    async def found(_subject):
        await trio.lowlevel.checkpoint()
        return [ok("first", "", "well"), Finding("second", "of it", Grade(grade), f"{secret} is no file", "mend it")]

    monkeypatch.setattr(doctoring, "examine", found)

    text, document = attestrio("doctor"), attestrio("doctor", "--json")

    assert (text.code, document.code) == (code, code)
    assert document.document["ok"] is (code == 0)
    assert "attester:secret:secp256k1:<secret> is no file" in text.out
    assert [one for one in (text.out, document.out) if secret in one] == []


# --- the machine


@pytest.mark.parametrize(("mode", "grade"), [(0o700, "ok"), (0o750, "warn"), (0o755, "warn"), (0o777, "fail")])
def test_a_data_directory_is_for_its_owner_alone(tmp_path, mode, grade):
    tmp_path.chmod(mode)

    assert machine.data_dir(tmp_path, None).grade == grade


def test_a_file_in_the_place_of_the_data_directory_is_a_failure(tmp_path):
    (tmp_path / "data").write_text("")

    assert machine.data_dir(tmp_path / "data", None).grade == "fail"


@pytest.mark.parametrize(("mode", "grade"), [(0o600, "ok"), (0o400, "ok"), (0o640, "warn"), (0o644, "fail")])
def test_a_key_is_for_its_owner_alone(tmp_path, mode, grade):
    path = tmp_path / "attester.key"
    path.write_text("")
    path.chmod(mode)

    assert machine.secret_file("keys.attester_file", path, os.geteuid()).grade == grade


def test_a_key_of_another_user_is_a_warning_and_a_missing_one_a_failure(tmp_path):
    path = tmp_path / "attester.key"
    path.write_text("")
    path.chmod(0o600)
    os_user = path.stat().st_uid

    other = machine.secret_file("keys.attester_file", path, os_user + 1)

    assert other.grade == ("ok" if os_user == 0 else "warn")  # what root owns, root gave
    assert machine.secret_file("keys.attester_file", tmp_path / "none", os_user).grade == "fail"


def test_what_this_user_cannot_look_into_is_never_called_well(tmp_path, monkeypatch):
    path = tmp_path / "operator.bls.json"
    path.write_text("")
    path.chmod(0o600)
    well = machine.secret_file("bls.keystore", path, os.geteuid()), machine.is_closed(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for another user: root may read all

    shut = machine.secret_file("bls.keystore", path, os.geteuid()), machine.is_closed(tmp_path)
    data = machine.data_dir(tmp_path, None)

    assert (well[0].grade, well[1]) == ("ok", False)
    assert (shut[0].grade, shut[1]) == ("fail", True)
    assert "cannot read it" in shut[0].reason
    assert (data.grade, "cannot write in it" in data.reason) == ("fail", True)
    assert not machine.is_closed(tmp_path / "none")


class OfSomebodyElse(type(Path())):
    """A folder below one that is not ours to enter."""

    def stat(self, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))


async def test_a_data_directory_of_somebody_else_is_a_failure_and_nothing_is_written_beside_it(tmp_path, monkeypatch):
    made = NodeConfig(node=NodeSection(data_dir=str(tmp_path / "data")), main_node=MainNodeSection(url="http://h:x/"))
    subject = replace(subject_of(Kind.NODE, made), data_dir=OfSomebodyElse(tmp_path / "data"))

    found = {one.name: one for one in await examine(subject)}

    assert (found["data_dir"].grade, found["history"].grade) == ("fail", "fail")
    assert "Permission denied" in found["data_dir"].reason
    assert {"disk_sync", "room", "file_system", "halt", "rollback"} & set(found) == set()
    assert machine.standing(OfSomebodyElse(tmp_path / "data")) == tmp_path


def test_a_disk_that_cannot_be_measured_is_a_failure_and_nothing_of_others_is_removed(tmp_path):
    theirs = tmp_path / f".attestrio-doctor-{os.getpid()}"
    theirs.write_text("theirs")

    found = machine.disk_sync(tmp_path)

    assert found.grade == "fail"
    assert theirs.read_text() == "theirs"


def test_what_a_sync_costs_is_said_as_votes_per_second(tmp_path):
    found = machine.disk_sync(tmp_path)

    assert found.values["votes_per_s"] == pytest.approx(1 / found.values["median_s"])
    assert found.values["median_s"] <= found.values["worst_s"]
    assert "votes a second" in found.reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "grade"),
    [
        ("Filename Type Size Used Priority\n", "ok"),
        ("Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n", "ok"),
        ("Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n", "warn"),
    ],
)
def test_swap_on_a_disk_is_a_warning(tmp_path, content, grade):
    (tmp_path / "swaps").write_text(content)

    assert machine.swap(tmp_path).grade == grade


@pytest.mark.parametrize(("kind", "grade"), [("ext4", "ok"), ("tmpfs", "warn"), ("nfs4", "warn")])
def test_file_systems_that_forget_or_are_elsewhere_are_warnings(tmp_path, kind, grade):
    proc, data = tmp_path / "proc", tmp_path / "a b" / "data"
    (proc / "self").mkdir(parents=True)
    data.mkdir(parents=True)
    mount = str(data.resolve().parent).replace(" ", "\\040")
    (proc / "self" / "mounts").write_text(f"/dev/sda1 / ext4 rw 0 0\nx {mount} {kind} rw 0 0\n")

    assert machine.file_system(data, proc).grade == grade


GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "files", "grade"),
    [
        (2 * GIB, 1 << 20, "ok"),
        (GIB // 2, 1 << 20, "warn"),
        (GIB // 100, 1 << 20, "fail"),
        (2 * GIB, 7, "warn"),
        (GIB // 100, 7, "fail"),
    ],
)
def test_a_disk_without_room_is_a_failure_and_one_with_little_a_warning(tmp_path, monkeypatch, free, files, grade):
    told = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_files=1 << 20, f_favail=files)
    monkeypatch.setattr(os, "statvfs", lambda _: told)

    found = machine.room(tmp_path)

    assert found.grade == grade
    assert found.values["free_bytes"] == pytest.approx(free, abs=4096)


def test_a_slow_disk_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "sync_times", lambda _: iter([0.01, 0.2, 0.3]))
    slow = machine.disk_sync(tmp_path)
    monkeypatch.setattr(machine, "sync_times", lambda _: iter([0.01, 0.01, 0.3]))

    assert slow.grade == "warn"
    assert "worst 300.00 ms; at most about 5.0 votes a second" in slow.reason
    assert machine.disk_sync(tmp_path).grade == "ok"


def test_each_measure_of_the_disk_is_a_sync(tmp_path, monkeypatch):
    synced, really = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), really(handle)))

    took = list(machine.sync_times(tmp_path / "part"))

    assert synced == [machine.SYNC_BYTES * (index + 1) for index in range(len(took))]


@pytest.mark.parametrize(("limit", "grade"), [(resource.RLIM_INFINITY, "ok"), (1024, "ok"), (256, "warn")])
def test_few_open_files_are_a_warning(tmp_path, monkeypatch, limit, grade):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))

    assert machine.descriptors(tmp_path).grade == grade


def test_room_is_counted_in_the_folder_that_exists(tmp_path):
    found = machine.room(tmp_path / "none" / "data")

    assert found.about == str(tmp_path)
    assert found.values["free_bytes"] > 0


# --- who holds the directory, and the ports


def test_the_holder_of_a_directory_is_found_without_its_lock(tmp_path):
    with DataDir.open(tmp_path):
        held_by = holder_of(tmp_path)

    assert held_by == os.getpid()
    assert holder_of(tmp_path) is None, "LOCK still names us"
    assert holder_of(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("pid", "inode", "held"),
    [("4711", 0, True), ("0", 0, True), ("-1", 0, True), ("4712", 0, False), ("4711", 1, False)],
    ids=["it", "other-namespace", "other-namespace-too", "another-process", "another-file"],
)
def test_the_number_in_lock_is_believed_while_the_kernel_has_that_lock(tmp_path, pid, inode, held):
    (tmp_path / LOCK).write_text("4711\n")
    number = (tmp_path / LOCK).stat().st_ino + inode
    (tmp_path / "locks").write_text(
        f"1: POSIX  ADVISORY  WRITE 4711 08:02:7 0 EOF\n2: FLOCK  ADVISORY  WRITE {pid} 08:02:{number} 0 EOF\n"
    )

    assert holder_of(tmp_path, tmp_path) == (4711 if held else None)


def test_a_port_that_a_process_only_calls_from_is_not_one_it_listens_at():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as caller:
        ports = ports_of(os.getpid())

        assert server.getsockname()[1] in ports
        assert caller.getsockname()[1] not in ports


@pytest.fixture
def taken():
    """A port somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_port_is_free_or_ours_or_of_others(taken, tmp_path):
    me = os.getpid()
    (tmp_path / str(me) / "fd").mkdir(parents=True)

    ours = await port("serve.bind", f"127.0.0.1:{taken}", me)
    theirs = await port("serve.bind", f"127.0.0.1:{taken}", None)
    of_another = await port("serve.bind", f"127.0.0.1:{taken}", me, tmp_path)
    unseen = await port("serve.bind", f"127.0.0.1:{taken}", me + 1, tmp_path)

    assert taken in ports_of(me)
    assert (ours.grade, ours.reason) == ("ok", f"in use by process {me}, which runs here")
    assert (theirs.grade, of_another.grade, unseen.grade) == ("fail", "fail", "warn")
    assert (await port("serve.bind", "127.0.0.1:0", None)).reason == "any free port"


async def test_a_page_that_everybody_can_reach_is_a_warning(taken):
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]

    assert (await port("web.bind", f"0.0.0.0:{free}", None)).grade == "warn"
    assert (await port("web.bind", f"127.0.0.1:{free}", None)).grade == "ok"
    assert (await port("serve.bind", f"0.0.0.0:{free}", None)).grade == "ok"
    assert (await port("serve.bind", f"127.0.0.1:{free}", 1)).grade == "warn", "a node runs, and not there"


# --- main nodes


@pytest.mark.parametrize(("ahead_s", "grade"), [(0.0, "ok"), (1.5, "ok"), (60.0, "warn"), (-60.0, "warn")])
async def test_a_clock_that_differs_is_a_warning(ahead_s, grade):
    clock = Clock()
    date = formatdate(time.time() + ahead_s, usegmt=True)

    await clock.look(httpx.Response(200, headers={"date": date}))

    found = clock.finding("http://h/", 0.01)
    assert found.grade == grade
    assert found.values["offset_s"] == pytest.approx(ahead_s, abs=1.6)


@pytest.mark.parametrize(("took_s", "grade"), [(0.1, "warn"), (10.0, "ok")])
def test_what_a_slow_answer_leaves_open_is_not_held_against_a_clock(took_s, grade):
    found = Clock([4.0]).finding("http://h/", took_s)

    assert (found.grade, found.values["unsure_s"]) == (grade, 0.5 + took_s / 2)


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
async def test_answers_without_a_date_are_a_warning(headers):
    clock = Clock()

    await clock.look(httpx.Response(200, headers=headers))

    assert clock.finding("http://h/", 0.01).grade == "warn"


def heard(*geneses):
    return [above.Heard(f"http://h{index}/", ok("main_node", "", ""), None, one) for index, one in enumerate(geneses)]


@pytest.mark.parametrize(
    ("geneses", "of_file", "grade"),
    [
        ([GENESIS, GENESIS, GENESIS], None, "ok"),
        ([GENESIS, GENESIS, None], None, "ok"),
        ([GENESIS, None, None], None, "fail"),
        ([GENESIS, genesis_of(1), GENESIS], None, "fail"),
        ([GENESIS, GENESIS, GENESIS], GENESIS, "ok"),
        ([GENESIS, GENESIS, GENESIS], genesis_of(1), "fail"),
        ([None, None, None], None, "warn"),
    ],
)
def test_main_nodes_and_file_have_to_name_one_genesis(geneses, of_file, grade):
    section = MainNodeSection(urls=("http://a/", "http://b/", "http://c/"))

    found, followed = above.agreement(section, heard(*geneses), of_file)

    assert found.grade == grade
    assert followed == (of_file or (None if grade == "warn" else GENESIS))


# --- key and history


@pytest.mark.parametrize(
    ("key", "genesis", "grade"),
    [
        (None, GENESIS, "ok"),
        (KEY, GENESIS, "ok"),
        (STRANGER.public(), GENESIS, "fail"),
        (KEY, genesis_of(secrets=()), "warn"),
        (KEY, None, "warn"),
    ],
)
def test_the_key_has_to_be_in_the_committee(key, genesis, grade):
    assert past.committee(key, genesis).grade == grade


def test_a_key_that_was_used_needs_its_history(tmp_path):
    key_file, data = tmp_path / "attester.key", tmp_path / "data"
    config = NodeConfig(node=NodeSection(data_dir=str(data)), keys=KeysSection(attester_file=str(key_file)))

    missing = past.history(KEY, config)
    mark_unused(key_file, KEY)
    unused = past.history(KEY, config)
    with DataDir.open(data):
        open_history(data, KEY, key_file=key_file)
        begun = past.history(KEY, config)
        other = past.history(STRANGER.public(), config)
    (data / "protection.db").write_bytes(b"no database" * 100)
    broken = past.history(KEY, config)

    assert (missing.grade, unused.grade, begun.grade, other.grade, broken.grade) == (
        "fail", "ok", "ok", "fail", "fail"
    )  # fmt: skip
    assert "exit code 71" in missing.reason
    assert begun.reason == "0 votes of this key"


def test_numbers_with_two_hashes_are_counted_in_the_history(tmp_path, monkeypatch):
    own, other = SimpleNamespace(attester=KEY), SimpleNamespace(attester=STRANGER.public())
    briefs = [
        SimpleNamespace(history=own, votes=3, newest=9, contested=2),
        SimpleNamespace(history=own, votes=1, newest=None, contested=0),
        SimpleNamespace(history=other, votes=50, newest=99, contested=7),
    ]
    record = SimpleNamespace(keys=lambda: [KEY], briefs=lambda: briefs)
    monkeypatch.setattr(past, "open_record", lambda _: nullcontext(record))
    (tmp_path / "protection.db").touch()

    found = past.history(KEY, NodeConfig(node=NodeSection(data_dir=str(tmp_path))))

    assert found.reason == "4 votes of this key, newest 9; 2 numbers have two hashes and are never signed again"


def test_a_rollback_that_waits_is_a_warning_also_where_its_note_is_damaged(tmp_path):
    before = past.rollback(tmp_path)
    write_pending(tmp_path, PendingRollback(3, EpochCause.RESEQUENCED, "batch 9", GENESIS.hash().to_text(), 1, 0.0))
    waits = past.rollback(tmp_path)
    (tmp_path / "ROLLBACK").write_text("{")
    damaged = past.rollback(tmp_path)

    assert (before.grade, waits.grade, damaged.grade) == ("ok", "warn", "warn")
    assert waits.reason == "epoch 3 ended (resequenced): batch 9"
    assert "cannot be read" in damaged.reason


def test_a_halt_is_a_failure_that_names_its_cure(tmp_path):
    before = past.halt(tmp_path)
    write_halt(tmp_path, SigningRefused("two hashes"), {})
    halted = past.halt(tmp_path)
    (tmp_path / "HALT").write_text("?")

    assert (before.grade, halted.grade, past.halt(tmp_path).grade) == ("ok", "fail", "fail")
    assert "two hashes" in halted.reason
    assert "protection repair --ack" in halted.todo


# --- over the network


class Ethereum:
    """A chain of blocks over JSON-RPC. `odd`: its blocks have other hashes; `fresh`: its newest has; `ahead_s`: its
    clock is not ours."""

    def __init__(self, chain_id=1, head=100, odd=0, fresh=0, ahead_s=0.0):
        self.chain_id, self.head, self.odd, self.fresh, self.ahead_s = chain_id, head, odd, fresh, ahead_s

    def answer(self, method, params):
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "eth_getCode":
            return "0x6000" if params[0] == MANAGER else "0x"
        assert method == "eth_getBlockByNumber"
        number = self.head if params[0] == "latest" else int(params[0], 16)
        if number > self.head:
            return None
        hashed = f"0x{number + self.odd + (self.fresh if number == self.head else 0):064x}"
        return {"number": hex(number), "hash": hashed, "parentHash": f"0x{1:064x}", "timestamp": "0x1"}

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        asked = json.loads((await receive())["body"])
        body = json.dumps(
            {"jsonrpc": "2.0", "id": asked["id"], "result": self.answer(asked["method"], asked["params"])}
        )
        date = formatdate(time.time() + self.ahead_s, usegmt=True).encode()
        headers = [(b"content-type", b"application/json"), (b"date", date)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("second", "grades"),
    [
        (Ethereum(), ["ok", "ok", "ok"]),
        (Ethereum(head=109), ["ok", "ok", "ok"]),
        (Ethereum(fresh=7), ["ok", "ok", "ok"]),
        (Ethereum(chain_id=5), ["ok", "fail", "ok"]),
        (Ethereum(odd=7), ["ok", "ok", "fail"]),
        (Ethereum(head=50), ["ok", "ok", "warn"]),
    ],
    ids=["alike", "a-little-ahead", "a-reorg-at-the-head", "other-chain", "other-blocks", "behind"],
)
async def test_endpoints_of_ethereum_serve_one_chain(nursery, second, grades):
    urls = []
    for app in (Ethereum(), second):
        urls.append(await nursery.start(serve_app, app, "127.0.0.1:0"))

    found = await chain(L1Access(tuple(urls), 1, 1, 5.0))

    assert [one.grade for one in found if one.name != "clock"] == grades


@pytest.mark.parametrize(("ahead_s", "grade"), [(0.0, "ok"), (600.0, "warn"), (-600.0, "warn")])
async def test_the_clock_of_an_operator_is_compared_with_that_of_an_endpoint(nursery, ahead_s, grade):
    url = await nursery.start(serve_app, Ethereum(ahead_s=ahead_s), "127.0.0.1:0")

    found = await chain(L1Access((url, "http://127.0.0.1:1/"), 1, 1, 5.0))

    assert [(one.about, one.grade) for one in found if one.name == "clock"] == [(shown(url), grade)]


async def test_an_address_without_a_contract_is_a_failure_and_nobody_waits_for_its_events(nursery):
    url = await nursery.start(serve_app, Ethereum(), "127.0.0.1:0")

    found = await chain(L1Access((url,), 1, 1, 5.0, (("l1.manager", MANAGER), ("l1.coordinator", NOTHING))))

    there, missing = [one for one in found if one.name == "contract"]
    assert (there.about, there.grade) == (f"l1.manager {MANAGER}", "ok")
    assert (missing.about, missing.grade) == (f"l1.coordinator {NOTHING}", "fail")
    assert "correct l1.coordinator" in missing.todo


async def test_an_endpoint_that_is_away_counts_where_all_have_to_agree(nursery):
    url = await nursery.start(serve_app, Ethereum(), "127.0.0.1:0")

    found = await chain(L1Access((url, "http://127.0.0.1:1/"), 1, 2, 5.0))

    found = [one for one in found if one.name != "clock"]
    assert [one.grade for one in found] == ["ok", "fail", "fail"]
    assert found[-1].reason == "1 of 2 endpoints answer, 2 have to agree"


async def test_a_peer_that_is_away_or_speaks_something_else_is_a_failure(nursery):
    async def rude(stream):
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100))
        await stream.aclose()

    (listener,) = await nursery.start(partial(trio.serve_tcp, rude, 0, host="127.0.0.1"))
    number = listener.socket.getsockname()[1]
    other = NodeSecretKey.from_bytes(b"\x02" * 32).public()

    found = await far.peers({PEER: f"127.0.0.1:{number}", other: "127.0.0.1:1"})

    assert [one.grade for one in found] == ["fail", "fail"]
    assert found[0].about == f"{PEER}@127.0.0.1:{number}"


async def test_a_slow_peer_is_a_warning_and_so_are_more_peers_than_are_tried(monkeypatch):
    async def answered(where):
        await trio.lowlevel.checkpoint()
        return 0.001, 2.0 if where == "slow:1" else 0.01

    monkeypatch.setattr(far, "round_trip", answered)
    keys = [NodeSecretKey.from_bytes(bytes([index]) * 32).public() for index in range(1, 5)]

    two = await far.peers({keys[0]: "slow:1", keys[1]: "quick:1"})
    monkeypatch.setattr(far, "MOST_PEERS", 3)
    four = await far.peers(dict.fromkeys(keys, "quick:1"))

    assert [one.grade for one in two] == ["warn", "ok"]
    assert [one.grade for one in four] == ["ok", "ok", "ok", "warn"]
    assert four[-1].reason == "1 more were not tried"


async def test_a_peer_that_says_nothing_costs_a_bounded_time(nursery, monkeypatch):
    async def silent(_stream):
        await trio.sleep_forever()

    monkeypatch.setattr(far, "PREFACE_S", 0.05)
    (listener,) = await nursery.start(partial(trio.serve_tcp, silent, 0, host="127.0.0.1"))

    (found,) = await far.peers({PEER: f"127.0.0.1:{listener.socket.getsockname()[1]}"})

    assert (found.grade, found.reason) == ("fail", "no answer within 0.05 s")


@pytest.mark.slow
async def test_a_network_that_runs_well_has_nothing_to_mend(tmp_path):
    cluster = Cluster(tmp_path, ClusterSpec(attesters=2, batch_every_s=0.2, web=("127.0.0.1", 0)))
    async with trio.open_nursery() as nursery:
        await nursery.start(cluster.run)
        made = load_config(tmp_path / "attester-2" / "node.toml", overrides=cluster.overrides("attester-2"))

        found = await examine(subject_of(Kind.NODE, made))
        nursery.cancel_scope.cancel()

    assert [one for one in found if one.grade is Grade.FAIL] == []
    named = {}
    for one in found:
        named.setdefault(one.name, []).append(one)
    assert [one.grade for one in named["peer"]] == ["ok", "ok"]
    assert {one.reason for one in named["port"]} == {f"in use by process {os.getpid()}, which runs here"}
    assert [named[name][0].grade for name in ("main_node", "clock", "genesis", "committee", "history", "halt")] == [
        "ok"
    ] * 6
    assert all(one.values["answer_s"] > 0 for one in named["peer"] + named["main_node"])
