"""Makes the worlds of the stories importable from here, whichever tests are collected. Imported first."""

import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent

for folder in ("story", "unit/aggregator", "unit/gossip", "unit/sequencer"):
    if str(TESTS / folder) not in sys.path:
        sys.path.append(str(TESTS / folder))
