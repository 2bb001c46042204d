"""sluiceway.wire.event_stream: server-sent events as readers understand them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_stream_decoder import EventStreamDecoder, ServerEvent
from sluiceway.errors import BadRequest
from sluiceway.testing.splits import cut_at_random
from sluiceway.wire.event_stream import format_comment, format_event


def _events(pieces: Iterable[bytes]) -> list[ServerEvent]:
    decoder = EventStreamDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def test_events_are_written_byte_for_byte() -> None:
    """With one data line for each line of data."""
    assert format_event("progress", '{"kept":1}') == b'event: progress\ndata: {"kept":1}\n\n'
    assert (
        format_event("end", "a\r\nb\nc", "5") == b"event: end\nid: 5\ndata: a\ndata: b\ndata: c\n\n"
    )
    assert format_event("e", "größe €") == "event: e\ndata: größe €\n\n".encode()
    assert format_event("e", "\ud800") == b"event: e\ndata: ?\n\n"
    assert format_comment("still here") == b": still here\n\n"
    assert format_comment() == b": \n\n"
    assert _events([format_comment("a\nb")]) == []


@pytest.mark.parametrize(
    ("event", "id"), [("a\nb", None), ("a\r", None), ("a", "1\n2"), ("a", "\x00")]
)
def test_a_line_break_in_a_name_or_id_is_refused(event: str, id: str | None) -> None:
    """It would begin another field."""
    with pytest.raises(BadRequest):
        format_event(event, "x", id)


LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\x00"), max_size=20)


@given(
    st.lists(
        st.tuples(LINE.filter(bool), st.lists(LINE, min_size=1, max_size=3), LINE), max_size=4
    ),
    st.integers(0, 999),
)
def test_written_events_are_read_back(sent: list[tuple[str, list[str], str]], seed: int) -> None:
    """Names, data of several lines and ids, with heartbeats between them."""
    raw = b"".join(
        format_event(event, "\n".join(data), number) + format_comment("hi")
        for event, data, number in sent
    )

    expected = [ServerEvent(event, "\n".join(data), number) for event, data, number in sent]
    assert _events([raw]) == expected
    assert _events(cut_at_random(raw, seed).pieces) == expected
