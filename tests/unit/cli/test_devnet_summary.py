"""What the devnet says at its end is read from the file and verified, not remembered."""

import pytest
from attestrio.cli.devnet import CertificateLost, summarise
from attestrio.cli.output import Output
from attestrio.errors import PeerError
from attestrio.kit.blocking import inline
from attestrio.roles import AttesterSecretKey, Batch, BatchHash, BatchNumber, BatchQC
from attestrio.sim.cluster import MAIN, Cluster, ClusterSpec
from attestrio.store import SqliteBatchStore


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path, ClusterSpec(attesters=4))
    cluster.prepare()
    return cluster


def certificate_of(cluster, genesis, number, signed=None):
    """A certificate for batch `number`, whose votes are for batch `signed` where that is given."""

    def batch(number):
        return Batch(BatchNumber(number), BatchHash(bytes([number + 1]) * 32), genesis.hash())

    keys = [
        AttesterSecretKey.from_text((cluster.data_dir / name / "attester.key").read_text().strip())
        for name in cluster.names
    ]
    votes = {key.public(): key.sign_batch(batch(number if signed is None else signed)).signature for key in keys}
    return BatchQC(batch(number), votes)


async def keep(nursery, cluster, *certificates):
    """Put certificates into the main node's file, which takes them on trust."""
    genesis = cluster.prepare()
    cluster.database(MAIN).parent.mkdir()
    store = SqliteBatchStore(cluster.database(MAIN), genesis.hash(), run_blocking=inline, epoch=1)
    await nursery.start(store.run)
    for certificate in certificates:
        await store.put_batch_to_sign(certificate.batch)
        await store.persist_qc(certificate)
    await store.close()


async def test_good_certificates_are_counted(nursery, cluster, capsys):
    genesis = cluster.prepare()
    done = [certificate_of(cluster, genesis, number) for number in (0, 1)]
    await keep(nursery, cluster, *done)

    summarise(cluster, done, Output())

    assert capsys.readouterr().out.startswith("2 certificates, batches 0 to 1: all read back")


async def test_certificate_whose_stored_signatures_are_of_another_batch_fails_the_run(nursery, cluster):
    spoiled = certificate_of(cluster, cluster.prepare(), 0, signed=7)
    await keep(nursery, cluster, spoiled)

    with pytest.raises(PeerError):
        summarise(cluster, [spoiled], Output())


async def test_certificate_that_was_told_and_is_not_in_the_file_fails_the_run(nursery, cluster):
    genesis = cluster.prepare()
    done = [certificate_of(cluster, genesis, number) for number in (0, 1)]
    await keep(nursery, cluster, done[0])

    with pytest.raises(CertificateLost):
        summarise(cluster, done, Output())
