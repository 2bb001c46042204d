"""The whole service inside a Starlette or FastAPI app, with functions of the app around uploads.

Knows apps; the service is the ASGI app of `server/app.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Unpack, cast

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from sluiceway.server.app import Sluiceway
from sluiceway.server.door.sites import APP_CORS
from sluiceway.server.mounted.app_cors import app_cors
from sluiceway.server.mounted.hooks import AppHooks
from sluiceway.server.mounted.uploads import (
    EndHook,
    KeptHook,
    PlaceHook,
    PublishedHook,
    StartHook,
)
from sluiceway.server.settings.arguments import Places, SettingArguments
from sluiceway.server.settings.checked import Settings

__all__ = ["mount"]


def mount(
    app: Starlette | Router,
    prefix: str,
    to: Places | PlaceHook[Request] = "./uploads",
    *,
    on_start: StartHook[Request] | None = None,
    on_kept: KeptHook[Request] | None = None,
    on_published: PublishedHook[Request] | None = None,
    on_end: EndHook[Request] | None = None,
    **settings: Unpack[SettingArguments],
) -> Sluiceway:
    """Serve the whole service under `prefix`: its page, files, uploads and all else.

    The app's middleware guards it, or `token=`. It is closed when the app stops. The functions may
    be plain, and then run in a thread, or `async`. What they raise is answered as the app answers
    it; an HTTPException as problem+json.

    Args:
        app: The app, or an APIRouter of it.
        prefix: A path; the page is at `prefix/`, files are at `prefix/files`.
        to: Where files go, one place or several, as for `sluiceway serve --to`; or a function that
            gets the request and returns it.
        on_start: Called with a StartedUpload and the request before the first byte of each file is
            taken. It may set key, name, type and metadata, or raise UploadRefused.
        on_kept: Called with the KeptUpload of each file and the request when all bytes are kept and
            no reader can see the file yet, as `--on-kept` is. It may raise UploadRefused.
        on_published: Called with the Entry of each file and the request when it is published,
            before the answer. An error takes the files of the request back, where the destination
            can, and is the answer.
        on_end: Called with an EndedUpload and the request at every ending, for logs.
        settings: The settings of `sluiceway serve` (docs/settings.md).

    Returns:
        The service.

    Raises:
        BadSetting: A setting cannot be used.

    Example:
        mount(app, "/drop", to=lambda request: f"/srv/files/{request.user.id}")
    """
    place, to = (to, "./uploads") if callable(to) else (None, to)
    hooks = AppHooks(place, on_start, on_kept, on_published, on_end, raises=True)
    service = Sluiceway(Settings.of(to, settings), hooks=hooks)
    router = app.router if isinstance(app, Starlette) else app
    router.mount(prefix, _KnowsCors(service))
    around = router.lifespan_context

    @asynccontextmanager
    async def lifespan(each: Any) -> AsyncIterator[Mapping[str, Any] | None]:
        async with around(each) as state:
            try:
                yield state
            finally:
                await service.aclose()

    router.lifespan_context = cast("Any", lifespan)
    return service


class _KnowsCors:
    """Tells the service what the app's CORSMiddleware allows, so that the two agree."""

    def __init__(self, service: ASGIApp) -> None:
        self._service = service
        self._rules: list[CORSMiddleware] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._rules is None:
            self._rules = [
                CORSMiddleware(self._service, *each.args, **each.kwargs)
                for each in getattr(scope.get("app"), "user_middleware", [])
                if isinstance(each.cls, type) and issubclass(each.cls, CORSMiddleware)
            ]
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        rules = self._rules
        found = app_cors(
            origins, lambda origin: any(each.is_allowed_origin(origin) for each in rules)
        )
        await self._service({**scope, APP_CORS: found}, receive, send)
