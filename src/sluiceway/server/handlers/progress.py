"""GET /uploads/{id}: the three counters of a running upload, once as JSON or as an event stream.

Reads the progress table only, so that any worker process can answer for any other. What all
watchers cost together is bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from sluiceway.errors import NotFound, Unavailable
from sluiceway.pipe.source import Buffer
from sluiceway.server.progress.watch import (
    EVENT_HEADERS,
    ThreadLimits,
    UploadWatch,
    WatchedTable,
    watchers,
)
from sluiceway.server.responses import json_response
from sluiceway.server.streaming import StreamedResponse
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.service import UploadService
from sluiceway.wire.event_stream import EVENT_STREAM_TYPE

__all__ = ["STOPPING", "THREAD_LIMITS", "cancel_upload", "event_stream", "show_upload"]

# In the lifespan's state: an event, set when the server takes no more requests
STOPPING = "sluiceway.stopping"
# In a request's scope: the ThreadLimits of a server that gives each request a thread
THREAD_LIMITS = "sluiceway.thread_limits"
# Watchers in a process whose upload has not begun. Any client can invent ids; the page watches six
# at a time.
MOST_WAITING = 256


async def show_upload(request: Request, table: WatchedTable, upload: str) -> Response:
    """Raises NotFound for an unknown id, but an event stream waits for its upload to begin.

    Raises Unavailable when too many of them wait.
    """
    checked_id(upload)
    record = table.find(upload)
    if EVENT_STREAM_TYPE in request.headers.get("accept", ""):
        if record is None and sum(watch.waiting for watch in list(watchers)) >= MOST_WAITING:
            raise Unavailable(
                "Too many clients wait for uploads that have not begun; begin the upload, then "
                "watch it"
            )
        return event_stream(table, upload)
    if record is None:
        raise NotFound("No upload with this id is running, or it ended a while ago")
    record.watch()
    table.end_if_orphan(record)
    return json_response(record.snapshot())


async def cancel_upload(upload_service: UploadService, upload: str) -> Response:
    """DELETE /uploads/{id}: 204. Raises NotFound."""
    if not upload_service.cancel(checked_id(upload)):
        raise NotFound("No upload with this id is running; there is nothing to cancel")
    return Response(status_code=204)


def event_stream(table: WatchedTable, upload: str) -> Response:
    """Events `progress` when a counter changes, and `end` as the last one."""

    async def body(scope: Scope) -> AsyncIterator[Buffer | Message]:
        stopping: asyncio.Event | None = scope.get("state", {}).get(STOPPING)
        limits: ThreadLimits | None = scope.get(THREAD_LIMITS)
        with UploadWatch(table, upload, time.monotonic, limits) as watch:
            while True:
                if data := watch.look(stopping is not None and stopping.is_set()):
                    yield data
                if watch.ended or watch.must_leave:
                    return
                await asyncio.sleep(watch.interval)

    return StreamedResponse(body, EVENT_HEADERS)
