"""What a refusal means, by the id of the contract's error or the text of a node; and which phase follows which."""

import pytest
from attestrio.aggregator import answer as phases
from attestrio.aggregator.answer import NEXT, NOTHING, ON_ITS_WAY, PUT_OFF, REVERTS, Cure, Why, refusal_of
from attestrio.aggregator.rows import Answer, Attempt, Phase, pack, unpack
from attestrio.errors import SourceError
from attestrio.kit.http import AnswerTooLate
from attestrio.kit.jsonrpc import RpcFailed
from attestrio.l1.errors import CallReverted
from eth_abi.abi import encode

# Ids as the contract of Aligned has them, not as our own table computes them.
IDS = {
    "BatchAlreadyResponded": ("9cf1aff2", ["bytes32"], [b"\1" * 32], Cure.SETTLE, Why.ANSWERED),
    "BatchDoesNotExist": ("2396d34e", ["bytes32"], [b"\1" * 32], Cure.WAIT, Why.NO_TASK),
    "InsufficientFunds": ("5c54305e", ["address", "uint256", "uint256"], [b"\1" * 20, 2, 1], Cure.PARK, Why.FUNDS),
    "ExceededMaxRespondFee": ("86fc507e", ["uint256", "uint256"], [1, 2], Cure.PRICE, Why.PRICE),
    "SenderIsNotAggregator": ("2cbe4195", ["address", "address"], [b"\1" * 20, b"\2" * 20], Cure.HOLD, Why.NOT_US),
    "InvalidQuorumThreshold": ("a61eb88a", ["uint256", "uint256"], [1, 2], Cure.RECHECK, Why.BAD_AGGREGATE),
    "BatchAlreadySubmitted": ("3102f10c", ["bytes32"], [b"\1" * 32], Cure.PARK, Why.REFUSED),
    "InvalidAddress": ("161eb542", ["string"], ["x"], Cure.PARK, Why.REFUSED),
}
CHECKER = "BLSSignatureChecker.checkSignatures: "


def reverted(data, message="execution reverted"):
    return CallReverted("http://node eth_call", 3, message, data)


def text(said):
    return reverted(bytes.fromhex("08c379a0") + encode(["string"], [said]))


@pytest.mark.parametrize("name", IDS)
def test_an_error_of_the_contract_is_known_by_its_id(name):
    selector, types, values, cure, why = IDS[name]

    refusal = refusal_of(reverted(bytes.fromhex(selector) + encode(types, values)))

    assert (refusal.cure, refusal.why) == (cure, why)
    assert refusal.detail.startswith(name)


@pytest.mark.parametrize("name", REVERTS)
def test_arguments_that_do_not_decode_change_nothing(name):
    assert refusal_of(reverted(bytes.fromhex(IDS[name][0]) + b"\xff")).cure is IDS[name][3]


@pytest.mark.parametrize(
    ("said", "cure", "why"),
    [
        (CHECKER + "invalid reference block", Cure.WAIT, Why.TOO_EARLY),
        (CHECKER + "signature is invalid", Cure.RECHECK, Why.BAD_AGGREGATE),
        (CHECKER + "pairing precompile call failed", Cure.RECHECK, Why.BAD_AGGREGATE),
        (CHECKER + "quorumApk hash in storage does not match provided quorum apk", Cure.RECHECK, Why.BAD_AGGREGATE),
        ("Pausable: index is paused", Cure.PARK, Why.REFUSED),
    ],
)
def test_the_signature_checker_says_it_in_words(said, cure, why):
    refusal = refusal_of(text(said))

    assert (refusal.cure, refusal.why) == (cure, why)
    assert said in refusal.detail


def test_words_are_found_in_the_message_of_a_node_that_gives_no_data():
    refusal = refusal_of(reverted(b"", f"execution reverted: {CHECKER}invalid reference block"))

    assert (refusal.cure, refusal.why) == (Cure.WAIT, Why.TOO_EARLY)


@pytest.mark.parametrize(
    "data", [b"", b"\1", b"\xde\xad\xbe\xef", bytes.fromhex("4e487b71") + encode(["uint256"], [1])]
)
def test_what_nobody_knows_is_parked(data):
    assert refusal_of(reverted(data)).cure is Cure.PARK


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("already known", Cure.SENT),  # geth, erigon, reth
        ("AlreadyKnown", Cure.SENT),  # Nethermind
        ("Known transaction", Cure.SENT),  # Besu
        ("transaction already imported", Cure.SENT),  # anvil
        ("nonce too low: next nonce 8, tx nonce 7", Cure.USED),
        ("Nonce too low", Cure.USED),
        ("OldNonce", Cure.USED),
        ("replacement transaction underpriced", Cure.HIGHER),
        ("transaction underpriced: gas tip cap 1, minimum needed 2", Cure.HIGHER),
        ("ReplacementNotAllowed", Cure.HIGHER),
        ("FeeTooLow, EffectivePriorityFeePerGas too low", Cure.HIGHER),
        ("max fee per gas less than block base fee: address 0x, maxFeePerGas: 1, baseFee: 2", Cure.HIGHER),
        ("Gas price below configured minimum gas price", Cure.HIGHER),
        ("insufficient funds for gas * price + value: balance 0, tx cost 1", Cure.HOLD),
        ("Insufficient funds for gas * price + value", Cure.HOLD),
        ("exceeds block gas limit", Cure.WAIT),
        ("txpool is full", Cure.WAIT),
    ],
)
def test_a_node_is_understood_by_its_text(said, cure):
    assert refusal_of(RpcFailed("http://node", -32000, said)).cure is cure


