"""A PUT that brings a piece of a file: Content-Range, as curl -C sends it, or Upload-Offset.

RFC 9110 14.5 leaves partial PUT to servers that say they have it. `bytes */TOTAL` without content
asks how much is there, as clients of Google's resumable uploads do. Text only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sluiceway.errors import BadRequest, InconsistentLength
from sluiceway.wire.headers.ranges import parse_content_range, parse_unsatisfied_range
from sluiceway.wire.numbers import ascii_uint
from sluiceway.wire.resumable import FINAL_FORM, is_creation, parse_announcement

__all__ = ["FilePiece", "is_piece", "kept_range", "parse_piece"]


@dataclass(frozen=True, slots=True)
class FilePiece:
    """What a request brings.

    Args:
        start: The offset of its first byte; None for a question.
        length: Bytes of the whole file, None while the client does not know.
        last: Whether the file ends with it; a question ends an upload that has all its bytes.
        stop: The offset behind its last byte; None where the request does not say it.
    """

    start: int | None
    length: int | None
    last: bool
    stop: int | None = None


def is_piece(headers: Mapping[str, str]) -> bool:
    """Whether a PUT brings a piece, or asks for it. One with Upload-Complete alone creates an
    upload of another protocol."""
    if "content-range" in headers:
        return True
    if is_creation(headers):  # whose fields of another type are ignored
        return bool(parse_announcement(FINAL_FORM, headers).offset)
    return bool(headers.get("upload-offset", "").strip())


def parse_piece(headers: Mapping[str, str], size: int | None) -> FilePiece:
    """Read the piece of a request with `size` bytes of content, None where it does not say.

    Raises BadRequest, and InconsistentLength where the numbers contradict each other.
    """
    if "content-range" in headers:
        piece = _by_range(headers["content-range"], size)
    else:
        piece = _by_offset(headers, size)
    offset = headers.get("upload-offset")
    if offset is not None and piece.start != _number(offset, "Upload-Offset"):
        raise InconsistentLength("Content-Range and Upload-Offset begin at different bytes")
    if piece.start is not None and size is not None and piece.stop != piece.start + size:
        raise InconsistentLength(
            f"The request has {size} bytes of content, and its Content-Range another number"
        )
    return piece


def kept_range(offset: int) -> dict[str, str]:
    """The fields that say how much is kept; no Range means none (as Google's uploads have it)."""
    fields = {"Upload-Offset": str(offset)}
    return fields | ({"Range": f"bytes=0-{offset - 1}"} if offset else {})


def _by_range(value: str, size: int | None) -> FilePiece:
    if value.replace(" ", "").startswith("bytes*/"):
        if size:
            raise BadRequest("Content-Range: bytes */TOTAL asks what is there, and has no content")
        if value.strip().endswith("/*"):
            return FilePiece(None, None, False)
        total = parse_unsatisfied_range(value)
        if total is None:
            raise BadRequest("Content-Range must have the form bytes */TOTAL")
        return FilePiece(None, total, True)
    start, stop, whole = parse_content_range(value)
    return FilePiece(start, whole, stop == whole, stop)


def _by_offset(headers: Mapping[str, str], size: int | None) -> FilePiece:
    start = _number(headers["upload-offset"], "Upload-Offset")
    last = _says_last(headers)
    stop = None if size is None else start + size
    length = stop if last else None
    if "upload-length" in headers:
        said = _number(headers["upload-length"], "Upload-Length")
        if (stop is not None and said < stop) or (length is not None and said != length):
            raise InconsistentLength(f"Upload-Length is {said}; the content ends at {stop}")
        length = said
    return FilePiece(start, length, last, stop)


def _number(text: str, field: str) -> int:
    """An integer of RFC 9651, whose parameters do not matter. Raises BadRequest."""
    return ascii_uint(text.partition(";")[0].strip(), field)


def _says_last(headers: Mapping[str, str]) -> bool:
    """A PUT brings the rest of its file, if it does not say otherwise."""
    for field, last in (("upload-complete", "?1"), ("upload-incomplete", "?0")):
        if field in headers:
            value = headers[field].partition(";")[0].strip()
            if value not in ("?0", "?1"):
                raise BadRequest(f"{field} must be ?1 or ?0")
            return value == last
    return True
