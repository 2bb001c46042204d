"""The service as an ASGI app: which path and method goes to which handler, and what becomes of every error.

Runs on any ASGI server and mounts into other apps; `server/run.py` starts it on ours.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Unpack

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from sluiceway.errors import NotFound, SluiceError, Unavailable
from sluiceway.pipe.budget import Budget
from sluiceway.server.destinations import open_destination
from sluiceway.server.door.auth import STAGES, check_token, check_use, log_access
from sluiceway.server.door.sites import Sites
from sluiceway.server.door.urls import decode_url, with_headers
from sluiceway.server.error_log import log_error
from sluiceway.server.handlers.download import get_object
from sluiceway.server.handlers.fetch import Remote, pass_remote
from sluiceway.server.handlers.forms import is_form, post_form, put_form
from sluiceway.server.handlers.imports import import_remote, is_order, not_an_order
from sluiceway.server.handlers.listing import delete_object, list_objects
from sluiceway.server.handlers.progress import STOPPING, cancel_upload, show_upload
from sluiceway.server.handlers.raw import post_raw, put_object
from sluiceway.server.handlers.readiness import Readiness
from sluiceway.server.handlers.zip import list_as_zip
from sluiceway.server.http1.head_limits import check_fields
from sluiceway.server.http1.peer_gone import PROTOCOL
from sluiceway.server.http1.sendfile import ZEROCOPY, patience
from sluiceway.server.omissions import Omissions
from sluiceway.server.page.assets import show_page, show_part
from sluiceway.server.request_body import MIN_RATE
from sluiceway.server.responses import problem_answer
from sluiceway.server.routing import no_such_path, wrong_method
from sluiceway.server.setting_arguments import Places, SettingArguments
from sluiceway.server.settings import Settings
from sluiceway.uploads.keys import KeyTemplate
from sluiceway.uploads.progress import ProgressTable
from sluiceway.uploads.service import UploadService
from sluiceway.wire.names import compose, stays_inside
from sluiceway.wire.request_targets import check_path

__all__ = ["Sluiceway"]

log: logging.Logger = logging.getLogger("sluiceway")

CUT = "The server is stopping; nothing was stored. Send it again"

Handler = Callable[[Request], Awaitable[Response]]


class _KeyConvertor(PathConvertor):
    """Matches the whole rest of a path. Starlette's own `path` stops at a line feed, which a key in
    a bucket may hold."""

    regex = "(?s:.*)"


register_url_convertor("key", _KeyConvertor())


class Sluiceway:
    """The service as an ASGI app, for any ASGI server, alone or mounted into another app.

    Args:
        settings: all settings as one object. Then the other keyword arguments are not read.
        to: where files go: one destination as `sluiceway serve --to` takes it, or several.
        progress_table: the table of running uploads, shared by several processes. By default each
            process has one of its own.
        **others: the other settings of `sluiceway serve`, by name with `_` for `-`. Sizes are
            bytes or texts such as "10GiB", times are seconds; docs/settings.md lists all.

    Raises:
        BadSetting: a setting has a value that cannot be used; the text names the setting.

    Without `token` and without `no_auth=True` the app answers only to names of this machine and to
    `allowed_host`. The destination is opened at the first use or at the lifespan's startup.

    Example:
        app = Sluiceway(to="./uploads", max_size="10GiB")
        outer.mount("/drop", app)  # Starlette, FastAPI
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        to: Places = "./uploads",
        progress_table: ProgressTable | None = None,
        **others: Unpack[SettingArguments],
    ) -> None:
        self.settings: Settings = settings or Settings.of(to, others)
        self.budget: Budget = Budget(self.settings.budget // self.settings.workers)
        self._min_rate = self.settings.min_bytes_per_second
        self._remote = Remote(self.settings, self.budget)
        self._omissions = Omissions()
        self._sites = Sites(self.settings)
        self._readiness = Readiness()
        self._progress_table = progress_table
        self._upload_service: UploadService | None = None
        self._router = Router(
            [
                Route("/", _ByMethod(GET=show_page)),
                Route("/page/{name}", _ByMethod(GET=show_part)),
                Route("/files", _ByMethod(GET=self._list, POST=self._post)),
                Route(
                    "/files/{key:key}", _ByMethod(GET=self._get, PUT=self._put, DELETE=self._delete)
                ),
                Route("/fetch", _ByMethod(GET=self._fetch)),
                Route("/uploads/{id}", _ByMethod(GET=self._show, DELETE=self._cancel)),
                Route("/healthz", _ByMethod(GET=self._health)),
                Route("/readyz", _ByMethod(GET=self._ready)),
            ],
            redirect_slashes=False,
            default=_nowhere,
        )

    @property
    def upload_service(self) -> UploadService:
        """Made at the first use: an app mounted into another one may never see a lifespan."""
        if self._upload_service is None:
            told = self.settings
            self._upload_service = UploadService(
                open_destination(told, self.budget),
                self.budget,
                self._progress_table or ProgressTable(),
                template=KeyTemplate(told.key_template),
                digests=told.digests,
                max_size=told.max_upload_bytes,
                flatten=told.flatten,
            )
        return self._upload_service

    async def aclose(self) -> None:
        """Let go of the store; uploads under way are discarded."""
        if self._upload_service is not None:
            await self._upload_service.aclose()
            self._upload_service = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        status, sent = 0, 0

        async def count(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += message.get("count") or len(
                    message.get("body", b"")
                )  # count: a file the server sends by itself
            if (
                PROTOCOL in scope or message["type"] == ZEROCOPY
            ):  # our own protocol drops readers that take nothing
                await send(message)
            else:
                async with patience():
                    await send(message)

        scope[MIN_RATE] = self._min_rate
        request = Request(scope, receive)
        watched = with_headers(count, self._sites.headers(request))
        try:
            check_fields(len(scope["headers"]))
            self._sites.check_host(request)
            if (told := self._sites.preflight(request)) is not None:
                await told(scope, receive, watched)
                return
            check_token(
                request, scope["path"].removeprefix(scope.get("root_path", "")), self.settings.token
            )
            decode_url(scope)
            self._sites.check_origin(request)
            check_use(request)
            await self._router(scope, receive, watched)
        except SluiceError as error:
            if status == 0:
                stages, _ = scope.get(STAGES, (None, ""))
                await problem_answer(error, stages)(scope, receive, watched)
            log_error(error, scope["method"])
        except asyncio.CancelledError:
            # The server stops and has waited long enough. Raised on, it would become a traceback and a bare 500.
            if status == 0:
                await problem_answer(Unavailable(CUT))(scope, receive, watched)
        except Exception:
            if status:
                raise  # the answer is under way: only a broken connection can tell its reader
            log.exception("unexpected error")
            await problem_answer(SluiceError("The server made a mistake; its log says more"))(
                scope, receive, watched
            )
        finally:
            log_access(scope, status, sent, time.monotonic() - began)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope.get("state", {})[STOPPING] = asyncio.Event()
        try:
            _ = (
                self.upload_service
            )  # a folder that cannot be made is told at start, not at the first upload
        except (SluiceError, OSError) as error:
            await send({"type": "lifespan.startup.failed", "message": f"sluiceway: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    # Handlers: each hands on to the module of its dialect

    async def _list(self, request: Request) -> Response:
        if "as" in request.query_params:
            return await list_as_zip(
                request, self.upload_service.store, self.budget, self._omissions
            )
        return await list_objects(request, self.upload_service.store, self._omissions)

    async def _post(self, request: Request) -> Response:
        if is_order(request):
            if self._remote.allowed:
                return await import_remote(request, self.upload_service, self._remote)
            request = await not_an_order(request)
        if is_form(request):
            return await post_form(request, self.upload_service, self.settings.form_limits)
        return await post_raw(request, self.upload_service)

    async def _fetch(self, request: Request) -> Response:
        return pass_remote(request, self._remote)

    async def _get(self, request: Request) -> Response:
        return await get_object(
            request,
            self.upload_service.store,
            await self._spelling(request),
            self.settings.redirect_downloads,
        )

    async def _put(self, request: Request) -> Response:
        key: str = request.path_params["key"]
        if is_form(request):
            return await put_form(request, self.upload_service, key, self.settings.form_limits)
        return await put_object(request, self.upload_service, key)

    async def _delete(self, request: Request) -> Response:
        return await delete_object(
            request, self.upload_service.store, await self._spelling(request)
        )

    async def _spelling(self, request: Request) -> str:
        """The key of the object asked for as it is spelled where it rests: ours are NFC, macOS asks in NFD, others put anything.

        Raises NotFound for a key no object can have.
        """
        key: str = request.path_params["key"]
        if not key:
            raise no_such_path(request.scope)
        if not stays_inside(key):
            raise NotFound(f"There is no object {key!r}")
        ours, odd = compose(key), not key.isprintable()
        if ours != key or odd:
            try:
                await self.upload_service.store.stat(key)
            except NotFound:
                if odd:
                    check_path(key)
                return ours
        return key

    async def _show(self, request: Request) -> Response:
        return await show_upload(
            request, self.upload_service.progress_table, request.path_params["id"]
        )

    async def _cancel(self, request: Request) -> Response:
        return await cancel_upload(self.upload_service, request.path_params["id"])

    async def _health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _ready(self, request: Request) -> Response:
        why = await self._readiness.why_not(self.upload_service.store)
        return (
            PlainTextResponse("ok\n")
            if why is None
            else PlainTextResponse(f"not ready: {why}\n", 503)
        )


class _ByMethod:
    """What one path answers to each method. HEAD is GET without its body; OPTIONS names the rest."""

    def __init__(self, **handlers: Handler) -> None:
        if "GET" in handlers:
            handlers["HEAD"] = handlers["GET"]
        self._handlers = handlers
        self._allow = ", ".join(sorted([*handlers, "OPTIONS"]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method in self._handlers:
            answer = await self._handlers[method](Request(scope, receive))
        elif method == "OPTIONS":
            answer = Response(status_code=204, headers={"Allow": self._allow})
        else:
            raise wrong_method(scope, self._allow)
        await answer(scope, receive, send)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    raise no_such_path(scope)
