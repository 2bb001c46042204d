"""sluiceway.wire.headers.ranges: RFC 9110 14, for servers and for clients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import BadRequest, RangeUnsatisfiable
from sluiceway.wire.headers.ranges import (
    MOST_RANGE_HEADER,
    MOST_RANGES,
    ByteRange,
    byteranges_head,
    byteranges_length,
    byteranges_tail,
    byteranges_type,
    content_range,
    parse_content_range,
    parse_unsatisfied_range,
    resolve_ranges,
    unsatisfied_range,
)
from wire.forms.costs import GROWTH, assert_linear

HUGE = "9" * 1000

RESOLVED: list[tuple[str, list[tuple[int, int]]]] = [
    ("bytes=0-0", [(0, 1)]),
    ("bytes=0-99", [(0, 100)]),
    ("bytes=0-100", [(0, 100)]),
    ("bytes=99-", [(99, 100)]),
    ("bytes=99-99", [(99, 100)]),
    (f"bytes=5-{HUGE}", [(5, 100)]),
    ("bytes=-1", [(99, 100)]),
    ("bytes=-100", [(0, 100)]),
    ("bytes=-101", [(0, 100)]),
    (f"bytes=-{HUGE}", [(0, 100)]),
    ("bytes=000-0009", [(0, 10)]),
    ("BYTES=1-2", [(1, 3)]),
    ("bytes=1-2, 5-6", [(1, 3), (5, 7)]),
    ("bytes= 1-2 ,\t5-6 ,", [(1, 3), (5, 7)]),
    ("bytes=,,1-2", [(1, 3)]),
    ("bytes=5-6,1-2", [(5, 7), (1, 3)]),  # the client's order
    ("bytes=1-2,200-300", [(1, 3)]),  # ranges outside are left out
    ("bytes=0-4,5-9", [(0, 10)]),  # adjacent
    ("bytes=0-5,3-9", [(0, 10)]),  # overlapping
    ("bytes=50-59,0-5,3-9", [(0, 10), (50, 60)]),
    ("bytes=0-,-1", [(0, 100)]),
    ("bytes=0-9,5-14,10-19", [(0, 20)]),  # two overlaps
]


@pytest.mark.parametrize(("header", "expected"), RESOLVED)
def test_ranges_of_a_hundred_bytes(header: str, expected: list[tuple[int, int]]) -> None:
    """Clipped, joined where they touch, never empty; integers of any size."""
    assert resolve_ranges(header, 100) == [ByteRange(*found) for found in expected]


IGNORED = [
    "",
    "bytes",
    "bytes=",
    "bytes=,",
    "bytes=-",
    "bytes=a-b",
    "bytes=1",
    "bytes=5-4",
    "bytes=1-2,5-4",
    "bytes=1-2;5-6",
    "bytes=--1",
    "bytes=1--2",
    "bytes=+1-2",
    "bytes=1_0-20",
    "bytes=１-２",
    "bytes=1 -2",
    "bytes 1-2",
    "lines=1-2",
    "seconds=1-2",
    "bytes=0-9,0-9,0-9,0-9",  # three overlaps
]


@pytest.mark.parametrize("header", [None, *IGNORED])
def test_malformed_and_unreasonable_ranges_are_ignored(header: str | None) -> None:
    """The response is the whole object, 200."""
    assert resolve_ranges(header, 100) is None


@pytest.mark.parametrize(
    "header", ["bytes=100-", "bytes=100-200", "bytes=-0", f"bytes={HUGE}-", "bytes=100-,200-300"]
)
def test_a_range_without_bytes_is_an_error_with_the_size(header: str) -> None:
    """416, with the size for Content-Range."""
    with pytest.raises(RangeUnsatisfiable) as refused:
        resolve_ranges(header, 100)
    assert refused.value.members == {"size": 100}


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=5-"])
def test_an_empty_object_is_sent_whole(header: str) -> None:
    """No Content-Range can name a part of nothing, and resuming an empty download must not fail."""
    assert resolve_ranges(header, 0) is None


def test_the_limits_are_at_their_edge() -> None:
    """MOST_RANGES ranges and MOST_RANGE_HEADER characters are served; one more is ignored."""
    many = ",".join(f"{n * 2}-{n * 2}" for n in range(MOST_RANGES))
    assert len(resolve_ranges("bytes=" + many, 1000) or []) == MOST_RANGES
    assert resolve_ranges(f"bytes={many},900-900", 1000) is None

    longest = "bytes=" + "0" * (MOST_RANGE_HEADER - len("bytes=-5")) + "-5"
    assert len(longest) == MOST_RANGE_HEADER
    assert resolve_ranges(longest, 10) == [ByteRange(0, 6)]
    assert resolve_ranges(longest.replace("=", "=0"), 10) is None


@given(st.text(alphabet="bytes=0123456789-, \t;_+é", max_size=80), st.integers(0, 200))
def test_any_header_gives_ranges_inside_the_object(text: str, size: int) -> None:
    """Sorted, inside, never empty, never more than the object in all."""
    for header in (text, "bytes=" + text):
        try:
            found = resolve_ranges(header, size)
        except RangeUnsatisfiable:
            continue
        if found is not None:
            assert found
            assert all(0 <= r.start < r.stop <= size for r in found)
            assert sum(r.length for r in found) <= size


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=6))
def test_the_requested_bytes_are_the_returned_bytes(asked: list[tuple[int, int]]) -> None:
    """The union of the result is the union of the request, where the header counts."""
    header = "bytes=" + ",".join(f"{start}-{start + length - 1}" for start, length in asked)
    found = resolve_ranges(header, 100)
    if found is not None:
        wanted = {byte for start, length in asked for byte in range(start, start + length)}
        assert {byte for r in found for byte in range(r.start, r.stop)} == wanted


@pytest.mark.parametrize("unit", ["0-0,", "0-9,5-", "-1,", ",", "1-2,3-4,"])
def test_a_long_header_costs_linear_time(unit: str) -> None:
    """CVE-2025-62727: merging ranges took quadratic time; here up to the limit of the header."""
    fits = MOST_RANGE_HEADER // len(unit) // GROWTH - 1
    assert_linear(lambda n: resolve_ranges("bytes=" + unit * n, 1 << 40), fits)


def test_content_range_is_written_and_read_back() -> None:
    """Inclusive on the wire, exclusive in the code."""
    assert content_range(ByteRange(0, 500), 1234) == "bytes 0-499/1234"
    assert parse_content_range("bytes 0-499/1234") == (0, 500, 1234)
    assert parse_content_range("Bytes 7-7/*") == (7, 8, None)
    assert unsatisfied_range(1234) == "bytes */1234"
    assert parse_unsatisfied_range("bytes */1234") == 1234


NO_CONTENT_RANGE = [
    "",
    "bytes",
    "bytes 0-1",
    "bytes 1-0/5",
    "bytes 0-5/5",
    "bytes 0-/5",
    "bytes -5/5",
    "bytes */5",
    "bytes a-b/c",
    "bytes +0-1/5",
    "bytes 0-1/-5",
    "bytes=0-1/5",
    "lines 0-1/5",
    f"bytes 0-{HUGE}/*",
    "bytes 0-1/5" + " " * 5000,
]


@pytest.mark.parametrize("value", NO_CONTENT_RANGE)
def test_an_invalid_content_range_is_refused(value: str) -> None:
    """A resuming client must never append bytes of an unknown offset."""
    with pytest.raises(BadRequest):
        parse_content_range(value)


@pytest.mark.parametrize(
    "value", ["", "bytes 0-1/5", "bytes */*", "bytes */", "lines */5", "bytes */+5"]
)
def test_only_the_form_of_a_416_has_a_size(value: str) -> None:
    """Any other text has none."""
    assert parse_unsatisfied_range(value) is None


def test_the_length_of_a_multipart_answer_is_exact() -> None:
    """Heads, bytes and tail add up to Content-Length."""
    whole = bytes(range(256))
    parts = [ByteRange(0, 10), ByteRange(100, 200)]
    raw = b"".join(
        byteranges_head("B", part, 256, "text/plain") + whole[part.start : part.stop]
        for part in parts
    )
    raw += byteranges_tail("B")

    assert byteranges_type("B") == "multipart/byteranges; boundary=B"
    assert raw.startswith(
        b"\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-9/256\r\n\r\n\x00"
    )
    assert raw.endswith(b"\r\n--B--\r\n")
    assert byteranges_length("B", parts, 256, "text/plain") == len(raw)
