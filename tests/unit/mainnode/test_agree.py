"""Several main nodes asked as one: what counts, who is named, and what a node that hangs or lies can do."""

from dataclasses import dataclass, field

import pytest
import trio
from attestrio.errors import SourceError
from attestrio.kit.http import Unreachable
from attestrio.kit.metrics import Metrics
from attestrio.mainnode.agree import ABOUT, AgreeingMainNodes, NotAgreed
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    Genesis,
    RoundRobin,
    ValidatorPublicKey,
    WeightedAttester,
    WeightedValidator,
)
from attestrio.status import AttestationStatus


def genesis(fork=0):
    key = AttesterSecretKey.from_bytes(b"\x01" * 32).public()
    return Genesis(
        chain_id=1,
        fork_number=fork,
        first_block=0,
        protocol_version=1,
        validators=(WeightedValidator(ValidatorPublicKey.from_bytes(bytes(96)), 1),),
        leader_selection=RoundRobin(),
        attesters=Committee([WeightedAttester(key, 1)]),
    )


GENESIS, OTHER = genesis(), genesis(1)
SEVEN = BatchNumber(7)


def batch(content=1, of=GENESIS):
    return Batch(SEVEN, BatchHash(bytes([content]) * 32), of.hash())


def status(number=7, of=GENESIS):
    return AttestationStatus(of.hash(), BatchNumber(number))


DOWN = Unreachable("http://main-node", "refused")


@dataclass
class Scripted:
    """A main node with one answer to everything: a value, None, or an error; after `delay_s` seconds, or never."""

    name: str
    answer: object = None
    delay_s: float = 0.0
    asked: int = field(default=0, init=False)

    async def _answer(self):
        self.asked += 1
        await trio.sleep(self.delay_s)
        if isinstance(self.answer, SourceError):
            raise self.answer
        return self.answer

    async def attestation_status(self):
        return await self._answer()

    async def batch_to_attest(self, number):
        return await self._answer()

    async def consensus_genesis(self):
        return await self._answer()


HANGS = float("inf")
ABC = [("a", 1), ("b", 2), ("c", 3)]


class Asked:
    """`AgreeingMainNodes` over scripted ones called a, b, c, ...; `named` is who dissented about what."""

    def __init__(self, agree, *answers, delays=None):
        delays = delays or [0.0] * len(answers)
        names = "abcdefgh"
        self.nodes = [
            Scripted(name, answer, delay) for name, answer, delay in zip(names, answers, delays, strict=False)
        ]
        self.metrics = Metrics()
        self.named, self.heard = [], []
        self.all = AgreeingMainNodes(
            self.nodes,
            agree,
            self.metrics,
            lambda *told: self.named.append(told),
            lambda number, said: self.heard.append((number, said)),
        )

    def dissent(self, name, what):
        return self.metrics.value("attestrio_main_node_dissent_total", main_node=name, what=what)


async def test_answer_counts_when_enough_give_it(autojump_clock):
    asked = Asked(2, batch(), batch(), batch())

    assert await asked.all.batch_to_attest(SEVEN) == batch()
    assert [node.asked for node in asked.nodes] == [1, 1, 1]
    assert asked.named == []


@pytest.mark.parametrize("liar", [0, 1, 2])
async def test_one_that_lies_about_a_hash_is_outvoted_and_named(autojump_clock, liar):
    answers = [batch()] * 3
    answers[liar] = batch(9)
    # It answers before the others: afterwards nobody listens any more.
    asked = Asked(2, *answers, delays=[0.0 if index == liar else 1.0 for index in range(3)])

    told = await asked.all.batch_to_attest(SEVEN)

    name = "abc"[liar]
    assert told == batch()
    assert asked.named == [(name, "batch", SEVEN)]
    assert [asked.dissent(one, "batch") for one in "abc"] == [float(one == name) for one in "abc"]
    assert asked.heard[0][1][name] == f"says {batch(9).hash.to_text()}"


async def test_one_that_hangs_delays_nobody_and_is_let_go(autojump_clock):
    asked = Asked(2, status(), status(), status(), delays=[1.0, 2.0, HANGS])
    began = trio.current_time()
    tasks = trio.lowlevel.current_statistics().tasks_living

    assert await asked.all.attestation_status() == status()
    assert trio.current_time() - began == 2.0
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert asked.named == []  # silence is no dissent


async def test_one_liar_and_one_that_is_down_leave_too_few(autojump_clock):
    asked = Asked(2, status(7), status(9), DOWN)

    with pytest.raises(NotAgreed) as refused:
        await asked.all.attestation_status()

    assert (refused.value.what, refused.value.most, refused.value.wanted) == ("status", 1, 2)
    for part in ("a says batch 7 of genesis ", "b says batch 9 of genesis ", "c unreachable"):
        assert part in str(refused.value)
    assert asked.named == []  # nobody knows who lies


