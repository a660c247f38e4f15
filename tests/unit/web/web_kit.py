"""A committee that votes, as the page of a node sees it: real signatures, a real log, a wall clock that is told."""

from attestrio.duty import DutyLog, EpochOf, Step
from attestrio.kit.metrics import Metrics
from attestrio.roles import (
    AttesterSecretKey,
    Batch,
    BatchHash,
    BatchNumber,
    Committee,
    GenesisHash,
    NodeSecretKey,
    WeightedAttester,
)
from attestrio.web.api import SCHEMA, LogView, NodeView, StatusView
from attestrio.web.attendance import Attendance
from attestrio.web.health import Finding, Health

GENESIS = GenesisHash(b"\x01" * 32)
SECRETS = sorted(
    (AttesterSecretKey.from_bytes(bytes([one]) * 32) for one in range(1, 6)), key=lambda secret: secret.public().xy
)
KEYS = [secret.public() for secret in SECRETS]
COMMITTEE = Committee([WeightedAttester(key, 10) for key in KEYS])
PEER = NodeSecretKey.from_bytes(b"\x07" * 32).public()
ALL = range(len(KEYS))


class Wall:
    """Unix time as the test sets it."""

    def __init__(self, now=1_000.0):
        self.now = now

    def __call__(self):
        return self.now


def batch(number, content=b"\x0a"):
    return Batch(BatchNumber(number), BatchHash(content * 32), GENESIS)


class Chain:
    """A log and the attendance over it; `told` is the status, `vote` what members send."""

    def __init__(self, own=0):
        self.wall = Wall()
        self.duty = DutyLog(self.wall)
        self.duty.begin_epoch(EpochOf(1, GENESIS, COMMITTEE, None if own is None else KEYS[own]))
        self.attendance = Attendance(self.duty.story, self.wall)

    def told(self, number):
        """As the status runner and the finder of certificates note it."""
        self.wall.now += 1.0
        passed = self.attendance.wanted
        self.duty.record(BatchNumber(number), Step.TOLD)
        if passed is not None and passed != number:
            self.duty.record(passed, Step.SUBMITTED)
        self.attendance.told(BatchNumber(number))

    def passed(self, *numbers):
        for number in numbers:
            self.told(number)

    def vote(self, number, members, content=b"\x0a", via=None):
        self.wall.now += 0.1
        self.duty.heard([SECRETS[one].sign_batch(batch(number, content)) for one in members], via)

    def missed(self, member):
        return dict(self.attendance.missed(KEYS[member]))


class Scripted:
    """A role whose document is what the test says; counts how often it is made."""

    def __init__(self):
        self.text = "one"
        self.made = 0
        self.told = 0
        self.batches = {}

    def say(self, text, *, tell=True):
        self.text = text
        self.told += tell

    def stamp(self):
        return self.told

    async def document(self):
        self.made += 1
        node = NodeView(role="attester", name="scripted", version="0", started_at=0.0)
        line = LogView(at=0.0, level="info", source="attestrio", text=self.text)
        return StatusView(schema=SCHEMA, version=0, as_of=0.0, node=node, ready=True, checks=[], log=[line])

    async def batch(self, number):
        return self.batches.get(number)


def health(**findings):
    """Checks that say what the mapping says when they are asked."""
    made = Health(Wall(), Metrics())
    for name, finding in findings.items():
        made.add(name, finding if callable(finding) else lambda finding=finding: finding)
    return made


GOOD, BAD = Finding(True, "all is well"), Finding(False, "the main node is away")
