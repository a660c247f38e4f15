"""Row 1 of Aligned's list: everything is there, and a batch goes all the way."""

import json

import trio
from aligned_kit import world_of
from anvil_kit import needs_anvil
from attestrio.kit.http import serve_app
from suite import patient

pytestmark = needs_anvil

OPERATORS = 8


class Tracker:
    """Takes what telemetry tells, as Aligned's own does."""

    def __init__(self):
        self.told = []
        """(path, fields), in order."""

    async def serve(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.told.append((scope["path"], json.loads(body)))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def test_row_1_a_batch_is_verified_once_and_the_trackers_hear_of_it(tmp_path):
    with trio.fail_after(patient(60)):
        async with world_of(tmp_path, block_s=0.5) as world:
            tracker = Tracker()
            url = await world.nursery.start(serve_app, tracker.serve, "127.0.0.1:0")
            aggregator = await world.aggregator(more={"telemetry": {"url": url}})
            await world.operators(OPERATORS, aggregator.address)
            await aggregator.start()
            world.nursery.start_soon(world.mine_for_ever)
            await world.start()
            (identifier,) = await world.post(0)
            assert await world.pending() == {identifier}

            await world.until_answered(30)

            async def told():
                return "/api/aggregatorTaskSent" in [path for path, _ in tracker.told]

            await world.until(told, 10)
            await world.assert_answered_once_each()
    paths = [path for path, _ in tracker.told]
    assert {fields["merkle_root"] for _, fields in tracker.told} == {f"0x{world.posted[identifier].root.hex()}"}
    assert paths[0] == "/api/initTaskTrace"
    assert paths.count("/api/operatorResponse") == OPERATORS
    assert paths.index("/api/quorumReached") < paths.index("/api/aggregatorTaskSent")
