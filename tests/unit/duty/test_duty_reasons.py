"""Every reason has a test that produces it: here is which. A reason without a line, or without its test, fails."""

import ast
from functools import cache
from pathlib import Path

import pytest
from attestrio.duty import Reason

TESTS = Path(__file__).parents[2]

PRODUCED = {
    Reason.OK: "story/test_story_attester.py::test_each_batch_gets_one_vote_as_soon_as_it_is_told",
    Reason.MAIN_NODE_DOWN: "story/test_story_node_faults.py::test_outage_of_the_main_node_is_waited_out",
    Reason.STATUS_NOT_KNOWN: (
        "unit/status/test_status_runner.py::test_the_duty_log_says_when_a_batch_was_told_and_what_came_between"
    ),
    Reason.FIRST_BATCH_PRUNED: (
        "unit/status/test_local_status.py::test_a_pruned_first_batch_gives_no_status_and_is_said_once"
    ),
    Reason.SOURCE_FAILED: (
        "unit/batches/test_batch_keeper.py::test_it_asks_until_the_batch_is_known_whatever_goes_wrong"
    ),
    Reason.GENESIS_CHANGED: (
        "story/test_story_attester.py::test_another_genesis_ends_the_epoch_before_anything_of_it_is_signed"
    ),
    Reason.STATUS_LOWER: "story/test_story_node_faults.py::test_replica_that_lags_slows_its_node_and_nothing_else",
    Reason.MOVED_BACKWARDS: (
        "unit/status/test_status_runner.py::test_a_batch_that_was_open_when_the_epoch_ended_says_so"
    ),
    Reason.DISSENT: (
        "story/test_story_agree.py::test_right_hash_is_signed_and_the_main_node_that_lied_about_it_is_named"
    ),
    Reason.EPOCH_ENDED: (
        "unit/duty/test_duty_votes.py::test_the_end_of_an_epoch_ends_what_is_open_and_numbers_come_again"
    ),
    Reason.NODE_STOPPED: "story/test_story_duty.py::test_batches_of_the_time_a_node_was_away_say_so_after_its_restart",
    Reason.BATCH_NOT_PERSISTED: (
        "story/test_story_attester.py::test_a_batch_persisted_late_is_voted_for_when_it_is"
    ),
    Reason.HASH_NOT_AVAILABLE: "story/test_story_attester.py::test_a_hash_that_comes_late_is_asked_for_every_second",
    Reason.BATCH_CONFLICT: "unit/batches/test_batch_keeper.py::test_a_source_that_contradicts_the_store_ends_the_epoch",
    Reason.NOT_ON_CHAIN: (
        "unit/batches/test_batch_keeper.py"
        "::test_a_batch_that_ethereum_does_not_have_says_so_and_one_it_contradicts_too"
    ),
    Reason.CHAIN_CONTRADICTS: (
        "unit/batches/test_batch_keeper.py"
        "::test_a_batch_that_ethereum_does_not_have_says_so_and_one_it_contradicts_too"
    ),
    Reason.SUPERSEDED: (
        "story/test_story_attester.py::test_a_jump_ends_the_wait_for_a_batch_and_the_newest_is_voted_for"
    ),
    Reason.NO_COMMITTEE: "unit/attester/test_attester_runner.py::test_who_has_no_vote_says_so_once_and_idles",
    Reason.NOT_IN_COMMITTEE: (
        "story/test_story_nodes.py::test_attester_outside_the_committee_idles_and_still_collects_certificates"
    ),
    Reason.SIGNING_REFUSED: (
        "unit/attester/test_attester_runner.py::test_a_refused_vote_is_a_missed_duty_and_the_next_batch_is_signed"
    ),
    Reason.VOTE_BELOW_FLOOR: (
        "unit/attester/test_attester_runner.py::test_a_vote_below_the_floor_is_said_to_be_too_late"
    ),
    Reason.VOTE_NOT_NEWER: (
        "unit/attester/test_attester_runner.py::test_a_vote_peers_brought_back_after_a_restart_is_not_new"
    ),
    Reason.VOTE_INVALID: (
        "story/test_story_node_metrics.py::test_refused_votes_are_counted_and_stand_in_the_log_of_the_batch_now"
    ),
    Reason.QUORUM_NOT_REACHED: (
        "unit/quorum/test_qc_finder.py::test_batch_left_behind_with_too_few_votes_says_how_many_there_were"
    ),
    Reason.QC_CONFLICT: (
        "unit/quorum/test_qc_finder.py::test_certificate_for_another_hash_than_the_node_holds_ends_the_epoch"
    ),
    Reason.QC_INVALID: (
        "unit/quorum/test_qc_finder.py::test_quorum_for_a_number_no_store_can_hold_does_not_end_the_node"
    ),
    Reason.QC_KNOWN: "unit/quorum/test_qc_finder.py::test_certificate_that_is_stored_already_is_said_to_be_known",
    Reason.QC_ELSEWHERE: (
        "unit/quorum/test_qc_finder.py::test_batch_the_network_left_behind_ends_as_certified_elsewhere"
    ),
    Reason.PROOF_INVALID: "story/test_story_operator_faults.py::test_a_bad_proof_is_recorded_and_never_signed",
    Reason.VERIFIER_DISABLED: "story/test_story_operator_faults.py::test_a_disabled_verifier_is_not_asked",
    Reason.DATA_UNAVAILABLE: (
        "story/test_story_operator_faults.py"
        "::test_data_that_cannot_be_used_is_missed_at_the_horizon_with_its_reason"
    ),
    Reason.VERIFIER_FAILED: (
        "story/test_story_operator_faults.py::test_a_batch_whose_verifier_never_answers_is_missed_at_the_horizon"
    ),
    Reason.AGGREGATOR_AWAY: (
        "story/test_story_operator.py::test_a_response_past_the_horizon_is_given_up_for_a_reason"
    ),
    Reason.RESPONSE_REFUSED: (
        "story/test_story_operator.py::test_a_permanent_refusal_goes_to_the_dead_letters_and_can_be_tried_again"
    ),
    Reason.ANSWERED_BY_OTHERS: (
        "story/test_story_operator_faults.py::test_a_batch_that_has_its_answer_is_not_verified"
    ),
    Reason.REORGED_AWAY: (
        "story/test_story_operator_faults.py::test_a_batch_that_a_reorg_takes_away_for_good_is_skipped_at_the_horizon"
    ),
    Reason.DROPPED: "story/test_story_operator_faults.py::test_commands_retry_and_drop",
}  # fmt: skip


def test_every_reason_has_a_line():
    assert set(PRODUCED) == set(Reason)


@pytest.mark.parametrize("reason", PRODUCED, ids=str)
def test_the_test_of_a_reason_is_there_and_speaks_of_it(reason):
    path, name = PRODUCED[reason].split("::")
    source, tests = parsed(TESTS / path)

    assert name in tests
    spoken = tests[name] if reason is not Reason.DISSENT else source  # there a helper looks for it
    assert f"Reason.{reason.name}" in spoken or f'"{reason}' in spoken or f':{reason}"' in spoken
    assert "assert" in tests[name]


@cache
def parsed(path):
    """The text of a file, and of each test in it."""
    source = path.read_text("utf-8")
    lines = source.splitlines()
    return source, {
        node.name: "\n".join(
            lines[min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1 : node.end_lineno]
        )
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }
