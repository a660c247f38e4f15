"""A process that rebuilds stream a with lower limits in a folder, and kills itself after so many steps.

    python dying_rebuild.py FOLDER STEPS

Prints how many steps there were, if it gets to its end.
"""

import os
import signal
import sys
from pathlib import Path

from crash_kit import fuse
from resequence_kit import Site, leaves_a, rules_a

if __name__ == "__main__":
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    with Site(folder, rules_a(limits={"A": 1160}), leaves_a()) as site:
        counted = fuse(site, steps, lambda: os.kill(os.getpid(), signal.SIGKILL))
        site.run(strict=False)
        print(counted.burnt)
