"""A network of several nodes in this process, on the real clock: who has which certificate, and whether it waits."""

from contextlib import asynccontextmanager

import trio
from attestrio.roles import BatchNumber
from attestrio.sim.cluster import MAIN
from attestrio.store import open_certificates

SEALED_MEANWHILE = 4  # batches, while nothing is certified
LOOK_S = 0.01


@asynccontextmanager
async def running(cluster, timeout_s):
    """The cluster while it runs. A node that ends by itself ends it with an error."""
    with trio.fail_after(timeout_s):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(cluster.run)
            nursery.cancel_scope.cancel()


async def store_of(cluster, name):
    return (await cluster.nodes[name].wait_epoch()).store


async def last_certified(cluster, name=MAIN):
    """The newest batch with a certificate; -1 without one."""
    last = await (await store_of(cluster, name)).last_qc()
    return -1 if last is None else int(last.batch.number)


async def wait_certified(cluster, number, name=MAIN):
    """Until `name` has the certificates of all batches from 0 to `number`."""
    store, begin = await store_of(cluster, name), 0
    while True:
        found = set(await store.certified(BatchNumber(begin), 10_000))
        while begin in found:
            begin += 1
        if begin > number:
            return
        await trio.sleep(LOOK_S)


async def wait_without(cluster, *away):
    """Until the main node has the votes of all but `away` for one batch, and has had them while others were sealed.

    The number of that batch. All who can vote for it have: nothing comes before somebody is back.
    """
    epoch = await cluster.nodes[MAIN].wait_epoch()
    keys = cluster.public_keys()
    present = {key for name, key in keys.items() if name not in away}
    while True:
        wanted = await epoch.store.next_batch_to_attest()
        if {vote.key for vote in epoch.votes.votes() if vote.batch.number == wanted} == present:
            break
        await trio.sleep(LOOK_S)
    await epoch.store.wait_until_persisted(epoch.store.persisted.last + SEALED_MEANWHILE)
    assert await epoch.store.next_batch_to_attest() == wanted
    assert await epoch.store.qc(wanted) is None
    return int(wanted)


def kept(cluster, name, genesis):
    """The certificates on a node's disk by number, each verified."""
    with open_certificates(cluster.database(name)) as file:
        certificates = list(file.certificates())
    for certificate in certificates:
        certificate.verify(genesis)
    return {int(certificate.batch.number): certificate for certificate in certificates}


def assert_same_certificates(cluster, genesis, *, up_to):
    """Every node has every batch to `up_to`, and what two nodes have is about the same batch. Signers may differ."""
    by_node = {name: kept(cluster, name, genesis) for name in (MAIN, *cluster.names)}
    for name, certificates in by_node.items():
        assert set(certificates) >= set(range(up_to + 1)), name
        for number, certificate in certificates.items():
            assert certificate.batch == by_node[MAIN].get(number, certificate).batch, (name, number)
