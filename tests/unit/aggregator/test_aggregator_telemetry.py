"""What a telemetry server of Aligned is told, and that nobody ever waits for it."""

import json

import httpx
import pytest
import trio
from attestrio.aggregator.telemetry import FINISH_S, POST_S, ROOM, Telemetry
from attestrio.kit.http import BadUrl
from attestrio.kit.metrics import Metrics

ROOT, OPERATOR, TX = b"\x11" * 32, b"\x22" * 32, b"\x33" * 32
TRACE = "0x" + "11" * 32


def reply(status):
    return httpx.Response(status, stream=httpx.ByteStream(b""))


class Server:
    """An httpx transport that keeps what it is sent, each with its time."""

    def __init__(self, answer=lambda: reply(200)):
        self.got = []
        self._answer = answer

    def transport(self):
        async def handle(request):
            await trio.lowlevel.checkpoint()
            self.got.append((trio.current_time(), request.url.path, json.loads(request.content)))
            answer = self._answer()
            return answer if isinstance(answer, httpx.Response) else await answer

        return httpx.MockTransport(handle)


@pytest.fixture
def metrics():
    return Metrics()


def count(metrics, result):
    return metrics.value("attestrio_aggregator_telemetry", result=result)


async def test_everything_is_told_in_order_with_the_fields_that_upstream_uses(nursery, metrics, autojump_clock):
    server = Server()
    telemetry = Telemetry("tracker:4001", metrics, transport=server.transport())
    nursery.start_soon(telemetry.run)

    telemetry.task_begun(ROOT)
    telemetry.operator_answered(ROOT, OPERATOR)
    telemetry.quorum_reached(ROOT)
    telemetry.price_chosen(ROOT, 25 * 10**9)
    telemetry.answer_sent(ROOT, TX, 26 * 10**9)
    telemetry.task_failed(ROOT, "expired")
    await trio.sleep(1.0)

    assert [(path, fields) for _, path, fields in server.got] == [
        ("/api/initTaskTrace", {"merkle_root": TRACE}),
        ("/api/operatorResponse", {"merkle_root": TRACE, "operator_id": "0x" + "22" * 32}),
        ("/api/quorumReached", {"merkle_root": TRACE}),
        ("/api/aggregatorTaskSetGasPrice", {"merkle_root": TRACE, "gas_price": "25000000000"}),
        (
            "/api/aggregatorTaskSent",
            {"merkle_root": TRACE, "tx_hash": "0x" + "33" * 32, "effective_gas_price": "26000000000"},
        ),
        ("/api/taskError", {"merkle_root": TRACE, "error": "expired"}),
    ]
    assert count(metrics, "told") == 6


async def test_the_end_of_a_task_is_told_ten_seconds_later_after_operators_that_are_late(
    nursery, metrics, autojump_clock
):
    server = Server()
    telemetry = Telemetry("http://tracker:4001/", metrics, transport=server.transport())
    nursery.start_soon(telemetry.run)

    telemetry.task_ended(ROOT)
    await trio.sleep(9.0)
    telemetry.operator_answered(ROOT, OPERATOR)
    await trio.sleep(2.0)

    assert [(at, path) for at, path, _ in server.got] == [
        (9.0, "/api/operatorResponse"),
        (FINISH_S, "/api/finishTaskTrace"),
    ]


async def test_without_an_address_nothing_is_told_or_kept(nursery, metrics, autojump_clock):
    telemetry = Telemetry(None, metrics)
    nursery.start_soon(telemetry.run)

    for _ in range(2 * ROOM):
        telemetry.task_begun(ROOT)
        telemetry.task_ended(ROOT)
    await trio.sleep(60.0)

    assert [count(metrics, result) for result in ("told", "failed", "dropped")] == [0, 0, 0]


async def test_a_server_that_hangs_or_fails_costs_its_messages_and_no_time_of_those_who_tell(
    nursery, metrics, autojump_clock
):
    server = Server(trio.sleep_forever)
    telemetry = Telemetry("tracker:4001", metrics, transport=server.transport())
    nursery.start_soon(telemetry.run)
    await trio.testing.wait_all_tasks_blocked()

    for _ in range(1 + ROOM + 7):  # one is under way
        telemetry.task_begun(ROOT)
    told_in = trio.current_time()
    await trio.sleep(2.5 * POST_S)
    server._answer = lambda: reply(500)
    await trio.sleep(60.0)

    assert told_in == 0.0
    assert count(metrics, "dropped") == 7
    assert count(metrics, "failed") == 1 + ROOM
    assert count(metrics, "told") == 0


async def test_a_server_that_comes_back_is_told_again(nursery, metrics, autojump_clock):
    answers = iter([reply(503), reply(200)])
    server = Server(lambda: next(answers))
    telemetry = Telemetry("tracker:4001", metrics, transport=server.transport())
    nursery.start_soon(telemetry.run)

    telemetry.task_begun(ROOT)
    telemetry.quorum_reached(ROOT)
    await trio.sleep(1.0)

    assert [path for _, path, _ in server.got] == ["/api/initTaskTrace", "/api/quorumReached"]
    assert (count(metrics, "failed"), count(metrics, "told")) == (1, 1)


def test_an_address_that_is_none_is_refused_at_the_start(metrics):
    with pytest.raises(BadUrl):
        Telemetry("ftp://tracker:4001", metrics)
