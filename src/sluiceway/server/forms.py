"""multipart/form-data: any number of files and fields in any order, each file pumped while it arrives, never spooled.

The bytes go from the request through the decoder straight to the drafts; nothing is published before the form has ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import TooLarge
from sluiceway.pipe.source import PassingSource
from sluiceway.pipe.stages import DECODE
from sluiceway.pipe.taps import Digests
from sluiceway.server.answers import upload_answer
from sluiceway.server.body import body_chunks, check_body, content_length
from sluiceway.server.intake import published, query_values, received
from sluiceway.server.raw import expected_digests
from sluiceway.stores.contract import Label
from sluiceway.uploads.desk import Desk, Incoming, Wish, check_digests
from sluiceway.wire.forms import Event, FormDecoder, FormLimits, PartBegan, PartData, PartEnded
from sluiceway.wire.names import clean_name
from sluiceway.wire.types import OCTET_STREAM, guess_type

__all__ = ["is_form", "post_form"]

LIMITS = FormLimits()
# Bytes of a form besides its files: what the limits allow, and the boundaries of all parts.
OVERHEAD = LIMITS.max_fields_bytes + LIMITS.max_preamble + LIMITS.max_epilogue + LIMITS.max_parts * 80


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lstrip().lower().startswith("multipart/")


async def post_form(request: Request, desk: Desk) -> Response:
    """POST /files with a form: 201, the entries of its files and the values of its fields."""
    check_body(request)
    decoder = FormDecoder(request.headers["content-type"], LIMITS)
    length = content_length(request)
    if desk.max_size is not None and length is not None and length > desk.max_size + OVERHEAD:
        raise TooLarge(f"The form has {length} bytes; this server takes files of at most {desk.max_size}", limit=desk.max_size)
    expected = expected_digests(request)
    digests = Digests(expected, desk.budget)
    fields: list[tuple[str, str]] = []
    values = query_values(request)
    async with received(request, desk) as incoming:
        try:
            events = _events(request, decoder, incoming, digests)
            async for event in events:
                if isinstance(event, PartBegan):
                    if event.filename is None:
                        fields.append((event.name, await _field(events)))
                    else:
                        label = Label(field=event.name, fields=fields, values=values, certain=False)
                        await _file(incoming, event, label, decoder.size_if_last(event, length), events)
            check_digests(await digests.finish(), expected)
        finally:
            await digests.aclose()
        entries = await published(request, desk, incoming)
    return upload_answer(request, desk, incoming, entries, fields=fields)


async def _events(request: Request, decoder: FormDecoder, incoming: Incoming, digests: Digests) -> AsyncIterator[Event]:
    """The form's events, and, at the end of the body, the decoder's word that it was whole."""
    stages, slot = incoming.stages, incoming.slot
    async for chunk in body_chunks(request, stages):
        slot.received += len(chunk)
        await digests.take(chunk)
        before = stages.enter(DECODE)
        events = decoder.feed(chunk)
        stages.enter(before)
        for event in events:
            yield event
    for event in decoder.close():
        yield event


async def _field(events: AsyncIterator[Event]) -> str:
    value = b"".join([chunk async for chunk in _part(events)])  # bounded by LIMITS.max_field_bytes
    return value.decode("utf-8", "replace")


async def _file(incoming: Incoming, part: PartBegan, label: Label, size: int | None, events: AsyncIterator[Event]) -> None:
    first = await anext(events)
    if not part.filename and isinstance(first, PartEnded):
        return  # a browser's file input that was left empty
    name = clean_name(part.filename or "")
    told = part.type.partition(";")[0].strip().lower()
    wish = Wish(filename=name, type=guess_type(name) if told in ("", OCTET_STREAM) else told, label=label)
    await incoming.take(PassingSource(_part(events, first)), wish, size=size, counts_received=False)


async def _part(events: AsyncIterator[Event], first: Event | None = None) -> AsyncIterator[bytes]:
    """The bytes of the part under way, up to its end."""
    event = first if first is not None else await anext(events)
    while not isinstance(event, PartEnded):
        if isinstance(event, PartData):
            yield event.data
        event = await anext(events)
