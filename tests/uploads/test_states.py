"""The table of states: whatever happens in whatever order, an upload is somewhere in it, and its end is its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import SluiceError
from sluiceway.uploads.states import ENDED, TRANSITIONS, State, after

EVENTS = sorted({happened for _, happened in TRANSITIONS})


@given(st.lists(st.sampled_from([*EVENTS, "nonsense", ""]), max_size=30))
def test_random_events_never_leave_the_table(events: list[str]) -> None:
    """A step is in the table or refused and without effect; nothing follows an end; complete comes only by way of checking."""
    state, walked = State.WAITING, [State.WAITING]
    for happened in events:
        try:
            state = after(state, happened)
        except SluiceError:
            assert (state, happened) not in TRANSITIONS
            continue
        walked.append(state)

    assert all(step not in ENDED for step in walked[:-1])
    if state is State.COMPLETE:
        assert walked == [State.WAITING, State.RECEIVING, State.CHECKING, State.COMPLETE]


def test_every_state_that_is_no_end_can_end() -> None:
    """From anywhere there is a way to an end, and to each of the three from the beginning."""

    def reachable(state: State) -> set[State]:
        found, fresh = {state}, [state]
        while fresh:
            here = fresh.pop()
            beyond = {
                target for (source, _), target in TRANSITIONS.items() if source is here
            } - found
            found |= beyond
            fresh += beyond
        return found

    assert all(reachable(state) & ENDED for state in State)
    assert set(ENDED) <= reachable(State.WAITING)
    assert all(reachable(state) == {state} for state in ENDED)


def test_a_step_the_table_does_not_know_is_named() -> None:
    """The mistake says what was tried where."""
    with pytest.raises(SluiceError, match="complete cannot whole"):
        after(State.COMPLETE, "whole")


def test_the_numbers_are_those_on_the_board() -> None:
    """Processes of two versions may share a board for a moment: the numbers never change."""
    assert {state.word: int(state) for state in State} == {
        "waiting": 0,
        "receiving": 1,
        "checking": 2,
        "complete": 3,
        "failed": 4,
        "cancelled": 5,
    }
