"""What the last request of an upload gets, and which errors are not its last word.

Values only; `held` decides.
"""

from __future__ import annotations

from typing import Protocol

from sluiceway.errors import NoSpace, SluiceError, StoreFailed, Unavailable
from sluiceway.stores.contract import Entry
from sluiceway.uploads.ledger.record import FinalResponse

__all__ = ["PASSING", "Respond"]

# Errors after which the same last request may succeed later; after any other one it never will.
PASSING = (NoSpace, Unavailable, StoreFailed)


class Respond(Protocol):
    """What the client's last request gets: the dialect knows."""

    def __call__(self, outcome: Entry | SluiceError) -> FinalResponse: ...
