"""`attestrio debug bundle`: what is in it, and above all what is not."""

import importlib
import json
import re
import stat
import tarfile
from pathlib import Path

import pytest
import trio
from attestrio.app.bundle import Redactor, collect, secrets_of
from attestrio.app.bundle.redact import plain_url, secrets_of_file, secrets_of_url
from attestrio.app.doctor import subject_of
from attestrio.app.kinds import Kind
from attestrio.app.operator_config import LAYOUT as OPERATOR
from attestrio.bls import SecretKey as BlsKey
from attestrio.bls import write_keystore
from attestrio.cli.debug import archive, write
from attestrio.config import NodeConfig, NodeSection, WebSection, load_config
from attestrio.configuring import BadConfig
from attestrio.kit.http import AnswerTooLarge, BadHttpStatus, serve_app
from attestrio.roles import BatchNumber, NodeSecretKey
from attestrio.sim.cluster import Cluster, ClusterSpec
from cli_kit import SECRETS, genesis_of, write_database, write_genesis, write_history
from suite import patient

collecting = importlib.import_module("attestrio.app.bundle.collect")  # the package has a function of that name
NODE_KEY = NodeSecretKey.from_bytes(b"\x07" * 32)
PASSWORD = 'pass"word ünd\\more'
PLANTED = ["Us3rInfo", "pw-in-url", "tokentokentoken", "t0ken&amp", "0123456789abcdefAPIKEY", "fragmentary"]
URL = f"http://{PLANTED[0]}:{PLANTED[1]}@127.0.0.1:1/v3/{PLANTED[4]}?key={PLANTED[2]}#{PLANTED[5]}"


def members(path):
    """Names and contents; also that nothing else is in the archive."""
    with tarfile.open(path) as tar:
        assert all(one.isreg() and one.name.startswith("attestrio-debug/") for one in tar)
        assert {(one.uname, one.gname, one.uid, one.gid, one.mode) for one in tar} == {("", "", 0, 0, 0o600)}
        return {one.name.partition("/")[2]: tar.extractfile(one).read() for one in tar}


def assert_holds_no(planted, path):
    """No member has any of them, in any spelling."""
    for name, raw in members(path).items():
        text = raw.decode()
        for one in planted:
            for spelt in (one, json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1], one.upper()):
                assert spelt not in text, (name, one)


@pytest.fixture
def node(tmp_path):
    """A node that ran, with a secret in every place where one may legally stand."""
    write_genesis(tmp_path / "genesis.json")
    (tmp_path / "attester.key").write_text(SECRETS[0].to_text() + "\n")
    (tmp_path / "node.key").write_text(NODE_KEY.to_text() + "\n")
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    write_history(data / "protection.db", genesis_of())
    write_database(data / "store.db", [])
    (data / "HALT").write_text(f"found at {URL} with {SECRETS[0].to_text()}")
    (data / "secret-notes.txt").write_text("SOMEBODY'S NOTES")
    path = tmp_path / "node.toml"
    path.write_text(
        '[node]\ndata_dir = "data"\n[keys]\nattester_file = "attester.key"\n[genesis]\nfile = "genesis.json"\n'
        f'[main_node]\nurl = "{URL}"\ntimeout_s = 1.0\n'
        f'[l1]\nrpc_urls = ["{URL}", "ws://x:{PLANTED[3]}@127.0.0.1:2/"]\n'
        '[gossip]\nbind = "127.0.0.1:0"\nnode_key_file = "node.key"\n[web]\nbind = "127.0.0.1:1"\n'
    )
    return path


