"""Watched uploads of an ASGI app's own views: `?upload=ID` counts a request until its response.

A request without an id passes through untouched. Knows ASGI, and no framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluiceway.server.progress.query import watched_id, watched_length
from sluiceway.uploads.app_progress import AppProgress
from sluiceway.uploads.view_progress import ViewProgress

__all__ = ["WatchedAsgi", "progress_of"]

PROGRESS = "sluiceway.progress"  # the name of a watched request's ViewProgress in its scope


class WatchedAsgi:
    """An ASGI app whose requests with `?upload=ID` can be watched."""

    def __init__(self, app: ASGIApp, progress: AppProgress) -> None:
        self._app, self._progress = app, progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            self._progress.close()  # uvicorn ends itself by a signal
            return
        watched = self._begin(scope) if scope["type"] == "http" else None
        if watched is None:
            await self._app(scope, receive, send)
            return
        exchange = _WatchedExchange(watched, receive, send)
        try:
            await self._app({**scope, PROGRESS: watched}, exchange.receive, exchange.send)
        except BaseException as error:
            watched.end(None, error)
            raise
        watched.end(exchange.status)

    def _begin(self, scope: Scope) -> ViewProgress | None:
        query = scope.get("query_string", b"").decode("latin-1")
        upload = watched_id(scope["method"], query)
        if upload is None:
            return None
        digits = {name: value for name, value in scope["headers"] if name == b"content-length"}
        length = watched_length(digits.get(b"content-length", b"").decode("latin-1"))
        return self._progress.begin(upload, length)


class _WatchedExchange:
    """The messages of one request, counted."""

    def __init__(self, progress: ViewProgress, receive: Receive, send: Send) -> None:
        self._progress, self._receive, self._send = progress, receive, send
        self._whole = False
        self.status: int | None = None

    async def receive(self) -> Message:
        self._progress.begin_read()
        message = await self._receive()
        if message["type"] == "http.request" and not self._whole:
            self._whole = not message.get("more_body", False)
            self._progress.count_received(len(message.get("body", b"")))
            if self._whole:
                self._progress.count_received(0)
        elif message["type"] == "http.disconnect" and not self._whole:
            self._progress.cut()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._progress.end(self.status)  # before background tasks


def progress_of(scope: Mapping[str, Any]) -> ViewProgress | None:
    """The progress of a request that is watched."""
    found: ViewProgress | None = scope.get(PROGRESS)
    return found
