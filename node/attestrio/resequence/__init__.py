"""Rebuilding batches that were rolled back, and judging whether what came out is what went in.

Named here is what needs no file. The rebuild is `runner`, its files are `journal`, two whole streams are for `compare`.
"""

from attestrio.resequence.audit import audit
from attestrio.resequence.batches import StreamBatch, StreamBlock, read_batches
from attestrio.resequence.plan import Cursor, FailedTx, Options, Split
from attestrio.resequence.report import PROPERTIES, AuditReport, Progress, Report, Row
from attestrio.resequence.terms import Kept, Terms

__all__ = [
    "PROPERTIES",
    "AuditReport",
    "Cursor",
    "FailedTx",
    "Kept",
    "Options",
    "Progress",
    "Report",
    "Row",
    "Split",
    "StreamBatch",
    "StreamBlock",
    "Terms",
    "audit",
    "read_batches",
]
