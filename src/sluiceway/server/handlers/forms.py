"""multipart/form-data: any number of files and fields in any order, each file pumped while it arrives, never spooled.

The bytes go from the request through the decoder straight to the drafts; nothing is published before the form has ended.
POST takes any form with a file in it, PUT one with exactly one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import MissingField, TooLarge, Unsupported
from sluiceway.pipe.digests import Digests
from sluiceway.pipe.source import PassingSource
from sluiceway.pipe.stages import DECODE
from sluiceway.server.forms.costs import FieldReading
from sluiceway.server.handlers.raw import Target, expected_digests, name_told
from sluiceway.server.intake import published, query_values, received
from sluiceway.server.request_body import body_chunks, check_body, check_whole, content_length
from sluiceway.server.responses import upload_answer
from sluiceway.stores.contract import Replace, UploadRequest
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.session import UploadSession, check_digests
from sluiceway.wire.forms.decoder import (
    Event,
    FormDecoder,
    FormLimits,
    PartBegan,
    PartData,
    PartEnded,
)
from sluiceway.wire.headers.media_types import essence, kept_type
from sluiceway.wire.names import clean_folders, clean_name

__all__ = ["is_form", "post_form", "put_form"]

BOUNDARIES = 80  # bytes of one boundary's line, the longest and its dashes


def is_form(request: Request) -> bool:
    """Whether a body holds parts. To a PUT only form-data does: a saved web page is multipart/related, and one file."""
    kind = essence(request.headers.get("content-type", ""))
    return (
        kind == "multipart/form-data" if request.method == "PUT" else kind.startswith("multipart/")
    )


async def post_form(
    request: Request, upload_service: UploadService, limits: FormLimits
) -> Response:
    """POST /files with a form: 201, the entries of its files and the values of its fields."""
    with _Form(request, upload_service, limits) as form:
        async with received(request, upload_service) as incoming:
            await form.take(incoming)
            if not form.files:
                raise MissingField(
                    "The form brings no file: a part is a file when it has a filename (curl -F file=@NAME). Nothing was stored"
                )
            entries = await published(request, upload_service, incoming)
        return upload_answer(request, upload_service, incoming, entries, fields=form.fields)


async def put_form(
    request: Request, upload_service: UploadService, key: str, limits: FormLimits
) -> Response:
    """PUT /files/{key} with a form: its one file is the object. The envelope never is: nobody wants to read that back."""
    target = await Target.of(request, upload_service, key)
    with _Form(request, upload_service, limits, target) as form:
        async with received(request, upload_service) as incoming:
            await form.take(incoming)
            if not form.files:
                raise MissingField(f"The form brings no file, and a PUT stores one. {_BETTER}")
            entries = await target.publish(request, upload_service, incoming)
        return upload_answer(
            request, upload_service, incoming, entries, fields=form.fields, replaced=target.there
        )


_BETTER = "Send the file as it is with curl -T FILE, or a form with POST /files. Nothing was stored"


class _Form:
    """One form on its way in, and the memory its fields are lent. What can be refused is refused when it is made, before the
    first byte.
    """

    def __init__(
        self,
        request: Request,
        upload_service: UploadService,
        limits: FormLimits,
        target: Target | None = None,
    ) -> None:
        check_body(request)
        check_whole(request)
        self._request, self._upload_service, self._target = request, upload_service, target
        self._decoder = FormDecoder(request.headers["content-type"], limits)
        self._reading = FieldReading(self._decoder, upload_service.budget)
        self._length, most = content_length(request), upload_service.max_size
        besides = (
            limits.max_fields_bytes
            + limits.max_preamble
            + limits.max_epilogue
            + limits.max_parts * BOUNDARIES
        )
        if most is not None and self._length is not None and self._length > most + besides:
            raise TooLarge(
                f"The form has {self._length} bytes; this server takes files of at most {most}",
                limit=most,
            )
        self._expected = expected_digests(request)
        self._values = query_values(request)
        self.fields: list[tuple[str, str]] = []
        self.files: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reading.settle()

    async def take(self, incoming: UploadSession) -> None:
        """Draft every file and read every field, up to the end of the body."""
        digests = Digests(self._expected, self._upload_service.budget)
        try:
            events = self._events(incoming, digests)
            async for event in events:
                if isinstance(event, PartBegan):
                    if event.filename is None:
                        value = await _value(events)
                        self.fields.append(
                            (event.name, self._reading.text(event.text(value), value))
                        )
                        await self._reading.account()
                    else:
                        await self._file(incoming, event, events)
            check_digests(await digests.finish(), self._expected)
        finally:
            await digests.aclose()

    async def _events(self, incoming: UploadSession, digests: Digests) -> AsyncIterator[Event]:
        """The form's events, and, at the end of the body, the decoder's word that it was whole."""
        stages, record = incoming.stages, incoming.record
        self._reading.wait()
        async for chunk in body_chunks(self._request, stages):
            self._reading.came()
            record.received += len(chunk)
            await digests.take(chunk)
            before = stages.enter(DECODE)
            events = self._decoder.feed(chunk)
            stages.enter(before)
            await self._reading.account()
            for event in events:
                yield event
            self._reading.wait()
        for event in self._decoder.close():
            yield event

    async def _file(
        self, incoming: UploadSession, part: PartBegan, events: AsyncIterator[Event]
    ) -> None:
        first = await anext(events)
        if not part.filename and isinstance(first, PartEnded):
            return  # a browser's file input that was left empty
        self.files += 1
        if self._target is not None and self.files > 1:
            raise Unsupported(f"The form brings several files, and a PUT stores one. {_BETTER}")
        size = self._decoder.size_if_last(part, self._length)
        await incoming.take(
            PassingSource(_part(events, first)),
            self._upload_request(part),
            size=size,
            counts_received=False,
        )

    def _upload_request(self, part: PartBegan) -> UploadRequest:
        target, name = self._target, clean_name(part.filename or "")
        if target is not None:
            name = name_told(self._request) or (name if part.filename else clean_name(target.key))
        return UploadRequest(
            key="" if target is None else target.key,
            filename=name,
            type=kept_type(part.type, name),
            method=self._request.method,
            field=part.name,
            fields=self.fields,
            values=self._values,
            size_is_certain=False,
            replace=Replace() if target is None else target.replace,
            folders="" if target is not None else clean_folders(part.filename or ""),
        )


async def _value(events: AsyncIterator[Event]) -> bytes:
    return b"".join([chunk async for chunk in _part(events)])  # bounded by limits.max_field_bytes


async def _part(events: AsyncIterator[Event], first: Event | None = None) -> AsyncIterator[bytes]:
    """The bytes of the part under way, up to its end."""
    event = first if first is not None else await anext(events)
    while not isinstance(event, PartEnded):
        if isinstance(event, PartData):
            yield event.data
        event = await anext(events)
