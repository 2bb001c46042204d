"""What the last request of an upload gets, and which errors are not its last word.

Values only; `held` decides.
"""

from __future__ import annotations

from typing import Protocol

from sluiceway.errors import NoSpace, OverQuota, SluiceError, StoreFailed, Unavailable
from sluiceway.stores.contract import Entry
from sluiceway.uploads.ledger.record import FinalResponse

__all__ = ["PASSING_ERRORS", "Respond", "replied"]

# Errors after which the same last request may succeed later; after any other one it never will.
PASSING_ERRORS = (NoSpace, OverQuota, Unavailable, StoreFailed)


class Respond(Protocol):
    """What the client's last request gets: the dialect knows."""

    def __call__(self, outcome: Entry | SluiceError) -> FinalResponse: ...


def replied(entry: Entry) -> FinalResponse | None:
    """What another server said of the file, where nobody saw it; None for a file that is here."""
    if (reply := entry.reply) is None:
        return None
    try:
        body = reply.body.decode()
    except UnicodeDecodeError:
        body = ""
    return FinalResponse(reply.status, tuple(reply.headers.items()) if body else (), body)
