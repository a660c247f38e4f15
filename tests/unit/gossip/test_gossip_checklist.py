"""Which test answers for which row of the network's must-reject tables, and for which test of the reference.

A name is a test function of this folder, or `file::function` of another one. What has no test has a reason.
"""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]

# Section 7 of the wire specification: framing, preface, Noise; handshake; mux; calls and their content.
ROWS = {
    "P1": [
        "test_p1_a_frame_over_10_kb_is_refused_before_its_body",
        "test_a_long_frame_is_refused_before_its_body_is_there",
    ],
    "P2": ["test_p2_an_encryption_nobody_knows_is_refused", "test_an_encryption_nobody_knows_is_refused"],
    "P3": ["test_p3_an_endpoint_nobody_knows_is_refused", "test_an_endpoint_nobody_knows_is_refused"],
    "P4": [
        "test_p4_who_looks_for_the_consensus_network_is_left_without_a_word",
        "test_the_consensus_network_is_told_apart_and_is_no_offence",
    ],
    "P5": ["test_p5_a_preface_is_given_5_seconds", "test_p5_drop_by_drop_is_not_in_time_either"],
    "P6": [
        "test_p6_a_noise_message_of_another_length_is_refused",
        "test_a_first_message_of_another_length_is_refused",
        "test_a_second_message_of_another_length_is_refused",
    ],
    "P7": [
        "test_p7_a_peer_of_another_noise_protocol_gets_nowhere",
        "test_a_peer_of_another_protocol_shows_at_the_second_message",
    ],
    "N1": [
        "test_n1_a_frame_too_short_for_a_tag_ends_the_beginning",
        "test_n1_n2_a_broken_channel_ends_the_conversation_and_lowers_the_score",
        "test_a_frame_too_short_for_a_tag_is_refused_by_its_length_alone",
    ],
    "N2": [
        "test_n2_a_changed_reordered_or_lost_frame_ends_the_beginning",
        "test_n1_n2_a_broken_channel_ends_the_conversation_and_lowers_the_score",
        "test_a_replayed_reordered_or_lost_frame_ends_the_stream",
    ],
    "N3": [
        "test_n3_an_empty_frame_is_the_end",
        "test_n3_n4_a_peer_that_ends_is_gone_and_not_blamed",
        "test_an_empty_frame_is_the_end",
    ],
    "N4": [
        "test_n4_a_peer_that_leaves_in_the_middle_is_gone",
        "test_n4_a_peer_that_leaves_inside_a_noise_frame_is_gone",
        "test_n3_n4_a_peer_that_ends_is_gone_and_not_blamed",
    ],
    "N5": [
        "test_n5_an_undecodable_preface_is_refused",
        "test_n5_an_undecodable_handshake_is_refused",
        "test_n5_an_undecodable_request_gets_no_answer",
    ],
    "H1": ["test_h1_a_handshake_without_a_field_is_refused", "test_a_handshake_without_a_field_is_refused"],
    "H2": [
        "test_h2_a_key_signature_or_genesis_that_is_none_is_refused",
        "test_a_key_signature_or_genesis_of_another_length_is_refused",
        "test_a_key_that_is_no_point_is_refused",
    ],
    "H3": [
        "test_h3_a_proof_of_another_channel_is_refused",
        "test_h3_a_relay_between_two_channels_is_noticed",
        "test_a_proof_of_another_session_is_refused",
    ],
    "H4": ["test_h4_a_peer_of_another_genesis_is_refused", "test_a_peer_of_another_genesis_is_refused"],
    "H5": [
        "test_h5_somebody_else_than_was_dialled_is_refused",
        "test_an_answer_of_somebody_else_is_refused_although_it_is_signed_well",
    ],
    "H6": ["test_h6_a_signature_of_another_key_is_refused", "test_a_signature_made_by_another_key_is_refused"],
    "H7": ["test_h7_a_handshake_is_given_5_seconds_of_its_own"],
    "H8": ["test_h8_who_is_not_let_in_sees_the_answer_and_then_the_end"],
    "H tolerated": [
        "test_h_tolerated_other_spellings_of_a_good_handshake_are_taken",
        "test_other_spellings_of_a_good_handshake_are_accepted",
    ],
    "M1": [
        "test_m1_m2_a_mux_handshake_against_the_rules_ends_the_connection",
        "test_a_handshake_against_the_rules_ends_the_connection",
    ],
    "M2": [
        "test_m1_m2_a_mux_handshake_against_the_rules_ends_the_connection",
        "test_a_handshake_against_the_rules_ends_the_connection",
    ],
    "M3": [
        "test_m3_a_mux_handshake_over_10_kb_ends_the_connection_before_its_body",
        "test_a_handshake_over_10_kb_is_refused_before_its_body",
    ],
    "M4": [
        "test_m4_a_frame_of_a_stream_that_does_not_exist_ends_the_connection",
        "test_frames_against_the_rules_end_the_connection",
    ],
    "M5": [
        "test_m5_a_frame_of_kind_3_ends_that_connection_and_no_other",
        "test_frames_of_kind_3_cost_those_who_send_them_their_connection",
        "test_frames_against_the_rules_end_the_connection",
    ],
    "M6": [
        "test_a_node_does_not_start_with_more_than_8192_streams_at_one_end",
        "test_data_is_sent_in_frames_of_16_kb_and_never_empty",
    ],
    "M tolerated": [
        "test_m_tolerated_what_is_strange_and_harmless_does_no_harm",
        "test_m_tolerated_a_data_frame_of_65535_bytes_is_read",
        "test_m_tolerated_an_odd_mux_handshake_ends_nothing_by_itself",
        "test_what_is_strange_and_harmless_is_tolerated",
    ],
    "R1": [
        "test_r1_a_request_over_the_limit_gets_no_answer",
        "test_a_request_over_the_limit_gets_no_answer_and_the_next_one_does",
    ],
    "R2": [
        "test_r2_an_answer_over_1_kb_ends_the_connection",
        "test_a_response_over_the_limit_fails_the_call_before_it_is_kept",
    ],
    "R3": ["test_r3_a_ping_of_another_size_gets_no_answer", "test_a_ping_of_another_size_is_refused"],
    "R4": [
        "test_r4_a_wrong_answer_to_a_ping_ends_the_connection",
        "test_r4_an_answer_to_a_ping_that_does_not_come_in_time_ends_the_connection",
    ],
    "R5": ["test_r5_a_request_without_a_number_gets_no_answer", "test_a_request_without_a_number_is_refused"],
    "R6": [
        "test_r6_a_wrong_batch_ends_the_connection_and_another_peer_is_asked",
        "test_r6_a_batch_that_does_not_come_in_10_s_ends_the_connection_and_another_peer_is_asked",
    ],
    "R7": ["test_anything_but_the_announced_block_drops_the_peer", "test_a_block_before_the_chain_drops_the_peer"],
    "R8": ["test_r8_blocks_that_cannot_be_get_no_answer", "test_blocks_that_cannot_be_are_refused"],
    "R9": [
        "test_r9_batches_that_end_before_they_begin_get_no_answer",
        "test_batches_that_end_before_they_begin_are_refused",
    ],
    "V1": ["test_v1_v2_v3_a_list_with_a_bad_vote_gets_no_answer_and_those_before_it_stay"],
    "V2": ["test_v1_v2_v3_a_list_with_a_bad_vote_gets_no_answer_and_those_before_it_stay"],
    "V3": [
        "test_v1_v2_v3_a_list_with_a_bad_vote_gets_no_answer_and_those_before_it_stay",
        "test_v1_v2_v3_a_long_list_is_treated_like_a_short_one",
    ],
    "V4": [
        "test_v4_a_vote_that_cannot_be_read_loses_the_whole_list",
        "test_one_undecodable_vote_loses_the_whole_request_and_is_named",
    ],
    "V tolerated": ["test_v_tolerated_votes_that_do_not_count_are_answered"],
    "A1": ["test_a1_addresses_that_cannot_be_get_no_answer", "test_addresses_that_cannot_be_are_refused"],
}