@pytest.mark.slow
def test_a_bundle_has_what_helps_and_no_secret_wherever_it_stood(attestrio, node, tmp_path, monkeypatch):
    in_env = SECRETS[1].to_text()
    monkeypatch.setenv("ATTESTRIO_BLS_PASSWORD", PASSWORD)
    monkeypatch.setenv("SOME_API_TOKEN", "a-token-of-another-program")
    monkeypatch.setenv("ATTESTRIO_MAIN_NODE_URL", URL.replace("pw-in-url", "pw-of-environment"))
    out = tmp_path / "bundle.tar.gz"

    ended = attestrio("debug", "bundle", "-c", node, "--out", out, "--json")

    assert (ended.code, ended.err) == (0, "")
    found = members(out)
    assert sorted(found) == sorted(ended.document["members"])
    assert set(found) >= {
        "versions.json", "config.toml", "doctor.json", "files.json", "protection.json", "HALT.json", "problems.txt"
    }  # fmt: skip
    assert any(one.startswith("status.json: ") for one in ended.document["problems"]), "nobody runs"
    secrets = [*PLANTED, PASSWORD, "a-token-of-another-program", "pw-of-environment", "NOTES"]
    secrets += [SECRETS[0].to_text(), NODE_KEY.to_text(), in_env]
    secrets += [one.to_text().rpartition(":")[2] for one in (SECRETS[0], NODE_KEY)]
    assert_holds_no(secrets, out)
    assert all(one not in ended.out for one in secrets)
    assert b"http://127.0.0.1:1/v3/redacted" in found["config.toml"], "where it was stays readable"
    assert {"SOME_API_TOKEN", "ATTESTRIO_BLS_PASSWORD"} & set(json.loads(found["versions.json"])["environment"]) == {
        "ATTESTRIO_BLS_PASSWORD"
    }
    listed = {one["name"] for one in json.loads(found["files.json"])["files"]}
    assert {"protection.db", "HALT", "secret-notes.txt"} <= listed
    checks = {one["name"]: one["grade"] for one in json.loads(found["doctor.json"])}
    assert (checks["halt"], checks["main_node"]) == ("fail", "fail")


def test_a_key_from_the_environment_is_in_no_bundle(attestrio, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTESTRIO_KEYS_ATTESTER", SECRETS[1].to_text())
    out = tmp_path / "bundle.tar.gz"

    attestrio("debug", "bundle", "--set", f"node.data_dir={tmp_path}/data", "--out", out)

    assert_holds_no([SECRETS[1].to_text(), SECRETS[1].to_text().rpartition(":")[2]], out)


@pytest.mark.slow
def test_keystore_and_password_of_an_operator_are_in_no_bundle(attestrio, tmp_path, monkeypatch):
    write_keystore(tmp_path / "bls.json", BlsKey.from_bytes(b"\x05" * 32), PASSWORD)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    long = [one for one in secrets_of_file((tmp_path / "bls.json").read_text()) if re.fullmatch("[0-9a-f]{32,}", one)]
    config = tmp_path / "operator.toml"
    config.write_text(
        '[operator]\ndata_dir = "data"\n[bls]\nkeystore = "bls.json"\npassword_file = "password"\n'
        f'[l1]\nrpc_urls = ["{URL}"]\ntimeout_s = 1.0\n'
        f'[verifier]\nprograms = {{ SP1 = ["/bin/true", "--key", "{URL}"] }}\n'
    )
    monkeypatch.setenv("ATTESTRIO_AGGREGATOR_ADDRESS", "127.0.0.1:1")
    out = tmp_path / "bundle.tar.gz"

    ended = attestrio("debug", "bundle", "-c", config, "--out", out)

    assert ended.code == 0
    assert "config.toml" in members(out)
    assert long, "ciphertext, salt"
    assert_holds_no([*PLANTED, PASSWORD, *long], out)


def test_a_secret_that_somebody_wrote_where_none_belongs_is_taken_out(attestrio, tmp_path, monkeypatch):
    """Nothing else in a bundle holds one, so without this a redactor that does nothing would pass."""
    write_keystore(tmp_path / "bls.json", BlsKey.from_bytes(b"\x05" * 32), PASSWORD)
    (tmp_path / "password").write_text("of-the-password-file\nsecond line of it\n")
    config = tmp_path / "operator.toml"
    config.write_text(
        '[operator]\ndata_dir = "data"\n[bls]\nkeystore = "bls.json"\npassword_file = "password"\n'
        f'[l1]\nrpc_urls = ["{URL}"]\ntimeout_s = 1.0\n'
    )
    monkeypatch.setenv("SOME_API_TOKEN", "Token-Of-Another-Program")
    monkeypatch.setenv("NO_SECRET", str(config))  # by its name it is one, and it is the name of a file
    monkeypatch.setenv("PROXY_FOR_SOMETHING", "http://of-a-proxy:its-password@h:3128")
    keystore = max(secrets_of_file((tmp_path / "bls.json").read_text()), key=len)
    planted = [
        "of-the-password-file", "Token-Of-Another-Program", "second line of it", "its-password", "of-a-proxy",
        *PLANTED[:3], PLANTED[4], PLANTED[5], keystore,
    ]  # fmt: skip
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "HALT").write_text("\n".join([*planted, *map(str.upper, planted), f"see {config}"]))
    out = tmp_path / "bundle.tar.gz"

    attestrio("debug", "bundle", "-c", config, "--out", out)

    halted = members(out)["HALT.json"].decode().splitlines()
    assert halted == [*["<redacted>"] * 2 * len(planted), f"see {config}"]


