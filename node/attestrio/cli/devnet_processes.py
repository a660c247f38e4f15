"""`attestrio devnet --processes`: every node a process of its own, of which one can be killed and brought back."""

from __future__ import annotations

import signal
import sys
from contextlib import aclosing
from functools import partial
from typing import Final

import trio

from attestrio.cli.devnet import display, summarise
from attestrio.cli.output import Output
from attestrio.cli.signals import until_signal
from attestrio.roles import BatchQC
from attestrio.sim.cluster import Cluster
from attestrio.sim.fleet import Ended, Fleet

PAGES: Final = ("127.0.0.1", 9464)
"""Where the main node's page is unless --web says otherwise."""
ATTESTERS: Final = 6
"""The fewest of which one may be away: five of six are enough, of four or five all have to vote."""


def run_processes(cluster: Cluster, batches: int | None, output: Output) -> int:
    """Run what `cluster` describes until `batches` certificates are there; the exit code.

    Raises AddressInUse, BadAddress, NoFreePorts, NodeNotUp, CertificateLost.
    """
    fleet, done = Fleet(cluster), list[BatchQC]()
    code = trio.run(until_signal, partial(collect, fleet, batches, done, output))
    if batches is not None and code == 0:
        summarise(cluster, done, output)
    return code


async def collect(fleet: Fleet, batches: int | None, done: list[BatchQC], output: Output) -> None:
    """Run the network until `batches` certificates can be asked for at the main node; they go to `done`."""
    genesis = await fleet.prepare()
    tell(f"starting {len(fleet.names)} processes in {fleet.cluster.data_dir}")
    async with trio.open_nursery() as nursery:
        await nursery.start(fleet.run, genesis)
        introduce(fleet)
        with display(fleet.cluster, output) as show:
            nursery.start_soon(tell_ended, fleet)
            async with aclosing(fleet.certificates()) as certificates:
                async for certificate in certificates:
                    done.append(certificate)
                    show(certificate)
                    if len(done) == batches:
                        break
        nursery.cancel_scope.cancel()


def introduce(fleet: Fleet) -> None:
    """Each node with what is needed to look at it and to kill it: on stderr, since stdout is for certificates."""
    for name in fleet.names:
        tell(f"{name:<12} pid {fleet.pids[name]:<7}  page {fleet.pages[name]}/  {fleet.config(name)}")
    last = fleet.names[-1]
    tell(f"kill one:     kill -9 {fleet.pids[last]}")
    tell(f"what it did:  attestrio batch list -c {fleet.config(last)}")


async def tell_ended(fleet: Fleet) -> None:
    """Who has ended, and how to bring it back."""
    seen = 0
    while True:
        ended = await fleet.ended.wait_value(lambda now, seen=seen: len(now) > seen)  # type: ignore[misc]
        for one in ended[seen:]:
            tell(f"{one.name} {how(one)}; bring it back: attestrio {' '.join(fleet.command(one.name))}")
        seen = len(ended)


def how(ended: Ended) -> str:
    """How a process ended, in words."""
    if ended.code < 0:
        return f"was killed by {signal.Signals(-ended.code).name}"
    return f"ended with exit code {ended.code}"


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
