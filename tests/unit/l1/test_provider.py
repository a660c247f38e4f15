import httpx
import msgspec
import pytest
import trio
from attestrio.kit.http import AnswerTooLarge, AnswerTooLate, BadHttpStatus, Unreachable, memory_client
from attestrio.kit.jsonrpc import MalformedAnswer, MethodMissing, RpcFailed
from attestrio.l1 import BlockNumber, Endpoint, L1Provider, chain_schedule
from attestrio.l1.errors import (
    CallReverted,
    ChainChanged,
    EndpointsDisagree,
    LogHashDiffers,
    LogOutsideFilter,
    LogRemoved,
    LogsUnsorted,
    RangeRefused,
    RateLimited,
    WrongChain,
)
from attestrio.l1.wire import answer_untrusted, integer_untrusted
from stub_chain import ADDRESS, CHAIN_ID, WANTED, Refusal, Status, StubChain, StubNode

ALL = BlockNumber(0), BlockNumber(3)


@pytest.fixture
def chain():
    chain = StubChain()
    chain.mine(2, 0, 3)
    return chain


def endpoint_of(node: StubNode, name: str = "a", **more) -> Endpoint:
    return Endpoint(f"http://{name}.test/", CHAIN_ID, http=memory_client(node, f"http://{name}.test/"), **more)


def provider_of(*nodes: StubNode, agree: int = 1, schedule=(), **more) -> L1Provider:
    endpoints = [endpoint_of(node, name) for node, name in zip(nodes, "abcde", strict=False)]
    return L1Provider(endpoints, agree=agree, schedule=schedule, **more)


# --- answers


async def test_blocks_logs_and_calls_come_as_values(chain, autojump_clock):
    provider = provider_of(StubNode(chain))

    head = await provider.block("latest")

    assert head == chain.blocks[3].header
    assert await provider.block(BlockNumber(1)) == chain.blocks[1].header
    assert await provider.block(chain.blocks[1].header.hash) == chain.blocks[1].header
    assert await provider.block(BlockNumber(99)) is None
    assert await provider.logs(WANTED, *ALL) == chain.all_logs()
    assert await provider.logs_of(WANTED, head.ref) == chain.blocks[3].logs
    assert await provider.call(ADDRESS, b"\x01\x02", head.hash) == b"\x01\x02"
    assert await provider.ask("eth_chainId", (), integer_untrusted) == CHAIN_ID


async def test_the_newest_block_that_a_tag_named_is_remembered(chain, autojump_clock):
    provider = provider_of(StubNode(chain), StubNode(chain), StubNode(chain), agree=2)
    before = provider.head

    await provider.block(BlockNumber(1))
    by_number = provider.head
    await provider.block("latest")

    assert (before, by_number, provider.head) == (None, None, BlockNumber(3))


# --- the chain id


async def test_another_chain_at_the_start_is_for_the_operator_to_change(chain, autojump_clock):
    provider = provider_of(StubNode(chain), StubNode(chain, chain_id=5))

    with pytest.raises(WrongChain) as told:
        await provider.start()

    assert (told.value.source, told.value.got, told.value.want) == ("http://b.test/", 5, CHAIN_ID)


async def test_an_endpoint_that_is_away_at_the_start_is_done_without_and_checked_before_its_first_use(
    chain, autojump_clock
):
    good, away = StubNode(chain), StubNode(chain, chain_id=5)
    away.twist = lambda method, result: Status(502)
    provider = provider_of(away, good)

    await provider.start()
    away.twist = lambda method, result: result
    await provider.block("latest")

    assert {asked for _, asked in away.asked} == {"eth_chainId"}
    with pytest.raises(ChainChanged):
        await provider_of(away).block("latest")


async def test_no_endpoint_at_the_start_is_an_error(chain, autojump_clock):
    node = StubNode(chain)
    node.twist = lambda method, result: Status(502)

    with pytest.raises(BadHttpStatus):
        await provider_of(node).start()


def refused(method, result):
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("away", "error"), [(lambda method, result: Status(502), BadHttpStatus), (refused, Unreachable)]
)
async def test_an_endpoint_that_comes_back_as_another_chain_is_not_asked(chain, autojump_clock, away, error):
    node = StubNode(chain)
    provider = provider_of(node)
    await provider.start()
    node.twist = away
    with pytest.raises(error):
        await provider.block("latest")
    node.twist, node.chain_id = lambda method, result: result, 5

    with pytest.raises(ChainChanged):
        await provider.block("latest")

    assert node.asked[-1][1] == "eth_chainId"


# --- asking again


