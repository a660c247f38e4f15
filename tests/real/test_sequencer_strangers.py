"""The stream port of a running sequencer is open to everybody: what strangers do there costs nobody else anything."""

import json
import random
import signal
from functools import partial

import pytest
import trio
from attestrio.stream.protocol import Command, Request
from processes import run, started
from sequencer_site import SequencerSite
from suite import patient

pytestmark = [pytest.mark.real, pytest.mark.slow]

FROM_THE_START = Request(Command.START).encode()


async def comes_and_goes(open_stream, rng):
    """Leaves as soon as it is there."""
    async with await open_stream() as stream:
        if rng.random() < 0.5:
            await stream.send_all(FROM_THE_START)


async def talks_nonsense(open_stream, rng):
    """Heads of commands that are and are not, bookmarks of any length, in parts and in one."""
    async with await open_stream() as stream:
        for _ in range(rng.randrange(1, 20)):
            head = rng.choice([*range(8), 2**64 - 1]).to_bytes(8, "big") + (1).to_bytes(8, "big")
            size = rng.choice([0, 1, 9, 16, 17, 2**32 - 1]).to_bytes(4, "big")
            await stream.send_all(head + size + rng.randbytes(rng.randrange(40)))
        await stream.send_eof()
        with trio.move_on_after(1):
            while await stream.receive_some(1 << 16):
                pass


async def never_reads(open_stream, rng):
    """Asks for all there is, again and again."""
    async with await open_stream() as stream:
        while True:
            await stream.send_all(Request(Command.HEADER).encode() * 1000)


async def for_ever(what, open_stream, rng):
    while True:
        try:
            await what(open_stream, rng)
        except (OSError, trio.BrokenResourceError):
            await trio.sleep(0.01)


async def test_blocks_are_made_and_followed_whatever_strangers_do(tmp_path):
    site, copy, rng = SequencerSite(tmp_path), tmp_path / "copy.bin", random.Random(5)

    async with site.running() as sequencer, started("stream", "follow", sequencer.stream, copy):
        host, port = sequencer.stream.rsplit(":", 1)
        async with trio.open_nursery() as strangers:
            for what in (comes_and_goes, talks_nonsense, never_reads):
                for _ in range(5):
                    strangers.start_soon(for_ever, what, partial(trio.open_tcp_stream, host, int(port)), rng)
            for turn in range(8):
                await sequencer.receipt(await sequencer.send(site.wallets.transfer(0, 1, value=turn + 1)))
            strangers.cancel_scope.cancel()
        blocks = len(await sequencer.hashes())
        await wait_copied(copy, blocks)
        code, _ = await sequencer.process.stop(signal.SIGTERM)

    assert code == 143
    assert blocks >= 10


async def wait_copied(path, blocks):
    """Until a copy of a stream is whole and has so many blocks."""
    with trio.fail_after(patient(30)):
        while True:
            ended = await trio.to_thread.run_sync(partial(run, "stream", "verify", path, "--json"))
            if ended.returncode == 0 and json.loads(ended.stdout)["counts"]["blocks"] >= blocks:
                return
            await trio.sleep(0.1)
