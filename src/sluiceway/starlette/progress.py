"""The progress of an app's own views in Starlette and FastAPI: `GET /uploads/{id}`, and the page's
element.

The routes are the app's: its middleware, and FastAPI's global dependencies, decide who may use
them. The app's own routes of the same path keep all that is not watched.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from sluiceway.errors import Forbidden
from sluiceway.server.handlers.progress import show_upload
from sluiceway.server.progress.asgi import WatchedAsgi
from sluiceway.uploads.app_progress import AppProgress
from sluiceway.uploads.keys import LONGEST_ID, SHORTEST_ID
from sluiceway.wire.event_stream import EVENT_STREAM_TYPE

__all__ = ["PREFIX", "MayWatch", "add_progress"]

PREFIX = "/uploads"
ID = re.compile(rf"[A-Za-z0-9_-]{{{SHORTEST_ID},{LONGEST_ID}}}")

MayWatch = Callable[[Request, str], bool | Awaitable[bool]]


def add_progress(
    app: Starlette, progress: AppProgress, prefix: str, may_watch: MayWatch | None = None
) -> None:
    """Let requests of the app with `?upload=ID` be watched at `prefix`/ID.

    `prefix`/page/sluice.js is the module of <sluice-drop>, which does that.
    """

    async def sluiceway_progress(request: Request) -> Response:
        upload = request.path_params["upload"]
        if may_watch is not None:
            answer = may_watch(request, upload)
            if not (await answer if inspect.isawaitable(answer) else answer):
                raise Forbidden("You may not watch this upload")
        return await show_upload(request, progress, upload)

    def is_watched(scope: Scope) -> bool:
        upload = scope["path_params"]["upload"]
        if not ID.fullmatch(upload):
            return False
        return _wants_events(scope) or progress.find(upload) is not None

    path = f"{prefix}/{{upload}}"
    first, last = (_route(app, path, sluiceway_progress) for _ in range(2))
    _only_if(first, is_watched)
    _only_if(last, lambda scope: bool(ID.fullmatch(scope["path_params"]["upload"])))
    page = Route(f"{prefix}/page/{{name:path}}", _show_page_asset, methods=["GET"])
    app.router.routes[:0] = [first, page]
    app.add_middleware(_WithLastRoute, routes=app.router.routes, route=last)
    app.add_middleware(WatchedAsgi, progress=progress)


class _WithLastRoute:
    """Adds a route behind all others, when the app starts; then it does nothing."""

    def __init__(self, app: Any, routes: list[BaseRoute], route: BaseRoute) -> None:
        self._app = app
        routes.append(route)

    async def __call__(self, *exchange: Any) -> None:
        await self._app(*exchange)


def _route(app: Starlette, path: str, view: Callable[[Request], Awaitable[Response]]) -> Any:
    """A route of the app; in FastAPI one to which its global dependencies apply."""
    if not hasattr(app.router, "add_api_route"):
        return Route(path, view, methods=["GET"])
    app.router.add_api_route(path, view, methods=["GET"], include_in_schema=False)
    return app.router.routes.pop()


def _only_if(route: Any, holds: Callable[[Scope], bool]) -> None:
    matches = route.matches

    def matches_if(scope: Scope) -> tuple[Match, Scope]:
        found, child = matches(scope)
        if found is not Match.NONE and not holds({**scope, **child}):
            return Match.NONE, {}
        return found, child

    route.matches = matches_if


def _wants_events(scope: Scope) -> bool:
    return EVENT_STREAM_TYPE in Request(scope).headers.get("accept", "")


async def _show_page_asset(request: Request) -> Response:
    from sluiceway.server.page.assets import asset_beside_progress

    asset = asset_beside_progress(request.path_params["name"])
    return Response(asset.body, headers=dict(asset.headers))
