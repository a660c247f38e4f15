"""Which test produces which reason. While one of these runs, everything said to a duty log, or to the journal of an
operator, is noted; a test that no longer produces its reason fails (see `conftest.py`)."""

from contextlib import contextmanager

import pytest
from attestrio.duty import DutyLog, EndState, Reason
from attestrio.duty.events import ENDS
from attestrio.duty.telling import document
from attestrio.operator import rows

NOTE = ""  # beside a step of a batch that goes on
HINDERED = "story/test_story_attester.py::test_a_batch_that_was_missed_ends_with_what_kept_it_from_being_signed"
OPERATOR, FAULTS = "story/test_story_operator.py::", "story/test_story_operator_faults.py::"
ATTESTER, FINDER = "unit/attester/test_attester_runner.py::", "unit/quorum/test_qc_finder.py::"
STATUS, DUTY = "unit/status/test_status_runner.py::", "story/test_story_duty.py::"

PRODUCED = {
    (Reason.OK, "certified"): DUTY
    + "test_a_member_that_is_off_is_named_by_every_node_and_the_batch_is_certified_all_the_same",
    (Reason.MAIN_NODE_DOWN, NOTE): "story/test_story_node_faults.py::test_outage_of_the_main_node_is_waited_out",
    (Reason.STATUS_NOT_KNOWN, NOTE): STATUS + "test_the_duty_log_says_when_a_batch_was_told_and_what_came_between",
    (Reason.FIRST_BATCH_PRUNED, "missed"): (
        "unit/status/test_local_status.py::test_a_pruned_first_batch_gives_no_status_and_is_said_once"
    ),
    (Reason.SOURCE_FAILED, "missed"): HINDERED + "[source_failed]",
    (Reason.GENESIS_CHANGED, "skipped"): (
        "story/test_story_attester.py::test_another_genesis_ends_the_epoch_before_anything_of_it_is_signed"
    ),
    (Reason.STATUS_LOWER, NOTE): (
        "story/test_story_node_faults.py::test_replica_that_lags_slows_its_node_and_nothing_else"
    ),
    (Reason.MOVED_BACKWARDS, "skipped"): (
        STATUS + "test_a_batch_that_was_open_when_the_epoch_ended_says_so[lower]"
    ),
    (Reason.DISSENT, NOTE): (
        "story/test_story_agree.py::test_right_hash_is_signed_and_the_main_node_that_lied_about_it_is_named"
    ),
    (Reason.EPOCH_ENDED, "skipped"): (
        "unit/duty/test_duty_votes.py::test_the_end_of_an_epoch_ends_what_is_open_and_numbers_come_again"
    ),
    (Reason.NODE_STOPPED, "missed"): DUTY + "test_batches_of_the_time_a_node_was_away_say_so_after_its_restart",
    (Reason.NODE_STOPPED, "skipped"): (
        "unit/duty/test_duty_votes.py::test_what_a_killed_run_left_open_is_missed_if_the_node_had_not_signed"
    ),
    (Reason.BATCH_NOT_PERSISTED, "missed"): HINDERED + "[batch_not_persisted]",
    (Reason.HASH_NOT_AVAILABLE, "missed"): HINDERED + "[hash_not_available]",
    (Reason.BATCH_CONFLICT, "missed"): (
        "unit/batches/test_batch_keeper.py::test_a_source_that_contradicts_the_store_ends_the_epoch"
    ),
    (Reason.NOT_ON_CHAIN, "missed"): HINDERED + "[not_on_chain]",
    (Reason.CHAIN_CONTRADICTS, "missed"): HINDERED + "[chain_contradicts]",
    (Reason.SUPERSEDED, "missed"): HINDERED + "[superseded]",
    (Reason.NO_COMMITTEE, "skipped"): ATTESTER + "test_who_has_no_vote_says_so_once_and_idles[no-committee]",
    (Reason.NOT_IN_COMMITTEE, "skipped"): (
        "story/test_story_nodes.py::test_attester_outside_the_committee_idles_and_still_collects_certificates"
    ),
    (Reason.SIGNING_REFUSED, "missed"): (
        ATTESTER + "test_a_refused_vote_is_a_missed_duty_and_the_next_batch_is_signed"
    ),
    (Reason.VOTE_BELOW_FLOOR, "missed"): ATTESTER + "test_a_vote_signed_after_the_register_went_on_is_a_missed_duty",
    (Reason.VOTE_NOT_NEWER, NOTE): ATTESTER + "test_a_vote_peers_brought_back_after_a_restart_is_not_new",
    (Reason.VOTE_INVALID, NOTE): (
        "story/test_story_node_metrics.py::test_refused_votes_are_counted_and_stand_in_the_log_of_the_batch_now"
    ),
    (Reason.QUORUM_NOT_REACHED, "skipped"): (
        FINDER + "test_batch_left_behind_with_too_few_votes_says_how_many_there_were"
    ),
    (Reason.QC_CONFLICT, "missed"): (
        FINDER + "test_certificate_for_another_hash_than_the_node_holds_ends_the_epoch"
    ),
    (Reason.QC_INVALID, "skipped"): FINDER + "test_quorum_for_a_number_no_store_can_hold_does_not_end_the_node",
    (Reason.QC_KNOWN, NOTE): FINDER + "test_certificate_that_is_stored_already_is_said_to_be_known",
    (Reason.QC_ELSEWHERE, "skipped"): FINDER + "test_batch_the_network_left_behind_ends_as_certified_elsewhere",
    (Reason.PROOF_INVALID, "refused"): FAULTS + "test_a_bad_proof_is_recorded_and_never_signed",
    (Reason.VERIFIER_DISABLED, "refused"): FAULTS + "test_a_disabled_verifier_is_not_asked",
    (Reason.DATA_UNAVAILABLE, "missed"): FAULTS + "test_a_pointer_that_is_none_is_missed_at_once",
    (Reason.VERIFIER_FAILED, "missed"): (
        FAULTS + "test_a_batch_whose_verifier_never_answers_is_missed_at_the_horizon"
    ),
    (Reason.AGGREGATOR_AWAY, "missed"): OPERATOR + "test_a_response_past_the_horizon_is_given_up_for_a_reason",
    (Reason.RESPONSE_REFUSED, "signed"): (
        OPERATOR + "test_a_permanent_refusal_goes_to_the_dead_letters_and_can_be_tried_again"
    ),
    (Reason.ANSWERED_BY_OTHERS, "skipped"): FAULTS + "test_a_batch_that_has_its_answer_is_not_verified",
    (Reason.REORGED_AWAY, "skipped"): (
        FAULTS + "test_a_batch_that_a_reorg_takes_away_for_good_is_skipped_at_the_horizon"
    ),
    (Reason.DROPPED, "dropped"): FAULTS + "test_commands_retry_and_drop",
}  # fmt: skip


