"""How many connections fit: a new one beyond that is refused with a readable answer.

The kernel gives the lowest free number to a descriptor, so a connection's own number says how many
descriptors are in use, files included. The refusal comes before the process has none left.
"""

from __future__ import annotations

import logging
import time
from enum import Enum

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

__all__ = ["Admission", "ConnectionLimit"]

log: logging.Logger = logging.getLogger("sluiceway")

# Connections get one half of the descriptors; the rest is for what each of them opens: a draft, a
# file, a backend.
SHARE = 2
ALWAYS_OPEN = 64  # descriptors that a process uses without any client
LOG_INTERVAL = 60.0  # seconds between two lines in the log


class Admission(Enum):
    """What to do with a new connection."""

    ACCEPT = "serve it"
    REFUSE = "answer 503 and give the client time to read that"
    CLOSE = "answer 503 and close at once"


class ConnectionLimit:
    """The limit of one process, by the descriptors it may have."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._logged = -LOG_INTERVAL
        self._refused = 0  # since the last line in the log

    @property
    def limit(self) -> int:
        """Descriptors that this process may have, as the system says now."""
        return _descriptor_limit() if self._limit is None else self._limit

    @property
    def first_refused(self) -> int:
        """The lowest descriptor of a connection that is refused."""
        return max(ALWAYS_OPEN, self.limit // SHARE)

    def backlog(self, wanted: int) -> int:
        """How many connections may wait in the kernel.

        They are accepted all at once, and must have descriptors then.
        """
        return max(16, min(wanted, self.limit // 8))

    def admit(self, descriptor: int) -> Admission:
        """Decide about a connection by its descriptor; logs refusals once a minute."""
        if descriptor < self.first_refused:
            return Admission.ACCEPT
        self._refused += 1
        now = time.monotonic()
        if now - self._logged >= LOG_INTERVAL:
            log.warning(
                "%d connections refused: of %d descriptors (ulimit -n) connections get %d, "
                "files the others",
                self._refused,
                self.limit,
                self.first_refused,
            )
            self._logged, self._refused = now, 0
        return (
            Admission.REFUSE
            if descriptor < self.first_refused + self.limit // 4
            else Admission.CLOSE
        )


def _descriptor_limit() -> int:
    if resource is None:
        return 1 << 20
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else min(soft, 1 << 20)
