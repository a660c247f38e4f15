"""What a supervisor hears."""

import logging
import os
import socket
import threading
import time

import pytest
import trio
import trio.testing
from attestrio.kit.notify import ALIVE, READY, keep_alive, notify, watchdog_s
from suite import patient


@pytest.fixture
def supervisor(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def beats(supervisor):
    """Everything that was said so far, which is nothing but signs of life."""
    heard = 0
    while True:
        try:
            assert supervisor.recv(500) == b"WATCHDOG=1"
        except BlockingIOError:
            return heard
        heard += 1


def test_a_supervisor_hears_that_the_node_is_ready(supervisor):
    said = notify(READY, {"NOTIFY_SOCKET": supervisor.getsockname()})

    assert said
    assert supervisor.recv(100) == b"READY=1"


def test_an_abstract_socket_is_reached_too():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0attestrio-test-{os.getpid()}")

        assert notify(READY, {"NOTIFY_SOCKET": f"@attestrio-test-{os.getpid()}"})
        assert sock.recv(100) == b"READY=1"


def test_without_a_supervisor_nothing_is_said():
    assert not notify(READY, {})


def test_a_supervisor_that_is_gone_stops_nobody(tmp_path, caplog):
    assert not notify(READY, {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert "the supervisor was not told READY=1" in caplog.text


def test_a_supervisor_that_does_not_read_holds_nobody_up(supervisor, caplog):
    env, said = {"NOTIFY_SOCKET": supervisor.getsockname()}, []
    talks = threading.Thread(target=lambda: said.extend(notify(ALIVE, env) for _ in range(2_000)), daemon=True)

    talks.start()
    talks.join(patient(20))

    assert not talks.is_alive(), "it waits for room in the socket"
    assert said[0]
    assert not said[-1], "more than a socket holds"


@pytest.mark.parametrize(
    ("env", "every_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "\u0663"}, None),
        ({"WATCHDOG_USEC": "9" * 400}, None),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_is_read_as_systemd_sets_it(env, every_s):
    assert watchdog_s(env) == every_s


def test_a_path_that_no_socket_can_have_is_told_as_such(caplog):
    assert not notify(READY, {"NOTIFY_SOCKET": "/" + "x" * 200})
    assert "path too long" in caplog.text


async def test_a_supervisor_that_does_not_listen_is_one_line_and_is_told_the_rest_later(
    tmp_path, nursery, autojump_clock, caplog
):
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
    nursery.start_soon(keep_alive, env, lambda: "leads")
    await trio.sleep(600.5)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(env["NOTIFY_SOCKET"])
        await trio.sleep(2.0)
        heard = [sock.recv(500) for _ in range(2)]

    assert heard == [b"WATCHDOG=1\nSTATUS=leads", b"WATCHDOG=1"]
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1


async def test_a_supervisor_that_allows_a_microsecond_does_not_keep_the_loop_busy(supervisor, nursery, autojump_clock):
    env = {"NOTIFY_SOCKET": supervisor.getsockname(), "WATCHDOG_USEC": "1"}
    nursery.start_soon(keep_alive, env)

    await trio.sleep(0.055)

    assert 1 <= beats(supervisor) <= 6


async def test_signs_of_life_come_three_times_as_often_as_needed(supervisor, nursery, autojump_clock):
    env = {"NOTIFY_SOCKET": supervisor.getsockname(), "WATCHDOG_USEC": "60000000"}
    nursery.start_soon(keep_alive, env)

    await trio.sleep(59.0)

    heard = [supervisor.recv(100) for _ in range(3)]
    assert heard == [ALIVE.encode()] * 3
    with pytest.raises(BlockingIOError):
        supervisor.recv(100)


async def test_what_systemctl_shows_is_told_when_it_changes(supervisor, nursery, autojump_clock):
    env = {"NOTIFY_SOCKET": supervisor.getsockname()}
    lines = ["batch 7\nis to be attested", "batch 7 is to be attested", "x" * 300]
    nursery.start_soon(keep_alive, env, lambda: lines[min(int(trio.current_time()) // 10, 2)])

    await trio.sleep(59.0)

    assert [supervisor.recv(500) for _ in range(2)] == [b"STATUS=batch 7 is to be attested", b"STATUS=" + 200 * b"x"]
    with pytest.raises(BlockingIOError):
        supervisor.recv(500)


async def test_a_line_about_the_work_comes_with_a_sign_of_life(supervisor, nursery, autojump_clock):
    env = {"NOTIFY_SOCKET": supervisor.getsockname(), "WATCHDOG_USEC": "6000000"}
    nursery.start_soon(keep_alive, env, lambda: "leads")

    await trio.sleep(3.0)

    assert [supervisor.recv(500) for _ in range(2)] == [b"WATCHDOG=1\nSTATUS=leads", b"WATCHDOG=1"]


async def test_a_loop_that_hangs_gives_no_sign_of_life(supervisor, nursery):
    env = {"NOTIFY_SOCKET": supervisor.getsockname(), "WATCHDOG_USEC": "30000"}
    nursery.start_soon(keep_alive, env)
    await trio.testing.wait_all_tasks_blocked()
    assert beats(supervisor)  # one, or more where the machine was slow

    time.sleep(0.1)  # noqa: ASYNC251  on the real clock: a task that does not let go of the loop

    with pytest.raises(BlockingIOError):
        supervisor.recv(500)
    await trio.sleep(0.01)
    assert beats(supervisor)


async def test_nobody_who_asked_for_nothing_is_told_anything(nursery, autojump_clock):
    asked = []
    nursery.start_soon(keep_alive, {}, lambda: asked.append("status") or "fine")

    await trio.sleep(100.0)

    assert asked == []
