"""sluiceway.wire.event_stream: server-sent events, both ways, in every cutting."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadRequest, PeerFailed
from sluiceway.testing.splits import cut_at_random, cuttings
from sluiceway.wire.event_stream import (
    MOST_EVENT_BYTES,
    EventStreamDecoder,
    ServerEvent,
    format_comment,
    format_event,
)
from wire.forms.costs import assert_linear


def events(pieces: Iterable[bytes]) -> list[ServerEvent] | str:
    decoder = EventStreamDecoder()
    found: list[ServerEvent] = []
    try:
        for piece in pieces:
            found += decoder.feed(piece)
    except PeerFailed:
        return "too large"
    return found


STREAMS: list[tuple[bytes, list[tuple[str, str, str]]]] = [
    (b"", []),
    (b"data: x\n\n", [("message", "x", "")]),
    (b"event: progress\ndata: {}\n\n", [("progress", "{}", "")]),
    (b"data: a\ndata: b\n\n", [("message", "a\nb", "")]),
    (b"data:a\n\ndata:  b\n\n", [("message", "a", ""), ("message", " b", "")]),
    (b"id: 7\ndata: a\n\ndata: b\n\n", [("message", "a", "7"), ("message", "b", "7")]),
    (b"id: 7\x00\ndata: a\n\n", [("message", "a", "")]),
    (b"data\n\n", [("message", "", "")]),
    (b"event: x\n\n", []),  # without data there is no event
    (b"event: x\n\ndata: y\n\n", [("message", "y", "")]),
    (b": comment\n\ndata: x\n\n", [("message", "x", "")]),
    (b"retry: 10\nunknown: y\ndata: x\n\n", [("message", "x", "")]),
    (b"data: x\r\n\r\ndata: y\r\n\r\n", [("message", "x", ""), ("message", "y", "")]),
    (b"data: x\r\rdata: y\r\rz", [("message", "x", ""), ("message", "y", "")]),
    (b"\xef\xbb\xbfdata: x\n\n", [("message", "x", "")]),
    ("data: größe €\n\n".encode(), [("message", "größe €", "")]),
    (b"data: \xff\n\n", [("message", "\ufffd", "")]),
    (b"data: x\n", []),  # cut off before its end, it never comes
    (b"data: x", []),
]


@pytest.mark.parametrize(("raw", "expected"), STREAMS)
def test_a_stream_is_read_alike_in_every_cutting(
    raw: bytes, expected: list[tuple[str, str, str]]
) -> None:
    """All three line ends, names, ids, comments, as WHATWG writes them."""
    for cutting in cuttings(raw):
        assert events(cutting.pieces) == [ServerEvent(*event) for event in expected], cutting.name


def test_events_are_written_byte_for_byte() -> None:
    """One data line for each line of data."""
    assert format_event("progress", '{"kept":1}') == b'event: progress\ndata: {"kept":1}\n\n'
    assert (
        format_event("end", "a\r\nb\nc", "5") == b"event: end\nid: 5\ndata: a\ndata: b\ndata: c\n\n"
    )
    assert format_comment("still here") == b": still here\n\n"
    assert format_comment() == b": \n\n"
    assert events([format_comment("a\nb")]) == []


@pytest.mark.parametrize(
    ("event", "id"), [("a\nb", None), ("a\r", None), ("a", "1\n2"), ("a", "\x00")]
)
def test_a_name_cannot_start_another_field(event: str, id: str | None) -> None:
    """Names and ids are one line."""
    with pytest.raises(BadRequest):
        format_event(event, "x", id)


LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\x00"), max_size=20)


@given(
    st.lists(
        st.tuples(LINE.filter(bool), st.lists(LINE, min_size=1, max_size=3), LINE), max_size=4
    ),
    st.integers(0, 999),
)
def test_what_is_written_is_read_back(sent: list[tuple[str, list[str], str]], seed: int) -> None:
    """Names, data of several lines, ids; with heartbeats between."""
    raw = b"".join(
        format_event(event, "\n".join(data), number) + format_comment("hi")
        for event, data, number in sent
    )

    expected = [ServerEvent(event, "\n".join(data), number) for event, data, number in sent]
    assert events([raw]) == expected
    assert events(cut_at_random(raw, seed).pieces) == expected


@given(
    st.lists(
        st.sampled_from(
            [b"data", b"id", b"event", b":", b" ", b"\n", b"\r", b"\r\n", b"x", b"\xff"]
        )
    ).map(b"".join)
)
def test_any_bytes_are_read_alike_in_every_cutting(raw: bytes) -> None:
    """The cuts decide nothing."""
    whole = events([raw])
    for cutting in cuttings(raw, seeds=2):
        assert events(cutting.pieces) == whole, cutting.name


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_the_size_of_an_event_is_at_its_edge(ending: bytes) -> None:
    """MOST_EVENT_BYTES in one event are read, one more is refused, in lines or in one."""
    edge = b"data:" + b"x" * (MOST_EVENT_BYTES - 5) + ending * 2
    over = b"data:" + b"x" * (MOST_EVENT_BYTES - 4) + ending * 2
    lines = (b"data:" + b"x" * 95 + ending) * 700
    for size in (1, len(edge) * 2):
        found = events(pieces_of(edge + b"data: y" + ending * 2, size))
        assert not isinstance(found, str)
        assert [len(event.data) for event in found] == [MOST_EVENT_BYTES - 5, 1]
        assert events(pieces_of(over, size)) == "too large"
        assert events(pieces_of(lines, size)) == "too large"


def pieces_of(raw: bytes, size: int) -> Iterable[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


@pytest.mark.parametrize("unit", [b"\n", b"\r", b"\r\n", b"data:x\n\n", b":\n"])
def test_a_flood_costs_linear_time(unit: bytes) -> None:
    """In one piece or in many."""

    def flood(size: int) -> None:
        decoder = EventStreamDecoder()
        text = unit * size
        decoder.feed(text)
        for at in range(0, len(text), 7):
            decoder.feed(text[at : at + 7])

    assert_linear(flood, 2_000)
