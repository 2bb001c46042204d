"""A body that is to be stored as a whole file: no piece of one, and as long as its head says.

Reads the fields of all protocols that send pieces, and speaks none of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request

from sluiceway.errors import BadRequest, InconsistentLength
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.stages import Stages
from sluiceway.server.door.indexed_request import is_ordinary
from sluiceway.server.request_body import BodySource, content_length
from sluiceway.wire.resumable import FINAL_FORM, parse_announcement

__all__ = ["check_said_length", "check_whole", "whole_body", "whole_length"]


def check_whole(request: Request, *, form: bool = False) -> None:
    """Refuse a piece of a file. It would be stored as a file of its own, and its sender would take
    that for the whole. `form`: no piece of a form can be kept.

    Raises BadRequest, and InconsistentLength for a whole body of another length than it says.
    """
    if is_ordinary(request):
        return
    headers = request.headers
    partial = [name for name in ("Content-Range", "Tus-Resumable") if name in headers]
    # Of the HTTP working group's drafts; phones still send the second one. One that cannot be read
    # is refused as well: it may mean a piece.
    for name, whole in (("Upload-Complete", "?1"), ("Upload-Incomplete", "?0")):
        if headers.get(name, whole).partition(";")[0].strip() != whole:
            partial.append(f"{name}: {'?0' if whole == '?1' else '?1'}")
    partial += _contradictions(request)
    if partial:
        what_to_do = (
            "A form has no way to go on after a cut; send the whole form, or the file as a raw "
            "body: a PUT to /files/NAME can be resumed (Content-Range, Upload-Complete), and tus"
            if form
            else "Send the whole file in one request, or begin a resumable upload: with "
            "Upload-Complete: ?0, with tus, or by PUT with Content-Range"
        )
        raise BadRequest(
            f"This request brings a piece of a file ({partial[0]}), which would be stored as the "
            f"whole. {what_to_do}"
        )
    check_said_length(request)


def check_said_length(request: Request) -> None:
    """Raises InconsistentLength for a whole body of another length than its Upload-Length."""
    size, length = content_length(request), _said_length(request)
    if size is not None and length not in (None, size):
        raise InconsistentLength(
            f"Upload-Length is {length}, and the content of this request ends at {size}"
        )


def whole_length(request: Request) -> int | None:
    """Bytes that a body will have, by its head; None where that does not say it."""
    size = content_length(request)
    if size is None and not is_ordinary(request):
        return _said_length(request)
    return size


def whole_body(request: Request, stages: Stages) -> Source:
    """The body; it raises InconsistentLength where it is longer or shorter than was said."""
    body = BodySource(request, stages)
    if body.length is None and (length := whole_length(request)) is not None:
        return _SaidLength(body, length)
    return body


class _SaidLength:
    """A body without Content-Length, whose length Upload-Length says."""

    reopenable = False

    def __init__(self, source: Source, length: int) -> None:
        self._source = source
        self.length: int | None = length

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Buffer]:
        size, length, chunks = 0, self.length or 0, self._source.open(start, stop)
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > length:
                    break
                yield chunk
                del chunk  # before the source makes the next one
        finally:
            await close_stream(chunks)
        if size != length:
            raise InconsistentLength(
                f"Upload-Length is {length}, and the content of this request has "
                f"{'more' if size > length else size} bytes"
            )


def _said_length(request: Request) -> int | None:
    """Upload-Length; one of a wrong type counts as absent. In earlier versions the field does not
    exist, and can mean nothing else."""
    return parse_announcement(FINAL_FORM, request.headers).length


def _contradictions(request: Request) -> list[str]:
    """Fields of a piece, unless the request says that it brings the whole.

    RFC 9651: a field of another type is ignored, where the protocol of the field is spoken.
    """
    headers, said = request.headers, parse_announcement(FINAL_FORM, request.headers)
    if "upload-complete" in headers or "upload-incomplete" in headers:
        return ["Upload-Offset"] if said.offset else []
    wrong = []
    size = content_length(request)
    if "upload-length" in headers and (said.length is None or said.length != size):
        wrong.append("Upload-Length")  # of more than this body: pieces will follow
    if "upload-offset" in headers and said.offset != 0:
        wrong.append("Upload-Offset")
    return wrong