def wanted_of(test: str) -> set[tuple[Reason, str]]:
    """What the test with this id, from the folder tests on, has to produce; an id without a case stands for each."""
    return {what for what, name in PRODUCED.items() if name in (test, test.partition("[")[0])}


class Seen:
    """What duty logs and operators were told, and whether each batch of a log had one end."""

    def __init__(self) -> None:
        self.produced: set[tuple[Reason, str]] = set()
        self._logs: dict[DutyLog, dict[tuple[int | None, int], list[EndState]]] = {}

    def batch(self, log: DutyLog, epoch: int | None, number: int) -> list[EndState]:
        """The ends of one batch so far; from now on it counts as seen."""
        return self._logs.setdefault(log, {}).setdefault((epoch, number), [])

    def check(self) -> None:
        """Every batch is counted once, under the one end it has; only a certificate comes after another end."""
        for log, batches in self._logs.items():
            assert sum(log.counts().values()) == len(batches)
            for ends in batches.values():
                assert ends[-1:] in ([], [EndState.CERTIFIED]) or len(ends) == 1
                assert len(ends) <= 2


@contextmanager
def watched():
    """Notes what is said while the body runs."""
    seen, record, end, keep, pack = Seen(), DutyLog.record, DutyLog.end, DutyLog.keep_book, rows.pack

    def epoch_of(log):
        return log.epoch.epoch if log.epoch else None

    def recorded(log, batch, step, reason=Reason.OK, detail=""):
        seen.batch(log, epoch_of(log), batch)
        seen.produced.add((reason, NOTE))
        record(log, batch, step, reason, detail)

    def ended(log, batch, state, reason=Reason.OK):
        taken = end(log, batch, state, reason)
        ends = seen.batch(log, epoch_of(log), batch)
        if taken:
            ends.append(state)
            told = document(log.story(batch))  # what `batch explain --json` prints
            assert (told["state"], told["reason"]) == (state, reason)
            assert state in ENDS[reason]
            seen.produced.add((reason, str(state)))
        return taken

    def kept(log, of, stories):
        stories = list(stories)
        for story in stories:
            ends = seen.batch(log, of.epoch if of else None, story.number)
            if story.state is not EndState.OPEN:
                ends.append(story.state)
        keep(log, of, stories)

    def packed(row):
        if isinstance(row, rows.Verdict):
            assert row.reason is Reason.OK or row.ended in ENDS[row.reason]
            seen.produced.add((row.reason, str(row.ended)))
        return pack(row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DutyLog, "record", recorded)
        patch.setattr(DutyLog, "end", ended)
        patch.setattr(DutyLog, "keep_book", kept)
        patch.setattr(rows, "pack", packed)
        yield seen
