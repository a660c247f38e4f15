"""Nodes that have no vote: each batch ends on them too, in one state with one reason."""

from dataclasses import replace

import msgspec
import pytest
import trio
from app_kit import KEY, Site, genesis_of
from attestrio.config import KeysSection
from attestrio.duty import EndState, Reason
from attestrio.roles import BatchNumber

NOBODY = replace(genesis_of(), attesters=None)


@pytest.mark.parametrize(
    ("genesis", "has_key", "reason"),
    [
        (NOBODY, False, Reason.NO_COMMITTEE),
        (NOBODY, True, Reason.NO_COMMITTEE),
        (genesis_of(), False, Reason.QC_ELSEWHERE),
    ],
    ids=["no committee, no key", "no committee", "no key"],
)
async def test_every_batch_that_the_status_went_past_has_ended(
    nursery, tmp_path, autojump_clock, genesis, has_key, reason
):
    site = Site(nursery, tmp_path, genesis)
    config = site.config()
    if not has_key:
        config = msgspec.structs.replace(config, keys=KeysSection())
    node = await site.start(config)

    with trio.fail_after(600):
        for number in range(1, 9):
            site.told.number = number
            await node.duty.watch.wait_value(lambda _, number=number: BatchNumber(number) in node.duty.batches())
        await node.duty.watch.wait_value(lambda _: node.duty.end_state(BatchNumber(6)) is not EndState.OPEN)

    past = [BatchNumber(number) for number in range(1, 7)]
    ends = {(node.duty.end_state(number), node.duty.end_reason(number)) for number in past}
    assert ends == {(EndState.SKIPPED, reason)}
    assert sum(node.duty.counts().values()) == len(node.duty.batches())
    assert KEY.public() not in {vote.key for vote in node.duty.story(BatchNumber(3)).votes or ()}
