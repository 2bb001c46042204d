"""The states of an upload as a table: (state, what happened) -> next state. A missing entry is a mistake in the upload service.

Nothing but the words and the table lives here; `upload service.py` is the only code that moves an upload through it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from sluiceway.errors import SluiceError

__all__ = ["ENDED", "TRANSITIONS", "State", "after"]


class State(IntEnum):
    """Where an upload stands. The numbers are written to the progress board: never renumber."""

    WAITING = 0  # somebody watches for it; it has not begun
    RECEIVING = 1  # bytes come in
    CHECKING = 2  # the body is whole; digests, durability and visibility are under way
    COMPLETE = 3  # the destination said so
    FAILED = 4  # nothing was stored
    CANCELLED = 5  # the client took it back; nothing was stored

    @property
    def word(self) -> str:
        return self.name.lower()


ENDED: Final = frozenset({State.COMPLETE, State.FAILED, State.CANCELLED})

TRANSITIONS: Final[dict[tuple[State, str], State]] = {
    (State.WAITING, "begin"): State.RECEIVING,
    (State.RECEIVING, "whole"): State.CHECKING,
    (State.RECEIVING, "fail"): State.FAILED,
    (State.RECEIVING, "cancel"): State.CANCELLED,
    (State.CHECKING, "published"): State.COMPLETE,
    (State.CHECKING, "fail"): State.FAILED,
    (State.CHECKING, "cancel"): State.CANCELLED,
}


def after(state: State, happened: str) -> State:
    """The next state. Raises SluiceError for a step the table does not know."""
    try:
        return TRANSITIONS[state, happened]
    except KeyError:
        raise SluiceError(f"An upload that is {state.word} cannot {happened}") from None
