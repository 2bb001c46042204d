"""The states of an upload as a table: (state, event) -> next state. No other step is allowed.

Only the words and the table live here. `session.py` is the only code that moves an upload through
it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from sluiceway.errors import SluiceError

__all__ = ["ENDED", "TRANSITIONS", "State", "after"]


class State(IntEnum):
    """Where an upload stands.

    The numbers stand in the shared progress table: never renumber. 0 is memory that was never used.
    """

    RECEIVING = 1  # bytes arrive
    CHECKING = 2  # the body is whole; digests are checked, files are synchronised and published
    COMPLETE = 3  # the destination confirmed it
    FAILED = 4  # nothing was stored
    CANCELLED = 5  # the client cancelled it; nothing was stored

    @property
    def word(self) -> str:
        return _WORDS[self]


_WORDS: Final = {state: state.name.lower() for state in State}  # `name` calls three functions
ENDED: Final = frozenset({State.COMPLETE, State.FAILED, State.CANCELLED})

TRANSITIONS: Final[dict[tuple[State, str], State]] = {
    (State.RECEIVING, "whole"): State.CHECKING,
    (State.RECEIVING, "fail"): State.FAILED,
    (State.RECEIVING, "cancel"): State.CANCELLED,
    (State.CHECKING, "published"): State.COMPLETE,
    (State.CHECKING, "fail"): State.FAILED,
    (State.CHECKING, "cancel"): State.CANCELLED,
}


def after(state: State, event: str) -> State:
    """Return the next state. Raises SluiceError for a step that the table does not have."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise SluiceError(f"An upload that is {state.word} cannot {event}") from None
