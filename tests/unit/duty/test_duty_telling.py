"""A batch told to people: times that count from when it was told, reasons in words, names of who missed."""

from attestrio.duty import EndState, Reason, Step
from attestrio.duty.advice import ADVICE
from attestrio.duty.telling import DONE, of_story, since
from duty_kit import COMMITTEE, KEYS, PEERS, SEVEN, Clock, log_of, vote


def told_late(duty, clock):
    """One vote before the status, a missed one of ours, one member silent."""
    duty.heard([vote(1, 7)], PEERS[0])
    clock.now += 0.5
    duty.record(SEVEN, Step.TOLD)
    clock.now += 1.25
    duty.record(SEVEN, Step.PERSISTED, Reason.BATCH_NOT_PERSISTED)
    clock.now += 90
    duty.record(SEVEN, Step.SIGNED, Reason.SUPERSEDED, "status moved to 8")
    duty.end(SEVEN, EndState.MISSED, Reason.SUPERSEDED)


def test_a_missed_batch_is_told_with_its_reason_what_to_do_and_who_missed():
    clock = Clock()
    duty = log_of(clock)
    told_late(duty, clock)

    lines = list(of_story(duty.story(SEVEN)).lines())

    assert lines[0] == "batch 7: missed"
    assert lines[1] == f"  why    {Reason.SUPERSEDED.meaning} (status moved to 8)"
    assert lines[2] == f"  to do  {ADVICE[Reason.SUPERSEDED]}"
    assert "  votes  1 of 3 members, weight 10 of 30, 25 certifies" in lines
    timeline = lines[lines.index("times count from 1970-01-01 00:16:40.500 UTC") + 1 : -3]
    assert [line.split("  ")[0].strip() or line.split()[0] for line in timeline] != []
    assert [" ".join(line.split()[:3]) for line in timeline] == [
        "-0.500 s vote", "+0.000 s told", "+1.250 s persisted", "+91.250 s signed", "+91.250 s ended",
    ]  # fmt: skip
    assert "This node does not hold the batch yet. [batch_not_persisted]" in timeline[2]
    missed = [f"missed: {key.to_bytes().hex()[:8]}" for key in sorted((KEYS[0], KEYS[2]), key=lambda key: key.xy)]
    assert [line.split("…")[0] for line in lines[-2:]] == missed
    assert any("(this node)" in line for line in lines[-2:])


def test_votes_tell_through_whom_they_came_and_how_much_weight_there_is():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.TOLD)
    duty.heard([vote(0, 7)])
    duty.heard([vote(1, 7)], PEERS[0])
    duty.heard([vote(2, 7, fill=0xCD)], PEERS[1])
    names = {KEYS[1].to_text(): "bob", PEERS[0].to_text(): "node-bob", PEERS[1].to_text(): "node-carol"}

    votes = [one.text for one in of_story(duty.story(SEVEN), names).moments if one.what == "vote"]

    assert votes[0].endswith("(this node) its own; weight 10, together 10")
    assert votes[1] == "bob through node-bob; weight 10, together 20"
    assert "through node-carol, for ANOTHER HASH; weight 10, together 10" in votes[2]


def test_a_vote_that_came_when_the_main_node_had_gone_on_is_told_as_late_and_not_as_missed():
    clock = Clock()
    duty = log_of(clock)
    duty.record(SEVEN, Step.TOLD)
    duty.heard([vote(0, 7)])
    clock.now += 1.0
    duty.record(SEVEN, Step.SUBMITTED)
    clock.now += 2.5
    duty.heard([vote(1, 7)], PEERS[0])

    told = of_story(duty.story(SEVEN), {KEYS[1].to_text(): "bob", PEERS[0].to_text(): "node-bob"})

    assert told.moments[-1].text == "bob through node-bob, LATE by 2.500 s; weight 10, together 20"
    assert told.after[0] == "late: bob, 2.500 s after the main node went on"
    assert [line.split(":")[0] for line in told.after[1:]] == ["has not voted yet"]
    assert [vote["late_s"] for vote in told.document["votes"]] == [None, 2.5]


def test_an_open_batch_says_what_it_waits_for():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.TOLD)
    duty.record(SEVEN, Step.HASHED, Reason.HASH_NOT_AVAILABLE)

    told = of_story(duty.story(SEVEN))

    assert (told.state, told.why) == ("open", Reason.HASH_NOT_AVAILABLE.meaning)
    assert list(told.brief())[-1].startswith("has not voted yet: ")


def test_a_certified_batch_says_nothing_of_what_had_to_be_waited_for_but_in_its_timeline():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.PERSISTED, Reason.BATCH_NOT_PERSISTED)
    duty.end(SEVEN, EndState.CERTIFIED)

    told = of_story(duty.story(SEVEN))

    assert (told.why, told.todo) == ("", "")
    assert [one.what for one in told.moments] == ["persisted"]


def test_a_large_committee_is_told_in_part_and_the_document_names_all():
    duty = log_of(Clock())
    duty.record(SEVEN, Step.TOLD)
    duty.heard([vote(0, 7)])

    told = of_story(duty.story(SEVEN), most=1)

    assert len(told.after) == 2
    assert told.after[1] == "and 1 more; --json names all"
    assert len(told.document["missed"]) == 2
    assert told.document["threshold"] == COMMITTEE.threshold


def test_the_document_has_times_after_the_batch_was_told():
    clock = Clock()
    duty = log_of(clock)
    told_late(duty, clock)

    document = of_story(duty.story(SEVEN)).document

    assert [step["after_s"] for step in document["steps"]] == [0.0, 1.25, 91.25]
    assert document["votes"][0]["after_s"] == -0.5
    assert document["votes"][0]["via"] == PEERS[0].to_text()
    assert (document["state"], document["reason"], document["told_at"]) == ("missed", "superseded", 1_000.5)


def test_every_step_has_words_and_times_of_any_size_are_short():
    assert set(DONE) == set(Step)
    assert [since(one) for one in (-0.25, 12.3456, 125, 7_500)] == [
        "-0.250 s",
        "+12.346 s",
        "+2 min 05 s",
        "+2 h 05 min",
    ]
