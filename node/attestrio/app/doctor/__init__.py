"""What `attestrio doctor` looks at: this machine, this configuration, and whom it has to talk to.

Nothing is changed, but for a file in the data directory that is written to measure the disk and removed. The lock of
the data directory is not taken, so a node may run, or start, meanwhile.
"""

from attestrio.app.doctor.examine import examine
from attestrio.app.doctor.finding import Finding, Grade
from attestrio.app.doctor.subject import Subject, subject_of

__all__ = ["Finding", "Grade", "Subject", "examine", "subject_of"]
