"""GET /uploads/{id}: the three counters of a running upload, once as JSON or as an event stream.

Reads the progress table only, so that any worker process can answer for any other. What all
watchers cost together is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from sluiceway.errors import NotFound, SluiceError, Unavailable
from sluiceway.pipe.source import Buffer
from sluiceway.server.http1.stopping import STOPPING, Stopping
from sluiceway.server.progress.watch import (
    EVENT_HEADERS,
    WAITING,
    ThreadLimits,
    UploadWatch,
    WatchedTable,
    watchers,
)
from sluiceway.server.responses import json_response
from sluiceway.server.streaming import StreamedResponse
from sluiceway.uploads.elsewhere.exchange import ProgressExchange
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService
from sluiceway.wire.event_stream import EVENT_STREAM_TYPE
from sluiceway.wire.numbers import ascii_uint

__all__ = [
    "NOTHING_TO_CANCEL",
    "THREAD_LIMITS",
    "cancel_upload",
    "event_stream",
    "show_running",
    "show_upload",
]

# In a request's scope: the ThreadLimits of a server that gives each request a thread
THREAD_LIMITS = "sluiceway.thread_limits"
NOTHING_TO_CANCEL = "No upload with this id is running; there is nothing to cancel"
# Watchers in a process whose upload has not begun. Any client can invent ids; the page watches six
# at a time.
MOST_WAITING = 256
LEDGER_CHECK = 2.0  # seconds between looks at what the servers wrote down
DEFAULT_RUNNING = 1000  # uploads of one answer of GET /uploads

log: logging.Logger = logging.getLogger("sluiceway")

FindResting = Callable[[str], Awaitable[Mapping[str, object] | None]]


async def show_upload(
    request: Request,
    table: WatchedTable,
    upload: str,
    find_resting: FindResting | None = None,
    elsewhere: ProgressExchange | None = None,
) -> Response:
    """Raises NotFound for an unknown id, but an event stream waits for its upload to begin.

    `find_resting` looks up an upload that no request brings bytes to; `elsewhere` asks other
    servers. Raises Unavailable when too many watchers wait.
    """
    checked_id(upload)
    record, resting = table.find(upload), None
    if record is not None:
        table.end_if_orphan(record)
        record = record if record.still() else None
    if record is None and find_resting is not None:
        resting = await find_resting(upload)
    if EVENT_STREAM_TYPE in request.headers.get("accept", ""):
        if record is None and sum(watch.waiting for watch in list(watchers)) >= MOST_WAITING:
            raise Unavailable(
                "Too many clients wait for uploads that have not begun; begin the upload, then "
                "watch it"
            )
        return event_stream(table, upload, resting, find_resting if elsewhere else None)
    if record is None and elsewhere and (resting is None or resting["state"] == WAITING):
        await elsewhere.ask(upload)
        record = table.find(upload)
    if record is None:
        if resting is None:
            raise NotFound("No upload with this id is running, or it ended a while ago")
        return json_response(resting)
    record.watch()
    return json_response(record.snapshot())


async def show_running(
    request: Request, table: ProgressTable, elsewhere: ProgressExchange | None
) -> Response:
    """GET /uploads: what runs in any process of any server, how fast, and where it waits.

    Raises BadRequest.
    """
    limit = ascii_uint(request.query_params.get("limit", str(DEFAULT_RUNNING)), "limit")
    try:
        look = None if elsewhere is None else await elsewhere.running.look(limit + 1)
    except SluiceError as error:
        log.warning("what runs at other servers cannot be had: %s", error.for_log)
        look = None
    running = [*(table.shown_running(limit + 1) if look is None else look).values()]
    found = json_response({"uploads": running[:limit], "truncated": len(running) > limit})
    found.headers["vary"] = "Accept"  # a browser gets the page
    return found


async def cancel_upload(upload_service: UploadService, upload: str) -> Response:
    """DELETE /uploads/{id}: 204. Raises NotFound."""
    elsewhere = upload_service.elsewhere
    if not upload_service.cancel(checked_id(upload)) and not (
        elsewhere is not None and await elsewhere.cancel(upload, upload_service.grant)
    ):
        raise NotFound(NOTHING_TO_CANCEL)
    return Response(status_code=204)


def event_stream(
    table: WatchedTable,
    upload: str,
    resting: Mapping[str, object] | None = None,
    find_resting: FindResting | None = None,
) -> Response:
    """Events `progress` when a counter changes, and `end` as the last one.

    `find_resting` is asked again and again while other servers say nothing of the upload.
    """

    async def body(scope: Scope) -> AsyncIterator[Buffer | Message]:
        stopping: Stopping = scope.get("state", {}).get(STOPPING) or Stopping()
        limits: ThreadLimits | None = scope.get(THREAD_LIMITS)
        looked_at = time.monotonic()
        with UploadWatch(table, upload, time.monotonic, limits, resting) as watch:
            while True:
                if find_resting and watch.waiting and time.monotonic() - looked_at > LEDGER_CHECK:
                    with suppress(SluiceError):  # the ledger may be away for a while
                        watch.rest_as(await find_resting(upload))
                    looked_at = time.monotonic()
                if data := watch.look(stopping.begun, stopping.port_stays):
                    yield data
                if watch.ended or watch.must_leave:
                    return
                await asyncio.sleep(watch.interval)

    return StreamedResponse(body, EVENT_HEADERS)