def test_an_endpoint_that_is_away_says_nothing_about_the_batch():
    for exc in (AnswerTooLate("http://node", 10.0), SourceError("any other")):
        assert (refusal_of(exc).cure, refusal_of(exc).why) == (Cure.WAIT, Why.AWAY)


# --- phases


def attempt(number, price=100):
    return Attempt(b"raw %d" % number, bytes([number]) * 32, price, float(number))


def test_the_way_of_an_answer_from_the_record_to_the_end():
    way = [NOTHING]
    way.append(phases.prepared(way[-1], 7, attempt(1)))
    way.append(phases.sent(way[-1], 2.0))
    way.append(phases.prepared(way[-1], 7, attempt(2)))
    way.append(phases.mined(way[-1], 20, attempt(1).hash, 3.0))
    way.append(phases.confirmed(way[-1], 4.0))

    assert [one.phase for one in way] == [
        Phase.WAITING, Phase.PREPARED, Phase.SENT, Phase.REPLACED, Phase.MINED, Phase.CONFIRMED,
    ]  # fmt: skip
    assert all(one.nonce == 7 for one in way[1:])
    assert [one.updated for one in way] == [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]
    assert way[-1].attempts == ()
    assert unpack(pack(way[3]), Answer) == way[3]


def test_of_replaced_transactions_only_the_hashes_are_kept():
    row = phases.prepared(phases.prepared(NOTHING, 7, attempt(1)), 7, attempt(2))

    assert [one.raw for one in row.attempts] == [b"", b"raw 2"]
    assert [one.hash for one in row.attempts] == [attempt(1).hash, attempt(2).hash]


def test_with_another_nonce_everything_begins_anew():
    row = phases.prepared(phases.without_nonce(_sent(), Why.NONCE_TAKEN, 2.0), 8, attempt(2))

    assert (row.phase, row.nonce, row.attempts) == (Phase.PREPARED, 8, (attempt(2),))


def test_what_is_put_off_keeps_its_nonce_and_its_transactions():
    row = phases.put_off(_sent(), Phase.PARKED, Why.PRICE, "dear", 2.0)

    assert (row.phase, row.reason, row.detail) == (Phase.PARKED, "price_too_high", "dear")
    assert (row.nonce, row.attempts) == (7, (attempt(1),))
    assert phases.sent(row, 3.0).phase is Phase.SENT


def test_what_a_reorg_took_is_on_its_way_with_the_same_bytes():
    row = phases.unmined(phases.mined(_sent(), 20, attempt(1).hash, 2.0), 3.0)

    assert (row.phase, row.nonce, row.attempts, row.mined) == (Phase.SENT, 7, (attempt(1),), None)


def test_an_answer_by_others_that_a_reorg_took_begins_anew():
    row = phases.unmined(phases.mined(NOTHING, 20, b"", 2.0), 3.0)

    assert (row.phase, row.mined) == (Phase.WAITING, None)


def test_what_was_mined_and_refused_has_no_nonce_any_more():
    row = phases.reverted(_sent(), attempt(1).hash, 2.0)

    assert (row.phase, row.nonce, row.attempts) == (Phase.REVERTED, None, ())


def test_what_a_command_gave_up_stays_given_up_when_its_nonce_is_used():
    row = phases.put_off(_sent(), Phase.PARKED, Why.DROPPED, "", 2.0)

    assert phases.without_nonce(row, Why.NONCE_TAKEN, 3.0).reason == "dropped"


def test_sending_again_what_is_sent_changes_nothing():
    row = _sent()

    assert phases.sent(row, 9.0) is row


@pytest.mark.parametrize("phase", Phase)
def test_a_phase_only_goes_where_the_table_lets_it(phase):
    row = Answer(phase, nonce=7, attempts=(attempt(1),))

    for name, wanted in (("sent", Phase.SENT), ("reverted", Phase.REVERTED), ("confirmed", Phase.CONFIRMED)):
        step = getattr(phases, name)
        arguments = (b"", 1.0) if name == "reverted" else (1.0,)
        if wanted in NEXT[phase] or (name == "sent" and phase is wanted):
            assert step(row, *arguments).phase is wanted
        else:
            with pytest.raises(ValueError, match="does not become"):
                step(row, *arguments)


def test_every_phase_has_a_way_on_but_the_last_and_the_two_kinds_are_apart():
    assert set(NEXT) == set(Phase)
    assert [phase for phase in Phase if not NEXT[phase]] == [Phase.CONFIRMED]
    assert not ON_ITS_WAY & PUT_OFF


def _sent():
    return phases.sent(phases.prepared(NOTHING, 7, attempt(1)), 1.0)
