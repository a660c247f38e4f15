"""What an operator finds out about its chain before it starts."""

import json
import logging

import pytest
from attestrio.app.aligned import greet
from attestrio.kit.http import memory_client
from attestrio.l1.api import Address
from attestrio.l1.endpoint import Endpoint
from attestrio.l1.provider import L1Provider

MANAGER = Address(b"\x0a" * 20)
REVERTED = {"error": {"code": 3, "message": "execution reverted", "data": "0x"}}


def chain_that_says(called):
    """An endpoint of chain 1 where every call of a contract has this outcome."""

    async def app(scope, receive, send):
        body = b""
        while not body.endswith(b"}"):
            body += (await receive())["body"]
        asked = json.loads(body)
        said = {"result": "0x1"} if asked["method"] == "eth_chainId" else called
        raw = json.dumps({"jsonrpc": "2.0", "id": asked["id"]} | said).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": raw})

    return L1Provider([Endpoint("http://memory/", 1, http=memory_client(app))])


@pytest.mark.parametrize("called", [{"result": "0x"}, REVERTED])
async def test_an_address_without_a_service_manager_is_told_at_the_start(caplog, called):
    async with chain_that_says(called) as chain:
        await greet(chain, MANAGER)

    assert [(one.levelno, "0x" + "0a" * 20 in one.getMessage()) for one in caplog.records if "manager" in one.msg] == [
        (logging.ERROR, True)
    ]


async def test_a_service_manager_is_nothing_to_speak_of(caplog):
    async with chain_that_says({"result": "0x" + "00" * 32}) as chain:
        await greet(chain, MANAGER)

    assert caplog.records == []
