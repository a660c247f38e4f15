"""Whatever a chain looks like and wherever its limits bind: a rebuild passes its audit, or is as if it never was."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from attestrio.resequence.errors import BatchOverflows, FitsNowhere
from attestrio.resequence.record import Phase
from attestrio.sim.l2 import GENESIS_AT, GWEI, USERS, PlannedBatch, PlannedBlock, Wallets, address_of, demo_plan
from attestrio.stream import BatchType
from hypothesis import given, settings
from hypothesis import strategies as st
from resequence_kit import site_of
from suite import examples

blocks = st.tuples(st.sampled_from([0, 3, 30]), st.lists(st.sampled_from("tTcm"), max_size=4))
"""Seconds since the block before, and kinds of transactions."""
chains = st.lists(st.lists(blocks, max_size=4), min_size=2, max_size=5)
lowered = st.one_of(
    st.fixed_dictionaries({"limits": st.fixed_dictionaries({"A": st.integers(600, 4_000)})}),
    st.fixed_dictionaries({"limits": st.fixed_dictionaries({"P": st.integers(1_500, 20_000)})}),
    st.fixed_dictionaries({"data_budget": st.integers(176, 1_200)}),
    st.just({}),
)


def planned(chain):
    """The demo chain with other batches behind its second, which has the two contracts."""
    plan, wallets, at = demo_plan(), Wallets(), GENESIS_AT + 1_200
    tally, mixer = plan.contracts
    for user, nonces in enumerate((2, 1, 0, 1)):  # what the batches before have used up
        for _ in range(nonces):
            wallets.transfer(user, 0)
    kinds = {
        "t": lambda user: wallets.transfer(user, (user + 1) % USERS),
        "T": lambda user: wallets.sign(user, address_of(0), value=GWEI, data=b"\1" * 40, gas=60_000),
        "c": lambda user: wallets.call(user, tally, 5),
        "m": lambda user: wallets.call(user, mixer, 4),
    }
    batches, user = [plan.batches[0]], 0
    for batch in chain:
        made = []
        for seconds, txs in batch:
            at, user = at + seconds, user + 1
            made.append(PlannedBlock(at, tuple(kinds[kind](user % USERS) for kind in txs)))
        batches.append(PlannedBatch(tuple(made), BatchType.REGULAR if made else BatchType.INVALID))
    return replace(plan, batches=tuple(batches))


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(chain=chains, rules=lowered, strict=st.booleans(), reuse=st.booleans())
def test_it_passes_the_audit_or_nothing_has_changed(chain, rules, strict, reuse):
    plan = planned(chain)
    with tempfile.TemporaryDirectory() as folder, site_of(Path(folder), plan, kept=2) as site:
        before, txs = site.state(), site.txs(3)
        rules = replace(plan.rules, **rules)
        try:
            report = site.run(strict=strict, reuse=reuse, rules=rules, leaves=plan.all_leaves())
        except FitsNowhere:
            stopped = True
        except BatchOverflows:
            stopped = True
            assert strict
        else:
            stopped = False
            assert report.audit.ok
            assert report.failed == ()
            assert site.txs(3) == txs
            if reuse and not report.splits:
                both = min(len(before[1]), len(site.entries()))  # the end of the last batch may be missing on a side
                assert site.entries()[:both] == before[1][:both]
                assert max(len(before[1]), len(site.entries())) - both <= 1
        if stopped:
            assert site.state() == before
            assert site.journal.record().phase == Phase.RESTORED


@pytest.mark.slow
@settings(max_examples=examples(15))
@given(chain=chains, rules=lowered)
def test_a_trial_foretells_it(chain, rules):
    plan = planned(chain)
    with tempfile.TemporaryDirectory() as folder, site_of(Path(folder), plan, kept=2) as site:
        rules = replace(plan.rules, **rules)
        how = {"strict": False, "rules": rules}
        try:
            told = site.resequencer(**how).trial()
        except FitsNowhere as exc:
            with pytest.raises(FitsNowhere, match=f"block {exc.block}"):
                site.run(**how)
        else:
            done = site.run(**how)
            assert (told.splits, told.new_batches, told.new_blocks) == (done.splits, done.new_batches, done.new_blocks)