PREFIXES = {"P": 7, "N": 5, "H": 8, "M": 6, "R": 9, "V": 4, "A": 1}

# Section 8: what the reference tests, by the names there. A sentence instead of a list says why there is none here.
NO_BLOCKS = "blocks: this node has none, and asks for none"
NO_VALIDATOR = "validators: their addresses and messages are neither kept nor sent on"
UPSTREAM = {
    "noise transmit_ok": ["test_words_written_in_any_grouping_arrive_in_order"],
    "noise transmit_sender_dies": ["test_n4_a_peer_that_leaves_inside_a_noise_frame_is_gone"],
    "noise transmit_receiver_dies": ["test_a_wire_that_is_reset_ends_in_one_error"],
    "mux test_masks": ["test_the_masks_partition_the_16_bits"],
    "mux test_mux_verify": [
        "test_a_node_does_not_start_with_more_than_8192_streams_at_one_end",
        "test_8192_streams_at_each_end_are_allowed",
    ],
    "mux mux_with_noise": ["test_every_round_arrives_whole_and_in_order_at_both_ends"],
    "mux test_transport_closed": ["test_a_closed_wire_ends_in_one_error_whatever_is_asked_of_it"],
    "rpc test_capability_rpc_correspondence": ["test_no_two_methods_share_a_capability_or_a_name"],
    "rpc test_schema_encode_decode": ["test_a_batch_comes_back", "test_a_push_is_the_canonical_protobuf_of_its_votes"],
    "rpc test_ping": ["test_two_pings_go_at_once_and_one_more_every_second"],
    "rpc test_ping_loop": ["test_ping_loop_three_pings_are_answered_and_the_fourth_is_not"],
    "rpc test_inflight": ["test_five_calls_can_be_reserved_before_one_is_made"],
    "handshake test_schema_encode_decode": ["test_a_handshake_says_what_was_put_into_it"],
    "handshake test_session_id_mismatch": [
        "test_h3_a_relay_between_two_channels_is_noticed",
        "test_h3_a_proof_of_another_channel_is_refused",
    ],
    "handshake test_peer_mismatch": ["test_h5_somebody_else_than_was_dialled_is_refused"],
    "handshake test_genesis_mismatch": ["test_h4_a_peer_of_another_genesis_is_refused"],
    "handshake test_invalid_signature": ["test_h6_a_signature_of_another_key_is_refused"],
    "gossip test_one_connection_per_node": [
        "test_one_connection_per_node_an_impostor_completes_the_handshake_and_is_closed"
    ],
    "gossip test_validator_addrs": NO_VALIDATOR,
    "gossip test_validator_addrs_propagation": NO_VALIDATOR,
    "gossip test_genesis_mismatch": ["test_genesis_mismatch_is_noticed_by_a_dialler_and_by_a_listener"],
    "gossip validator_node_restart": NO_VALIDATOR,
    "gossip rate_limiting": ["test_rate_limiting_many_votes_take_few_pushes"],
    "gossip test_batch_votes": [
        "test_v1_v2_v3_a_list_with_a_bad_vote_gets_no_answer_and_those_before_it_stay",
        "test_v_tolerated_votes_that_do_not_count_are_answered",
    ],
    "gossip test_batch_votes_quorum": ["test_register::test_support_and_quorum_are_those_of_a_recount"],
    "gossip test_batch_votes_propagation": [
        "test_batch_votes_propagation_each_of_ten_nodes_votes_and_a_quorum_reaches_all"
    ],
    "blocks test_simple": NO_BLOCKS,
    "blocks test_concurrent_requests": NO_BLOCKS,
    "blocks test_bad_responses": NO_BLOCKS,
    "blocks test_retry": NO_BLOCKS,
    "blocks test_announce_truncated_block_range": NO_BLOCKS,
    "batches test_simple": ["test_simple_a_batch_is_announced_and_given_and_what_a_peer_announces_is_asked_for"],
    "batches test_concurrent_requests": [
        "test_concurrent_requests_ten_batches_are_asked_of_four_connections_in_turn",
        "test_ten_batches_are_asked_of_four_connections_in_turn_before_any_is_answered",
    ],
    "batches test_bad_responses": ["test_r6_a_wrong_batch_ends_the_connection_and_another_peer_is_asked"],
    "batches test_retry": ["test_retry_four_peers_that_give_nothing_are_dropped_in_turn"],
    "syncing coordinated_block_syncing": NO_BLOCKS,
    "syncing coordinated_batch_syncing": ["test_coordinated_batch_syncing_each_batch_reaches_all_before_the_next"],
    "syncing uncoordinated_block_syncing": NO_BLOCKS,
    "syncing uncoordinated_batch_syncing": ["test_uncoordinated_batch_syncing_all_end_complete"],
    "syncing test_switching_on_nodes": ["test_switching_on_nodes_each_that_joins_gets_what_there_is"],
    "syncing test_switching_off_nodes": ["test_switching_off_nodes_those_that_stay_go_on"],
    "syncing test_different_first_block": ["test_different_first_batch_each_node_fetches_what_it_lacks"],
    "syncing test_sidechannel_sync": ["test_sidechannel_sync_a_store_that_jumps_ahead_is_followed"],
    "loadtest test_loadtest": ["test_inbound_pool_fills_to_exactly_its_limit_and_serves_whoever_is_in"],
    "network test_metrics": ["test_what_was_skipped_is_counted_in_the_metrics"],
    "consensus": "consensus: this node has no part in it; whoever asks for it is P4",
    "limiter immediate consumption": ["test_permits_used_at_once_come_back_one_a_tick"],
    "limiter infinite rate": ["test_a_rate_without_refresh_time_never_waits"],
    "limiter delayed consumption": ["test_reserved_permits_do_not_come_back_before_they_are_used"],
}