async def test_what_fails_is_asked_again_after_1_2_and_4_seconds(chain, autojump_clock):
    node = StubNode(chain)
    provider = L1Provider([endpoint_of(node)])
    await provider.start()
    node.twist = lambda method, result: Refusal(-32000, "header not found")

    with pytest.raises(RpcFailed):
        await provider.block("latest")

    assert node.calls("eth_getBlockByNumber") == [0.0, 1.0, 3.0, 7.0]


async def test_the_fourth_try_may_succeed(chain, autojump_clock):
    node = StubNode(chain)
    provider = L1Provider([endpoint_of(node)])
    node.twist = lambda method, result: result if trio.current_time() >= 7.0 else Status(500)

    assert await provider.block("latest") == chain.blocks[3].header
    assert trio.current_time() == 7.0


def test_a_chains_schedule_is_counted_in_its_blocks():
    assert chain_schedule() == (12.0, 24.0, 48.0)
    assert chain_schedule(1.0) == (1.0, 2.0, 4.0)


async def test_an_answer_that_refuses_is_not_asked_for_again(chain, autojump_clock):
    first, second = StubNode(chain), StubNode(chain)
    provider = L1Provider([endpoint_of(first), endpoint_of(second, "b")])
    first.twist = lambda method, result: (
        Refusal(3, "execution reverted", "0x3102f10c") if method == "eth_call" else result
    )

    with pytest.raises(CallReverted) as told:
        await provider.call(ADDRESS, b"", "latest")

    assert told.value.data == bytes.fromhex("3102f10c")
    assert trio.current_time() == 0.0
    assert second.calls("eth_call") == []


async def test_a_method_that_nobody_has_is_not_waited_for(chain, autojump_clock):
    provider = L1Provider([endpoint_of(StubNode(chain))])

    with pytest.raises(MethodMissing):
        await provider.ask("eth_nothing", (), integer_untrusted)

    assert trio.current_time() == 0.0


async def test_a_whole_call_has_a_deadline(chain, autojump_clock):
    node = StubNode(chain)
    node.delay_s = 9.0
    provider = L1Provider([endpoint_of(node, timeout_s=5.0)], deadline_s=8.0)

    with pytest.raises(AnswerTooLate) as told:
        await provider.block("latest")

    assert told.value.limit_s == 8.0
    assert trio.current_time() == 8.0


async def test_an_answer_that_is_too_large_is_cut_off_and_not_asked_for_again(chain, autojump_clock):
    node = StubNode(chain)
    provider = L1Provider([endpoint_of(node, max_answer_bytes=1_000)])

    with pytest.raises(AnswerTooLarge):
        await provider.logs(WANTED, *ALL)

    assert len(node.calls("eth_getLogs")) == 1


# --- several endpoints


async def test_the_next_endpoint_answers_and_is_asked_first_from_then_on(chain, autojump_clock):
    dead, good = StubNode(chain), StubNode(chain)
    dead.twist = lambda method, result: Status(500)
    provider = provider_of(dead, good)

    for _ in range(3):
        assert await provider.block("latest") is not None

    assert len(dead.asked) == 1


async def test_agreement_gives_what_most_endpoints_say(chain, autojump_clock):
    liar = StubNode(chain)
    liar.twist = lambda method, result: result[:-1] if method == "eth_getLogs" else result
    provider = provider_of(liar, StubNode(chain), StubNode(chain), agree=2)

    assert await provider.logs(WANTED, *ALL) == chain.all_logs()


async def test_two_answers_that_differ_are_both_not_believed(chain, autojump_clock):
    liar = StubNode(chain)
    liar.twist = lambda method, result: result[:-1] if method == "eth_getLogs" else result

    with pytest.raises(EndpointsDisagree) as told:
        await provider_of(liar, StubNode(chain), agree=2).logs(WANTED, *ALL)

    assert (told.value.most, told.value.wanted) == (1, 2)


async def test_endpoints_agree_on_a_refusal_too(chain, autojump_clock):
    nodes = [StubNode(chain) for _ in range(3)]
    for node in nodes[:2]:
        node.twist = lambda method, result: Refusal(3, "reverted", "0xff") if method == "eth_call" else result

    with pytest.raises(CallReverted):
        await provider_of(*nodes, agree=2).call(ADDRESS, b"", "latest")


async def test_the_head_is_what_enough_endpoints_have_reached(chain, autojump_clock):
    nodes = [StubNode(chain) for _ in range(3)]
    nodes[0].lag, nodes[1].lag = 3, 1
    provider = provider_of(*nodes, agree=2)

    assert await provider.block("latest") == chain.blocks[2].header