async def test_nobody_wins_when_all_say_something_else(autojump_clock):
    asked = Asked(2, batch(1), batch(2), batch(3))

    with pytest.raises(NotAgreed, match="batch: 1 main nodes agree, 2 have to: ") as refused:
        await asked.all.batch_to_attest(SEVEN)

    assert [f"{name} says {batch(content).hash.to_text()}" in str(refused.value) for name, content in ABC] == [True] * 3


async def test_none_is_asked_longer_than_the_question_is_open(autojump_clock):
    asked = Asked(3, batch(1), batch(2), batch(1), delays=[0.0, 1.0, HANGS])
    began = trio.current_time()

    with pytest.raises(NotAgreed):
        await asked.all.batch_to_attest(SEVEN)

    assert trio.current_time() - began == 1.0


async def test_all_that_are_down_give_the_error_of_one(autojump_clock):
    asked = Asked(2, DOWN, DOWN, DOWN)

    with pytest.raises(Unreachable):
        await asked.all.attestation_status()

    assert asked.named == []


async def test_enough_that_know_nothing_yet_is_an_answer(autojump_clock):
    asked = Asked(2, None, batch(), None, delays=[1.0, 0.0, 1.0])

    assert await asked.all.batch_to_attest(SEVEN) is None
    assert asked.named == [("b", "batch", SEVEN)]


@pytest.mark.parametrize(
    ("question", "answers"),
    [("attestation_status", (status(7), status(8))), ("consensus_genesis", (GENESIS, OTHER))],
)
async def test_status_and_genesis_are_compared_whole(autojump_clock, question, answers):
    agreed, other = answers
    asked = Asked(2, agreed, other, agreed, delays=[1.0, 0.0, 1.0])

    assert await getattr(asked.all, question)() == agreed
    assert [name for name, _, _ in asked.named] == ["b"]


async def test_same_number_under_another_genesis_is_dissent(autojump_clock):
    asked = Asked(2, status(7), status(7, OTHER), status(7), delays=[1.0, 0.0, 1.0])

    assert await asked.all.attestation_status() == status(7)
    assert asked.named == [("b", "status", None)]


async def test_answers_to_a_batch_are_handed_on_with_the_failures(autojump_clock):
    asked = Asked(2, batch(), batch(), DOWN, delays=[1.0, 1.0, 0.0])

    await asked.all.batch_to_attest(SEVEN)

    ((number, said),) = asked.heard
    assert number == SEVEN
    assert said["c"] == "unreachable"


async def test_dissent_of_each_is_zero_from_the_start():
    asked = Asked(2, None, None, None)

    assert {asked.dissent(name, what) for name in "abc" for what in ABOUT} == {0.0}


@pytest.mark.parametrize(
    ("question", "agreed", "other", "about"),
    [
        ("attestation_status", status(7), status(8), "status"),
        ("attestation_status", status(7), None, "absent"),
        ("batch_to_attest", batch(1), batch(2), "batch"),
        ("batch_to_attest", batch(1), None, "absent"),
        ("batch_to_attest", None, batch(1), "absent"),
        ("batch_to_attest", batch(1), batch(1, OTHER), "genesis"),
        ("consensus_genesis", GENESIS, OTHER, "genesis"),
    ],
)
async def test_dissent_is_counted_by_what_it_is_about(autojump_clock, question, agreed, other, about):
    asked = Asked(2, agreed, other, agreed, delays=[1.0, 0.0, 1.0])

    await getattr(asked.all, question)(*([SEVEN] if question == "batch_to_attest" else []))

    assert {what: asked.dissent("b", what) for what in ABOUT} == {what: float(what == about) for what in ABOUT}


async def test_cancelled_question_leaves_nothing_behind(autojump_clock):
    asked = Asked(2, status(), status(), status(), delays=[HANGS] * 3)
    tasks = trio.lowlevel.current_statistics().tasks_living

    with trio.move_on_after(5) as scope:
        await asked.all.attestation_status()

    assert scope.cancelled_caught
    assert trio.lowlevel.current_statistics().tasks_living == tasks


@pytest.mark.parametrize(("agree", "of"), [(0, 1), (1, 2), (1, 3), (2, 4), (2, 1), (4, 3), (-1, 3)])
def test_too_few_or_too_many_to_agree_are_refused(agree, of):
    with pytest.raises(ValueError, match="has to be more than half, and not more than all"):
        Asked(agree, *[None] * of)


@pytest.mark.parametrize(("agree", "of"), [(1, 1), (2, 2), (2, 3), (3, 3), (3, 4), (3, 5)])
def test_more_than_half_is_enough(agree, of):
    Asked(agree, *[None] * of)
