"""GET /uploads/{id}: the three counters of an upload under way, once as JSON or again and again as an event stream.

Reads the board only, so that any worker process can answer for any other. What all watchers cost together is bounded.
"""

from __future__ import annotations

import asyncio
import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sluiceway.errors import NotFound, Unavailable
from sluiceway.server.request_body import wait_until_gone
from sluiceway.server.responses import json_answer
from sluiceway.uploads.keys import checked_id
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.progress_record import ProgressRecord
from sluiceway.uploads.service import UploadService
from sluiceway.uploads.states import ENDED
from sluiceway.wire.event_stream import EVENT_STREAM_TYPE, format_comment, format_event

__all__ = ["STOPPING", "EventStream", "cancel_upload", "look_interval", "show_upload"]

LOOK = 0.1  # seconds between looks: ten steps a second are a smooth bar
HEARTBEAT = 15.0  # seconds; proxies cut connections that are silent for 30 to 60
STOPPING = "sluiceway.stopping"  # in the lifespan's state: an event, set when the server takes no more requests
ENDED_WORDS = frozenset(state.word for state in ENDED)
PATIENCE = 60.0  # seconds a watcher may be there before its upload begins
MOST_WAITING = 256  # watchers of a process whose upload has not begun; anybody can name ids, and the page watches six at a time
MOST_LOOKS = 1000  # looks a second for all watchers of a process: 2 to 5 % of a core; with more than 100 each looks less often

_watching: set[EventStream] = set()  # whose client is there
_waiting: set[EventStream] = set()  # those of them whose upload has not begun


def look_interval(watchers: int) -> float:
    """Seconds between two looks of one of so many watchers."""
    return max(LOOK, watchers / MOST_LOOKS)


async def show_upload(request: Request, progress_table: ProgressTable, upload: str) -> Response:
    """Raises NotFound for an id nobody uploads under; an event stream waits for it a while."""
    checked_id(upload)
    record = progress_table.find(upload)
    if EVENT_STREAM_TYPE in request.headers.get("accept", ""):
        if record is None and len(_waiting) >= MOST_WAITING:
            raise Unavailable(
                "Too many clients wait for uploads that have not begun; begin the upload, then watch it"
            )
        return EventStream(progress_table, upload)
    if record is None:
        raise NotFound("No upload with this id is under way, or it ended a while ago")
    record.watch()
    return json_answer(record.snapshot())


async def cancel_upload(upload_service: UploadService, upload: str) -> Response:
    if not upload_service.cancel(checked_id(upload)):
        raise NotFound("No upload with this id is under way; there is nothing to cancel")
    return Response(status_code=204)


class EventStream(Response):
    """Events `progress` while things change, `end` as the last."""

    media_type = EVENT_STREAM_TYPE

    def __init__(self, progress_table: ProgressTable, upload: str) -> None:
        super().__init__(
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )  # nginx would gather it
        del self.headers["content-length"]
        self._progress_table, self._upload = progress_table, upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(wait_until_gone(receive))
        _watching.add(self)
        if self._progress_table.find(self._upload) is None:
            _waiting.add(self)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] == "GET":
                await self._tell(send, gone, scope.get("state", {}).get(STOPPING))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            _watching.discard(self)
            _waiting.discard(self)
            gone.cancel()

    async def _tell(
        self, send: Send, gone: asyncio.Future[None], stopping: asyncio.Event | None
    ) -> None:
        clock = asyncio.get_running_loop().time
        began = spoke = clock()
        record: ProgressRecord | None = None
        told: dict[str, object] = {}
        while not gone.done():
            if record is None and (record := self._progress_table.find(self._upload)) is not None:
                _waiting.discard(self)
            if record is not None and not record.still():
                return  # ended so long ago that its slot was reused
            if record is None:
                now = {
                    "id": self._upload,
                    "state": "waiting",
                    "received": 0,
                    "forwarded": 0,
                    "kept": 0,
                }
                now |= {"kept_by": "destination", "length": None, "code": None}
                if clock() - began > PATIENCE or (stopping is not None and stopping.is_set()):
                    return  # nothing will begin any more
            else:
                record.watch()
                now = record.snapshot()
            ended = (
                now["state"] in ENDED_WORDS
            )  # as the snapshot says: the slot may have moved on since
            if now != told or ended:
                told, spoke = now, clock()
                event = format_event("end" if ended else "progress", json.dumps(now))
                await send({"type": "http.response.body", "body": event, "more_body": True})
            elif clock() - spoke > HEARTBEAT:
                spoke = clock()
                await send(
                    {"type": "http.response.body", "body": format_comment(), "more_body": True}
                )
            if ended:
                return
            await asyncio.wait([gone], timeout=look_interval(len(_watching)))
