"""GET /uploads/{id}: the three counters of a running upload, once as JSON or as an event stream.

Reads the progress table only, so that any worker process can answer for any other. What all
watchers cost together is bounded.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from sluiceway.errors import NotFound, Unavailable
from sluiceway.pipe.source import Buffer
from sluiceway.server.responses import json_response
from sluiceway.server.streaming import StreamedResponse
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.states import ENDED
from sluiceway.wire.event_stream import EVENT_STREAM_TYPE, format_comment, format_event

__all__ = ["STOPPING", "cancel_upload", "event_stream", "look_interval", "show_upload"]

LOOK_INTERVAL = 0.1  # seconds between looks: ten steps a second are a smooth bar
HEARTBEAT = 15.0  # seconds; proxies cut connections that are silent for 30 to 60
# In the lifespan's state: an event, set when the server takes no more requests
STOPPING = "sluiceway.stopping"
ENDED_WORDS = frozenset(state.word for state in ENDED)
BEGIN_TIMEOUT = 60.0  # seconds that a watcher may wait for its upload to begin
# Watchers in a process whose upload has not begun. Any client can invent ids; the page watches six
# at a time.
MOST_WAITING = 256
# Looks a second for all watchers of a process: 2 to 5 % of a core. With more than 100 watchers each
# one looks less often.
MOST_LOOKS = 1000

_watching: set[object] = set()  # one token for each watcher
_waiting: set[object] = set()  # of them, those whose upload has not begun


def look_interval(watchers: int) -> float:
    """Seconds between two looks of one of this many watchers."""
    return max(LOOK_INTERVAL, watchers / MOST_LOOKS)


async def show_upload(request: Request, progress_table: ProgressTable, upload: str) -> Response:
    """Raises NotFound for an unknown id, but an event stream waits for its upload to begin.

    Raises Unavailable when too many of them wait.
    """
    checked_id(upload)
    record = progress_table.find(upload)
    if EVENT_STREAM_TYPE in request.headers.get("accept", ""):
        if record is None and len(_waiting) >= MOST_WAITING:
            raise Unavailable(
                "Too many clients wait for uploads that have not begun; begin the upload, then "
                "watch it"
            )
        return event_stream(progress_table, upload)
    if record is None:
        raise NotFound("No upload with this id is running, or it ended a while ago")
    record.watch()
    return json_response(record.snapshot())


async def cancel_upload(upload_service: UploadService, upload: str) -> Response:
    """DELETE /uploads/{id}: 204. Raises NotFound."""
    if not upload_service.cancel(checked_id(upload)):
        raise NotFound("No upload with this id is running; there is nothing to cancel")
    return Response(status_code=204)


def event_stream(progress_table: ProgressTable, upload: str) -> Response:
    """Events `progress` when a counter changes, and `end` as the last one."""

    async def body(scope: Scope) -> AsyncIterator[Buffer | Message]:
        watcher = object()
        _watching.add(watcher)
        if progress_table.find(upload) is None:
            _waiting.add(watcher)
        stopping = scope.get("state", {}).get(STOPPING)
        try:
            async for event in _events(progress_table, upload, watcher, stopping):
                yield event
        finally:
            _watching.discard(watcher)
            _waiting.discard(watcher)

    headers = {
        "cache-control": "no-store",
        "x-accel-buffering": "no",  # nginx would collect the events
        "content-type": f"{EVENT_STREAM_TYPE}; charset=utf-8",
    }
    return StreamedResponse(body, headers)


async def _events(
    progress_table: ProgressTable, upload: str, watcher: object, stopping: asyncio.Event | None
) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    began = sent_at = clock()
    record: ProgressRecord | None = None
    last: dict[str, object] = {}
    while True:
        if record is None and (record := progress_table.find(upload)) is not None:
            _waiting.discard(watcher)
        if record is not None and not record.still():
            return  # it ended so long ago that its record was used again
        if record is None:
            if clock() - began > BEGIN_TIMEOUT or (stopping is not None and stopping.is_set()):
                return
            now = _before_it_begins(upload)
        else:
            record.watch()
            now = record.snapshot()
        # Asks the snapshot, not the record: that may have moved on since.
        ended = now["state"] in ENDED_WORDS
        if now != last or ended:
            last, sent_at = now, clock()
            yield format_event("end" if ended else "progress", json.dumps(now))
        elif clock() - sent_at > HEARTBEAT:
            sent_at = clock()
            yield format_comment()
        if ended:
            return
        await asyncio.sleep(look_interval(len(_watching)))


def _before_it_begins(upload: str) -> dict[str, object]:
    return {
        "id": upload,
        "state": "waiting",
        "received": 0,
        "forwarded": 0,
        "kept": 0,
        "kept_by": "destination",
        "length": None,
        "code": None,
    }
