"""X-Request-ID and W3C Trace Context: what is taken, what is made, what goes on."""

from __future__ import annotations

import re

import pytest

from sluiceway.wire.request_trace import (
    MOST_ID,
    MOST_STATE,
    NO_TRACE,
    current_trace,
    read_trace,
    trace_headers,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
BITS = (1 << 191) + 12345


@pytest.mark.parametrize("text", ["a", "req-1/2:3@host.example", "A" * MOST_ID])
def test_an_id_is_taken_only_if_it_is_sane(text: str) -> None:
    """No control byte, space or quote, and not longer than the bound; else one is made."""
    assert read_trace(BITS, text).request_id == text
    for wrong in ("", f"{text} b", f'{text}"', f"{text}\n", "ü", "x" * (MOST_ID + 1)):
        made = read_trace(BITS, wrong)
        assert re.fullmatch("[0-9a-f]{32}", made.request_id)
        assert made.trace_id == made.request_id


def test_a_trace_goes_on_with_a_span_of_its_own() -> None:
    """The id of the trace and whether it is sampled stay; the span is this server's."""
    found = read_trace(BITS, None, f"00-{TRACE}-{SPAN}-01")
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", found.parent)
    assert SPAN not in found.parent
    assert (found.trace_id, found.request_id) == (TRACE, TRACE)
    assert read_trace(BITS, None, f"cc-{TRACE}-{SPAN}-ff-more").parent.endswith("-01")


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_an_invalid_parent_begins_a_new_trace(wrong: str) -> None:
    """Its state is dropped with it (Trace Context 3.3)."""
    found = read_trace(BITS, "mine", wrong, "vendor=1")
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", found.parent)
    assert (found.request_id, found.state) == ("mine", "")
    assert TRACE not in found.parent


def test_a_state_goes_on_with_its_trace() -> None:
    """As it came, unless it is too long or has control bytes."""
    parent = f"00-{TRACE}-{SPAN}-00"
    assert read_trace(BITS, None, parent, "a=1,b=2").state == "a=1,b=2"
    assert read_trace(BITS, None, parent, "a" * (MOST_STATE + 1)).state == ""
    assert read_trace(BITS, None, parent, "a\x01").state == ""
    assert read_trace(BITS, None, None, "a=1").state == ""


def test_the_headers_are_those_of_the_request_that_runs() -> None:
    """Work that no request asked for sends none."""
    assert current_trace.get() is NO_TRACE
    assert trace_headers() == {}
    found = read_trace(BITS, "mine", f"00-{TRACE}-{SPAN}-00", "a=1")
    token = current_trace.set(found)
    try:
        assert trace_headers() == {
            "x-request-id": "mine",
            "traceparent": found.parent,
            "tracestate": "a=1",
        }
    finally:
        current_trace.reset(token)
