"""The watermark never passes what is unfinished."""

import pytest
from attestrio.operator.progress import Progress, Watermark
from attestrio.operator.settings import OutboxSettings, WorkSettings
from hypothesis import given, settings
from hypothesis import strategies as st
from suite import examples


def test_the_watermark_waits_for_the_oldest_and_then_jumps():
    progress = Progress(Watermark(10))
    for key, block in ((b"a", 3), (b"b", 5), (b"c", 5)):
        progress.opened(key, Watermark(block, key[0]))

    progress.finished(b"b")
    assert progress.watermark() == Watermark(3, ord("a"))
    progress.finished(b"a")
    assert progress.watermark() == Watermark(5, ord("c"))
    progress.finished(b"c")
    assert progress.watermark() == Watermark(10)


def test_what_a_reorg_took_away_holds_nothing_up_until_it_is_back():
    progress = Progress(Watermark(10))
    progress.opened(b"a", Watermark(3))

    progress.parked(b"a")
    assert progress.watermark() == Watermark(10)
    assert b"a" in progress
    progress.opened(b"a", Watermark(4))
    assert progress.watermark() == Watermark(4)


KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), KEYS, st.integers(0, 9)), st.tuples(st.just("finish"), KEYS),
        st.tuples(st.just("park"), KEYS), st.tuples(st.just("end"), st.integers(0, 12)),
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=examples(100))
@given(STEPS)
def test_the_watermark_is_the_least_of_what_is_open_and_known(steps):
    progress, model, end = Progress(Watermark(0)), {}, 0
    for step in steps:
        match step:
            case "open", key, block:
                progress.opened(key, Watermark(block))
                model[key] = block
            case "finish", key:
                progress.finished(key)
                model.pop(key, None)
            case "park", key:
                progress.parked(key)
                model[key] = None
            case "end", block:
                progress.end, end = Watermark(block), block

        assert progress.watermark() == Watermark(min([end, *(one for one in model.values() if one is not None)]))
        assert len(progress) == len(model)


def test_a_watermark_survives_the_disk():
    mark = Watermark(2**40, 7)

    assert Watermark.from_bytes(mark.to_bytes()) == mark
    with pytest.raises(ValueError, match="3 B"):
        Watermark.from_bytes(b"abc")


def test_waits_double_up_to_the_cap():
    outbox = OutboxSettings(retry_first_s=0.2, retry_cap_s=1.0)

    assert [outbox.wait_s(n) for n in (1, 2, 3, 4, 1000)] == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert WorkSettings().wait_s(10**6) == 600.0


def test_a_fixed_interval_stays_fixed_and_without_limit():
    outbox = OutboxSettings(retry_first_s=0.5, retry_cap_s=0.5)

    assert {outbox.wait_s(n) for n in (1, 2, 10**9)} == {0.5}


def test_fast_attempts_end_where_a_limit_is_configured():
    outbox = OutboxSettings(fast_retries=3, resend_s=300.0)

    assert [outbox.wait_s(n) for n in (3, 4)] == [0.8, 300.0]
