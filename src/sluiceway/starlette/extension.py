"""`add(app)`: one line makes an app's LiveUpload parameters live and answers this library's errors.

Knows apps, their sub-apps and their start; how a route is made live is in `live_routes.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sluiceway.errors import BadOrder, SluiceError
from sluiceway.server.operator_log import log_error
from sluiceway.server.progress.asgi import progress_of
from sluiceway.starlette.body_reader import SharedReceive
from sluiceway.starlette.live_routes import make_routes_live
from sluiceway.starlette.progress import PREFIX, MayWatch, add_progress
from sluiceway.uploads.app_progress import AppProgress
from sluiceway.wire.problems import write_problem

__all__ = ["add", "answered"]


def add(
    app: Starlette, *, progress: str | None = PREFIX, may_watch: MayWatch | None = None
) -> None:
    """Add Sluiceway to a Starlette or FastAPI app.

    Views that take a LiveUpload read it while it arrives; errors of this library are answered as
    problem+json, in mounted apps, too. It may stand anywhere before the app starts. A request with
    `?upload=ID` in its address can be watched at `progress`/ID.

    Args:
        app: The app.
        progress: The path below which watchers find uploads; None for no bar.
        may_watch: Called with the request and the id before somebody may watch; it may be
            asynchronous. Middleware and FastAPI's global dependencies decide as well. Without it,
            those may watch who know the id.

    Raises:
        BadOrder: When the app starts: a view takes Parts beside Form(), File() or UploadFile.

    Example:
        app = FastAPI()
        add(app)
    """
    app.exception_handlers.setdefault(SluiceError, answered)
    if progress is not None:
        caller = sys._getframe(1)  # its place is the same in all processes of the app
        name = f"asgi\0{os.path.abspath(caller.f_code.co_filename)}\0{caller.f_lineno}"
        add_progress(app, AppProgress.of(name), progress.rstrip("/"), may_watch)
    app.add_middleware(_Start, owner=app)


async def answered(request: Request, error: Exception) -> Response:
    """An exception handler that answers this library's errors as problem+json (RFC 9457).

    `add(app)` registers it. The connection ends then, because the client may still be sending.

    Args:
        request: The request that failed.
        error: A SluiceError; any other is answered as 500 without its text.

    Example:
        app.add_exception_handler(SluiceError, answered)
    """
    known = error if isinstance(error, SluiceError) else SluiceError()
    log_error(known, request.method)
    if (progress := progress_of(request.scope)) is not None:
        progress.fail(known)  # its watchers get its code
    written = write_problem(known, request.url.path)
    response = Response(written.body, written.status, {"Connection": "close"})
    for name, value in written.headers:
        response.headers.append(name, value)
    return response


class _Start:
    """A middleware that prepares the app: Starlette makes it at the app's start, when all routes
    are there. Of each request it says who gets the body."""

    def __init__(self, app: ASGIApp, owner: Starlette) -> None:
        self._app = app
        self._error: BadOrder | None = None
        try:
            for each in _with_sub_apps(owner):  # those have not started yet
                each.exception_handlers.setdefault(SluiceError, answered)
                make_routes_live(each.routes)
        except BadOrder as error:
            self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._error is None:
            if scope["type"] == "http":
                shared = SharedReceive(receive)
                receive, send = shared.receive, shared.before_the_end(scope, send)
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await receive()
            message = f"sluiceway: {self._error.detail}"
            await send({"type": "lifespan.startup.failed", "message": message})
        else:
            raise self._error


def _with_sub_apps(app: Starlette) -> Iterable[Starlette]:
    yield app
    yield from _mounted(app.routes)


def _mounted(routes: Iterable[Any]) -> Iterable[Starlette]:
    for route in routes:
        inner = getattr(route, "app", None)
        if isinstance(inner, Starlette):
            yield from _with_sub_apps(inner)
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from _mounted(router.routes)
