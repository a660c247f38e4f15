"""The registry: names, label sets that start at zero, OpenMetrics text."""

import pytest
from attestrio.kit.metrics import Metrics


def test_known_label_values_start_at_zero():
    metrics = Metrics()

    metrics.counter("attestrio_votes_total", "Votes.", labels={"result": ("ok", "refused")})

    assert metrics.value("attestrio_votes_total", result="ok") == 0
    assert metrics.value("attestrio_votes_total", result="refused") == 0


def test_every_combination_of_two_label_sets_starts_at_zero():
    metrics = Metrics()

    metrics.counter("attestrio_x", "X.", labels={"a": ("1", "2"), "b": ("3", "4")})

    assert [metrics.value("attestrio_x", a=a, b=b) for a in "12" for b in "34"] == [0, 0, 0, 0]


def test_a_label_without_known_values_starts_empty():
    metrics = Metrics()

    metrics.gauge("attestrio_last_vote", "Last.", labels={"member": ()})

    with pytest.raises(KeyError, match="no series attestrio_last_vote"):
        metrics.value("attestrio_last_vote", member="m")


def test_counting_shows_in_value_and_text():
    metrics = Metrics()
    votes = metrics.counter("attestrio_votes_total", "Votes.", labels={"result": ("ok",)})
    ready = metrics.gauge("attestrio_ready", "Ready.")
    took = metrics.histogram("attestrio_sign_seconds", "Signing.")

    votes.labels(result="ok").inc(3)
    ready.set(1)
    took.observe(0.2)

    text = metrics.render().decode()
    assert metrics.value("attestrio_votes_total", result="ok") == 3
    assert metrics.value("attestrio_votes", result="ok") == 3
    assert metrics.value("attestrio_sign_seconds_count") == 1
    assert 'attestrio_votes_total{result="ok"} 3.0\n' in text
    assert "attestrio_ready 1.0\n" in text
    assert 'attestrio_sign_seconds_bucket{le="0.25"} 1.0\n' in text
    assert text.endswith("# EOF\n")
    assert "_created" not in text


def test_build_and_process_are_there_under_our_name():
    text = Metrics(version="9.9").render().decode()

    assert "attestrio_build_info{" in text
    assert 'version="9.9"' in text
    assert "attestrio_process_cpu_seconds_total" in text
    assert "attestrio_process_resident_memory_bytes" in text


def test_every_series_starts_with_attestrio():
    metrics = Metrics()
    metrics.counter("attestrio_a", "A.")

    lines = metrics.render().decode().splitlines()

    assert len(lines) > 5
    assert [line for line in lines if not line.startswith(("#", "attestrio_"))] == []


@pytest.mark.parametrize("name", ["votes_total", "attestrio-votes", "Attestrio_votes", "attestrio_", "attestrio_a\n"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="attestrio_"):
        Metrics().gauge(name, "X.")


def test_a_part_built_again_goes_on_counting():
    metrics = Metrics()
    metrics.counter("attestrio_votes_total", "Votes.").inc(2)

    metrics.counter("attestrio_votes_total", "Votes.").inc()

    assert metrics.value("attestrio_votes_total") == 3


def test_one_name_cannot_mean_two_things():
    metrics = Metrics()
    metrics.gauge("attestrio_x", "X.")

    with pytest.raises(ValueError, match="exists as a gauge"):
        metrics.counter("attestrio_x", "X.")
    with pytest.raises(ValueError, match="exists as a gauge"):
        metrics.gauge("attestrio_x", "X.", labels={"a": ("b",)})


def test_two_nodes_in_one_process_keep_apart():
    one, other = Metrics(), Metrics()

    one.counter("attestrio_x", "X.").inc()
    other.counter("attestrio_x", "X.")

    assert (one.value("attestrio_x"), other.value("attestrio_x")) == (1, 0)


def test_docs_list_names_kinds_and_labels():
    metrics = Metrics()
    metrics.gauge("attestrio_b", "B.")
    metrics.counter("attestrio_a", "A.", labels={"result": ("ok",)})

    described = [(doc.name, doc.kind, doc.help, doc.labels) for doc in metrics.describe()]

    assert described == [
        ("attestrio_a_total", "counter", "A.", ("result",)),
        ("attestrio_b", "gauge", "B.", ()),
    ]
