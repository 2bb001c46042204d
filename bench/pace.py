"""A rate in user space, for a sender or a reader that is not to be faster. It knows no socket."""

from __future__ import annotations

import time

__all__ = ["SLICE", "Pace"]

SLICE = 1 << 17  # most bytes of one paced call: at 50 MB/s one every 2.6 ms
# seconds: a sleep that ends late (0.1 ms is usual) is made up for, a peer that stood still for
# longer is not
LATE = 0.01


class Pace:
    """Sleeps so that no more than `rate` bytes a second pass, however fast the other side is.

    As on a line, what was not
    used is lost."""

    def __init__(self, rate: float) -> None:
        self._rate, self._due = rate, time.perf_counter()

    def wait(self, count: int) -> None:
        """Returns when the time that `count` bytes take is over."""
        now = time.perf_counter()
        self._due = max(self._due, now - LATE) + count / self._rate
        if self._due > now:
            time.sleep(self._due - now)
