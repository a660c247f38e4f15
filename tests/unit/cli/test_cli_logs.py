"""Logs: one form for everybody's records, and nothing said ten times a second."""

import errno
import json
import logging
import os
import re
from pathlib import Path

import attestrio as attestrio_package
import pytest
import trio
from attestrio.cli.logs import LOGGERS, SeldomFull, follow_config, set_up_logs
from attestrio.config import BadConfig, LogSection, load_config
from attestrio.duty import DutyLog, EndState, Reason, Step
from attestrio.kit.events import FIELDS, EventName, named
from attestrio.roles import BatchNumber
from attestrio.sim.cluster import Cluster, ClusterSpec
from attestrio.web.health import Finding, Health
from suite import patient

BEGAN = 1_700_000_000.0


@pytest.fixture(autouse=True)
def loggers_as_before():
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def not_accepted(at):
    """What trio logs when it cannot accept a connection, `at` seconds after the first time."""
    full = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return logging.makeLogRecord(
        {
            "name": SeldomFull.NAME,
            "levelno": logging.ERROR,
            "levelname": "ERROR",
            "msg": "accept returned %s",
            "args": ("EMFILE",),
            "exc_info": (OSError, full, None),
            "created": BEGAN + at,
        }
    )


def test_a_server_without_descriptors_says_so_once_a_minute_and_in_the_form_of_all_logs(capsys):
    set_up_logs("json", "warning")

    for tenth in range(1_201):  # two minutes
        logging.getLogger(SeldomFull.NAME).handle(not_accepted(tenth / 10))

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["logger"], line["level"]) for line in lines] == [
        ("accept returned EMFILE", "trio.serve_listeners", "error")
    ] * 3
    assert all("exception" not in line for line in lines)


def test_other_records_are_not_held_back(capsys):
    set_up_logs("json", "warning")

    for _ in range(3):
        logging.getLogger("attestrio.kit").warning("again")

    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_record_is_said_once_whatever_the_program_around_does_with_its_own_logs(capsys):
    root, others = logging.getLogger(), []
    theirs = logging.Handler()
    theirs.emit = others.append
    root.addHandler(theirs)
    try:
        set_up_logs("json", "info")
        logging.getLogger("attestrio.kit").warning("once")
    finally:
        root.removeHandler(theirs)

    assert len(capsys.readouterr().err.splitlines()) == 1
    assert others == []


CERTIFIED = named(EventName.BATCH_CERTIFIED, batch=7, hash="batch:keccak256:ab")


@pytest.fixture
def said(capsys):
    """What a record of ours looks like on stderr."""

    def tell(form, **how):
        set_up_logs(form, "info", **how)
        logging.getLogger("attestrio.app").info("batch %d certified by %d votes", 7, 3, extra=CERTIFIED)
        return capsys.readouterr().err.splitlines()

    return tell


def test_json_has_the_stable_name_and_its_fields_beside_the_text(said):
    (line,) = said("json")

    fields = json.loads(line)
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {
        "event": "batch 7 certified by 3 votes", "name": "batch_certified", "batch": 7, "hash": "batch:keccak256:ab",
        "level": "info", "logger": "attestrio.app",
    }  # fmt: skip


def test_logfmt_begins_with_time_level_logger_and_name_and_quotes_the_text(said):
    (line,) = said("logfmt")

    assert re.fullmatch(
        r"timestamp=\S+Z level=info logger=attestrio\.app name=batch_certified"
        r' event="batch 7 certified by 3 votes" batch=7 hash=batch:keccak256:ab',
        line,
    )


def test_logfmt_keeps_a_traceback_and_a_text_of_several_lines_on_one(capsys):
    set_up_logs("logfmt", "info")

    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("attestrio.app").exception('a "quoted"\ntext')

    (line,) = capsys.readouterr().err.splitlines()
    assert 'event="a \\"quoted\\"\\ntext"' in line
    assert "ValueError: first\\nsecond" in line


HOSTILE = "first\nlevel=error \x1b[2J\r\x00 \u202e\u2028 é \x9b31m"
SHOWN = r"\x1b[2J\r\x00 \u202e\u2028 é \x9b31m"


