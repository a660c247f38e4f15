"""What happened to each batch on this node, and why not."""

from attestrio.duty.events import DutyEvent, EndState, Reason, Step
from attestrio.duty.log import DutyLog
from attestrio.duty.story import BatchStory, Delivery, EpochOf, HeardVote

__all__ = ["BatchStory", "Delivery", "DutyEvent", "DutyLog", "EndState", "EpochOf", "HeardVote", "Reason", "Step"]
