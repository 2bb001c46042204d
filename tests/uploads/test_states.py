"""The table of states: no order of events leads out of it, and an end stays an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import SluiceError
from sluiceway.uploads.states import ENDED, TRANSITIONS, State, after

EVENTS = sorted({event for _, event in TRANSITIONS})


@given(st.lists(st.sampled_from([*EVENTS, "nonsense", ""]), max_size=30))
def test_random_events_never_leave_the_table(events: list[str]) -> None:
    """A step is in the table, or refused and without effect. Only checking leads to complete."""
    state, walked = State.RECEIVING, [State.RECEIVING]
    for event in events:
        try:
            state = after(state, event)
        except SluiceError:
            assert (state, event) not in TRANSITIONS
            continue
        walked.append(state)

    assert all(step not in ENDED for step in walked[:-1])
    if state is State.COMPLETE:
        assert walked == [State.RECEIVING, State.CHECKING, State.COMPLETE]


def test_every_state_leads_to_an_end() -> None:
    """And each of the three ends can be reached from the first state."""

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
    assert set(ENDED) <= reachable(State.RECEIVING)
    assert all(reachable(state) == {state} for state in ENDED)


def test_a_step_outside_the_table_is_named_in_the_error() -> None:
    """The error says which event met which state."""
    with pytest.raises(SluiceError, match="complete cannot whole"):
        after(State.COMPLETE, "whole")


def test_the_numbers_of_states_never_change() -> None:
    """Processes of two versions may share a progress table for a moment."""
    assert {state.word: int(state) for state in State} == {
        "receiving": 1,
        "checking": 2,
        "complete": 3,
        "failed": 4,
        "cancelled": 5,
    }
