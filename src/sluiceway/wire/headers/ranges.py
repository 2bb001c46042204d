"""Range, Content-Range and multipart/byteranges (RFC 9110 14), for servers and clients.

Byte positions only. Knows no objects; `conditions` decides about If-Range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sluiceway.errors import BadRequest, RangeUnsatisfiable
from sluiceway.wire.numbers import ascii_uint, clipped_uint

__all__ = [
    "MOST_RANGES",
    "MOST_RANGE_HEADER",
    "ByteRange",
    "byteranges_head",
    "byteranges_length",
    "byteranges_tail",
    "byteranges_type",
    "content_range",
    "parse_content_range",
    "parse_unsatisfied_range",
    "resolve_ranges",
    "unsatisfied_range",
]

MOST_RANGE_HEADER = 4096  # characters; 50 ranges of 10 TB offsets need 1,500
MOST_RANGES = 50  # readers of PDF and zip ask for a dozen; each one costs a part head and a seek
MOST_OVERLAPS = 2  # RFC 9110 14.2: more overlapping ranges are a sign of a broken or hostile client

_SPACE = " \t"


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `start` to `stop`, exclusive; never empty."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


def resolve_ranges(header: str | None, size: int) -> list[ByteRange] | None:
    """Return the ranges of a Range header for an object of `size` bytes; None is "send all of it,
    200".

    None stands for no header, another unit, a malformed or unreasonable one (RFC 9110 14.2 lets a
    server ignore those), and any range of an empty object. Ranges are in the requested order, or
    sorted when some touched and were joined. Raises RangeUnsatisfiable, with the member `size`,
    when the object has none of the bytes.
    """
    if header is None or len(header) > MOST_RANGE_HEADER or size == 0:
        return None
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip(_SPACE).lower() != "bytes":
        return None
    given = [spec for part in specs.split(",") if (spec := part.strip(_SPACE))]
    if not 0 < len(given) <= MOST_RANGES:
        return None
    ranges: list[ByteRange] = []
    for spec in given:
        found = _resolve(spec, size)
        if found is None:
            return None
        if found.start < found.stop:
            ranges.append(found)
    if not ranges:
        raise RangeUnsatisfiable(
            f"The object has {size} bytes and none of them is in the range", size=size
        )
    return _joined(ranges)


def _resolve(spec: str, size: int) -> ByteRange | None:
    """Return one range clipped to the object, empty outside of it; None when it is malformed."""
    first, dash, last = spec.partition("-")
    if not dash:
        return None
    if not first:
        suffix = clipped_uint(last)
        return None if suffix is None else ByteRange(max(size - suffix, 0), size)
    start = clipped_uint(first)
    end = clipped_uint(last) if last else size
    if start is None or end is None or (last and end < start):
        return None
    return ByteRange(start, max(start, min(end + 1, size)))


def _joined(ranges: list[ByteRange]) -> list[ByteRange] | None:
    """Join overlapping and adjacent ranges; None when more than MOST_OVERLAPS overlap."""
    joined: list[ByteRange] = []
    overlaps = 0
    for found in sorted(ranges, key=lambda r: r.start):
        if joined and found.start <= joined[-1].stop:
            overlaps += found.start < joined[-1].stop
            joined[-1] = ByteRange(joined[-1].start, max(joined[-1].stop, found.stop))
        else:
            joined.append(found)
    if overlaps > MOST_OVERLAPS:
        return None
    return joined if len(joined) < len(ranges) else ranges


def content_range(part: ByteRange, size: int) -> str:
    """Write the Content-Range of a 206."""
    return f"bytes {part.start}-{part.stop - 1}/{size}"


def unsatisfied_range(size: int) -> str:
    """Write the Content-Range of a 416."""
    return f"bytes */{size}"


def parse_content_range(value: str) -> tuple[int, int, int | None]:
    """Read `bytes a-b/total`: start, stop, and total or None for `*`.

    Raises BadRequest, also for `bytes */total`.
    """
    positions, total = _split_content_range(value)
    first, dash, last = positions.partition("-")
    if not dash:
        raise BadRequest("Content-Range must have the form bytes FIRST-LAST/TOTAL")
    start, end = ascii_uint(first, "Content-Range"), ascii_uint(last, "Content-Range")
    whole = None if total == "*" else ascii_uint(total, "Content-Range")
    if end < start or (whole is not None and end >= whole):
        raise BadRequest(
            "Content-Range contradicts itself: FIRST must not lie behind LAST, nor LAST behind"
            " TOTAL"
        )
    return start, end + 1, whole


def parse_unsatisfied_range(value: str) -> int | None:
    """Read the size in a 416's `bytes */N`; None for a value of another form."""
    try:
        positions, total = _split_content_range(value)
        return ascii_uint(total) if positions == "*" else None
    except BadRequest:
        return None


def _split_content_range(value: str) -> tuple[str, str]:
    if len(value) > MOST_RANGE_HEADER:
        raise BadRequest("Content-Range is too long")
    unit, _, rest = value.strip(_SPACE).partition(" ")
    positions, slash, total = rest.partition("/")
    if unit.lower() != "bytes" or not slash:
        raise BadRequest("Content-Range must have the form bytes FIRST-LAST/TOTAL")
    return positions, total


def byteranges_type(boundary: str) -> str:
    """Write the Content-Type of a 206 with several parts."""
    return f"multipart/byteranges; boundary={boundary}"


def byteranges_head(boundary: str, part: ByteRange, size: int, media_type: str) -> bytes:
    """Write the head of a part, with the line break that ends the previous part."""
    head = (
        f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\n"
        f"Content-Range: {content_range(part, size)}\r\n\r\n"
    )
    return head.encode("latin-1", "replace")


def byteranges_tail(boundary: str) -> bytes:
    """Write the end behind the last part."""
    return f"\r\n--{boundary}--\r\n".encode("latin-1")


def byteranges_length(boundary: str, parts: Sequence[ByteRange], size: int, media_type: str) -> int:
    """Return the exact Content-Length of the whole multipart response."""
    heads = sum(len(byteranges_head(boundary, part, size, media_type)) for part in parts)
    return heads + sum(part.length for part in parts) + len(byteranges_tail(boundary))
