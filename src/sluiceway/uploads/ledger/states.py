"""The states of an upload that may outlive a request, as a table: (state, event) -> next state.

The words stand in ledgers on disk: never rename one. Only `resumable` moves an upload through it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sluiceway.errors import SluiceError

__all__ = ["STEPS", "LedgerState", "step"]


class LedgerState(StrEnum):
    """Where an upload stands between two requests."""

    OPEN = "open"  # bytes are missing, or the client has not said that it sent all of them
    FINISHING = "finishing"  # all bytes are kept; the object gets its name
    DONE = "done"  # its last request has a final response, which a repeated one gets again
    GONE = "gone"  # cancelled, expired or spoiled; remembered for a while


STEPS: Final[dict[tuple[LedgerState, str], LedgerState]] = {
    (LedgerState.OPEN, "whole"): LedgerState.FINISHING,
    (LedgerState.OPEN, "refuse"): LedgerState.DONE,  # by the app: its answer is final
    (LedgerState.OPEN, "end"): LedgerState.GONE,
    (LedgerState.FINISHING, "publish"): LedgerState.DONE,
    # The key is taken: sending again changes nothing.
    (LedgerState.FINISHING, "refuse"): LedgerState.DONE,
    (LedgerState.FINISHING, "retry"): LedgerState.OPEN,  # the destination is full or stopped
    (LedgerState.DONE, "end"): LedgerState.GONE,
    # A key has one upload at a time, and its client may begin it anew.
    (LedgerState.OPEN, "restart"): LedgerState.OPEN,
    (LedgerState.DONE, "restart"): LedgerState.OPEN,
}


def step(state: LedgerState, event: str) -> LedgerState:
    """Return the next state. Raises SluiceError for a step that the table does not have."""
    try:
        return STEPS[state, event]
    except KeyError:
        raise SluiceError(f"An upload that is {state} cannot {event}") from None