@pytest.mark.parametrize("form", ["console", "logfmt", "json"])
def test_what_strangers_write_begins_no_line_and_reaches_no_terminal_as_a_command(capsys, form):
    set_up_logs(form, "info")

    logging.getLogger("attestrio.app").info("%s", HOSTILE, extra=named(EventName.BATCH_MISSED, reason=HOSTILE))

    (line,) = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert line.isprintable()
    if form == "json":
        assert json.loads(line)["event"] == json.loads(line)["reason"] == HOSTILE
    else:
        assert SHOWN in line.replace("\\\\", "\\")


def test_a_traceback_on_the_console_keeps_its_lines_and_nothing_else(capsys):
    set_up_logs("console", "info")

    try:
        raise ValueError("of a stranger: \x1b]0;title\x07")
    except ValueError:
        logging.getLogger("attestrio.app").exception("a bug")

    lines = capsys.readouterr().err.split("\n")
    assert "Traceback (most recent call last):" in lines
    assert r"ValueError: of a stranger: \x1b]0;title\x07" in lines
    assert all(line.isprintable() for line in lines)


def test_the_console_shows_text_and_fields_without_colours_where_nobody_looks(said):
    (line,) = said("console")

    assert "batch 7 certified by 3 votes" in line
    assert "batch=7" in line
    assert "\x1b" not in line


@pytest.mark.parametrize(("set_to", "coloured"), [(None, True), ("", True), ("1", False)])
def test_no_color_takes_the_colours_from_a_terminal(said, monkeypatch, set_to, coloured):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if set_to is not None:
        monkeypatch.setenv("NO_COLOR", set_to)

    (line,) = said("auto")

    assert ("\x1b" in line) is coloured


def test_a_part_may_have_a_level_of_its_own_which_a_later_set_up_takes_back(capsys):
    gossip, duty = logging.getLogger("attestrio.gossip"), logging.getLogger("attestrio.duty")
    set_up_logs("json", "warning", {"attestrio.gossip": "debug"})

    gossip.debug("heard")
    duty.debug("not heard")
    logging.getLogger("attestrio.gossip.noise").debug("below it, heard")
    set_up_logs("json", "warning")
    gossip.debug("not heard any more")

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["heard", "below it, heard"]


def test_records_without_a_name_have_none(capsys):
    set_up_logs("json", "info")

    logging.getLogger("attestrio.kit").warning("again")

    (line,) = capsys.readouterr().err.splitlines()
    assert "name" not in json.loads(line)


@pytest.mark.parametrize(
    ("flag", "as_json", "form"),
    [(None, False, "logfmt"), (None, True, "json"), ("console", True, "console"), ("json", False, "json")],
)
def test_the_flag_counts_before_json_and_json_before_the_file(capsys, flag, as_json, form):
    follow_config(LogSection(format="logfmt"), flag, as_json=as_json)
    logging.getLogger("attestrio.kit").warning("again")

    line = capsys.readouterr().err
    assert {"{": "json", "t": "logfmt"}.get(line[0], "console") == form


# --- the log of a node's duties


def test_every_step_of_a_batch_has_an_event_of_its_own(capsys):
    set_up_logs("json", "warning", {"attestrio.duty": "debug"})
    duty, number = DutyLog(lambda: 0.0), BatchNumber(7)

    for step in Step:
        duty.record(number, step)
    duty.record(number, Step.SIGNED, Reason.NOT_ON_CHAIN)
    duty.end(number, EndState.MISSED, Reason.SUPERSEDED)

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["name"] for line in lines] == [
        *(f"batch_{step}" for step in Step if step is not Step.CERTIFIED), "batch_waits", "batch_missed"
    ]  # fmt: skip
    assert {line["batch"] for line in lines} == {7}
    assert (lines[-2]["step"], lines[-2]["reason"], lines[-1]["reason"]) == ("signed", "not_on_chain", "superseded")


def test_steps_are_silent_unless_asked_for(capsys):
    set_up_logs("json", "info")
    duty = DutyLog(lambda: 0.0)

    duty.record(BatchNumber(7), Step.TOLD)
    duty.end(BatchNumber(7), EndState.SKIPPED, Reason.QC_ELSEWHERE)

    assert capsys.readouterr().err == ""


