"""When a sequencer is not ready, and that it is again."""

from attestrio.app.sequencer_page import SequencerSeen, sequencer_page
from attestrio.kit.blocking import inline
from attestrio.kit.metrics import Metrics
from attestrio.resequence.report import Progress
from attestrio.sequencer.shared import SharedChain


def check(page, name):
    page.health.look()
    return next((one.ok, one.reason) for one in page.health.checks() if one.name == name)


def test_a_sequencer_that_builds_nothing_is_not_ready_and_says_why():
    chain = SharedChain(None, inline)
    page = sequencer_page(Metrics(), SequencerSeen(chain), has_l1=False)
    before = check(page, "building")

    chain.halt("a rollback took batches back")
    halted = check(page, "building")
    chain.halt(None)

    assert before == (True, "blocks are built")
    assert halted == (False, "nothing is built: a rollback took batches back")
    assert check(page, "building") == before
    assert [one.name for one in page.health.checks()] == ["building"]


def test_a_sequencer_that_builds_batches_again_is_not_ready_meanwhile():
    seen = SequencerSeen(SharedChain(None, inline))
    page = sequencer_page(Metrics(), seen, has_l1=True)

    seen.progress = Progress(old_batch=4, new_batch=5, blocks=2, of_blocks=9)

    assert check(page, "building")[0] is False
    assert check(page, "l1") == (True, "L1 is not heard yet")
