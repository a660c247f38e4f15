"""What a node's metrics say: from its start, while it works, and when something is wrong."""

import math
from dataclasses import replace

import pytest
import trio
from attestrio.duty import Reason
from attestrio.errors import SourceError
from attestrio.protection.epochs import EpochCause
from attestrio.quorum import BadVoteSignature, WrongGenesis
from attestrio.roles import Batch, BatchHash, BatchNumber, GenesisHash, SignedBatch
from attestrio.sim.faults import HEALTHY, Says
from attestrio.status.runner import PollResult
from attestrio.web.attendance import Miss
from node_world import MAIN, World, key

NUMBERS = (
    "attestrio_batch_upstream_number",
    "attestrio_batch_persisted_number",
    "attestrio_batch_signed_number",
    "attestrio_batch_certified_number",
    "attestrio_vote_floor_number",
)
RESULTS = ("counted", "skipped", "refused")


def values(node, *names):
    return [node.metrics.value(name) for name in names]


async def test_known_series_are_there_before_anything_happened(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, [1], sealed=0)

    class Silent:
        async def attestation_status(self):
            await trio.sleep_forever()

    await world.start("attester-1", status_client=Silent())
    metrics = world.up["attester-1"].metrics

    assert [metrics.value("attestrio_status_polls_total", result=result) for result in PollResult] == [0] * 6
    assert [metrics.value("attestrio_votes_total", result=r) for r in RESULTS] == [0] * 3
    endings = [cause for cause in EpochCause if cause is not EpochCause.START]
    assert [metrics.value("attestrio_rollbacks_total", cause=cause) for cause in endings] == [0] * 4
    assert [
        metrics.value("attestrio_member_missed_total", member=key(1).public().to_text(), reason=r) for r in Miss
    ] == [0] * 3
    assert metrics.value("attestrio_certificates_total") == 0
    assert metrics.value("attestrio_epoch_number") == 1
    assert all(math.isnan(metrics.value(name)) for name in NUMBERS[:4]), "0 would be a batch"
    assert math.isnan(metrics.value("attestrio_weight_ratio"))


async def test_numbers_follow_the_batches(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, [3, 2])
    await world.start_all()

    await world.wait_certified(3)
    at_three = values(world.up["attester-1"], *NUMBERS)
    ratio = world.up["attester-1"].metrics.value("attestrio_weight_ratio")
    await world.wait_certified(5)

    assert at_three == [3, 3, 3, 3, 3]
    assert ratio == 1.0
    assert values(world.up["attester-1"], *NUMBERS) == [5, 5, 5, 5, 5]
    assert world.up[MAIN].metrics.value("attestrio_batch_persisted_number") == 99
    assert world.up["attester-1"].metrics.value("attestrio_certificates_total") == 6
    assert world.up["attester-1"].metrics.value("attestrio_status_polls_total", result="moved") == 6
    assert world.up["attester-1"].metrics.value("attestrio_votes_total", result="counted") == 12


async def test_weight_ratio_shows_who_is_missing(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, [3, 1, 1])
    await world.start(MAIN, "attester-1", "attester-2")

    await trio.sleep(5.5)

    assert world.up[MAIN].metrics.value("attestrio_weight_ratio") == pytest.approx(0.8)
    assert world.up[MAIN].metrics.value("attestrio_batch_upstream_number") == 0


async def test_restarted_node_shows_its_newest_certificate_at_once(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, [1])
    await world.start_all()
    await world.wait_certified(3)
    await world.stop("attester-1")
    await world.stop(MAIN)

    await world.start("attester-1")

    metrics = world.up["attester-1"].metrics
    assert metrics.value("attestrio_batch_certified_number") == 3
    assert metrics.value("attestrio_certificates_total") == 0
    assert metrics.value("attestrio_status_polls_total", result="failed") == 1


async def test_lower_answers_are_counted_as_such(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, [1])
    await world.start_all()
    await world.wait_certified(3)

    world.sims["attester-1"].fault = Says(1)
    await trio.sleep(3.5)
    world.sims["attester-1"].fault = HEALTHY

    assert world.up["attester-1"].metrics.value("attestrio_status_polls_total", result="lower") == 3


async def test_refused_votes_are_counted_and_stand_in_the_log_of_the_batch_now(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, [3, 1, 1])
    await world.start(MAIN, "attester-1")
    await trio.sleep(1.5)
    node = world.up["attester-1"]
    votes = (await node.wait_epoch()).votes
    far = Batch(BatchNumber(10**6), BatchHash(b"\x07" * 32), world.genesis.hash())
    good = key(2).sign_batch(far)
    forged = SignedBatch(far, key(3).public(), good.signature)
    foreign = key(3).sign_batch(Batch(BatchNumber(0), BatchHash(b"\x07" * 32), GenesisHash(b"\x66" * 32)))

    with pytest.raises(BadVoteSignature):
        votes.add([good, forged])
    with pytest.raises(WrongGenesis):
        votes.add([foreign])
    votes.add([good])

    metrics = node.metrics
    counted, skipped, refused = (metrics.value("attestrio_votes_total", result=r) for r in RESULTS)
    assert (counted, skipped, refused) == (2, 2, 2)  # skipped: its own that the main node sent back, and the last
    assert world.troubles("attester-1", 0) == [
        "persisted:batch_not_persisted", f"seen:{Reason.VOTE_INVALID}",
    ]  # fmt: skip
    assert far.number not in node.duty.batches(), "who sends junk does not choose what is remembered"


async def test_epoch_that_ended_is_counted_and_nothing_is_left_of_its_numbers(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, [1])
    await world.start(MAIN)
    await world.start("attester-1", store=None, stale_grace_s=2.0)
    await world.wait_certified(3)
    node = world.up["attester-1"]

    world.sims["attester-1"].fault = Says(1)
    await node.wait_epoch(after=1)

    assert node.metrics.value("attestrio_rollbacks_total", cause="moved_backwards") == 1
    assert node.metrics.value("attestrio_epoch_number") == 2
    assert math.isnan(node.metrics.value("attestrio_batch_certified_number"))


async def test_store_that_does_not_answer_leaves_its_number_unknown(nursery, tmp_path, autojump_clock):
    world = World(nursery, tmp_path, [1])
    await world.start_all()
    await world.wait_certified(1)
    node = world.up["attester-1"]

    class Closed:
        @property
        def persisted(self):
            raise SourceError("closed")

    node.epoch.value = replace(node.epoch.value, store=Closed())

    assert math.isnan(node.metrics.value("attestrio_batch_persisted_number"))
    assert b"attestrio_epoch_number 1.0" in node.metrics.render()