async def test_endpoints_that_hang_delay_nobody_once_enough_agree(chain, autojump_clock):
    nodes = [StubNode(chain) for _ in range(3)]
    nodes[2].delay_s = 5.0

    assert await provider_of(*nodes, agree=2).block(BlockNumber(1)) == chain.blocks[1].header
    assert trio.current_time() == 0.0


@pytest.mark.parametrize("agree", [0, 3, 2])
def test_an_agreement_that_two_answers_could_reach_is_refused(chain, agree):
    nodes = [endpoint_of(StubNode(chain)) for _ in range(4 if agree == 2 else 2)]

    with pytest.raises(ValueError, match="agree"):
        L1Provider(nodes, agree=agree)


# --- rate limits


@pytest.mark.parametrize(
    "limit",
    [
        Status(429),
        Status(503),
        Refusal(-32005, "daily request count exceeded, request rate limited"),
        Refusal(429, "slow"),
    ],
    ids=["429", "503", "-32005", "429 as error"],
)
async def test_an_endpoint_that_wants_a_rest_gets_one_while_the_other_answers(chain, autojump_clock, limit):
    tired, good = StubNode(chain), StubNode(chain)
    provider = provider_of(tired, good)
    tired.twist = lambda method, result: limit

    for _ in range(5):
        await provider.block("latest")

    assert len(tired.asked) == 1


async def test_the_only_endpoint_is_asked_again_when_its_rest_is_over(chain, autojump_clock):
    node = StubNode(chain)
    provider = L1Provider([endpoint_of(node)])
    node.twist = lambda method, result: Status(429, "20") if trio.current_time() < 20.0 else result

    await provider.block("latest")

    assert trio.current_time() == 20.0
    assert node.calls("eth_chainId") == [0.0, 20.0]


