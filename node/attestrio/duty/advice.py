"""What an operator can do about a batch that did not end well. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attestrio.duty.events import Reason

ADVICE: Final[Mapping[Reason, str]] = {
    Reason.MAIN_NODE_DOWN: "See whether the main node runs and main_node.urls is right.",
    Reason.SOURCE_FAILED: "See the log for what failed: the store's disk, or the batch source.",
    Reason.STATUS_LOWER: "Look at the main node: a replica lags, or batches are being rolled back.",
    Reason.MOVED_BACKWARDS: "Batches were rolled back, or the main node lost data: `attestrio rollback status`.",
    Reason.GENESIS_CHANGED: "The chain forked: `attestrio rollback status` says whether the node waits for you.",
    Reason.DISSENT: "One of main_node.urls is wrong or outdated: the detail names it.",
    Reason.NODE_STOPPED: "See why the node was down: the supervisor's log of that time.",
    Reason.BATCH_NOT_PERSISTED: "The batch source is behind: look at the main node, the batch file, or the peers.",
    Reason.HASH_NOT_AVAILABLE: "The main node has not made the batch's commitment yet: look at it if this lasts.",
    Reason.BATCH_CONFLICT: "Stop and compare the main node with Ethereum: it gave two hashes for one number.",
    Reason.NOT_ON_CHAIN: "Nothing, while Ethereum catches up; with finality = finalized that takes 15 minutes.",
    Reason.CHAIN_CONTRADICTS: "Do not sign by hand: the main node, or your Ethereum endpoint, shows another chain.",
    Reason.SUPERSEDED: "This node was slower than the others: see which step took long, then its disk and sources.",
    Reason.NOT_IN_COMMITTEE: "Have the key registered, or use the right one: `attestrio keys public`.",
    Reason.SIGNING_REFUSED: "The detail names the rule. If two nodes use this key, stop one of them now.",
    Reason.VOTE_BELOW_FLOOR: "This node was slower than the others: see which step took long.",
    Reason.VOTE_INVALID: "A peer sends bad votes: `attestrio peers` shows its score; nothing is lost by it.",
    Reason.QUORUM_NOT_REACHED: "See below who missed, and whether this node hears them: `attestrio peers`.",
    Reason.QC_ELSEWHERE: "This node heard no votes: see whether it has peers: `attestrio peers`.",
    Reason.QC_CONFLICT: "This node holds another batch than the committee: compare its source with Ethereum.",
    Reason.DATA_UNAVAILABLE: "See whether this machine reaches the batch's URLs.",
    Reason.VERIFIER_FAILED: "See the verifier program: it gave no verdict.",
    Reason.AGGREGATOR_AWAY: "See whether the aggregator runs and aggregator.address is right.",
    Reason.RESPONSE_REFUSED: "The detail is the aggregator's answer: is the operator registered with this BLS key?",
}
"""Only where there is something to be done."""
