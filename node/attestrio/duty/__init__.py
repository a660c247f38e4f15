"""What happened to each batch on this node, and why not."""

from attestrio.duty.events import DutyEvent, EndState, Reason, Step
from attestrio.duty.log import DutyLog

__all__ = ["DutyEvent", "DutyLog", "EndState", "Reason", "Step"]
