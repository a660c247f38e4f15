"""Which of several errors counts, and what becomes of texts on their way out."""

import errno
import os

import pytest
from attestrio.cli import root
from attestrio.cli.output import Output, report, scrubbed, worst
from attestrio.errors import PeerError, SafetyError, SetupError, SourceError, StorageUnusable

BUG = ValueError("a bug")
SAFETY, STORAGE, SETUP, SOURCE, PEER = (
    kind(kind.__name__) for kind in (SafetyError, StorageUnusable, SetupError, SourceError, PeerError)
)


@pytest.mark.parametrize(
    ("inside", "counts"),
    [
        ([SOURCE, BUG, SAFETY], BUG),
        ([SOURCE, STORAGE, SAFETY], SAFETY),
        ([SOURCE, STORAGE], STORAGE),
        ([PEER, SOURCE, SETUP], SETUP),
        ([PEER, SOURCE], SOURCE),
    ],
)
def test_of_several_errors_the_most_serious_counts(inside, counts):
    group = BaseExceptionGroup("", [inside[0], BaseExceptionGroup("", inside[1:])])

    assert worst(group) is counts


def test_of_equals_the_first_counts():
    first, second = SourceError("first"), SourceError("second")

    assert worst(ExceptionGroup("", [first, second])) is first
    assert worst(first) is first


def test_an_error_is_one_line_whatever_its_text(capsys):
    code = report(SetupError("two\nlines\tand  blanks"), as_json=False)

    assert code == 2
    assert capsys.readouterr().err == "attestrio: two lines and blanks [setup_error]\n"


def test_an_error_holds_no_commands_to_a_terminal(capsys):
    report(SetupError("/srv/\x1b[31mred\x07/\u202edb.ytud\x9b: no such file"), as_json=False)

    text = r"attestrio: /srv/\x1b[31mred\x07/\u202edb.ytud\x9b: no such file [setup_error]"
    assert capsys.readouterr().err == text + "\n"


def test_lines_hold_no_commands_to_a_terminal(capsys):
    Output().result(None, ["peer \x1b]0;title\x07", "näme\tof two"])
    Output().results([({}, "\u2066batch")])

    assert capsys.readouterr().out == "peer \\x1b]0;title\\x07\nnäme\tof two\n\\u2066batch\n"


@pytest.mark.parametrize("kind", ["attester", "node", "validator"])
def test_secrets_are_taken_out_of_texts(kind):
    text = f"{kind}:secret:ed25519:{'0a' * 32}: no such file"

    assert scrubbed(text) == f"{kind}:secret:ed25519:<secret>: no such file"


def test_lines_are_printed_as_they_come(capsys):
    def items():
        yield {"n": 1}, "one"
        assert capsys.readouterr().out == "one\n"
        yield {"n": 2}, "two"

    Output().results(items())

    assert capsys.readouterr().out == "two\n"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_file_that_cannot_be_opened_for_want_of_descriptors_is_not_to_blame(capsys, monkeypatch, number):
    def broken(*_args, **_kwargs):
        try:
            raise OSError(number, os.strerror(number), "genesis.json")
        except OSError as exc:
            raise SetupError(f"genesis.json cannot be read: {exc.strerror}") from None

    monkeypatch.setattr(root, "app", broken)

    code = root.run_command(["devnet"])

    assert code == 3
    assert capsys.readouterr().err == (
        f"attestrio: {os.strerror(number)}: raise the limit on open files (`ulimit -n`, LimitNOFILE=), 1024 is enough"
        " [out_of_descriptors]\n"
    )


def test_what_may_not_be_signed_counts_more_than_descriptors(capsys, monkeypatch):
    def broken(*_args, **_kwargs):
        raise SafetyError("a contradiction") from OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(root, "app", broken)

    assert root.run_command(["devnet"]) == 70


def test_a_directory_of_another_user_is_no_bug(capsys, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ExceptionGroup("", [PermissionError(errno.EACCES, "Permission denied", "data/duty.db")])

    monkeypatch.setattr(root, "app", broken)

    assert root.run_command(["batch"]) == 2
    assert capsys.readouterr().err == (
        f"attestrio: data/duty.db is closed to user {os.geteuid()}: give the command as the user of the process"
        " (`sudo -u USER`) [not_allowed]\n"
    )


def test_a_bug_is_exit_1_with_a_traceback_and_a_code(capsys, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ExceptionGroup("", [SourceError("a consequence"), ZeroDivisionError("a bug")])

    monkeypatch.setattr(root, "app", broken)

    code = root.run_command(["devnet"])

    err = capsys.readouterr().err
    assert code == 1
    assert "Traceback" in err
    assert "a consequence" in err
    assert err.endswith("attestrio: this is a bug, please report the lines above: ZeroDivisionError [bug]\n")
