"""Any two stream files are held against each other from the first batch that differs."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from attestrio.resequence.compare import compare_streams
from attestrio.resequence.errors import NothingInCommon
from attestrio.resequence.terms import Terms
from attestrio.sim.l2 import LOWERED, demo_plan
from attestrio.stream.reader import StreamReader
from resequence_kit import rules_a, site_a, site_of


@pytest.fixture
def files(tmp_path):
    """Stream a before and after a rebuild that has split batch 2 behind its second block."""
    with site_a(tmp_path) as site:
        old = tmp_path / "old.bin"
        shutil.copy(tmp_path / "stream.bin", old)
        site.run(strict=False, rules=rules_a(data_budget=480))
        with StreamReader.open(old) as before:
            yield before, site.stream.file


def test_it_begins_at_the_batch_before_the_first_difference(files):
    compared = compare_streams(*files, Terms(data_budget=480))

    assert compared.audit.ok
    assert compared.kept.batch == 1
    assert compared.audit.new_batches == 3
    assert compared.first_difference is not None


def test_what_was_split_is_no_strict_rebuild(files):
    assert compare_streams(*files, Terms(strict=True)).audit.broken == ("P5",)


def test_a_stream_is_a_rebuild_of_itself(files):
    old, _ = files

    compared = compare_streams(old, old, Terms(strict=True))

    assert compared.first_difference is None
    assert compared.audit.ok
    assert compared.kept.batch == 1
    assert compared.audit.same_hashes == 5


def test_a_stream_that_lacks_the_end_of_its_last_batch_differs_only_there(tmp_path):
    with site_a(tmp_path) as site:
        shutil.copy(tmp_path / "stream.bin", tmp_path / "old.bin")
        site.run()
        with StreamReader.open(tmp_path / "old.bin") as old:
            compared = compare_streams(old, site.stream.file, Terms(strict=True))

    assert compared.audit.ok
    assert (compared.first_difference, compared.kept.batch) == (39, 2)


def test_the_batch_that_was_kept_can_be_said(tmp_path):
    plan = demo_plan()
    with site_of(tmp_path, plan, kept=6) as site:
        shutil.copy(tmp_path / "stream.bin", tmp_path / "old.bin")
        site.run(strict=False, rules=replace(plan.rules, limits=LOWERED))
        with StreamReader.open(tmp_path / "old.bin") as old:
            found = compare_streams(old, site.stream.file, Terms())
            said = compare_streams(old, site.stream.file, Terms(), kept_batch=6)
            with pytest.raises(NothingInCommon, match="all of batch 10"):
                compare_streams(old, site.stream.file, Terms(), kept_batch=10)

    assert found.audit.ok
    assert said.audit.ok
    assert said.kept.batch == 6 <= found.kept.batch
    assert said.audit.old_blocks >= found.audit.old_blocks


def test_streams_of_different_chains_have_nothing_in_common(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "demo").mkdir()
    with (
        site_a(tmp_path / "a") as one,
        site_of(tmp_path / "demo", demo_plan()) as other,
        pytest.raises(NothingInCommon, match="no batch 2 in common: the first difference is entry 1"),
    ):
        compare_streams(one.stream.file, other.stream.file, Terms())