def test_a_password_of_the_environment_is_taken_out_by_its_value():
    made, _ = OPERATOR.explain(None, env={"ATTESTRIO_BLS_PASSWORD": "of-the-environment"}, overrides={})

    assert "of-the-environment" in secrets_of(made, subject_of(Kind.OPERATOR, made), {})


def test_of_two_secrets_the_longer_one_goes_whole():
    assert Redactor(["secret", "secret-and-more"]).text("secret-and-more, secret") == "<redacted>, <redacted>"


# --- what a process answers


@pytest.fixture
def answers(nursery):
    """A server that gives one answer to everything; its URL."""

    async def serve(status, body):
        async def app(scope, receive, send):
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": status, "headers": []})
                await send({"type": "http.response.body", "body": body})

        return await nursery.start(serve_app, app, "127.0.0.1:0")

    return serve


async def test_what_a_process_answers_is_bounded_and_not_ready_is_an_answer(answers):
    not_ready = await answers(503, b"{}")

    assert await collecting.get_bounded(not_ready, 2) == b"{}"
    with pytest.raises(AnswerTooLarge):
        await collecting.get_bounded(await answers(200, b"x" * 101), 100)
    with pytest.raises(BadHttpStatus):
        await collecting.get_bounded(await answers(404, b""), 100)


async def test_an_answer_without_end_is_not_read_on(nursery):
    async def endless(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x" * 1_000, "more_body": True})
                await trio.sleep(0.01)

    url = await nursery.start(serve_app, endless, "127.0.0.1:0")

    with pytest.raises(AnswerTooLarge):
        await collecting.get_bounded(url, 2_500)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("bind", "base"),
    [
        ("127.0.0.1:9464", "http://127.0.0.1:9464/"),
        ("0.0.0.0:9464", "http://127.0.0.1:9464/"),
        ("[::]:9464", "http://[::1]:9464/"),
        ("127.0.0.1:0", None),
    ],
)
def test_a_process_is_asked_where_it_answers_on_this_machine(bind, base):
    made = NodeConfig(web=WebSection(bind=bind))

    assert collecting.page_of(subject_of(Kind.NODE, made)) == base
    assert collecting.page_of(subject_of(Kind.NODE, NodeConfig())) is None


@pytest.mark.slow
def test_a_journal_that_is_damaged_is_one_line_and_keeps_nothing_else_away(attestrio, tmp_path):
    config = tmp_path / "operator.toml"
    config.write_text('[operator]\ndata_dir = "data"\n')
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "operator.db").write_bytes(b"no database" * 100)
    out = tmp_path / "bundle.tar.gz"

    ended = attestrio("debug", "bundle", "-c", config, "--out", out, "--json")

    assert ended.code == 0, ended.err
    assert set(members(out)) >= {"config.toml", "doctor.json", "files.json", "versions.json"}
    (problem,) = [one for one in ended.document["problems"] if one.startswith("journal.json: ")]
    assert "is damaged or no database" in problem
    assert problem in members(out)["problems.txt"].decode()


async def test_a_member_that_is_a_bug_is_one_line_too(tmp_path, monkeypatch):
    def bug(*_):
        raise ExceptionGroup("of a nursery", [KeyError("first"), ExceptionGroup("", [OSError(28, "No space left")])])

    made = NodeConfig(node=NodeSection(data_dir=str(tmp_path / "data")))
    monkeypatch.setattr(collecting, "files", bug)

    found, problems = await collect(Kind.NODE, made, subject_of(Kind.NODE, made))

    assert "files.json: KeyError: 'first'; No space left" in problems
    assert set(found) >= {"versions.json", "doctor.json"}


def test_files_that_go_away_while_they_are_listed_are_left_out(tmp_path, monkeypatch):
    (tmp_path / "store.db").write_text("x")
    monkeypatch.setattr(Path, "rglob", lambda *_: [tmp_path / "store.db", tmp_path / "store.db-wal"])

    assert [one["name"] for one in collecting.files(tmp_path)["files"]] == ["store.db"]


