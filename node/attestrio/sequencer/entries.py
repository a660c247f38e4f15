"""From sealed blocks and batches to the messages of the stream, in their order.

    bookmark(batch n)  BatchStart n   [ bookmark(block b)  L2Block b  Transaction*  L2BlockEnd b ]*   BatchEnd n

The end of a batch is written when the next one begins, so it stands alone here.

Source: cdk-erigon 2723db784b; stream a and the whole stream of chain 779 come out of these, byte for byte.
"""

from __future__ import annotations

from attestrio.sequencer.sealed import BatchHead, SealedBatch, SealedBlock
from attestrio.stream.messages import (
    AnyMessage,
    BatchEnd,
    BatchStart,
    Bookmark,
    L2Block,
    L2BlockEnd,
    Transaction,
)


def batch_start(head: BatchHead, chain_id: int) -> list[AnyMessage]:
    """How a batch begins. The fork of the genesis batch is 0."""
    start = BatchStart(head.number, type=head.kind, fork_id=head.fork, chain_id=chain_id)
    return [Bookmark.batch(head.number), start]


def batch_end(batch: SealedBatch) -> BatchEnd:
    """How it ends. Raises ValueError while it is open."""
    if not batch.closed:
        raise ValueError(f"batch {batch.number} is open")
    return BatchEnd(batch.number, local_exit_root=batch.local_exit_root, state_root=batch.state_root)


def block_messages(block: SealedBlock, *, end: bool = True) -> list[AnyMessage]:
    """A block, without what belongs to its batch. Old streams have no `end` of the genesis block."""
    messages: list[AnyMessage] = [Bookmark.block(block.number), l2_block(block)]
    messages += [
        Transaction(block.number, encoded=tx.encoded, effective_gas_price_percentage=tx.percentage) for tx in block.txs
    ]
    if end:
        messages.append(L2BlockEnd(block.number))
    return messages


def l2_block(block: SealedBlock) -> L2Block:
    """The gas limit is never written."""
    return L2Block(
        block.number,
        batch_number=block.batch.number,
        timestamp=block.timestamp,
        delta_timestamp=block.delta,
        min_timestamp=block.min_timestamp,
        l1_blockhash=block.l1_hash,
        l1_infotree_index=block.l1_index,
        hash=block.hash,
        state_root=block.state_root,
        global_exit_root=block.ger,
        coinbase=block.header.coinbase,
        block_info_root=block.block_info_root,
    )
