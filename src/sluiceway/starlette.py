"""Starlette and FastAPI: the parts of a form while it arrives, `async for part in parts(request)`.

Nothing is spooled: to read a file is to read the connection, so parts come in the order the client
sent them, and one that was not read is skipped. Runs on every ASGI server. FastAPI:
`form: Annotated[Parts, Depends(Parts)]`; a `File`, `Form` or `UploadFile` beside it would spool
the body.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.client.bodies.aiohttp_body import register_with_aiohttp
from sluiceway.errors import BodyCut, SluiceError
from sluiceway.pipe.once import Once
from sluiceway.pipe.stages import Stages
from sluiceway.server.forms.saved_file import SavedFile
from sluiceway.server.forms.walk import (
    FileBegan,
    FormField,
    FormItem,
    FormWalk,
    async_items,
    check_skipped,
)
from sluiceway.server.operator_log import log_error
from sluiceway.server.request_body import body_chunks, check_body, content_length
from sluiceway.wire.forms.decoder import FormLimits
from sluiceway.wire.headers.checksums import expected_of
from sluiceway.wire.headers.conditions import join_fields
from sluiceway.wire.problems import write_problem

__all__ = ["FormField", "FormFile", "Parts", "answered", "parts"]


class FormFile:
    """A file of a form: an asynchronous iterable of its bytes as they arrive.

    Read it before you ask for the next part: a file that was not read is skipped then. `httpx` and
    `aiohttp` take it as the body of a request.

    Attributes:
        name: The field's name.
        filename: The name of the file as the client sent it. It is not a safe path.
        content_type: Its media type as the client sent it, with parameters.
        size: Its bytes if it is the form's last part, which is known only at its end; None if the
            length of the form is unknown.

    Example:
        async for part in parts(request):
            if isinstance(part, FormFile):
                await client.put(url, content=part)
    """

    name: str
    filename: str
    content_type: str
    size: int | None

    def __init__(self, items: AsyncIterator[FormItem], began: FileBegan) -> None:
        self._items = items
        self.name, self.filename, self.content_type = began.name, began.filename, began.type
        self.size = began.size
        self._held = b""
        self._ended = False
        self._once = Once(f"The file {self.filename!r}")
        register_with_aiohttp(type(self))

    async def read(self, size: int = -1) -> bytes:
        """Read exactly `size` bytes, fewer only at the end.

        Args:
            size: Bytes; negative for everything, which needs memory for all of it.

        Raises:
            BodyCut: The client sent less than the whole form.
            BadForm: The form is malformed.
            TooSlow: No byte came for 60 seconds.
            DigestMismatch: The body does not have the digest that the request promised.
            SourceSpent: A large read after the end, as of a body that is sent a second time.
        """
        got = bytearray()
        while size < 0 or len(got) < size:
            data = await self._next_bytes()
            if not data:
                break
            if size >= 0 and len(got) + len(data) > size:
                room = size - len(got)
                data, self._held = data[:room], data[room:]
            got += data
        return self._once.read(bytes(got), size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes as they arrive, in pieces that are not empty.

        Raises as `read`, and SourceSpent when all of the file was read before: an HTTP client that
        sends it a second time would send nothing.
        """
        self._once.begin()
        while data := await self._next_bytes():
            yield data
        self._once.mark_ended()

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Write the rest of the file under a path.

        Args:
            path: Where the file appears when it is complete and synchronised with the disk, not
                before.

        Raises:
            OSError: It cannot be written there. Otherwise as `read`.
        """
        saved = SavedFile(path)
        try:
            file = await asyncio.to_thread(saved.open)
            async for data in self:
                await asyncio.to_thread(file.write, data)
            await asyncio.to_thread(saved.publish)
        except BaseException:
            saved.discard()
            raise

    async def _next_bytes(self) -> bytes:
        if self._held:
            data, self._held = self._held, b""
            return data
        if self._ended:
            return b""
        try:
            item = await anext(self._items)
        except StopAsyncIteration:
            raise BodyCut("The form was broken off inside a file; send it again") from None
        if isinstance(item, bytes):
            self._once.mark_read()
            return item
        self._ended = True
        return b""

    async def _skip(self) -> None:
        skipped = 0
        while data := await self._next_bytes():
            skipped += len(data)
            check_skipped(skipped, self.name, self.filename)


class Parts:
    """The form of a request while it arrives: fields as FormField, files as FormFile.

    It can be walked once. As a FastAPI dependency it takes no limits, because FastAPI takes a
    dependency's arguments from the client's query; set `limits` before the walk instead.

    Args:
        request: A Starlette request whose body was not read.

    Attributes:
        limits: What the form may cost; beyond it TooLarge is raised.
        fields: Names and values of the fields that came so far.

    Example:
        @app.post("/books")
        async def add(form: Annotated[Parts, Depends(Parts)]) -> None:
            async for part in form:
                ...
    """

    limits: FormLimits
    fields: list[tuple[str, str]]

    def __init__(self, request: Request) -> None:
        self._request = request
        self.limits, self.fields = FormLimits(), []

    async def __aiter__(self) -> AsyncIterator[FormField | FormFile]:
        """The parts in the order they come.

        Raises:
            Unsupported: The body is not a form.
            BadForm: The form is malformed.
            BodyCut: The client sent less than the whole form.
            TooLarge: It is beyond `limits`, or a file longer than 64 MiB was not read.
            TooSlow: No byte came for 60 seconds, or the fields took too long.
            DigestMismatch: The body does not have the digest that the request promised.
        """
        request, stages = self._request, Stages()
        check_body(request)
        walk = FormWalk(
            request.headers.get("content-type", ""),
            self.limits,
            content_length(request),
            expected_of(join_fields(request.headers.raw)),
        )
        items = async_items(walk, body_chunks(request, stages), stages)
        async for item in items:
            if isinstance(item, FormField):
                self.fields.append((item.name, item.value))
                yield item
            elif isinstance(item, FileBegan):
                file = FormFile(items, item)
                yield file
                await file._skip()


def parts(
    request: Request, *, max_files: int = 1000, max_fields: int = 1000, max_part_size: int = 1 << 20
) -> Parts:
    """The parts of a form while it arrives.

    The limits are those of Starlette's `request.form()`; beyond them the walk raises TooLarge.

    Args:
        request: A Starlette request whose body was not read.
        max_files: Most files.
        max_fields: Most fields.
        max_part_size: Most bytes of a field. Files have no limit.

    Returns:
        An asynchronous iterable of FormField and FormFile.

    Example:
        async for part in parts(request):
            if isinstance(part, FormFile):
                await part.save(folder / str(uuid4()))
    """
    form = Parts(request)
    form.limits = replace(
        FormLimits.of(max_files + max_fields, max_part_size),
        max_files=max_files,
        max_fields=max_fields,
    )
    return form


async def answered(request: Request, error: Exception) -> Response:
    """An exception handler that answers this library's errors as problem+json (RFC 9457).

    The connection ends then, because the client may still be sending.

    Args:
        request: The request that failed.
        error: A SluiceError; any other is answered as 500 without its text.

    Example:
        app.add_exception_handler(SluiceError, answered)
    """
    known = error if isinstance(error, SluiceError) else SluiceError()
    log_error(known, request.method)
    written = write_problem(known, request.url.path)
    response = Response(written.body, written.status, {"Connection": "close"})
    for name, value in written.headers:
        response.headers.append(name, value)
    return response