def test_a_bundle_is_never_written_over_another_file_and_only_its_owner_reads_it(attestrio, tmp_path):
    out = tmp_path / "bundle.tar.gz"

    first = attestrio("debug", "bundle", "--set", f"node.data_dir={tmp_path}/data", "--out", out)
    again = attestrio("debug", "bundle", "--set", f"node.data_dir={tmp_path}/data", "--out", out)

    assert (first.code, again.code) == (0, 2)
    assert "exists already" in again.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "look through it before you send it" in first.out


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadConfig, match="cannot be written"):
        write(tmp_path / "none" / "x.tar.gz", archive({"a": b"b"}))


@pytest.mark.slow
async def test_a_node_that_runs_is_asked_for_page_metrics_and_its_last_batches(tmp_path):
    cluster = Cluster(tmp_path, ClusterSpec(attesters=1, batch_every_s=0.2, web=("127.0.0.1", 0)))
    async with trio.open_nursery() as nursery:
        await nursery.start(cluster.run)
        node = cluster.nodes["attester-1"]
        epoch = await node.wait_epoch()
        with trio.fail_after(patient(30)):
            await epoch.status.wait_for(lambda status: status.next_batch == BatchNumber(3))
            await trio.sleep(1.5)  # the book is written once a second

        made = load_config(tmp_path / "attester-1" / "node.toml", overrides=cluster.overrides("attester-1"))
        found, problems = await collect(Kind.NODE, made, subject_of(Kind.NODE, made))
        nursery.cancel_scope.cancel()

    assert problems == []
    assert json.loads(found["status.json"])["node"]["role"] == "attester"
    assert b"attestrio_build_info" in found["metrics.txt"]
    assert "checks" in json.loads(found["readyz.json"])
    assert json.loads(found["duty.json"])["counts"]["certified"] >= 1
    assert json.loads(found["protection.json"])["histories"][0]["votes"] >= 1
    assert json.loads(found["peers.json"])["peers"]
    assert {one["grade"] for one in json.loads(found["doctor.json"])} <= {"ok", "warn"}


# --- the second wall


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://a:b@h:1/p?q=1#f", "http://h:1/p?<redacted>"),
        ("https://h/v3/0123456789abcdef", "https://h/v3/<redacted>"),
        ("redis://u@[::1]:6379/0", "redis://[::1]:6379/0"),
        ("http://[bad/x", "<redacted>"),
    ],
)
def test_of_a_url_stays_where_it_leads(url, plain):
    assert plain_url(url) == plain


def test_a_secret_is_found_in_every_spelling_and_a_short_one_spoils_no_text():
    redactor = Redactor([PASSWORD, "with space/slash", "ab"])

    spelt = ["with space/slash", "with%20space%2Fslash", "with+space%2Fslash", json.dumps(PASSWORD)[1:-1], PASSWORD]
    assert redactor.text(" | ".join(spelt)) == " | ".join(["<redacted>"] * 5)
    assert redactor.text("about ab") == "about ab"


def test_of_a_url_that_nobody_knows_its_secrets_go_too():
    text = 'log: "http://us:pw@h:1/v3/0123456789abcdef?k=v" and (wss://tok@h/x), redis://:pw@[::1]:6379/0 fell'

    told = Redactor([]).text(text)

    assert told.startswith('log: "http://h:1/v3/<redacted>?<redacted>" and (wss://h/x), ')
    assert [one for one in ("us:", "pw", "0123456789abcdef", "tok@") if one in told] == []


def test_a_key_is_recognised_where_nobody_knows_it():
    assert Redactor([]).text(f"see {SECRETS[2].to_text()}!") == "see attester:secret:secp256k1:<redacted>!"


def test_secrets_of_a_file_are_its_lines_and_its_long_words():
    assert secrets_of_file("hunter22\nsecond line\n") == {"hunter22\nsecond line", "hunter22", "second line"}
    assert secrets_of_file('{"version": 3, "mac": "00112233445566778899"}') == {"00112233445566778899"}


def test_secrets_of_a_url_are_what_is_not_shown_of_it():
    assert secrets_of_url(URL) >= {"Us3rInfo", "pw-in-url", PLANTED[2], PLANTED[4], PLANTED[5]}