async def test_rests_double_while_an_endpoint_says_nothing_but_no(chain, autojump_clock):
    node = StubNode(chain)
    endpoint = endpoint_of(node)
    node.twist = lambda method, result: Status(429)
    rests = []

    for _ in range(8):
        with pytest.raises(RateLimited) as told:
            await endpoint.check()
        rests.append(told.value.wait_s)
        await trio.sleep(endpoint.rests_for_s)

    assert rests == [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(node.asked) == 8


# --- refusals of a range, in the words of several endpoints


@pytest.mark.parametrize(
    ("code", "text", "most"),
    [
        (-32005, "query returned more than 10000 results. Try with this block range [0x1, 0x10].", 16),
        (-32602, "Log response size exceeded. this block range should work: [0x0, 0x3ff]", 1024),
        (-32000, "block range is too wide", None),
        (-32600, "Block range limit exceeded. See more details at https://example", None),
        (-32614, "eth_getLogs is limited to a 10,000 range", None),
        (-32000, "exceed maximum block range: 5000", None),
        (-32005, "query timeout exceeded", None),
        (-32000, "query exceeds max results 20000, retry with the range 1-2", None),
        (-32012, "too many blocks requested", None),
        (-32005, "limit exceeded", "rate"),
    ],
)
async def test_a_refused_range_is_told_from_a_rate_limit(chain, autojump_clock, code, text, most):
    node = StubNode(chain)
    node.twist = lambda method, result: Refusal(code, text) if method == "eth_getLogs" else result

    with pytest.raises((RangeRefused, RateLimited)) as told:
        await provider_of(node).logs(WANTED, *ALL)

    assert isinstance(told.value, RateLimited) if most == "rate" else told.value.most == most


async def test_an_endpoint_that_lacks_the_block_of_a_call_is_not_the_last_word(chain, autojump_clock):
    behind, good = StubNode(chain), StubNode(chain)
    lacks = Refusal(-32602, "BlockOutOfRangeError: block height is 102 but requested was 105")
    behind.twist = lambda method, result: lacks if method == "eth_call" else result

    assert await provider_of(behind, good).call(ADDRESS, b"\x01\x02", "latest") == b"\x01\x02"
    assert len(behind.calls("eth_call")) == 1


# --- lies


def nested(depth: int) -> list:
    """Lists in lists."""
    return [nested(depth - 1)] if depth else []


def change(**fields):
    return lambda logs: [logs[0], {**logs[1], **fields}, *logs[2:]]


LIES = {
    "another contract": (change(address="0x" + "bb" * 20), LogOutsideFilter),
    "another event": (change(topics=["0x" + "00" * 32, "0x" + "00" * 32]), LogOutsideFilter),
    "no topics": (change(topics=[]), LogOutsideFilter),
    "another block": (change(blockNumber="0x2"), LogHashDiffers),
    "a block above the range": (lambda logs: [*logs, {**logs[-1], "blockNumber": "0x4"}], LogOutsideFilter),
    "unsorted": (lambda logs: logs[::-1], LogsUnsorted),
    "twice": (lambda logs: [logs[0], *logs], LogsUnsorted),
    "removed": (change(removed=True), LogRemoved),
    "two hashes for one block": (change(blockHash="0x" + "00" * 32), LogHashDiffers),
    "a missing field": (lambda logs: [{k: v for k, v in logs[0].items() if k != "blockHash"}], MalformedAnswer),
    "null for a field": (change(blockNumber=None), MalformedAnswer),
    "a short hash": (change(blockHash="0x1234"), MalformedAnswer),
    "white space in data": (change(data="0x12 34 "), MalformedAnswer),
    "half a byte of data": (change(data="0x123"), MalformedAnswer),
    "five topics": (change(topics=["0x" + "00" * 32] * 5), MalformedAnswer),
    "a negative number": (change(blockNumber="-0x1"), MalformedAnswer),
    "an enormous number": (change(blockNumber="0x" + "f" * 16), MalformedAnswer),
    "an underscore": (change(logIndex="0x1_0"), MalformedAnswer),
    "an object": (lambda logs: {"logs": logs}, MalformedAnswer),
    "null": (lambda logs: None, MalformedAnswer),
    "nested deeply": (lambda logs: nested(900), MalformedAnswer),
}


@pytest.mark.parametrize("lie", LIES)
async def test_impossible_logs_are_refused_by_name_and_another_endpoint_is_asked(chain, autojump_clock, lie):
    twist, error = LIES[lie]
    liar = StubNode(chain)
    liar.twist = lambda method, result: twist(result) if method == "eth_getLogs" else result

    with pytest.raises(error):
        await provider_of(liar).logs(WANTED, *ALL)
    assert await provider_of(liar, StubNode(chain)).logs(WANTED, *ALL) == chain.all_logs()


async def test_logs_of_one_block_must_be_of_that_block(chain, autojump_clock):
    liar = StubNode(chain)
    liar.twist = lambda method, result: (
        change(blockHash="0x" + "00" * 32)(result) if method == "eth_getLogs" else result
    )

    with pytest.raises(LogHashDiffers):
        await provider_of(liar).logs_of(WANTED, chain.blocks[3].header.ref)


async def test_an_endpoint_that_does_not_know_the_block_does_not_pass_for_one_without_logs(chain, autojump_clock):
    behind = StubNode(chain)
    behind.lag = 1

    assert (
        await provider_of(behind, StubNode(chain)).logs_of(WANTED, chain.blocks[3].header.ref) == chain.blocks[3].logs
    )


@pytest.mark.parametrize(
    "fields",
    [{"number": "0x7"}, {"hash": "0x12"}, {"parentHash": None}, {"timestamp": "soon"}],
    ids=["number", "hash", "parent", "time"],
)
async def test_an_impossible_header_is_refused(chain, autojump_clock, fields):
    liar = StubNode(chain)
    liar.twist = lambda method, result: {**result, **fields} if method == "eth_getBlockByNumber" else result

    assert await provider_of(liar, StubNode(chain)).block(BlockNumber(1)) == chain.blocks[1].header
    assert len(liar.calls("eth_getBlockByNumber")) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"jsonrpc":"2.0","id":7,"result":' + b"[" * 100_000,
        b'{"jsonrpc":"2.0","id":8,"result":"0x1"}',
        b'{"jsonrpc":"2.0","id":7}',
        b'{"jsonrpc":"1.0","id":7,"result":"0x1"}',
    ],
    ids=["empty", "list", "null", "no text", "bomb", "other id", "no result", "other version"],
)
def test_what_is_no_answer_ends_in_one_error(raw):
    with pytest.raises(MalformedAnswer):
        answer_untrusted(raw, 7, "stub")


@pytest.mark.parametrize("data", [None, "0x12", {"data": "0x12"}, {"data": 5}, "not hex", 5, ["0x12"]])
def test_the_data_of_a_revert_is_found_where_endpoints_put_it_and_never_an_error(data):
    error = {"code": 3, "message": "execution reverted"} | ({} if data is None else {"data": data})
    raw = msgspec.json.encode({"jsonrpc": "2.0", "id": 7, "error": error})

    with pytest.raises(CallReverted) as told:
        answer_untrusted(raw, 7, "stub")

    assert told.value.data == (b"\x12" if data in ("0x12", {"data": "0x12"}) else b"")
