"""The acceptance list of Aligned's aggregator, row by row, and the tests that hold each: none goes missing unseen.

A row is a fault, with what has to be true after it. What depends on time is tried in virtual time, what depends on
processes, disks, nodes and Go with real ones.
"""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]

ROWS = {
    1: ["test_row_1_a_batch_is_verified_once_and_the_trackers_hear_of_it"],
    2: ["test_row_2_while_nobody_is_there_every_response_waits_and_no_operator_ends"],
    3: ["test_row_3_more_tries_than_upstream_makes_change_nothing"],
    4: ["test_row_4_all_old_and_all_new_batches_are_answered_the_old_ones_in_their_order"],
    5: [
        "test_row_5_what_the_chain_is_asked_does_not_grow_with_the_operators",
        "test_row_5_one_snapshot_is_read_for_all_operators_and_all_batches_of_a_block",
        "test_row_5_a_snapshot_is_read_once_for_a_block_however_many_ask",
    ],
    6: [
        "test_row_6_one_event_and_one_transaction_for_each_batch_and_no_nonce_left_out",
        "test_row_6_batches_are_answered_once_each_with_and_without_non_signers",
        "test_row_6_one_transaction_for_each_batch_and_no_nonce_left_out",
    ],
    7: [
        "test_row_7_each_signature_is_one_row_and_verified_once_and_a_duplicate_costs_nothing",
        "test_row_7_a_repeated_call_is_answered_without_being_read",
        "test_row_7_one_signature_is_one_row_however_often_it_comes",
    ],
    8: ["test_row_8_a_flood_of_duplicates_costs_little_and_delays_nothing"],
    9: [
        "test_row_9_killed_at_four_points_every_batch_is_answered_once_and_nothing_acknowledged_is_missing",
        "test_row_9_killed_at_any_point_each_batch_is_answered_once",
        "test_row_9_killed_once_and_taken_over",
        "test_row_9_sent_and_killed_and_lost_by_the_node_it_is_sent_again_by_the_next",
    ],
    10: ["test_row_10_a_paused_one_that_comes_back_writes_nothing_and_sends_at_most_what_is_recorded"],
    11: ["test_row_11_batches_without_a_quorum_get_theirs_when_the_operators_are_back"],
    12: [
        "test_row_12_one_root_of_two_senders_posted_while_nobody_was_there_is_two_batches",
        "test_row_12_two_senders_of_one_root_are_two_tasks",
    ],
    13: [
        "test_row_13_a_batch_older_than_the_range_stays_an_orphan_until_a_restart_with_a_larger_one",
        "test_row_13_past_the_horizon_it_is_given_up_with_a_reason_and_nothing_else_is_lost",
        "test_row_13_a_first_start_takes_keys_from_the_beginning_and_tasks_of_the_range",
    ],
    14: [
        "test_row_14_a_step_that_fails_up_to_three_times_follows_its_schedule_and_succeeds",
        "test_row_14_a_step_that_fails_four_times_ends_the_round_and_the_next_is_scheduled",
        "test_row_14_a_fallback_that_is_alive_answers_within_the_same_try",
        "test_row_14_a_state_that_still_says_no_such_batch_is_asked_again_by_the_schedule",
        "test_row_14_a_chain_that_fails_is_asked_after_1_2_and_4_seconds",
    ],
    15: [
        "test_row_15_events_that_a_node_shows_two_blocks_late_are_found_by_one_query_a_round",
        "test_row_15_an_event_that_shows_two_blocks_late_is_found_with_one_query_a_round_for_all",
    ],
    16: [
        "test_row_16a_a_batch_that_moves_a_block_up_during_the_catch_up_is_answered_by_what_was_sent",
        "test_row_16a_a_batch_that_moved_is_answered_by_what_was_sent",
        "test_row_16a_a_batch_that_moved_is_judged_by_its_new_block",
        "test_row_16b_a_batch_that_is_gone_during_the_catch_up_and_posted_again_is_answered",
        "test_row_16b_a_batch_that_went_and_came_back_is_answered",
        "test_row_16b_a_batch_that_is_gone_is_searched_for_and_found_when_it_is_posted_again",
        "test_row_16c_an_answer_that_a_rollback_took_is_sent_again",
        "test_row_16c_an_answer_that_a_reorg_took_is_sent_again",
    ],
    17: [
        "test_row_17_a_base_fee_that_rose_tenfold_is_followed_with_the_same_nonce",
        "test_row_17_a_price_that_rose_tenfold_is_followed_with_the_same_nonce",
        "test_row_17c_a_fee_above_upstreams_limit_is_parked_and_sent_when_the_price_falls",
        "test_row_17c_a_fee_above_the_limit_is_parked_until_the_price_falls",
    ],
    18: [
        "test_row_18_the_identifier_has_to_be_that_of_root_and_sender",
        "test_row_18_a_bad_signature_is_refused_for_good_and_leaves_nothing",
        "test_row_18_a_foreign_id_is_refused_for_good_once_the_quorum_is_known",
        "test_row_18_a_broken_stream_ends_its_connection_and_no_other",
        "test_row_18_half_a_message_holds_up_nobody",
    ],
    19: ["test_row_19_a_pending_batch_is_never_forgotten_however_often_garbage_is_collected"],
    20: [
        "test_row_20_a_go_client_is_told_what_go_operators_expect_and_its_signatures_answer_a_batch",
        "test_row_20_what_go_sends_and_no_operator_would_costs_that_call_only",
        "test_a_go_client_sees_no_difference_between_gos_server_and_ours",
        "test_the_golden_bytes_are_what_go_sends_today",
    ],
}

BESIDE_THE_ROWS = ["test_the_review_of_the_first_repair_4_operators_and_15_minutes_away_then_old_and_new_are_answered"]

# On a chain of which a test says the time, or with nothing but the wire: real processes would add only chance.
VIRTUAL = {13, 14, 18, 19}

ROW = re.compile(r"test_row_(\d+)[abc]?_")


def functions():
    """Names of the test functions of every file about the aggregator or Go RPC, and the folder each is in."""
    return {
        node.name: path.parent.name
        for path in TESTS.rglob("test_*.py")
        if "aggregator" in path.name or "gorpc" in path.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


FOUND = functions()


def test_there_are_twenty_rows():
    assert list(ROWS) == list(range(1, 21))


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_tests_and_one_of_its_number(row):
    assert [name for name in ROWS[row] if name not in FOUND] == []
    assert [name for name in ROWS[row] if (said := ROW.match(name)) is not None and int(said[1]) != row] == []
    assert any(ROW.match(name) for name in ROWS[row])


@pytest.mark.parametrize("row", [row for row in ROWS if row not in VIRTUAL])
def test_what_depends_on_processes_is_tried_with_real_ones(row):
    assert any(FOUND[name] == "real" for name in ROWS[row])


def test_the_regression_of_the_first_repair_is_there():
    assert [name for name in BESIDE_THE_ROWS if FOUND.get(name) != "real"] == []