def functions():
    """Names of the test functions of every file under tests/, with a `file::` variant of each."""
    found = set()
    for path in TESTS.rglob("test_*.py"):
        names = {
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        }
        found |= {f"{path.stem}::{name}" for name in names}
        if path.parent == Path(__file__).parent:
            found |= names
    return found


NAMES = functions()
TAGS = re.compile(r"test_((?:[a-z][0-9]_)*(?:[hmv]_tolerated_)?)")


def test_no_row_of_the_tables_is_forgotten():
    rows = [f"{letter}{number}" for letter, count in PREFIXES.items() for number in range(1, count + 1)]

    assert set(ROWS) == {*rows, "H tolerated", "M tolerated", "V tolerated"}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_test_that_exists(row):
    assert ROWS[row]
    assert [name for name in ROWS[row] if name not in NAMES] == []


@pytest.mark.parametrize("row", [row for row in ROWS if row not in ("M6", "R7")])
def test_every_row_that_a_live_connection_can_meet_is_met_on_one(row):
    """By a test named after it. M6 is about our own numbers, R7 about blocks, which this node never asks for."""
    tag = row.lower().replace(" ", "_")

    assert any(tag in TAGS.match(name)[1] for name in ROWS[row])


@pytest.mark.parametrize("line", UPSTREAM)
def test_every_test_of_the_reference_has_its_like_here_or_a_reason(line):
    answer = UPSTREAM[line]

    assert isinstance(answer, str) or [name for name in answer if name not in NAMES] == []
