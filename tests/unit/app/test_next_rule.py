"""Which batch a main node asks for when an earlier one has no certificate: its configuration decides."""

import pytest
import trio
from app_kit import Site
from attestrio.config import ServeSection
from attestrio.roles import BatchNumber, BatchQC
from msgspec.structs import replace


@pytest.mark.parametrize(("rule", "asked"), [("gap", 1), ("max", 4)])
async def test_main_node_with_a_gap_asks_by_its_rule(nursery, tmp_path, autojump_clock, rule, asked):
    site = Site(nursery, tmp_path)
    config = replace(site.config(serve=True), serve=ServeSection(bind="", next_rule=rule))
    node = await site.start(config)
    epoch = await node.wait_epoch()

    for number in (0, 3):
        batch = await site.chain.batch_to_sign(BatchNumber(number))
        await epoch.store.persist_qc(BatchQC(batch, {}))
    await trio.sleep(1.5)

    assert epoch.status.status.next_batch == asked
