"""/doctor: what arrived of one request, and when. `sluiceway doctor` compares it with what it sent.

For the admin alone. Of header fields it shows names and sizes, never values: they hold secrets.
The body is counted and dropped; nothing is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from sluiceway.errors import BadRequest, BodyCut, TooSlow
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.pipe.stages import Stages
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.progress.watch import EVENT_HEADERS
from sluiceway.server.request_body import body_chunks
from sluiceway.server.responses import json_response
from sluiceway.server.resumable.interim import PHRASE, STATUS, Interim
from sluiceway.server.streaming import StreamedResponse
from sluiceway.wire.event_stream import format_event
from sluiceway.wire.numbers import ascii_uint
from sluiceway.wire.resumable import parse_version

__all__ = ["APP_SERVER", "show_arrival"]

# In a request's scope: the name of the WSGI server, as it says it itself
APP_SERVER = "sluiceway.app_server"
OUR_SERVER = "sluiceway serve"
MOST_BODY = 8 << 20  # bytes that are counted; the rest is not read
MOST_ARRIVALS = 100
ARRIVAL_STEP = 0.02  # seconds: bytes that come sooner belong to the arrival before
MOST_WAIT = 600  # seconds
EVENTS, EVENT_INTERVAL = 5, 0.3  # seconds


async def show_arrival(request: Request, mode: str, origin_allowed: bool) -> Response:
    """GET or POST /doctor. Raises BadRequest.

    `?wait=SECONDS` answers later, `?read=no` before the body, `?interim=104` sends that first,
    `?as=events` is an event stream. `mode` is the setting `--interim`.
    """
    query = request.query_params
    if query.get("as") == "events":
        return StreamedResponse(_events, EVENT_HEADERS)
    head = _head(request, mode)
    head["origin_allowed"] = origin_allowed
    if query.get("interim") == str(STATUS):
        head["interim_sent"] = _send_interim(request)
    if "wait" in query:
        await asyncio.sleep(ascii_uint(query["wait"], "wait", MOST_WAIT))
    if query.get("read") != "no":
        head["body"] = await _count_body(request)
    return json_response(head)


def _head(request: Request, mode: str) -> dict[str, object]:
    scope = request.scope
    ours = OUR_SERVER if PROTOCOL in scope else ""
    return {
        "doctor": 1,
        "time": time.time(),
        "http_version": scope.get("http_version", ""),
        "scheme": scope.get("scheme", ""),
        "host": request.headers.get("host", ""),
        "peer": request.client.host if request.client else "",
        "app_server": scope.get(APP_SERVER, ours),
        "headers": [[name.decode("latin-1"), len(value)] for name, value in scope["headers"]],
        "interim_allowed": _interim_allowed(request, mode),
    }


def _interim_allowed(request: Request, mode: str) -> bool:
    """Whether an upload like this request would get 104."""
    try:
        return Interim(request, parse_version(request.headers), mode).allowed
    except BadRequest:
        return False


def _send_interim(request: Request) -> bool:
    """False on a server that can send none."""
    cycle = getattr(request.scope.get(PROTOCOL), "cycle", None)
    return cycle is not None and cycle.send_interim(STATUS, PHRASE, {})


async def _count_body(request: Request) -> Mapping[str, object]:
    began, count, ended = time.monotonic(), 0, "whole"
    arrivals: list[tuple[float, int]] = []  # seconds since the head, bytes by then
    chunks = body_chunks(request, Stages())
    try:
        async for chunk in chunks:
            count += len(chunk)
            seconds = round(time.monotonic() - began, 3)
            close = bool(arrivals) and seconds - arrivals[-1][0] < ARRIVAL_STEP
            if close or len(arrivals) >= MOST_ARRIVALS:
                seconds = arrivals.pop()[0] if close else seconds
                arrivals = arrivals[: MOST_ARRIVALS - 1]
            arrivals.append((seconds, count))
            if count > MOST_BODY:
                ended = "too long"
                break
    except (BodyCut, TooSlow) as error:
        ended = error.code
    finally:
        await close_stream(chunks)
    return {"bytes": count, "ended": ended, "arrivals": arrivals}


async def _events(_: Scope) -> AsyncIterator[Buffer | Message]:
    for number in range(EVENTS):
        if number:
            await asyncio.sleep(EVENT_INTERVAL)
        yield format_event("doctor", str(number))
