"""Between an aggregator and its chain: counts what is asked, keeps what is sent, and can hide or refuse."""

from collections import Counter
from functools import partial

import msgspec
import trio
from attestrio.kit.http import ServerLimits, client, close_client, post_bounded, serve_app
from suite import patient

MAX_ANSWER = 64 << 20
LIMITS = ServerLimits(max_connections=500)


class ChainProxy:
    """JSON-RPC over HTTP on loopback. `run` it once; `url` is there as soon as that has started."""

    def __init__(self, url):
        self._behind = url
        self.url = ""
        self.calls = Counter()
        """By method."""
        self.queries = []
        """The filters of eth_getLogs, in order."""
        self.reads = Counter()
        """(contract, data, block) of eth_call, how often."""
        self.sent = []
        """Raw transactions, in order, as text."""
        self.hides = lambda log: False
        """Logs that eth_getLogs does not show."""

    def forget(self):
        """Count anew."""
        for one in (self.calls, self.queries, self.reads, self.sent):
            one.clear()

    async def run(self, *, task_status):
        self._http = client(self._behind, timeout_s=patient(30.0), max_connections=64)
        try:
            async with trio.open_nursery() as nursery:
                self.url = await nursery.start(partial(serve_app, self._serve, "127.0.0.1:0", limits=LIMITS))
                task_status.started()
        finally:
            await close_client(self._http)

    async def _serve(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status, answer = await self._answer(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, body):
        asked = msgspec.json.decode(body)
        self._count(asked["method"], asked["params"])
        answer = await post_bounded(self._http, self._behind, body, MAX_ANSWER, timeout_s=patient(30.0))
        if asked["method"] == "eth_getLogs":
            document = msgspec.json.decode(answer)
            document["result"] = [log for log in document.get("result", ()) if not self.hides(log)]
            answer = msgspec.json.encode(document)
        return 200, answer

    def _count(self, method, params):
        self.calls[method] += 1
        if method == "eth_getLogs":
            self.queries.append(params[0])
        elif method == "eth_sendRawTransaction":
            self.sent.append(params[0])
        elif method == "eth_call":
            self.reads[params[0]["to"], params[0]["data"], str(params[1])] += 1
