"""Starlette and FastAPI: the parts of a form while it arrives, `async for part in parts(request)`. Nothing is spooled.

A file is the connection, so parts come in the order the client sent them; one that was not read is skipped. Runs on every
ASGI server. FastAPI: `form: Annotated[Parts, Depends(Parts)]`; a `File`, `Form` or `UploadFile` beside it would spool the body.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.client.bodies.aiohttp_body import register_with_aiohttp
from sluiceway.errors import BodyCut, SluiceError, TooLarge
from sluiceway.pipe.once import Once
from sluiceway.pipe.stages import Stages
from sluiceway.server.error_log import log_error
from sluiceway.server.forms.costs import FieldReading
from sluiceway.server.forms.digests import WholeBody
from sluiceway.server.request_body import body_chunks, check_body, content_length
from sluiceway.wire.forms.decoder import Event, FormDecoder, FormLimits, PartBegan, PartData
from sluiceway.wire.headers.checksums import expected_of
from sluiceway.wire.headers.conditions import join_fields
from sluiceway.wire.problems import write_problem
from sluiceway.wsgi.streaming_form import MOST_SKIPPED, LiveField

__all__ = ["FormFile", "LiveField", "Parts", "answered", "parts"]


class FormFile:
    """A file of the form: an asynchronous iterable of the pieces that arrive. Read it before asking for the next part."""

    name: str
    filename: str
    content_type: str

    def __init__(self, events: AsyncIterator[Event], began: PartBegan, size: int | None) -> None:
        self._events = events
        self.name, self.filename, self.content_type = began.name, began.filename or "", began.type
        self.size = size  # bytes if nothing follows it in the form, which nobody knows before its end; None: unknown
        self._held = b""
        self._ended = False
        self._once = Once(f"The file {self.filename!r}")
        register_with_aiohttp(type(self))

    async def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer only at the end; without a size everything, which needs memory for all of it.

        Raises BodyCut when the client sent less than the form, TooSlow, BadForm.
        """
        got = bytearray()
        while size < 0 or len(got) < size:
            piece = await self._piece()
            if not piece:
                break
            if size >= 0 and len(got) + len(piece) > size:
                room = size - len(got)
                piece, self._held = piece[:room], piece[room:]
            got += piece
        return self._once.read(bytes(got), size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive, none empty. Raises as `read`, and SourceSpent when all of it was read before: an HTTP client
        that sends it a second time would send nothing."""
        self._once.begin()
        while piece := await self._piece():
            yield piece
        self._once.mark_ended()

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it under a path, where it appears when it is whole and not before. Raises as `read`, and OSError."""
        path = os.fspath(path)
        draft = os.path.join(
            os.path.dirname(path), f".sluiceway-{secrets.token_hex(8)}.part"
        )  # copies leave such names out
        try:
            file = await asyncio.to_thread(open, draft, "xb")
            with file:
                async for piece in self:
                    await asyncio.to_thread(file.write, piece)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft)
            raise

    async def _piece(self) -> bytes:
        if self._held:
            piece, self._held = self._held, b""
            return piece
        if self._ended:
            return b""
        try:
            event = await anext(self._events)
        except StopAsyncIteration:
            raise BodyCut("The form was broken off inside a file; send it again") from None
        if isinstance(event, PartData):
            self._once.mark_read()
            return event.data
        self._ended = True
        return b""

    async def _skip(self) -> None:
        skipped = 0
        while piece := await self._piece():
            skipped += len(piece)
            if skipped > MOST_SKIPPED:
                raise TooLarge(
                    f"The file {self.filename!r} in {self.name!r} is not wanted here, and too long to be skipped"
                )


class Parts:
    """The form of a request, to be walked once: fields as LiveField (`name`, `value`), files as Part.

    `limits`: what the form may cost. No argument, for FastAPI takes a dependency's arguments from the client's query.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.limits: FormLimits = FormLimits()
        self.fields: list[tuple[str, str]] = []  # so far

    async def __aiter__(self) -> AsyncIterator[LiveField | FormFile]:
        """Raises Unsupported for a body that is no form, BadForm, BodyCut, TooLarge, TooSlow."""
        check_body(self._request)
        decoder = FormDecoder(self._request.headers.get("content-type", ""), self.limits)
        length, events = content_length(self._request), self._events(decoder)
        async for event in events:
            if not isinstance(event, PartBegan):
                continue
            if event.filename is None:
                value = b"".join(
                    [piece async for piece in FormFile(events, event, None)]
                )  # bounded by the decoder's limits
                field = LiveField(event.name, event.text(value))
                self.fields.append((field.name, field.value))
                yield field
                continue
            part = FormFile(events, event, decoder.size_if_last(event, length))
            if not part.filename:
                part._held = await part._piece()
                if not part._held:
                    continue  # a browser's file input that was left empty
            yield part
            await part._skip()

    async def _events(self, decoder: FormDecoder) -> AsyncIterator[Event]:
        reading, whole = (
            FieldReading(decoder),
            WholeBody(expected_of(join_fields(self._request.headers.raw))),
        )
        reading.wait()
        async for chunk in body_chunks(self._request, Stages()):
            reading.came()
            whole.came(chunk)
            for event in whole.passing(decoder.feed(chunk)):
                yield event
            reading.wait()
        for event in (*whole.passing(decoder.close()), *whole.ended()):
            yield event


def parts(
    request: Request, *, max_files: int = 1000, max_fields: int = 1000, max_part_size: int = 1 << 20
) -> Parts:
    """The parts of a form while it arrives: `async for part in parts(request)`.

    The limits are those of Starlette's `request.form()`: most files, most fields, most bytes of a field. Beyond them TooLarge.
    """
    form = Parts(request)
    form.limits = replace(
        FormLimits.of(max_files + max_fields, max_part_size),
        max_files=max_files,
        max_fields=max_fields,
    )
    return form


async def answered(request: Request, error: Exception) -> Response:
    """An exception handler: `app.add_exception_handler(SluiceError, answered)` answers our errors as problem+json."""
    known = error if isinstance(error, SluiceError) else SluiceError()
    log_error(known, request.method)
    written = write_problem(known, request.url.path)
    response = Response(written.body, written.status, {"Connection": "close"})
    for name, value in written.headers:
        response.headers.append(name, value)
    return response