def test_a_check_that_changes_is_told_once_in_each_direction(capsys):
    set_up_logs("json", "info")
    health, well = Health(lambda: 0.0), True
    health.add("main_node", lambda: Finding(well, "it answers" if well else "it does not"))

    for well in (True, False, False, True):  # noqa: B007 - the check reads it
        health.look()

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["name"], one["check"], one["reason"], one["level"]) for one in lines] == [
        ("readiness_changed", "main_node", "not_ok", "warning"), ("readiness_changed", "main_node", "ok", "info")
    ]  # fmt: skip


@pytest.mark.slow
async def test_a_network_tells_its_main_steps_by_name(capsys, tmp_path):
    set_up_logs("json", "info", {"attestrio.duty": "debug"})
    cluster = Cluster(tmp_path, ClusterSpec(attesters=2, batch_every_s=0.2))
    certified = []

    async with trio.open_nursery() as nursery:
        await nursery.start(cluster.run)
        epoch = await cluster.nodes["attester-1"].wait_epoch()
        with trio.fail_after(patient(30)):
            await epoch.status.wait_for(lambda status: status.next_batch == BatchNumber(2))
        certified.append((await epoch.store.qc(BatchNumber(0))).batch.hash.to_text())
        await cluster.stop("attester-2")
        nursery.cancel_scope.cancel()

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    found = {}
    for line in lines:
        if "name" in line:
            found.setdefault(line["name"], []).append(line)
    assert set(found) >= {
        "epoch_began", "peer_connected", "peer_lost", "batch_told", "batch_persisted", "batch_hashed",
        "batch_recorded", "batch_signed", "batch_sent", "batch_seen", "batch_certified", "batch_submitted",
    }  # fmt: skip
    assert {line["hash"] for line in found["batch_certified"] if line["batch"] == 0} == set(certified)
    assert {line["member"] for line in found["peer_lost"]} <= {
        str(cluster.node_key(name)) for name in ("main-node", *cluster.names)
    }
    known = {"event", "level", "logger", "timestamp", "name", *FIELDS}
    assert all(set(line) <= known for lines in found.values() for line in lines)
    assert all(line["level"] == EventName(line["name"]).level for lines in found.values() for line in lines)


# --- the registry


CALLS = re.compile(r"\bEventName\.([A-Z_]+)")
SOURCE = Path(attestrio_package.__file__).parent


def test_every_name_is_used_and_documented():
    """A name that stands in the documentation and that nobody logs would be waited for in vain."""
    used = {name for path in SOURCE.rglob("*.py") for name in CALLS.findall(path.read_text("utf-8"))}
    steps = {f"BATCH_{step.name}" for step in Step}

    assert {one.name for one in EventName} - used - steps == set()
    assert {field for one in EventName for field in one.fields} == set(FIELDS)
    assert {one.level for one in EventName} <= {"debug", "info", "warning", "error", "critical"}


def test_levels_may_come_from_file_environment_and_flag(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text('[log]\nlevels = { "attestrio.gossip" = "debug" }\n')

    assert load_config(path).log.levels == {"attestrio.gossip": "debug"}
    env = {"ATTESTRIO_LOG_LEVELS": "attestrio.duty=debug, trio=error"}
    assert load_config(path, env=env).log.levels == {"attestrio.duty": "debug", "trio": "error"}
    assert load_config(path, overrides={"log.levels": ""}).log.levels == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gossip=debug", "no part is called gossip"),
        ("attestrio.gossip", "log.levels: attestrio.gossip has no value; write name=value"),
        ("trio=loud", "Invalid enum"),
    ],
)
def test_a_level_that_cannot_be_is_refused(text, said):
    with pytest.raises(BadConfig, match=said):
        load_config(overrides={"log.levels": text})


RUNS = ["node run", "main-node run", "operator run", "aggregator run", "sequencer run", "devnet"]


@pytest.mark.parametrize("command", [*RUNS, "stream serve x", "stream follow x:1 x"])
def test_every_command_that_runs_takes_a_form_of_logs(attestrio, command):
    ended = attestrio(*command.split(), "--log-format", "loud")

    assert ended.code == 2
    assert 'Invalid value "loud" for --log-format' in ended.err
