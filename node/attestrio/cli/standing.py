"""How a running process does, in one line: what `systemctl status` shows. Reads that neither wait nor raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attestrio.app.aggregator import RunningAggregator
    from attestrio.app.operator import RunningOperator
    from attestrio.app.parts import RunningNode
    from attestrio.app.sequencer import RunningSequencer


def node_line(node: RunningNode) -> str:
    """An attester node or a main node."""
    epoch = node.epoch.value
    if epoch is None:
        return "waits for a genesis"
    wanted = epoch.status.status.next_batch
    told = "no batch is named yet" if wanted is None else f"batch {wanted} is to be attested"
    peers = "" if node.network is None else f", {len(node.network.peers)} peers"
    return f"epoch {epoch.number}: {told}{peers}"


def operator_line(operator: RunningOperator) -> str:
    progress = operator.state.progress
    return f"{len(progress)} batches unfinished, all before block {progress.watermark().block} are done"


def aggregator_line(aggregator: RunningAggregator) -> str:
    serving = aggregator.serving
    return f"stands by: {serving.absent()}" if serving.core.value is None else "leads"


def sequencer_line(sequencer: RunningSequencer) -> str:
    head = sequencer.chain.head
    halted = "" if head.halted is None else f"; nothing is built: {head.halted}"
    return f"batch {head.batch}, block {head.block}{halted}"
