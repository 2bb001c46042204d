"""How many connections fit: a new one that gets a high descriptor is refused readably, before the process has none left.

The kernel gives the lowest free number, so a connection's own number tells how many descriptors are in use, files included.
"""

from __future__ import annotations

import logging
import time
from enum import Enum

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

__all__ = ["Admission", "Crowd"]

log: logging.Logger = logging.getLogger("sluiceway")

SHARE = 2  # connections get descriptors up to one half; the rest is for what each of them opens: a draft, a file, a backend
ANYWAY = 64  # descriptors a process has in use without any client
OFTEN = 60.0  # seconds between two lines in the log


class Admission(Enum):
    """IN: serve it. REFUSED: say 503 and give it time to read that. FULL: say 503 and close at once."""

    IN = "in"
    REFUSED = "refused"
    FULL = "full"


class Crowd:
    """The connections of one process, by the descriptors it may have."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._logged = -OFTEN
        self._refused = 0  # since the last line in the log

    @property
    def limit(self) -> int:
        """Descriptors this process may have, as the system says now."""
        return _limit() if self._limit is None else self._limit

    @property
    def most(self) -> int:
        """The first descriptor that is refused."""
        return max(ANYWAY, self.limit // SHARE)

    def backlog(self, wanted: int) -> int:
        """How many connections may wait in the kernel: they are accepted all at once, and then must have descriptors."""
        return max(16, min(wanted, self.limit // 8))

    def admit(self, descriptor: int) -> Admission:
        if descriptor < self.most:
            return Admission.IN
        self._refused += 1
        now = time.monotonic()
        if now - self._logged >= OFTEN:
            log.warning(
                "%d connections refused: of %d descriptors (ulimit -n) connections get %d, files the others",
                self._refused,
                self.limit,
                self.most,
            )
            self._logged, self._refused = now, 0
        return Admission.REFUSED if descriptor < self.most + self.limit // 4 else Admission.FULL


def _limit() -> int:
    if resource is None:
        return 1 << 20
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else min(soft, 1 << 20)
