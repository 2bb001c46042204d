"""Raw bodies: PUT /files/{key} and POST /files. Reads headers, asks the upload service, responds.

It has no byte loop. Everything that can be refused is refused before the first byte of the body is
asked for (RFC 9110 10.1.1).
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from sluiceway.errors import BodyCut, StoreFailed, TooSlow, Unavailable
from sluiceway.pipe.cancellation import finish_then_cancel
from sluiceway.server.http1.peer_gone import input_is_over
from sluiceway.server.intake import (
    PutTarget,
    begin_upload,
    check_length,
    keep_cut,
    named_request,
    posted_request,
    publish,
)
from sluiceway.server.operator_log import log_error
from sluiceway.server.request_body import content_length
from sluiceway.server.responses import upload_response
from sluiceway.server.resumable.whole import note_stored
from sluiceway.server.whole_body import check_whole, whole_body
from sluiceway.uploads.resumable.adopting import LEAST_ADOPTED, SmallPut, begin_plain
from sluiceway.uploads.resumable.by_key import upload_of
from sluiceway.uploads.resumable.plain_puts import PlainPut, RunningPut
from sluiceway.uploads.resumable.service import ResumableUploads
from sluiceway.uploads.service import UploadService
from sluiceway.wire.names import check_key

__all__ = ["post_raw", "put_object"]


async def put_object(request: Request, upload_service: UploadService, key: str) -> Response:
    """PUT /files/{key} with the file's bytes as its body."""
    check_whole(request)
    uploads, size = upload_service.resumable, content_length(request)
    running: AbstractContextManager[PlainPut | SmallPut | None]
    if uploads is None:
        running = nullcontext()
    elif size is not None and size <= LEAST_ADOPTED:  # see also `is_outdated`
        running = SmallPut(uploads, key)
    else:
        running = _known_by_key(request, uploads, key)
    # What an earlier PUT left must not be mixed into what this one leaves, if it is cut, too.
    with running as put:
        target = await PutTarget.of(request, upload_service, key)
        upload_request = named_request(request, target)
        check_length(request, upload_service)
        if uploads is not None and isinstance(put, PlainPut):
            await _begin_plain(request, uploads, target, put)
        async with begin_upload(request, upload_service) as session:
            if isinstance(put, PlainPut):
                put.session = session
            body = whole_body(request, session.stages)
            if isinstance(put, SmallPut):
                body = put.watched(body)
            try:
                await session.take(body, upload_request)
            except (BodyCut, TooSlow):
                await keep_cut(request, upload_service, session, upload_request, put)
                raise
            except asyncio.CancelledError:
                if session.leaves_rest:  # also a client of the server that comes next
                    kept = keep_cut(request, upload_service, session, upload_request, put)
                    await finish_then_cancel(kept)
                raise
            entries = await target.publish(request, upload_service, session)
        note_stored(request.scope, entries[0].size)
        return upload_response(
            request, upload_service, session, entries, replaced=target.replaced(session, entries)
        )


def _known_by_key(request: Request, uploads: ResumableUploads, key: str) -> RunningPut:
    """From its first moment on: its client may be gone, and ask already how much was kept."""
    upload = upload_of(check_key(key, uploads.store.traits.max_key_bytes), uploads.grant.owner)
    return uploads.plain_puts.running(upload, partial(input_is_over, request.scope))


async def _begin_plain(
    request: Request, uploads: ResumableUploads, target: PutTarget, put: PlainPut
) -> None:
    try:
        await begin_plain(uploads, target.key, put, target.base)
    except (StoreFailed, Unavailable) as error:
        log_error(error, request.method)  # an upload of one request does not need the ledger


async def post_raw(request: Request, upload_service: UploadService) -> Response:
    """POST /files with any body but a form: the server makes the key; a name is optional."""
    check_whole(request)
    upload_request = posted_request(request, upload_service)
    check_length(request, upload_service)
    async with begin_upload(request, upload_service) as session:
        await session.take(whole_body(request, session.stages), upload_request)
        entries = await publish(request, upload_service, session)
    note_stored(request.scope, entries[0].size)
    return upload_response(request, upload_service, session, entries)
