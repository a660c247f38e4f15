"""A process that ends at any step of a rebuild, and then once more: the next one ends as if nothing had happened."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import count

import pytest
from attestrio.resequence.errors import JournalUnusable, RebuildStopped
from attestrio.resequence.record import Phase
from crash_kit import Killed, fuse
from resequence_kit import Site, copied, failing_plan, plan_of, poor, rules_a, site_a, site_of, transfers

COPIES = count()
LIMITS = {"A": 1160}
TRANSFER = 110


def outcome(site, report):
    """What has to be the same, however often it was interrupted."""
    return site.state(), report.splits, report.failed, report.new_batches, report.new_blocks, report.audit


class World:
    """A site that was rolled back, as often as it is asked for; and how a rebuild of it ends."""

    def __init__(self, folder, begun, **how):
        self.folder, self.begun, self.how = folder, begun, how
        with self.fresh() as site:
            self.before = site.state()
            counted = fuse(site)
            self.ends = self.end(site)
            self.steps = counted.burnt

    def fresh(self) -> Site:
        return copied(self.begun, self.folder / str(next(COPIES)))

    def end(self, site):
        """How a rebuild ends, of whichever kind."""
        try:
            return outcome(site, site.run(**self.how))
        except RebuildStopped as exc:
            return site.state(), str(exc)

    def kill(self, site, steps):
        """Let it run for so many steps; whether it was killed by then."""
        burning = fuse(site, steps)
        try:
            self.end(site)
        except Killed:
            return True
        finally:
            site.reopen()
        assert burning.burnt <= steps
        return False

    def killed_late(self):
        """A site that was killed as late as possible, so that new batches are there and a rebuild is under way."""
        for step in reversed(range(self.steps)):
            site = self.fresh()
            if self.kill(site, step) and (record := site.journal.unfinished()) and record.phase == Phase.REBUILDING:
                return site
            site.close()
        raise AssertionError("it never was")

    def check(self, *kills):
        """It ends as it should, after having been killed like this."""
        with self.fresh() as site:
            killed = [self.kill(site, steps) for steps in kills]
            done = site.journal.record()
            if all(killed) and (done is None or done.unfinished):
                assert self.end(site) == self.ends, kills
            assert site.journal.unfinished() is None, kills
            if not isinstance(self.ends[1], str):
                assert site.state() == self.ends[0], kills
                assert site.resequencer(**self.how).trial().nothing_to_do, kills
            else:
                assert site.state() == self.before, kills


@pytest.fixture
def begun(tmp_path):
    folder = tmp_path / "begun"
    folder.mkdir()
    return folder


@pytest.fixture
def splitting(tmp_path, begun):
    """Stream a, whose two batches become four."""
    with site_a(begun) as site:
        yield World(tmp_path, site, strict=False, rules=rules_a(limits=LIMITS))


@pytest.fixture
def stopping(tmp_path, begun):
    """The demo of two batches, the second of which stops a strict rebuild after the first was built."""
    txs = transfers(4)
    with site_of(begun, plan_of([txs[:1]], [txs[1:2]], [txs[2:]]), kept=2) as site:
        yield World(tmp_path, site, rules=replace(site.rules, data_budget=65 + TRANSFER + 20))


@pytest.fixture
def failing(tmp_path, begun):
    """A chain three of whose transactions cannot be executed any more, in batches of one transaction."""
    with site_of(begun, failing_plan(), kept=1) as site:
        rules = poor(site, data_budget=65 + TRANSFER + 20)
        yield World(tmp_path, site, strict=False, rules=rules)


@pytest.mark.slow
def test_killed_at_any_step_it_ends_as_if_it_had_not_been(splitting):
    assert splitting.steps > 60
    for step in range(splitting.steps):
        splitting.check(step)


@pytest.mark.slow
def test_killed_again_while_it_takes_itself_up_it_still_ends_like_that(splitting):
    chosen = random.Random("twice")

    for _ in range(40):
        splitting.check(*(chosen.randrange(splitting.steps) for _ in range(chosen.choice((2, 3, 4)))))


@pytest.mark.slow
def test_killed_at_any_step_it_still_tells_what_has_failed(failing):
    _, splits, failed, *_ = failing.ends
    assert (len(splits), len(failed)) == (3, 3)
    for step in range(failing.steps):
        failing.check(step)


@pytest.mark.slow
def test_killed_at_any_step_of_putting_back_nothing_is_lost(stopping):
    assert "batch 4 does not fit" in stopping.ends[1]
    assert stopping.ends[0] == stopping.before
    for step in range(stopping.steps):
        stopping.check(step)


@pytest.mark.slow
def test_a_rebuild_that_was_begun_with_other_limits_begins_anew_with_those_of_now(tmp_path, begun):
    with site_a(begun) as site:
        by_counters = World(tmp_path, site, strict=False, rules=rules_a(limits=LIMITS))
        by_data = World(tmp_path, site, strict=False, rules=rules_a(data_budget=480))
        with by_counters.killed_late() as other:
            assert [batch.number for batch in other.batches(2)] == [2, 3, 4, 5]

            ends = by_data.end(other)

            assert ends[0] == by_data.ends[0]
            assert [batch.number for batch in other.batches(2)] == [2, 3, 4]


@pytest.mark.slow
def test_a_database_taken_further_back_meanwhile_is_rebuilt_from_there(tmp_path, begun):
    txs = transfers(4)
    plan = plan_of([txs[:1]], [txs[1:2]], [txs[2:3]], [txs[3:]])
    with site_of(begun, plan, kept=3) as site:
        before = site.entries()
        with World(tmp_path, site).killed_late() as other:
            assert other.journal.unfinished().kept_batch == 3
            other.db.unwind_to_end_of(2)

            report = other.run()

            assert report.kept_batch == 2
            assert not report.resumed
            assert other.entries() == before


@pytest.mark.slow
def test_a_resumed_rebuild_says_so_and_knows_what_was_split_before(tmp_path, begun):
    with site_a(begun) as site:
        how = {"strict": False, "rules": rules_a(limits=LIMITS)}
        with World(tmp_path, site, **how).killed_late() as other:
            report = other.run(**how)

            assert report.resumed
            assert len(report.splits) == 2


@pytest.mark.slow
def test_a_rebuild_whose_copy_was_damaged_meanwhile_is_not_taken_up(tmp_path, begun):
    with site_a(begun) as site, World(tmp_path, site).killed_late() as other:
        raw = bytearray(other.journal.removed_path.read_bytes())
        raw[len(raw) // 2] ^= 1
        other.journal.removed_path.write_bytes(raw)
        before = other.state()

        with pytest.raises(JournalUnusable, match="not the copy that was made"):
            other.run()

        assert other.state() == before
        assert other.journal.unfinished() is not None


@pytest.mark.slow
def test_a_rebuild_that_is_taken_up_with_other_flags_is_judged_by_those(tmp_path, begun):
    with site_a(begun) as site, World(tmp_path, site).killed_late() as other:
        report = other.run(strict=False, rules=rules_a(limits=LIMITS))

        assert report.splits != ()
        assert report.audit.ok
