"""A headless Chromium and its pages, spoken to over a pair of pipes (`--remote-debugging-pipe`): no port, no library.

Messages are JSON, each ended by a NUL byte; the browser reads on descriptor 3, answers on 4, and ends when they close.
"""

import base64
import json
import math
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from suite import patient

# 3 and 4 are what the browser wants; only a new process can have them for sure
AS_3_AND_4 = """
import fcntl, os, sys
read, write, *command = sys.argv[1:]
for wanted, given in enumerate([fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in (read, write)], 3):
    os.dup2(given, wanted)
os.execvp(command[0], command)
"""
OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # root has none, and only our own pages are loaded
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--password-store=basic",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
COMMAND_S, WAIT_S = patient(20), patient(30)
ENDING_S = 5
DESKTOP, PHONE = (1280, 900), (390, 844)


class BrowserSaid(Exception):
    """The browser refused a command, or the page's script raised."""


@asynccontextmanager
async def chromium(program="chromium"):
    """A browser without a profile, ended with all its processes at the end."""
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as home:
        browser_end, ours = os.pipe(), os.pipe()  # (read, write): to the browser, and from it
        command = [program, *OPTIONS, f"--user-data-dir={home}/profile", "about:blank"]
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", AS_3_AND_4, str(browser_end[0]), str(ours[1]), *command],
            pass_fds=(browser_end[0], ours[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home},
        )
        os.close(browser_end[0])
        os.close(ours[1])
        async with trio.lowlevel.FdStream(browser_end[1]) as write, trio.lowlevel.FdStream(ours[0]) as read:
            try:
                async with trio.open_nursery() as nursery:
                    browser = Browser(write)
                    nursery.start_soon(browser.read, read)
                    yield browser
                    with trio.move_on_after(ENDING_S):
                        await browser.call("Browser.close")
                        await process.wait()
                    nursery.cancel_scope.cancel()
            finally:
                with trio.CancelScope(shield=True):
                    await _end(process)


async def _end(process):
    """The session of a browser is its own; whatever it left goes with it."""
    with suppress(ProcessLookupError):  # nothing was left
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


class Browser:
    """Commands and their answers; events go to the page whose session they name."""

    def __init__(self, write):
        self._write = write
        self._answers = {}
        self._pages = {}
        self._last = 0
        self._sending = trio.Lock()

    async def read(self, stream):
        rest = b""
        async for chunk in stream:
            *whole, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, whole):
                if "id" in message:
                    answer = self._answers.pop(message["id"], None)
                    if answer is not None:
                        answer.send_nowait(message)
                elif message.get("sessionId") in self._pages:
                    self._pages[message["sessionId"]].take(message["method"], message["params"])

    async def call(self, method, session=None, **params):
        """Send a command; its result. Raises BrowserSaid."""
        self._last += 1
        send, receive = trio.open_memory_channel(1)
        number = self._last
        self._answers[number] = send
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        with trio.fail_after(COMMAND_S):
            async with self._sending:
                await self._write.send_all(json.dumps(message).encode() + b"\0")
            answer = await receive.receive()
        if "error" in answer:
            raise BrowserSaid(f"{method}: {answer['error']['message']}")
        return answer["result"]

    async def page(self, size=DESKTOP, *, dark=False, scale=1):
        """An empty page of `size` in CSS pixels."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, attached["sessionId"])
        self._pages[attached["sessionId"]] = page
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.call(f"{domain}.enable")
        await page.show_as(size, dark=dark, scale=scale)
        return page


class Page:
    """One page, and what a visitor would not like about it.

    complaints: errors and warnings of the console, exceptions, what could not be loaded. requests: every URL asked for.
    """

    def __init__(self, browser, session):
        self._browser = browser
        self._session = session
        self.complaints = []
        self.requests = []

    def take(self, method, params):
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append([one.get("value", one.get("description")) for one in params["args"]])
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.complaints.append(details.get("exception", {}).get("description", details["text"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def call(self, method, **params):
        return await self._browser.call(method, self._session, **params)

    async def show_as(self, size, *, dark=False, scale=1):
        """Change size and colours, as a visitor's machine has them."""
        width, height = size
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
            mobile=size == PHONE,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme, still])

    async def open(self, url):
        answer = await self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserSaid(f"{url}: {answer['errorText']}")

    async def value(self, script):
        """What an expression gives in the page, as JSON has it. Raises BrowserSaid."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserSaid(f"{script}: {answer['exceptionDetails']['exception']['description']}")
        return answer["result"].get("value")

    async def wait(self, script, timeout_s=WAIT_S):
        """Until the expression is true; its value. The browser tells nobody, so it is asked."""
        with trio.move_on_after(timeout_s):
            while True:
                value = await self.value(script)
                if value:
                    return value
                await trio.sleep(0.05)
        raise AssertionError(f"never true in {timeout_s} s: {script}\n{self.complaints}\n{await self.text()}")

    async def text(self, selector="body"):
        """The text a visitor sees; None without such an element."""
        return await self.value(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")

    async def click(self, selector):
        await self.value(f"document.querySelector({json.dumps(selector)}).click()")

    async def picture(self, path: Path, *, height=None):
        """The page as PNG: as high as it is, or cut at `height`."""
        size = await self.call("Page.getLayoutMetrics")
        content = size["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": content["width"], "height": height or math.ceil(content["height"]), "scale": 1}
        shot = await self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        await trio.Path(path).write_bytes(base64.b64decode(shot["data"]))
