"""The main nodes of a configuration: one, several that agree, or none."""

import pytest
import trio
from app_kit import genesis_of
from attestrio.app.upstream import certificate_sources, first_genesis, main_nodes
from attestrio.config import BadConfig, load_config
from attestrio.errors import SourceError
from attestrio.kit.http_errors import AnswerTooLarge, AnswerTooLate
from attestrio.kit.metrics import Metrics
from attestrio.mainnode.agree import AgreeingMainNodes
from attestrio.mainnode.client import MainNodeClient
from attestrio.sim.faults import Hangs
from attestrio.sim.main_node import SimMainNode
from attestrio.sim.rollup import next_fork
from suite import patient

A, B, C = (f"http://127.0.0.1:{port}" for port in (9001, 9002, 9003))


def configured(**main_node):
    return load_config(overrides={f"main_node.{key}": value for key, value in main_node.items()})


async def test_no_main_node_is_none():
    async with main_nodes(load_config(), Metrics()) as made:
        assert made is None


@pytest.mark.parametrize("key", ["url", "urls"])
async def test_one_main_node_is_asked_itself(key):
    async with main_nodes(configured(**{key: A}), Metrics()) as made:
        assert isinstance(made, MainNodeClient)
        assert made.name == A


@pytest.mark.parametrize(("urls", "agree"), [((A, B), 2), ((A, B, C), 2)])
async def test_several_have_to_agree_by_more_than_half_unless_told_otherwise(urls, agree):
    async with main_nodes(configured(urls=",".join(urls)), Metrics()) as made:
        assert isinstance(made, AgreeingMainNodes)
        assert (len(made.upstreams), made.agree) == (len(urls), agree)


@pytest.mark.parametrize("urls", [(), (A,), (A, B, C)])
async def test_each_main_node_may_have_a_certificate_that_was_missed(urls):
    async with main_nodes(configured(urls=",".join(urls)) if urls else load_config(), Metrics()) as made:
        assert [source.name for source in certificate_sources(made)] == list(urls)


async def test_limits_of_the_configuration_are_those_of_the_client(nursery):
    genesis = genesis_of()
    simulated = SimMainNode(None, genesis)
    url = await nursery.start(simulated.run)

    async with main_nodes(configured(url=url, max_answer_bytes="200"), Metrics()) as main_node:
        with pytest.raises(AnswerTooLarge):
            await main_node.consensus_genesis()  # about 1 kB
    simulated.fault = Hangs()
    async with main_nodes(configured(url=url, timeout_s="0.05"), Metrics()) as main_node:
        with trio.fail_after(patient(5)), pytest.raises(AnswerTooLate):
            await main_node.consensus_genesis()

    nursery.cancel_scope.cancel()


async def test_all_may_have_to_agree():
    async with main_nodes(configured(urls=f"{A},{B},{C}", agree="3"), Metrics()) as made:
        assert made.agree == 3


@pytest.mark.parametrize(
    ("main_node", "problem"),
    [
        ({"url": A, "urls": f"{B},{C}"}, "url and urls exclude each other"),
        ({"urls": f"{A},{A}"}, "urls names a main node twice"),
        ({"urls": f"{A},{B},{C}", "agree": "1"}, "agree = 1 of 3 urls: has to be more than half, at most all"),
        ({"urls": f"{A},{B},{C}", "agree": "4"}, "agree = 4 of 3 urls: has to be more than half, at most all"),
        ({"urls": f"{A},{B}", "agree": "1"}, "agree = 1 of 2 urls: has to be more than half, at most all"),
        ({"url": A, "agree": "1"}, "agree = 1 of 0 urls: has to be more than half, at most all"),
    ],
)
def test_main_nodes_that_could_not_decide_are_refused(main_node, problem):
    with pytest.raises(BadConfig) as refused:
        configured(**main_node)

    assert problem in str(refused.value)


async def test_url_that_is_none_is_named():
    with pytest.raises(BadConfig, match=r"ftp://127\.0\.0\.1"):
        async with main_nodes(configured(urls=f"{A},ftp://127.0.0.1"), Metrics()):
            raise AssertionError("not reached")


class Late:
    """A main node that fails, then has no genesis, then has one."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def consensus_genesis(self):
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0)
        if isinstance(answer, SourceError):
            raise answer
        return answer


async def test_first_genesis_is_asked_for_until_it_is_there(autojump_clock):
    genesis, heard = next_fork(genesis_of(), 1), []

    assert await first_genesis(Late(SourceError("down"), None, None, genesis), 2.0, heard.append) == genesis
    assert trio.current_time() == 6.0
    assert heard == [SourceError.code, "", ""]
