"""The peak of a copy's memory, told by the command itself: a fork, which begins with the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["peak_of_copy"]

DEADLINE = 600.0  # seconds; the long proofs copy gigabytes
COPY = """# in a fork
import resource
from sluiceway.__main__ import run
try:
    run()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_of_copy(*words: str | Path, stdin: Path | None = None) -> int:
    """Runs `sluiceway copy -q WORDS`. Returns the peak of its resident memory, in KiB."""
    line = [sys.executable, "-c", COPY, "copy", "-q", *map(str, words)]
    with open(stdin or os.devnull, "rb") as feed:
        cat = subprocess.Popen(["cat"], stdin=feed, stdout=subprocess.PIPE)
    done = subprocess.run(line, stdin=cat.stdout, capture_output=True, text=True, timeout=DEADLINE)
    if cat.stdout:
        cat.stdout.close()
    cat.wait(10)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
